// A program of loop_test.ts: commands through the loop between two forced collections, so
// that V8's --trace-gc tells what they allocated. Arguments: how many, read or write, direct. Its
// last line on stdout: resident bytes before and after.

import {
  ATA_READ_SECTORS_EXT,
  ATA_WRITE_SECTORS_EXT,
  SECTOR_BYTES,
} from "../../../src/wire/ata.ts";
import { inOwnNetwork } from "../../ffi/own_network.ts";
import { LoopbackTarget } from "./loopback_target.ts";

const BATCH = 32;
const WARM_UP = 100_000;
/** From --expose-gc. */
const collect = (globalThis as unknown as { gc: () => void }).gc;

const [commands, kind, way] = Deno.args;
const path = Deno.makeTempFileSync({ dir: "/var/tmp", prefix: "aoe-many-" });
Deno.writeFileSync(path, new Uint8Array(4 * 2 ** 20));
try {
  inOwnNetwork(() => {
    const target = new LoopbackTarget(path, { uring: true, direct: way === "direct" });
    const data = new Uint8Array(2 * SECTOR_BYTES).fill(1);
    for (let i = 0; i < BATCH; i++) {
      target.prepare(i, i, {
        command: kind === "write" ? ATA_WRITE_SECTORS_EXT : ATA_READ_SECTORS_EXT,
        sector: i * 101,
        sectors: 2,
        ...(kind === "write" ? { data } : {}),
      });
    }
    pump(target, WARM_UP);
    collect();
    const before = Deno.memoryUsage().rss;
    pump(target, Number(commands));
    collect();
    console.log(`resident ${before} ${Deno.memoryUsage().rss}`);
    target.close();
  });
} finally {
  Deno.removeSync(path);
}

function pump(target: LoopbackTarget, commands: number): void {
  for (let done = 0; done < commands; done += BATCH) {
    target.send(BATCH);
    for (let answered = 0; answered < BATCH;) {
      target.turn();
      answered += target.skip();
    }
  }
}
