// wire/README.md, 'What we decide', decision 7: the MAC mask list, and reserve/release.

import type { Target } from "../../../src/core/target/target.ts";
import { assertBytes, bytesOf } from "../../wire/encoding.ts";
import {
  answerTo,
  assertDropped,
  linkOf,
  OTHER_MAC,
  PEER_MAC,
  responseOf,
  targetOf,
} from "./exchange.ts";

const THIRD_MAC = "02 00 00 00 00 04";
const OVER_MTU = "whose answer exceeds the MTU";

const ADD = 1;
const DELETE = 2;

/** MAC number `i` of a long list that begins with our own. */
function macOf(i: number): string {
  return i === 0 ? PEER_MAC : `02 01 00 00 ${byte(i >> 8)} ${byte(i)}`;
}

function byte(value: number): string {
  return (value & 0xff).toString(16).padStart(2, "0");
}

/** An edit of the mask list; what is reserved in it is not zero. */
function edit(...directives: readonly (readonly [number, string])[]) {
  const list = directives.map(([command, mac]) => `99 ${byte(command)} ${mac}`);
  return { command: 2, section: `77 01 88 ${byte(list.length)} ${list.join(" ")}` };
}

function addMany(from: number, to: number) {
  return edit(...Array.from({ length: to - from }, (_, i) => [ADD, macOf(from + i)] as const));
}

const MASK_READ = { command: 2, section: "77 00 88 00" };

function assertMask(
  target: Target,
  request: { command: number; section: string },
  macs: readonly string[],
  link = linkOf(),
): void {
  const list = macs.map((mac) => `00 00 ${mac}`).join(" ");
  const section = `00 ${request.section.slice(3, 5)} 00 ${byte(macs.length)} ${list}`;
  assertBytes(answerTo(target, request, link), responseOf({ command: 2, section }));
}

function assertMaskError(
  target: Target,
  request: { command: number; section: string },
  error: number,
  index: number,
  link = linkOf(),
): void {
  const section = `00 01 ${byte(error)} ${byte(index)}`;
  assertBytes(answerTo(target, request, link), responseOf({ command: 2, section }));
}

function range(count: number): string[] {
  return Array.from({ length: count }, (_, i) => macOf(i));
}

Deno.test("decision 7: the mask list begins empty", () => {
  assertMask(targetOf(), MASK_READ, []);
});

Deno.test("decision 7: an edit answers with the whole list", () => {
  const target = targetOf();
  assertMask(target, edit([ADD, PEER_MAC]), [PEER_MAC]);
  assertMask(target, edit([ADD, OTHER_MAC], [ADD, THIRD_MAC]), [PEER_MAC, OTHER_MAC, THIRD_MAC]);
  assertMask(target, edit([DELETE, OTHER_MAC]), [PEER_MAC, THIRD_MAC]);
  assertMask(target, edit(), [PEER_MAC, THIRD_MAC]);
  assertMask(target, MASK_READ, [PEER_MAC, THIRD_MAC]);
});

Deno.test("decision 7: adding twice is once, deleting what is not there is nothing", () => {
  const target = targetOf();
  assertMask(target, edit([ADD, PEER_MAC], [ADD, PEER_MAC]), [PEER_MAC]);
  assertMask(target, edit([ADD, PEER_MAC], [DELETE, OTHER_MAC]), [PEER_MAC]);
});

Deno.test("decision 7: directives are carried out in order, and those of nothing do nothing", () => {
  const target = targetOf();
  assertMask(target, edit([ADD, PEER_MAC], [DELETE, PEER_MAC], [0, OTHER_MAC]), []);
  assertMask(target, edit([DELETE, PEER_MAC], [ADD, PEER_MAC], [0, OTHER_MAC]), [PEER_MAC]);
});

Deno.test("decision 7: who deletes the last opens the target to all again", () => {
  const target = targetOf();
  assertMask(target, edit([ADD, PEER_MAC]), [PEER_MAC]);
  const asOther = { ...MASK_READ, source: OTHER_MAC };
  assertDropped(target, asOther, "from a MAC that is not allowed");
  assertMask(target, edit([DELETE, PEER_MAC]), []);
  answerTo(target, asOther);
});

