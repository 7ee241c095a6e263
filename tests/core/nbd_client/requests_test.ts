// Requests to an NBD server: what is answered, what is sent again after a break, what is lost then,
// and that no answer whatever counts for a request that it does not belong to.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  NbdClientRequests,
  REPLY_NONSENSE,
  REPLY_SHUTDOWN,
  REPLY_TAKEN,
} from "../../../src/core/nbd_client/requests.ts";
import { readUint16Be, readUint64Be, writeUint64Be } from "../../../src/wire/endian.ts";
import {
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EIO,
  NBD_ESHUTDOWN,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_WRITE_ZEROES,
  NBD_REQUEST_BYTES,
  REPLY_COOKIE,
  REQUEST_COMMAND,
  REQUEST_COOKIE,
  REQUEST_FLAGS,
  writeSimpleReply,
} from "../../../src/wire/nbd.ts";
import { EREMOTEIO } from "../../../ffi/errno_numbers.ts";

const FLUSHES = NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_WRITE_ZEROES;

/** A request as the server sees it. */
interface Seen {
  readonly command: number;
  readonly fua: boolean;
  readonly cookie: number;
}

/** Requests, and a server that answers as it is told. */
class Peer {
  readonly requests: NbdClientRequests;

  constructor(flags = FLUSHES) {
    this.requests = new NbdClientRequests(8, flags);
  }

  /** Sends all that stands in line. */
  send(): Seen[] {
    const seen: Seen[] = [];
    this.requests.startFlush(false);
    while (this.requests.lineLength > 0) {
      const view = new Uint8Array(NBD_REQUEST_BYTES);
      this.requests.writeHeader(this.requests.inLine(0), view, 0);
      this.requests.sent();
      seen.push({
        command: readUint16Be(view, REQUEST_COMMAND),
        fua: readUint16Be(view, REQUEST_FLAGS) === 1,
        cookie: readUint64Be(view, REQUEST_COOKIE),
      });
    }
    return seen;
  }

  /** Answers a request; the verdict. A read's data follow. */
  answer({ cookie }: Seen, error = 0): number {
    const view = new Uint8Array(16);
    writeSimpleReply(view, 0, error);
    writeUint64Be(view, REPLY_COOKIE, cookie);
    const verdict = this.requests.reply(view, 0);
    if (verdict >= 0) this.requests.payloadRead(verdict);
    return verdict;
  }

  /** What is over: numbers and results. */
  done(): [number, number][] {
    const done: [number, number][] = [];
    while (this.requests.nextDone()) {
      done.push([this.requests.doneNumber, this.requests.doneResult]);
    }
    return done;
  }
}

Deno.test("nbd client: reads, writes, zeroes and flushes, answered in any order", () => {
  const peer = new Peer();
  peer.requests.add(0, NBD_CMD_READ, 4096, 512, false);
  peer.requests.add(1, NBD_CMD_WRITE, 0, 1024, false);
  peer.requests.add(2, NBD_CMD_WRITE_ZEROES, 8192, 2 ** 25, false);
  peer.requests.addFlush();
  const seen = peer.send();
  assertEquals(seen.map(({ command, fua }) => [command, fua]), [
    [NBD_CMD_READ, false],
    [NBD_CMD_WRITE, false],
    [NBD_CMD_WRITE_ZEROES, false],
    [NBD_CMD_FLUSH, false],
  ]);
  assertEquals(peer.requests.readsSent, 1);
  for (const request of seen.toReversed()) peer.answer(request);
  assertEquals(peer.done(), [[8, 0], [2, 0], [1, 1024], [0, 512]]);
  assertEquals([peer.requests.inFlight, peer.requests.readsSent], [0, 0]);
});

Deno.test("nbd client: errors are the server's; its end is none", () => {
  const peer = new Peer();
  peer.requests.add(0, NBD_CMD_READ, 0, 512, false);
  peer.requests.add(1, NBD_CMD_WRITE, 512, 512, false);
  peer.requests.add(2, NBD_CMD_WRITE, 1024, 512, false);
  const [read, write, last] = peer.send();
  assertEquals(peer.answer(read!, NBD_EIO), REPLY_TAKEN);
  assertEquals(peer.answer(write!, 0xdeadbeef), REPLY_TAKEN);
  assertEquals(peer.answer(last!, NBD_ESHUTDOWN), REPLY_SHUTDOWN);
  assertEquals(peer.done(), [[0, -NBD_EIO], [1, -NBD_EIO]]);
  assertEquals(peer.requests.readsSent, 0);
});

