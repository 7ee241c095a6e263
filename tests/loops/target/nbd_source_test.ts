// The target's loop on an NBD server: the same promises as on a file, and a server that answers in
// scraps, in any order, with errors, or with nonsense.

import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import {
  ATA_DATA_SET_MANAGEMENT,
  ATA_FLUSH_CACHE_EXT,
  ATA_READ_SECTORS_EXT,
  ATA_SET_FEATURES,
  ATA_WRITE_DMA_FUA_EXT,
  ATA_WRITE_SECTORS_EXT,
  SECTOR_BYTES,
} from "../../../src/wire/ata.ts";
import {
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_WRITE_ZEROES,
} from "../../../src/wire/nbd.ts";
import { TARGET_COUNT_OVERLAPS } from "../../../src/core/target/counters.ts";
import { inOwnNetwork } from "../../ffi/own_network.ts";
import { interopTest } from "../../harness/requirements.ts";
import { type Answer, LoopbackTarget, type Request } from "./loopback_target.ts";
import { NbdPeer, type PeerRequest } from "./nbd_peer.ts";
import type { ExportConfig } from "../../../src/loops/target/export_config.ts";

const DISK_BYTES = 4 * 2 ** 20;
const FLUSHES = NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_WRITE_ZEROES;
const OK = 0x40;

/** A target on an NBD server of this thread. */
class SourceTarget {
  readonly disk = new Uint8Array(DISK_BYTES);
  readonly peer: NbdPeer;
  readonly target: LoopbackTarget;
  /** Everything that the server was asked. */
  readonly asked: PeerRequest[] = [];

  constructor(flags: number, different: Partial<ExportConfig> = {}) {
    for (let at = 0; at < DISK_BYTES; at += SECTOR_BYTES) {
      this.disk.fill((at / SECTOR_BYTES) % 251, at, at + SECTOR_BYTES);
    }
    this.peer = new NbdPeer(DISK_BYTES, flags);
    this.target = new LoopbackTarget("nbd://test", {
      uring: false,
      sync: different.sync === true,
      export: { source: this.peer.origin, fd: -1, path: "nbd://test", ...different },
    });
  }

  /** Carries a request out. */
  carryOut(request: PeerRequest): void {
    const { command, offset, length, data } = request;
    if (command === NBD_CMD_WRITE) this.disk.set(data, offset);
    if (command === NBD_CMD_WRITE_ZEROES) this.disk.fill(0, offset, offset + length);
  }

  /** Sends commands, and turns until all are answered; `serve` is the server's turn. */
  exchange(requests: readonly Request[], serve: () => void): Map<number, Answer> {
    requests.forEach((request, i) => this.target.prepare(i, i, request));
    this.target.send(requests.length);
    const answers = new Map<number, Answer>();
    for (let turns = 0; answers.size < requests.length; turns++) {
      if (turns > 1e5) throw new Error(`${requests.length - answers.size} requests have no answer`);
      this.turn();
      serve();
      for (const answer of this.target.receive()) answers.set(answer.tag, answer);
    }
    return answers;
  }

  turn(): void {
    this.target.turn();
    this.target.look(0);
  }

  /** The server's turn: everything that has come is done and answered at once. */
  serve(): void {
    for (const request of this.peer.take()) {
      this.asked.push(request);
      this.carryOut(request);
      this.peer.send(this.peer.reply(request, this.disk));
    }
  }

  close(): void {
    this.peer.close();
    this.target.close();
  }
}

function withSource(
  flags: number,
  different: Partial<ExportConfig>,
  body: (source: SourceTarget) => void,
): void {
  inOwnNetwork(() => {
    const source = new SourceTarget(flags, different);
    try {
      body(source);
    } finally {
      source.close();
    }
  });
}

function read(sector: number, sectors: number): Request {
  return { command: ATA_READ_SECTORS_EXT, sector, sectors };
}

function write(sector: number, sectors: number, fill: number): Request {
  const data = new Uint8Array(sectors * SECTOR_BYTES).fill(fill);
  return { command: ATA_WRITE_SECTORS_EXT, sector, sectors, data };
}

