// The target's loop where something gives way: memory for iovecs, places for mapped segments, a wire
// that is slower than the disk, a disk that hangs, interfaces and files that go.

import { listInterfaces } from "../../../ffi/netlink.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { closeFile, openFile, syncFile } from "../../../ffi/files.ts";
import {
  ATA_FLUSH_CACHE_EXT,
  ATA_IDENTIFY_DEVICE,
  ATA_READ_SECTORS_EXT,
  ATA_WRITE_DMA_FUA_EXT,
  SECTOR_BYTES,
} from "../../../src/wire/ata.ts";
import { ExportRefusal, openExport } from "../../../src/control/target/open_file.ts";
import {
  TARGET_COUNT_GATHERED,
  TARGET_COUNT_KERNEL_DROPS,
} from "../../../src/core/target/counters.ts";
import type { TargetMessage } from "../../../src/loops/target/messages.ts";
import { TargetExport } from "../../../src/core/target/export.ts";
import { GroupCommit } from "../../../src/core/target/group_commit.ts";
import { ip } from "../../ffi/own_network.ts";
import { interopTest } from "../../harness/requirements.ts";
import {
  exportOf,
  type LoopbackOptions,
  type LoopbackTarget,
  type Request,
  withLoopbackTarget,
  writeOf,
} from "./loopback_target.ts";
import { BackingFile } from "../../../src/loops/target/backing_file.ts";

const OK = 0x40;

/** Runs a body with a target for a sparse image of so many bytes. */
function withTarget(
  bytes: number,
  options: LoopbackOptions,
  body: (target: LoopbackTarget, path: string) => void,
): void {
  const fill = (path: string) => Deno.truncateSync(path, bytes);
  withLoopbackTarget({ fill }, options, body, () => {
    options.interfaces?.forEach((name, i, names) => {
      const mtu = options.mtu ?? 9000;
      if (i === 0) ip(`link add ${name} mtu ${mtu} type veth peer name ${names[1]} mtu ${mtu}`);
    });
    options.interfaces?.forEach((name) => ip(`link set ${name} up`));
    if (options.interfaces !== undefined) awaitCarriers();
  });
}

/** Waits until the kernel has seen the carriers of new interfaces: it drops frames before. */
function awaitCarriers(): void {
  const down = () => listInterfaces().some((link) => !link.loopback && !link.running);
  for (let looks = 0; down(); looks++) {
    assert(looks < 1000, "an interface has no carrier");
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
  }
}

/** Runs a program in the namespace of this thread, arguments separated by spaces. */
function run(program: string, words: string): void {
  const { success, stderr } = new Deno.Command(program, { args: words.split(" ") }).outputSync();
  if (!success) throw new Error(`${program} ${words}: ${new TextDecoder().decode(stderr)}`);
}

function read(sector: number, sectors: number): Request {
  return { command: ATA_READ_SECTORS_EXT, sector, sectors };
}

interopTest("faults: system calls never run out of iovecs", [], () => {
  withTarget(4 * 2 ** 20, { uring: false, direct: true }, (target) => {
    // 23 divides no power of two: the table is full amid a batch.
    for (let round = 0; round < 40; round++) {
      const requests = Array.from({ length: 23 }, (_, i) => writeOf(i * 300, 1, round + 1));
      for (const { status } of target.exchange(requests).values()) assertEquals(status, OK);
    }
  });
});

/** Lets the MTU of interfaces grow from 1500 to 9000, and the target see it. */
function growMtu(target: LoopbackTarget, interfaces: readonly string[]): void {
  for (const name of interfaces) ip(`link set ${name} mtu 9000`);
  const grown = () => target.messages.some((said) => said.kind === "link" && said.mtu === 9000);
  for (let looks = 0; !grown(); looks++) {
    assert(looks < 100, "no news of the MTU");
    target.look(100);
  }
}

interopTest("faults: what a small ring dropped is counted, also when it is remade", [], () => {
  const interfaces = ["served", "used"] as const;
  const options = { uring: true, ringSlots: 4, interfaces, mtu: 1500 };
  withTarget(4 * 2 ** 20, options, (target) => {
    for (let i = 0; i < 64; i++) target.prepare(i, i, read(i * 2, 2));
    target.send(64);
    growMtu(target, interfaces);
    target.send(64);
    while (target.turn() > 0);
    const answered = target.skip();
    assert(answered > 0, "nothing was answered");
    target.stop();
    // What the first ring holds is taken before the next one's; the advert of the new MTU is no answer.
    const dropped = target.counters.value(TARGET_COUNT_KERNEL_DROPS);
    assert(dropped > 64, `${dropped} dropped`);
    assertEquals(dropped + answered, 128 + 1, `${dropped} dropped, ${answered} answered`);
  });
});