Deno.test("nbd client: a stable write goes with FUA, and puts nothing at risk", () => {
  const peer = new Peer(FLUSHES | NBD_FLAG_SEND_FUA);
  peer.requests.add(0, NBD_CMD_WRITE, 0, 512, true);
  peer.requests.add(1, NBD_CMD_WRITE_ZEROES, 512, 512, true);
  const seen = peer.send();
  assertEquals(seen.map(({ fua }) => fua), [true, true]);
  for (const request of seen) peer.answer(request);
  assertEquals(peer.done(), [[0, 512], [1, 0]]);
  assertEquals(peer.requests.atRisk, false);
});

Deno.test("nbd client: many stable writes share a flush though there is FUA", () => {
  const peer = new Peer(FLUSHES | NBD_FLAG_SEND_FUA);
  for (let i = 0; i < 4; i++) peer.requests.add(i, NBD_CMD_WRITE, 512 * i, 512, true);
  const seen = peer.send();
  assertEquals(seen.map(({ fua }) => fua), [true, true, false, false]);
  for (const request of seen) peer.answer(request);
  assertEquals(peer.done(), [[0, 512], [1, 512]]);
  peer.answer(peer.send()[0]!);
  assertEquals(peer.done(), [[2, 512], [3, 512]]);
  peer.requests.add(0, NBD_CMD_WRITE, 0, 512, true);
  assertEquals(peer.send().map(({ fua }) => fua), [true]);
});

Deno.test("nbd client: a server that is back without FUA is not asked for it", () => {
  const peer = new Peer(FLUSHES | NBD_FLAG_SEND_FUA);
  peer.requests.add(0, NBD_CMD_WRITE, 0, 512, true);
  assertEquals(peer.send()[0]?.fua, true);
  peer.requests.broken();
  peer.requests.connected(FLUSHES);
  const [again] = peer.send();
  assertEquals(again?.fua, false);
  peer.answer(again!);
  assertEquals(peer.done(), []);
});

Deno.test("nbd client: without FUA stable writes share a flush, which those after it do not", () => {
  const peer = new Peer();
  peer.requests.add(0, NBD_CMD_WRITE, 0, 512, true);
  peer.requests.add(1, NBD_CMD_WRITE, 512, 512, true);
  for (const request of peer.send()) peer.answer(request);
  assertEquals(peer.done(), []);
  const [flush, none] = peer.send();
  assertEquals([flush?.command, none], [NBD_CMD_FLUSH, undefined]);
  peer.requests.add(2, NBD_CMD_WRITE, 1024, 512, true);
  for (const request of peer.send()) peer.answer(request);
  peer.answer(flush!);
  assertEquals(peer.done(), [[0, 512], [1, 512]]);
  const [second] = peer.send();
  peer.answer(second!, NBD_EIO);
  assertEquals(peer.done(), [[2, -NBD_EIO]]);
});

Deno.test("nbd client: after a break everything in flight is sent again, and only that", () => {
  const peer = new Peer();
  peer.requests.add(0, NBD_CMD_READ, 0, 512, false);
  peer.requests.add(1, NBD_CMD_WRITE, 512, 512, true);
  peer.requests.add(2, NBD_CMD_WRITE, 1024, 512, true);
  peer.requests.add(3, NBD_CMD_READ, 2048, 512, false);
  const [first, , third, fourth] = peer.send();
  peer.answer(third!);
  peer.answer(fourth!);
  // The third is written, but not flushed: with the server it may be gone.
  peer.send();
  assertEquals(peer.requests.broken(), false);
  peer.requests.add(4, NBD_CMD_READ, 4096, 512, false);
  peer.requests.addFlush();
  peer.requests.connected(FLUSHES);
  const again = peer.send();
  assertEquals(again.map(({ command }) => command), [
    NBD_CMD_READ,
    NBD_CMD_WRITE,
    NBD_CMD_WRITE,
    NBD_CMD_READ,
    NBD_CMD_FLUSH,
  ]);
  // An answer to what was asked before the break is none.
  assertEquals(peer.answer(first!), REPLY_NONSENSE);
  for (const request of again) assert(peer.answer(request) !== REPLY_NONSENSE);
  peer.answer(peer.send()[0]!);
  assertEquals(peer.done().toSorted((a, b) => a[0] - b[0]), [
    ...[[0, 512], [1, 512], [2, 512], [3, 512], [4, 512], [8, 0]] as [number, number][],
  ]);
  assertEquals(peer.requests.inFlight, 0);
});