const flush: Request = { command: ATA_FLUSH_CACHE_EXT, sector: 0, sectors: 0 };

interopTest("source: scraps of replies, in any order, land where they should", [], () => {
  withSource(FLUSHES, { offsetBytes: 65536 }, (source) => {
    let seed = 1;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
      return (seed >>> 8) % below;
    };
    const waiting: PeerRequest[] = [];
    let outgoing: Uint8Array = new Uint8Array(0);
    const serve = () => {
      waiting.push(...source.peer.take(1 + random(9000)));
      if (outgoing.length === 0 && waiting.length > 0) {
        const [request] = waiting.splice(random(waiting.length), 1);
        source.carryOut(request!);
        outgoing = source.peer.reply(request!, source.disk);
      }
      const bytes = Math.min(outgoing.length, 1 + random(6000));
      source.peer.send(outgoing.subarray(0, bytes));
      outgoing = outgoing.subarray(bytes);
    };
    for (let round = 0; round < 30; round++) {
      // Eight places; at each a write, a read, a newer write, a read that lies half beside it.
      const requests: Request[] = [];
      for (let step = 0; step < 4; step++) {
        for (let place = 0; place < 8; place++) {
          const sector = place * 900 + round;
          const fill = (round * 2 + (step >> 1)) % 250 + 1;
          requests.push(step % 2 === 0 ? write(sector, 4, fill) : read(sector + (step >> 1), 3));
        }
      }
      // Neighbours, which become one operation.
      for (let i = 0; i < 16; i++) requests.push(read(7400 + i * 8, 8));
      const answers = source.exchange(requests, serve);
      requests.forEach(({ data, sector, sectors }, tag) => {
        const { status, data: got } = answers.get(tag)!;
        assertEquals(status, OK);
        if (data !== undefined) return;
        const at = 65536 + sector * SECTOR_BYTES;
        const newest = (round * 2 + (tag >> 4)) % 250 + 1;
        assertEquals(
          got,
          tag < 32
            ? new Uint8Array(3 * SECTOR_BYTES).fill(newest)
            : source.disk.slice(at, at + sectors * SECTOR_BYTES),
        );
      });
    }
    assert(source.target.counters.value(TARGET_COUNT_OVERLAPS) > 0, "nothing ever had to wait");
  });
});

interopTest("source: flush, FUA, trim and features are asked of the server", [], () => {
  const ranges = new Uint8Array(SECTOR_BYTES);
  const view = new DataView(ranges.buffer);
  view.setUint32(0, 640, true);
  view.setUint16(6, 16, true);
  view.setUint32(8, 800, true);
  view.setUint16(14, 8, true);
  const trim = {
    ...{ command: ATA_DATA_SET_MANAGEMENT, feature: 1, sector: 0, sectors: 1, data: ranges },
  };
  const stable = { ...write(9, 2, 1), command: ATA_WRITE_DMA_FUA_EXT };
  const off = { command: ATA_SET_FEATURES, feature: 0x82, sector: 0, sectors: 0 };
  const [W, F, Z] = [NBD_CMD_WRITE, NBD_CMD_FLUSH, NBD_CMD_WRITE_ZEROES];
  const cases: readonly [number, boolean, Request[], readonly [number, boolean][]][] = [
    [FLUSHES, false, [write(9, 2, 1), flush], [[W, false], [F, false]]],
    [FLUSHES, false, [stable], [[W, false], [F, false]]],
    [FLUSHES | NBD_FLAG_SEND_FUA, false, [stable], [[W, true]]],
    [FLUSHES | NBD_FLAG_SEND_FUA, true, [write(9, 2, 1), flush], [[W, true], [F, false]]],
    [FLUSHES, false, [trim], [[Z, false], [Z, false]]],
    [FLUSHES | NBD_FLAG_SEND_FUA, true, [trim], [[Z, true], [Z, true]]],
    [FLUSHES, true, [trim], [[Z, false], [F, false], [Z, false], [F, false]]],
    [FLUSHES, false, [write(9, 2, 1), off, write(9, 2, 2)], [
      ...[[W, false], [F, false], [W, false], [F, false]] as [number, boolean][],
    ]],
    [0, true, [write(9, 2, 1), flush], [[W, false]]],
  ];
  for (const [flags, sync, requests, expected] of cases) {
    withSource(flags, { sync }, (source) => {
      for (const request of requests) {
        const answer = source.exchange([request], () => source.serve()).get(0);
        assertEquals(answer?.status, OK);
      }
      const asked = source.asked.map(({ command, fua }) => [command, fua] as [number, boolean]);
      assertEquals(asked, expected);
      if (requests[0] !== trim) return;
      for (const [first, sectors] of [[640, 16], [800, 8]] as const) {
        const bytes = source.disk.subarray(first * SECTOR_BYTES, (first + sectors) * SECTOR_BYTES);
        assert(bytes.every((byte) => byte === 0));
      }
    });
  }
});

