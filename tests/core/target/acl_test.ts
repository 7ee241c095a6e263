// Decision 15: which pattern of an ACL decides, and what whoever may only read is answered.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  Acl,
  ACL_READS,
  ACL_REFUSED,
  ACL_WRITES,
  type AclConfig,
} from "../../../src/core/target/acl.ts";
import { assertBytes } from "../../wire/encoding.ts";
import {
  answerTo,
  assertDropped,
  ataRequest,
  give,
  OTHER_MAC,
  PEER_MAC,
  requestOf,
  responseOf,
  targetOf,
} from "./exchange.ts";

const READER = PEER_MAC.replaceAll(" ", "");

Deno.test("decision 15: the pattern that matches most of an address decides", () => {
  const acl = aclOf({
    accept: ["525400000001", "5254"],
    reject: ["525400", "00"],
    readOnly: ["525400000002", "525400", ""],
  });
  assertEquals(acl("525400000001"), ACL_WRITES);
  assertEquals(acl("525400000002"), ACL_READS);
  assertEquals(acl("525400000003"), ACL_REFUSED, "of equal ones the stricter");
  assertEquals(acl("525401000003"), ACL_WRITES);
  assertEquals(acl("001122334455"), ACL_REFUSED);
  assertEquals(acl("021122334455"), ACL_READS, "a pattern for everybody");
});

Deno.test("decision 15: whom no pattern names is admitted unless others are by name", () => {
  assertEquals(aclOf({})("525400000001"), ACL_WRITES);
  assertEquals(aclOf({ reject: ["525400000002"] })("525400000001"), ACL_WRITES);
  assertEquals(aclOf({ readOnly: ["525400000002"] })("525400000001"), ACL_WRITES);
  assertEquals(aclOf({ accept: ["525400000002"] })("525400000001"), ACL_REFUSED);
});

Deno.test("decision 15: whatever was asked before, an address gets the same decision", () => {
  const byte = fc.constantFrom("00", "02", "42", "80", "ff");
  const digits = (lengths: { minLength: number; maxLength: number }) =>
    fc.array(byte, lengths).map((bytes) => bytes.join(""));
  const list = fc.array(digits({ minLength: 0, maxLength: 6 }), { maxLength: 6 });
  const config = fc.record({ accept: list, reject: list, readOnly: list });
  const macs = fc.array(digits({ minLength: 6, maxLength: 6 }), { minLength: 1, maxLength: 200 });
  fc.assert(fc.property(config, macs, (config, macs) => {
    const acl = aclOf(config);
    for (const mac of macs) assertEquals(acl(mac), decisionFor(config, mac), mac);
  }));
});

for (const [name, options] of [["", {}], [" with -s", { sync: true }]] as const) {
  Deno.test(`decision 15: who may only read is answered as by a read-only export${name}`, () => {
    for (let command = 0; command < 256; command++) {
      for (const feature of command === 0xef ? [0x02, 0x03, 0x82, 0xaa] : [command === 6 ? 1 : 0]) {
        const section = ataRequest(command, { feature, data: new Uint8Array(512) });
        const request = { command: 0, section };
        const mine = targetOf({ ...options, acl: { readOnly: [READER] } });
        const readOnly = targetOf({ ...options, readOnly: true });
        // Work has functions; what they were asked for is what counts.
        const said = [mine, readOnly].map((target) =>
          JSON.stringify(give(target, requestOf(request)))
        );
        assertEquals(said[0], said[1], `command ${command}, feature ${feature}`);
        assertEquals(mine.drive.cacheSwitched, false);
      }
    }
  });
}

Deno.test("decision 15: others write while one may only read", () => {
  const target = targetOf({ acl: { readOnly: [READER] } });
  const write = { command: 0, section: ataRequest(0x34, { data: new Uint8Array(512) }) };
  const refused = responseOf({ command: 0, section: "00 04 00 41" });
  for (let i = 0; i < 3; i++) {
    assertBytes(answerTo(target, write), refused);
    assert("work" in give(target, requestOf({ ...write, source: OTHER_MAC })));
  }
});

Deno.test("decision 15: who may only read sets neither config string nor list nor reservation", () => {
  const target = targetOf({ acl: { readOnly: [READER] } });
  for (
    const [command, section] of [
      [1, "00 00 00 00 00 13 00 01 61"],
      [1, "00 00 00 00 00 14 00 01 61"],
      [2, `00 01 00 01 00 01 ${OTHER_MAC}`],
      [3, `01 01 ${OTHER_MAC}`],
      [3, `02 01 ${OTHER_MAC}`],
      [3, "02 00"],
    ] as const
  ) {
    assertBytes(answerTo(target, { command, section }), responseOf({ command, error: 2 }));
    const asOther = { command, section, source: OTHER_MAC };
    assert("answer" in give(targetOf({ acl: { readOnly: [READER] } }), requestOf(asOther)));
  }
  for (const [command, section] of [[2, "00 00 00 00"], [3, "00 00"]] as const) {
    assertBytes(answerTo(target, { command, section }), responseOf({ command, section }));
  }
});

Deno.test("decision 15: who is refused is dropped in silence, and counted as with -m", () => {
  const target = targetOf({ acl: { reject: ["02000000"], accept: ["02"] } });
  const request = { command: 1, section: "00 00 00 00 00 10 00 00" };
  assertDropped(target, request, "from a MAC that is not allowed");
  assert("answer" in give(target, requestOf({ ...request, source: "02 00 00 01 00 02" })));
});

/** Decides by the digits of an address. */
function aclOf(config: Partial<AclConfig>): (mac: string) => number {
  const acl = new Acl({ accept: [], reject: [], readOnly: [], ...config });
  return (mac) => acl.decide(Uint8Array.fromHex(`ffff${mac}ff`), 2);
}

/** The rule as it is written down. */
function decisionFor({ accept, reject, readOnly }: AclConfig, mac: string): number {
  for (let length = 12; length >= 0; length -= 2) {
    const start = mac.slice(0, length);
    if (reject.includes(start)) return ACL_REFUSED;
    if (readOnly.includes(start)) return ACL_READS;
    if (accept.includes(start)) return ACL_WRITES;
  }
  return accept.length > 0 ? ACL_REFUSED : ACL_WRITES;
}