for (const directive of [3, 4, 0x80, 0xff]) {
  Deno.test(`decision 7: directive ${directive} is merror 2 with its index, and nothing is edited`, () => {
    const target = targetOf();
    assertMaskError(target, edit([ADD, PEER_MAC], [ADD, OTHER_MAC], [directive, THIRD_MAC]), 2, 2);
    assertMask(target, MASK_READ, []);
    assertMaskError(target, edit([directive, PEER_MAC], [ADD, OTHER_MAC]), 2, 0);
  });
}

for (const command of [2, 3, 0x7f, 0xff]) {
  Deno.test(`decision 7: mcmd ${command} gets error 2`, () => {
    const request = { command: 2, section: `00 ${byte(command)} 00 00` };
    const expected = responseOf({ command: 2, error: 2 });
    assertBytes(answerTo(targetOf(), request), expected);
  });
}

Deno.test("decision 7: a count longer than the payload gets error 2", () => {
  const target = targetOf();
  const refused = responseOf({ command: 2, error: 2 });
  const whole = edit(...Array.from({ length: 5 }, () => [ADD, PEER_MAC] as const));
  assertBytes(answerTo(target, { ...whole, length: 28 + 5 * 8 - 1 }), refused);
  for (const command of [0, 1]) {
    // 60 bytes hold four directives.
    const request = { command: 2, section: `00 ${byte(command)} 00 05` };
    assertBytes(answerTo(target, request), refused);
    assertBytes(answerTo(target, { ...request, section: `00 0${command} 00 ff` }), refused);
  }
  assertMask(target, MASK_READ, []);
});

Deno.test("decision 7: 255 entries, and not one more", () => {
  const target = targetOf();
  const jumbo = linkOf(9000);
  assertMask(target, addMany(0, 255), range(255), jumbo);
  assertMaskError(target, edit([ADD, PEER_MAC], [ADD, macOf(255)]), 3, 1, jumbo);
  assertMask(target, MASK_READ, range(255), jumbo);
  assertMask(
    target,
    edit([DELETE, macOf(254)], [ADD, macOf(255)]),
    [...range(254), macOf(255)],
    jumbo,
  );
});

Deno.test("decision 7: an MTU of 1500 has room for 185 entries", () => {
  const target = targetOf();
  assertMask(target, addMany(0, 185), range(185));
  assertMaskError(target, addMany(184, 187), 3, 1);
  assertMask(target, MASK_READ, range(185));
});

Deno.test("decision 7: a list that does not fit the MTU is not shown, and only edited until it does", () => {
  const target = targetOf();
  const jumbo = linkOf(9000);
  assertMask(target, addMany(0, 255), range(255), jumbo);
  assertDropped(target, MASK_READ, OVER_MTU);
  assertDropped(target, edit([DELETE, macOf(254)]), OVER_MTU);
  assertMask(target, MASK_READ, range(255), jumbo);
  const deletes = Array.from({ length: 70 }, (_, i) => [DELETE, macOf(185 + i)] as const);
  assertMask(target, edit(...deletes), range(185));
});

/** A reserve request. */
function reserve(command: number, macs: readonly string[], source = PEER_MAC) {
  return {
    command: 3,
    section: `${byte(command)} ${byte(macs.length)} ${macs.join(" ")}`,
    source,
  };
}

const RESERVE_READ = reserve(0, []);

function assertReserve(
  target: Target,
  request: ReturnType<typeof reserve>,
  macs: readonly string[],
  error = 0,
  link = linkOf(),
): void {
  const section = `${request.section.slice(0, 2)} ${byte(macs.length)} ${macs.join(" ")}`;
  assertBytes(
    answerTo(target, request, link),
    responseOf({ command: 3, section, error, destination: request.source }),
  );
}

Deno.test("decision 7: a reservation begins empty", () => {
  assertReserve(targetOf(), RESERVE_READ, []);
});