for (const ring of [true, false]) {
  const way = ring ? "a ring" : "recvmmsg";
  interopTest(`faults: when the MTU grows, ${way} takes the longer frames whole`, [], () => {
    const interfaces = ["served", "used"] as const;
    withTarget(4 * 2 ** 20, { uring: true, ring, interfaces, mtu: 1500 }, (target) => {
      // The first of two has the tag of adverts, which come when they like.
      const second = (request: Request) => target.exchange([read(0, 1), request]).get(1)!;
      assertEquals(second(writeOf(8, 2, 1)).status, OK);
      growMtu(target, interfaces);
      assertEquals(second(writeOf(8, 16, 2)).status, OK);
      const { status, data } = second(read(8, 16));
      assertEquals([status, data.length], [OK, 8192]);
      assert(data.every((byte) => byte === 2));
    });
  });
}

interopTest("faults: a segment that loses its place is sent as it was", [], () => {
  const segment = 16 * 2 ** 20;
  const sectors = segment / SECTOR_BYTES;
  withTarget(2 * segment, { uring: true, mapBytes: segment }, (target, path) => {
    Deno.writeFileSync(path, new Uint8Array(2 * segment).fill(1, 0, segment).fill(2, segment));
    target.exchange([read(0, 8)]);
    assertEquals(target.counters.valueOf(0, TARGET_COUNT_GATHERED), 1);
    // The second segment is read until it is worth the only place there is; in each batch the first
    // is read before it.
    const batch = [read(0, 8), ...Array.from({ length: 31 }, () => read(sectors, 8))];
    for (let round = 0; round < 300; round++) {
      for (const [tag, { data }] of target.exchange(batch)) {
        const expected = tag === 0 ? 1 : 2;
        assert(data.every((byte) => byte === expected), `round ${round}, read ${tag}: ${data[0]}`);
      }
    }
    assert(target.counters.valueOf(0, TARGET_COUNT_GATHERED) > 4000, "the second was never mapped");
  });
});

