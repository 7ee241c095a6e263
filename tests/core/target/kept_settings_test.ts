// Config strings, mask lists and reservations that survive: nothing holds, and no answer leaves,
// before what it says is kept; what cannot be kept is refused.

import { assertEquals } from "@std/assert";
import { FramePool } from "../../../src/core/target/frames.ts";
import type { FrameLink } from "../../../src/core/target/frame_link.ts";
import {
  HELD_ANSWERS_MAX,
  HeldAnswers,
  OUTCOME_KEPT,
  OUTCOME_NOT_KEPT,
} from "../../../src/core/target/held_answers.ts";
import type { TargetExport } from "../../../src/core/target/export.ts";
import { NONE } from "../../../src/core/tables.ts";
import { receiveFrame, type Target } from "../../../src/core/target/target.ts";
import { assertBytes } from "../../wire/encoding.ts";
import {
  answerTo,
  assertDropped,
  linkOf,
  OTHER_MAC,
  PEER_MAC,
  type Request,
  requestOf,
  responseOf,
  targetOf,
} from "./exchange.ts";

const CONFIG_SET: Request = { command: 1, section: "00 00 00 00 00 13 00 01 61" };
const CONFIG_READ: Request = { command: 1, section: "00 00 00 00 00 10 00 00" };
const CONFIG_IS_A = { command: 1, section: "00 40 00 01 02 10 00 01 61" };
const CONFIG_IS_EMPTY = { command: 1, section: "00 40 00 01 02 10 00 00" };
const MASK_ADD: Request = { command: 2, section: `00 01 00 01 00 01 ${PEER_MAC}` };
const RESERVE: Request = { command: 3, section: `01 01 ${OTHER_MAC}` };
const WRITE = "44 00 00 08 00 00 00 34 00 00 00 00 00 00 00 00";
const BUSY = "beyond what a slow disk may hold";
/** AoE error 3: device unavailable. */
const UNAVAILABLE = 3;

for (const [name, request] of Object.entries({ CONFIG_SET, MASK_ADD, RESERVE })) {
  Deno.test(`kept: ${name} holds once it is kept, and not before`, () => {
    const target = targetOf({ keeps: true });
    const before = target.state;
    const { frame, length } = receive(target, request);
    assertEquals([target.proposes, length >= 60], [true, true]);
    assertEquals(target.state, before);
    // Others are served as before, and another change waits for this one.
    assertBytes(answerTo(target, CONFIG_READ), responseOf(CONFIG_IS_EMPTY));
    assertEquals(target.proposes, false);
    assertDropped(target, request, BUSY);
    assertEquals(target.proposes, false);
    target.keepProposal();
    assertEquals(
      [target.state.configString.length, target.state.mask.length, target.state.reservation.length],
      [request === CONFIG_SET ? 1 : 0, request === MASK_ADD ? 6 : 0, request === RESERVE ? 6 : 0],
    );
    // The answer is the one that a target without a memory gives at once.
    assertBytes(frame.subarray(0, length), answerTo(targetOf(), request));
    // The same again is no change, and is not kept again.
    receive(target, { ...request, source: PEER_MAC });
    assertEquals(target.proposes, false);
  });

  Deno.test(`kept: ${name} that cannot be kept is refused, and changes nothing`, () => {
    const target = targetOf({ keeps: true });
    const before = target.state;
    const { frame } = receive(target, request);
    const length = target.refuseProposal(frame, 0, linkOf());
    assertBytes(
      frame.subarray(0, 24),
      responseOf({ command: request.command, error: UNAVAILABLE }).subarray(0, 24),
    );
    assertEquals(length, 60);
    assertEquals(target.state, before);
    assertEquals(receive(target, request).length > 0 && target.proposes, true);
  });
}

Deno.test("kept: what was kept is there again, and holds", () => {
  const target = targetOf({ keeps: true });
  target.restoreKept({
    configString: Uint8Array.of(0x61),
    mask: Uint8Array.of(2, 0, 0, 0, 0, 2),
    reservation: Uint8Array.of(2, 0, 0, 0, 0, 3),
  });
  assertBytes(answerTo(target, CONFIG_READ), responseOf(CONFIG_IS_A));
  assertDropped(
    target,
    { ...CONFIG_READ, source: OTHER_MAC },
    "from a MAC that is not allowed",
  );
  const refused = answerTo(target, { command: 0, section: WRITE });
  assertEquals([refused[14], refused[15]], [0x1c, 6]);
});

Deno.test("kept: answers leave as they are settled, in any order; there is a bound", () => {
  const pool = new FramePool(
    { bytes: new Uint8Array(1 << 20), address: 0, allocate: () => 0 },
    ...[HELD_ANSWERS_MAX + 1, 1500, 512] as const,
  );
  const outcomes = new Int32Array(HELD_ANSWERS_MAX);
  const held = new HeldAnswers(outcomes);
  const sent: string[] = [];
  const link = {
    ...linkOf(),
    enqueue: (frame: number, length: number) => sent.push(`${frame}: ${length}`),
  } as unknown as FrameLink;
  const targets = Array.from({ length: HELD_ANSWERS_MAX + 1 }, () => targetOf({ keeps: true }));
  const words = targets.map((target, frame) => {
    const bytes = pool.bytes.subarray(pool.start(frame));
    bytes.set(requestOf(CONFIG_SET));
    receiveFrame(target, pool.bytes, pool.start(frame), 60, linkOf());
    return held.hold({ target } as unknown as TargetExport, link, frame, 60);
  });
  assertEquals(words.pop(), NONE);
  assertEquals([new Set(words).size, held.size], [HELD_ANSWERS_MAX, HELD_ANSWERS_MAX]);
  held.settle(pool);
  assertEquals(sent, []);
  outcomes[words[2]!] = OUTCOME_KEPT;
  outcomes[words[5]!] = OUTCOME_NOT_KEPT;
  held.settle(pool);
  assertEquals(sent.sort(), ["2: 60", "5: 60"]);
  assertEquals([2, 5, 0].map((frame) => targets[frame]!.state.configString.length), [1, 0, 0]);
  assertEquals(pool.bytes[pool.start(5) + 15], UNAVAILABLE);
  assertEquals(held.size, HELD_ANSWERS_MAX - 2);
  const last = { target: targets.at(-1)! } as unknown as TargetExport;
  assertEquals(outcomes[held.hold(last, link, HELD_ANSWERS_MAX, 60)], 0);
});

function receive(target: Target, request: Request): { frame: Uint8Array; length: number } {
  const frame = new Uint8Array(1600);
  const bytes = requestOf(request);
  frame.set(bytes);
  return { frame, length: receiveFrame(target, frame, 0, bytes.length, linkOf()) };
}