interopTest("source: a flush that the server fails sticks, as that of a file does", [], () => {
  withSource(FLUSHES, {}, (source) => {
    assertEquals(source.exchange([write(0, 2, 1)], () => source.serve()).get(0)?.status, OK);
    const refuse = () => {
      for (const request of source.peer.take()) {
        source.peer.send(source.peer.reply(request, source.disk, 5));
      }
    };
    assertEquals(source.exchange([flush], refuse).get(0)?.status, 0x61);
    assertEquals(source.exchange([flush], () => source.serve()).get(0)?.status, 0x61);
    const texts = source.target.messages.flatMap((m) => m.kind === "error" ? [m.text] : []);
    assertMatch(
      texts.join(),
      /Flushing of "nbd:\/\/test": input\/output error \(EIO\); flushes fail/,
    );
  });
});

interopTest(
  "source: whatever a server sends, the target goes on and touches nothing else",
  [],
  () => {
    const noise = fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 200 }),
      fc.constant(new Uint8Array(0)),
    );
    inOwnNetwork(() => {
      fc.assert(
        fc.property(noise, fc.nat({ max: 15 }), fc.nat({ max: 255 }), (bytes, place, byte) => {
          const source = new SourceTarget(FLUSHES);
          try {
            for (const [i, request] of [read(0, 8), write(64, 8, 7), flush].entries()) {
              source.target.prepare(i, i, request);
            }
            source.target.send(3);
            source.turn();
            const [first] = source.peer.take();
            assertEquals(first?.command, NBD_CMD_READ);
            // A reply with one byte that is wrong, and more that is no reply.
            const reply = source.peer.reply(first!, source.disk);
            reply[place] = byte;
            source.peer.send(reply);
            source.peer.send(bytes);
            for (let i = 0; i < 4; i++) source.turn();
            for (const { tag, status, data } of source.target.receive()) {
              if (tag !== 0 || status !== OK) continue;
              assertEquals(data, source.disk.slice(0, 8 * SECTOR_BYTES));
            }
            // What needs no disk is answered as ever.
            const power = { command: 0xe5, sector: 0, sectors: 0 };
            source.target.prepare(0, 77, power);
            source.target.send(1);
            source.turn();
            const answers = source.target.receive().filter(({ tag }) => tag === 77);
            assertEquals(answers.map(({ status }) => status), [OK]);
          } finally {
            source.target.abandon();
            source.close();
          }
        }),
        { numRuns: 60 },
      );
    });
  },
);

interopTest("source: while its server is away, commands wait and say so once", [], () => {
  withSource(FLUSHES, {}, (source) => {
    for (const request of [write(0, 2, 1), flush]) {
      source.exchange([request], () => source.serve());
    }
    source.peer.close();
    for (let i = 0; i < 50; i++) source.turn();
    source.target.prepare(0, 1, read(0, 2));
    source.target.send(1);
    for (let i = 0; i < 50; i++) source.target.look(2);
    source.turn();
    assertEquals([source.target.receive(), source.target.busy], [[], true]);
    const told = source.target.messages.flatMap((m) => m.kind === "source" ? [m.text] : []);
    assertEquals(told, [
      `"nbd://test" is away (it closed the connection): commands wait until it is back`,
    ]);
    source.target.abandon();
  });
});