Deno.test("nbd client: unflushed writes that a break may have lost fail the flushes about it", () => {
  for (const underWay of [false, true]) {
    const peer = new Peer();
    const write = (number: number) => {
      peer.requests.add(number, NBD_CMD_WRITE, 0, 512, false);
      peer.answer(peer.send()[0]!);
      assertEquals(peer.done(), [[number, 512]]);
    };
    write(0);
    assertEquals(peer.requests.atRisk, true);
    if (underWay) {
      peer.requests.addFlush();
      peer.send();
    }
    assertEquals(peer.requests.broken(), true);
    assertEquals(peer.requests.broken(), false);
    assertEquals(peer.done(), underWay ? [[8, -EREMOTEIO]] : []);
    // Somebody else may have written what was lost, so that the next one fails in any case.
    peer.requests.addFlush();
    assertEquals([peer.done(), peer.send()], [[[8, -EREMOTEIO]], []]);
    write(1);
    peer.requests.addFlush();
    peer.answer(peer.send()[0]!);
    assertEquals([peer.done(), peer.requests.atRisk], [[[8, 0]], false]);
    assertEquals(peer.requests.broken(), false);
  }
});

Deno.test("nbd client: a write of whose end nobody was told is done again after a break", () => {
  const peer = new Peer();
  peer.requests.add(0, NBD_CMD_WRITE, 0, 512, false);
  peer.requests.add(1, NBD_CMD_READ, 512, 512, false);
  peer.requests.add(2, NBD_CMD_WRITE, 1024, 512, false);
  const [written, read, refused] = peer.send();
  peer.answer(written!);
  peer.answer(read!);
  peer.answer(refused!, NBD_EIO);
  peer.requests.broken();
  assertEquals(peer.done(), [[1, 512], [2, -NBD_EIO]]);
  peer.requests.connected(FLUSHES);
  const [again] = peer.send();
  assertEquals(again!.command, NBD_CMD_WRITE);
  peer.answer(again!);
  assertEquals([peer.done(), peer.requests.inFlight], [[[0, 512]], 0]);
});

Deno.test("nbd client: a flush covers what was answered before it, and nothing after", () => {
  const peer = new Peer();
  peer.requests.add(0, NBD_CMD_WRITE, 0, 512, false);
  peer.requests.addFlush();
  const [write, flush] = peer.send();
  peer.answer(write!);
  peer.answer(flush!);
  assertEquals(peer.requests.atRisk, true);
  peer.requests.startFlush(true);
  peer.answer(peer.send()[0]!, NBD_EIO);
  assertEquals([peer.requests.atRisk, peer.requests.sharedFlushError], [true, NBD_EIO]);
  peer.requests.startFlush(true);
  peer.answer(peer.send()[0]!);
  assertEquals([peer.requests.atRisk, peer.requests.sharedFlushError], [false, 0]);
});

Deno.test("nbd client: what the server does not know is not asked of it", () => {
  const peer = new Peer(0);
  peer.requests.add(0, NBD_CMD_WRITE_ZEROES, 0, 512, true);
  peer.requests.add(1, NBD_CMD_WRITE, 0, 512, true);
  peer.requests.addFlush();
  const seen = peer.send();
  assertEquals(seen.map(({ command, fua }) => [command, fua]), [[NBD_CMD_WRITE, false]]);
  peer.answer(seen[0]!);
  assertEquals(peer.done(), [[0, -95], [8, 0], [1, 512]]);
  assertEquals(peer.requests.broken(), false);
});

Deno.test("nbd client: any reply at all is borne, and each request ends once", () => {
  const step = fc.tuple(fc.nat({ max: 5 }), fc.nat({ max: 7 }), fc.boolean());
  const bytes = fc.uint8Array({ minLength: 16, maxLength: 16 });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), bytes, fc.boolean(), (steps, noise, fua) => {
      const flags = FLUSHES | (fua ? NBD_FLAG_SEND_FUA : 0);
      const peer = new Peer(flags);
      const open = new Set<number>();
      let seen: Seen[] = [];
      const settle = () => {
        for (const [number] of peer.done()) assert(open.delete(number), `${number} ends twice`);
      };
      for (const [action, number, flag] of steps) {
        if (action <= 1 && !open.has(number)) {
          open.add(number);
          const command = action === 0 ? NBD_CMD_READ : NBD_CMD_WRITE;
          peer.requests.add(number, command, number * 512, 512, flag);
        } else if (action === 2 && !open.has(8)) {
          open.add(8);
          peer.requests.addFlush();
        } else if (action === 3) {
          seen.push(...peer.send());
          const request = seen[number % Math.max(1, seen.length)];
          // The same answer may come again.
          if (request !== undefined) peer.answer(request, flag ? 0 : NBD_EIO);
        } else if (action === 4) {
          peer.requests.broken();
          peer.requests.connected(flags);
        } else {
          peer.requests.reply(noise, 0);
        }
        settle();
      }
      for (let round = 0; round < 3; round++) {
        peer.requests.broken();
        seen = peer.send();
        for (const request of seen) peer.answer(request);
        for (const request of peer.send()) peer.answer(request);
        settle();
      }
      assertEquals([open.size, peer.requests.inFlight, peer.requests.readsSent], [0, 0, 0]);
    }),
    { numRuns: 3000 },
  );
});
