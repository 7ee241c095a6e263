// Whatever comes from outside: never a throw, and no byte written that is not asked for.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { REQUEST_READ } from "../../../src/core/initiator/requests.ts";
import { RESULT_OK } from "../../../src/core/initiator/results.ts";
import { InitiatorPeer, PAYLOAD_BYTES } from "./peer.ts";

const AT = 8192;
const SECTORS = 20;
const RUNS = 20_000;

/** Changes to a good answer: places and bytes. */
const changes = fc.array(
  fc.tuple(
    fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 9000 })),
    fc.integer({ min: 0, max: 255 }),
  ),
  { maxLength: 4 },
);

Deno.test("initiator: any frame at all is borne, and only asked-for memory is written", () => {
  let peer = new InitiatorPeer();
  let left = 0;
  let completed = 0;
  const fresh = () => {
    peer = new InitiatorPeer();
    peer.connect();
    left = 200;
  };
  fc.assert(
    fc.property(changes, fc.double({ min: 0, max: 1, noNaN: true }), fc.boolean(), (
      places,
      share,
      whole,
    ) => {
      if (left-- === 0) fresh();
      if (peer.initiator.requestsOpen < 8) {
        peer.initiator.submit(peer.nowMs, REQUEST_READ, 64, SECTORS, AT, left);
      }
      for (const sent of peer.wait(1)) {
        const frame = peer.answer(sent).slice();
        const length = whole ? frame.length : Math.floor(share * frame.length);
        for (const [at, byte] of places) if (at < frame.length) frame[at] = byte;
        peer.initiator.receive(peer.nowMs, 4, frame, 0, length);
      }
      for (const [, result] of peer.completions()) if (result === RESULT_OK) completed++;
      peer.events();
    }),
    { numRuns: RUNS },
  );
  assert(completed > RUNS / 100, `only ${completed} requests went well`);
  for (let at = 0; at < PAYLOAD_BYTES; at++) {
    if (at >= AT && at < AT + SECTORS * 512) continue;
    if (peer.memory[at] !== 0) assertEquals(at, undefined, "written outside what was asked for");
  }
});

Deno.test("initiator: random bytes with a current tag are borne, too", () => {
  const peer = new InitiatorPeer();
  peer.connect();
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 0, maxLength: 700 }), (noise) => {
      peer.initiator.submit(peer.nowMs, REQUEST_READ, 64, 1, AT, 0);
      for (const sent of peer.wait(1)) {
        const frame = noise.slice();
        frame.set(peer.answer(sent).subarray(0, Math.min(24, frame.length)));
        peer.give(frame);
      }
      peer.completions();
      peer.events();
    }),
    { numRuns: RUNS / 4 },
  );
});