Deno.test("decision 7: anybody sets an empty reservation, for whomever it likes", () => {
  const target = targetOf();
  assertReserve(target, reserve(1, [OTHER_MAC, THIRD_MAC]), [OTHER_MAC, THIRD_MAC]);
  assertReserve(target, RESERVE_READ, [OTHER_MAC, THIRD_MAC]);
});

Deno.test("decision 7: a holder changes the reservation and releases it, another gets error 6", () => {
  const target = targetOf();
  assertReserve(target, reserve(1, [PEER_MAC]), [PEER_MAC]);
  assertReserve(target, reserve(1, [OTHER_MAC], OTHER_MAC), [PEER_MAC], 6);
  assertReserve(target, reserve(1, [], OTHER_MAC), [PEER_MAC], 6);
  assertReserve(target, reserve(1, [OTHER_MAC, PEER_MAC]), [OTHER_MAC, PEER_MAC]);
  assertReserve(target, reserve(1, [], OTHER_MAC), []);
  assertReserve(target, reserve(1, [THIRD_MAC], THIRD_MAC), [THIRD_MAC]);
});

Deno.test("decision 7: a force set takes and releases what others hold", () => {
  const target = targetOf();
  assertReserve(target, reserve(1, [PEER_MAC]), [PEER_MAC]);
  assertReserve(target, reserve(2, [OTHER_MAC], OTHER_MAC), [OTHER_MAC]);
  assertReserve(target, reserve(1, [PEER_MAC]), [OTHER_MAC], 6);
  assertReserve(target, reserve(2, [], PEER_MAC), []);
});

Deno.test("decision 7: a holder named twice is one", () => {
  assertReserve(targetOf(), reserve(1, [PEER_MAC, PEER_MAC, OTHER_MAC]), [PEER_MAC, OTHER_MAC]);
});

for (const command of [3, 4, 0x7f, 0xff]) {
  Deno.test(`decision 7: rcmd ${command} gets error 2`, () => {
    const target = targetOf();
    const expected = responseOf({ command: 3, error: 2 });
    assertBytes(answerTo(target, reserve(command, [PEER_MAC])), expected);
    assertReserve(target, RESERVE_READ, []);
  });
}

for (const command of [0, 1, 2]) {
  Deno.test(`decision 7: rcmd ${command} with a count longer than the payload gets error 2`, () => {
    const target = targetOf();
    const refused = responseOf({ command: 3, error: 2 });
    // 60 bytes hold five MACs.
    for (const count of [6, 0xff]) {
      const request = { command: 3, section: `0${command} ${byte(count)}` };
      assertBytes(answerTo(target, request), refused);
    }
    const whole = reserve(command, range(7));
    assertBytes(answerTo(target, { ...whole, length: 26 + 7 * 6 - 1 }), refused);
    assertReserve(target, RESERVE_READ, []);
  });
}

Deno.test("decision 7: a read's list is ignored", () => {
  assertReserve(targetOf(), { ...RESERVE_READ, section: `00 05 ${range(5).join(" ")}` }, []);
});

Deno.test("decision 7: 255 holders need a large MTU to be seen and set, and none to keep others out", () => {
  const target = targetOf();
  const jumbo = linkOf(9000);
  assertDropped(target, reserve(1, range(255)), OVER_MTU);
  assertReserve(target, RESERVE_READ, []);
  assertReserve(target, reserve(1, range(255)), range(255), 0, jumbo);
  assertDropped(target, RESERVE_READ, OVER_MTU);
  assertDropped(target, reserve(1, [], OTHER_MAC), OVER_MTU);
  assertReserve(target, RESERVE_READ, range(255), 0, jumbo);
  const read = bytesOf("40 00 01 24 00 00 00 00 00 00 00 00");
  assertBytes(
    answerTo(target, { command: 0, section: read, source: OTHER_MAC }),
    responseOf({ command: 0, error: 6, destination: OTHER_MAC }),
  );
  assertReserve(target, reserve(1, []), []);
});