interopTest("faults: a wire slower than the disk loses no frame and mixes none up", [], () => {
  const interfaces = ["served", "used"] as const;
  withTarget(4 * 2 ** 20, { uring: true, interfaces }, (target, path) => {
    const image = new Uint8Array(4 * 2 ** 20);
    for (let sector = 0; sector < image.length / SECTOR_BYTES; sector++) {
      image.fill(sector % 251, sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
    }
    Deno.writeFileSync(path, image);
    run("tc", "qdisc add dev served root tbf rate 800mbit burst 32kb limit 64mb");
    // Faster than answers leave: every answer that comes must still be its request's.
    const requests = Array.from({ length: 64 }, (_, i) => read(i * 100, 16));
    let answered = 0;
    const check = () => {
      for (const { tag, status, data } of target.receive()) {
        answered++;
        assertEquals([status, data.length, data[0]], [OK, 8192, tag * 100 % 251], `read ${tag}`);
      }
    };
    requests.forEach((request, i) => target.prepare(i, i, request));
    for (let round = 0; round < 200; round++) {
      target.send(64);
      target.turn();
      target.look(0);
      check();
    }
    for (let idle = 0; idle < 50; check()) {
      target.look(1);
      idle = target.turn() > 0 ? 0 : idle + 1;
    }
    assert(answered > 300, `${answered} answers`);
    const all = target.exchange(requests.slice(0, 8));
    assert(all.size >= 8);
  });
});

interopTest("faults: an interface that goes while it is blocked, and comes back", [], () => {
  const interfaces = ["served", "used"] as const;
  withTarget(4 * 2 ** 20, { uring: true, interfaces }, (target, path) => {
    Deno.writeFileSync(path, new Uint8Array(4 * 2 ** 20).fill(3));
    run("tc", "qdisc add dev served root tbf rate 8kbit burst 10kb limit 20kb");
    Array.from({ length: 64 }, (_, i) => read(i * 100, 16)).forEach((request, i) =>
      target.prepare(i, i, request)
    );
    target.send(64);
    target.turn();
    ip("link del served");
    for (let turns = 0; target.turn() > 0 || turns < 10; turns++) target.look(1);
    assertEquals(target.busy, false, "answers still wait for an interface that is gone");
    // Made and gone again before anybody looks; then it stays.
    ip("link add served mtu 9000 type veth peer name used mtu 9000");
    ip("link del served");
    target.look(1);
    ip("link add served mtu 9000 type veth peer name used mtu 9000");
    for (const name of interfaces) ip(`link set ${name} up`);
    const state = () => target.messages.findLast((message) => message.kind === "link")?.state;
    // The kernel tells of a carrier up to a second late.
    for (let looks = 0; looks < 50 && state() !== "up"; looks++) target.look(100);
    assertEquals(state(), "up");
  });
});

interopTest("faults: a file that cannot be mapped is read the ordinary way", [], () => {
  // The kernel's attribute files have a size and contents, and no mmap (ENODEV).
  const path = "/sys/kernel/mm/transparent_hugepage/enabled";
  const fd = openFile(path, { readOnly: true });
  withTarget(512, { uring: true, export: { path, fd, readOnly: true } }, (target) => {
    for (let i = 0; i < 2; i++) {
      const { status, error } = target.exchange([read(0, 2)]).get(0)!;
      assertEquals([status, error], [0x41, 0x40]);
    }
  });
  closeFile(fd);
});

Deno.test("faults: a file that will not tell its size keeps the one it had", () => {
  const path = Deno.makeTempFileSync({ prefix: "aoe-faults-" });
  Deno.truncateSync(path, 8192);
  const fd = openFile(path, { readOnly: true });
  const config = exportOf(path, { uring: false, export: { fd } });
  const backing = new BackingFile(config, 0, false);
  const options = { backing, frames: 1, heldMax: 1, segments: 0, buffers: 16 };
  const ex = new TargetExport(0, config, options);
  closeFile(fd);
  Deno.removeSync(path);
  assertEquals([ex.refreshSize(), ex.drive.sectors], [false, 16]);
});

interopTest(
  "faults: what the disk finishes behind an fdatasync is still synced at the end",
  [],
  () => {
    const path = Deno.makeTempFileSync({ dir: "/var/tmp", prefix: "aoe-faults-" });
    Deno.truncateSync(path, 1 << 20);
    const fd = openFile(path, { readOnly: false });
    const directFd = openFile(path, { readOnly: false, direct: true });
    const messages: TargetMessage[] = [];
    withTarget(512, { uring: true, export: { path, fd, directFd } }, (target) => {
      const flush = { command: ATA_FLUSH_CACHE_EXT, sector: 0, sectors: 0 };
      target.exchange([writeOf(0, 8, 1), flush, flush, flush]);
      // The attempt to sync is what can be seen of it.
      closeFile(fd);
      target.stop();
      messages.push(...target.messages);
    });
    closeFile(directFd);
    Deno.removeSync(path);
    const texts = messages.flatMap((message) => message.kind === "error" ? [message.text] : []);
    assert(texts.some((text) => text.includes("Flushing")), texts.join());
    const stopped = messages.find((message) => message.kind === "stopped");
    const [risk] = stopped?.atRisk ?? [];
    assertEquals(stopped?.atRisk.length, 1);
    assert(risk?.forMs !== undefined && risk.forMs >= 0 && risk.forMs < 600_000, `${risk?.forMs}`);
  },
);

Deno.test("faults: at the end a disk that hangs is left alone, and only that one", () => {
  withCommit((commit, ex, other) => {
    ex.wrote(512);
    other.wrote(512);
    ex.order.admit(0, true, 0, 1);
    const atRisk: number[] = [];
    commit.finishAll(({ index }) => atRisk.push(index));
    assertEquals([ex.unsynced, other.unsynced], [true, false]);
    assertEquals(atRisk, [ex.index]);
  });
});

interopTest("faults: a stable write that fails takes the word of FLUSH with it", [], () => {
  const path = Deno.makeTempFileSync({ dir: "/var/tmp", prefix: "aoe-faults-" });
  Deno.truncateSync(path, 1 << 20);
  // Writes to it fail, and not for want of room.
  const fd = openFile(path, { readOnly: true });
  withTarget(512, { uring: true, export: { path, fd } }, (target) => {
    const flush = { command: ATA_FLUSH_CACHE_EXT, sector: 0, sectors: 0 };
    assertEquals(target.exchange([flush]).get(0)!.status, OK);
    assertEquals(target.exchange([writeOf(0, 2, 1)]).get(0)!.status, 0x61);
    assertEquals(target.exchange([flush]).get(0)!.status, OK);
    const stable = { ...writeOf(0, 2, 1), command: ATA_WRITE_DMA_FUA_EXT };
    assertEquals(target.exchange([stable]).get(0)!.status, 0x61);
    assertEquals(target.exchange([flush]).get(0)!.status, 0x61);
  });
  closeFile(fd);
  Deno.removeSync(path);
});

interopTest("faults: a disk that hangs alone leaves frames to questions that need none", [], () => {
  const folder = Deno.makeTempDirSync({ dir: "/var/tmp", prefix: "aoe-faults-" });
  run("mkfifo", `${folder}/pipe`);
  const writer = openFile(`${folder}/pipe`, { readOnly: false });
  const directFd = openFile(`${folder}/pipe`, { readOnly: true });
  withTarget(4 * 2 ** 20, { uring: true, export: { directFd } }, (target) => {
    const hanging = Array.from({ length: 64 }, (_, i) => read(i * 16, 8));
    for (let round = 0; round < 16; round++) {
      hanging.forEach((request, i) => target.prepare(i, 1000 + i, request));
      target.send(64);
      for (let i = 0; i < 4; i++) target.turn();
    }
    const identify = { command: ATA_IDENTIFY_DEVICE, sector: 0, sectors: 1 };
    assertEquals(target.exchange([identify]).get(0)!.status, OK);
    closeFile(writer);
    target.exchange(hanging);
  });
  closeFile(directFd);
  Deno.removeSync(folder, { recursive: true });
});

interopTest("faults: a disk that hangs leaves frames to its neighbour", [], () => {
  const folder = Deno.makeTempDirSync({ dir: "/var/tmp", prefix: "aoe-faults-" });
  run("mkfifo", `${folder}/pipe`);
  const writer = openFile(`${folder}/pipe`, { readOnly: false });
  // Reading an empty pipe hangs until its writer closes it.
  const directFd = openFile(`${folder}/pipe`, { readOnly: true });
  const options = { uring: true, neighbours: [{ slot: 2, directFd }] };
  withTarget(4 * 2 ** 20, options, (target) => {
    const hanging = Array.from({ length: 64 }, (_, i) => ({ ...read(i * 16, 8), slot: 2 }));
    for (let round = 0; round < 16; round++) {
      hanging.forEach((request, i) => target.prepare(i, 1000 + i, request));
      target.send(64);
      for (let i = 0; i < 4; i++) target.turn();
    }
    for (let i = 0; i < 4; i++) {
      const requests = Array.from(
        { length: 16 },
        (_, i) => i % 2 === 0 ? read(i * 9, 8) : writeOf(i * 9, 8, 1),
      );
      for (const { status } of target.exchange(requests).values()) assertEquals(status, OK);
    }
    closeFile(writer);
    const statuses = new Set(Array.from(target.exchange(hanging).values(), ({ status }) => status));
    assertEquals([...statuses], [0x41]);
  });
  closeFile(directFd);
  Deno.removeSync(folder, { recursive: true });
});

interopTest("faults: neighbours on one disk write in the turn that brings their frames", [], () => {
  const disk = "8:1";
  withTarget(
    4 * 2 ** 20,
    { uring: true, export: { disk }, neighbours: [{ slot: 2 }] },
    (target) => {
      for (let i = 0; i < 16; i++) {
        target.prepare(i, i, { ...writeOf(i * 99, 8, 1), slot: 1 + i % 2 });
      }
      target.send(16);
      target.turn();
      assertEquals([target.busy, target.skip()], [false, 16]);
    },
  );
});

interopTest("faults: one of many disks may use its whole window while frames abound", [], () => {
  const neighbours = Array.from({ length: 15 }, (_, i) => ({ slot: 2 + i }));
  withTarget(4 * 2 ** 20, { uring: true, neighbours }, (target) => {
    const requests = Array.from({ length: 64 }, (_, i) => ({ ...writeOf(i * 99, 8, 1), slot: 3 }));
    assertEquals(target.exchange(requests).size, 64);
  });
});

Deno.test("faults: an image that cannot be made leaves nothing behind", () => {
  const folder = Deno.makeTempDirSync({ dir: "/var/tmp", prefix: "aoe-faults-" });
  const options = {
    ...{ direct: false, sync: false, readOnly: false, force: false },
    ...{ offsetBytes: 0, lengthBytes: undefined, createBytes: 2 ** 56 },
  };
  assertThrows(
    () => openExport({ shelf: 1, slot: 1 }, `${folder}/disk.img`, options),
    ExportRefusal,
    "Cannot make",
  );
  assertEquals([...Deno.readDirSync(folder)], []);
  Deno.removeSync(folder);
});

/** Two exports, and their group commit. */
function withCommit(
  body: (commit: GroupCommit, ex: TargetExport, other: TargetExport) => void,
): void {
  const path = Deno.makeTempFileSync({ prefix: "aoe-faults-" });
  const fd = openFile(path, { readOnly: false });
  const config = exportOf(path, { uring: false, export: { fd } });
  const backing = new BackingFile(config, 0, false);
  const options = { backing, frames: 8, heldMax: 8, segments: 0, buffers: 16 };
  const exports = [0, 1].map((index) => new TargetExport(index, config, options));
  const parts = {
    commands: { operation: new Uint8Array(8) },
    queue: { inFlight: 1, sync: () => {} },
    inPlace: { sync: syncFile },
    exports,
    answers: { answer: () => {} },
    counters: { addTo: () => {} },
    onDiskError: () => {},
  };
  const commit = new GroupCommit(parts as unknown as ConstructorParameters<typeof GroupCommit>[0]);
  body(commit, exports[0]!, exports[1]!);
  closeFile(fd);
  Deno.removeSync(path);
}
