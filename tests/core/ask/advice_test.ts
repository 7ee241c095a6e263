// What `aoe check` makes of its measurements: which problems it sees, and which it does not.

import { assertEquals, assertStringIncludes } from "@std/assert";
import {
  type CheckedInterface,
  type CheckedPath,
  findProblems,
  usableBytes,
  usableSectors,
} from "../../../src/core/ask/advice.ts";

const CARD: CheckedInterface = {
  ...{ name: "net0", mtu: 9000, loopback: false, running: true, answered: true, named: true },
  flowControl: undefined,
};
const FINE = { sent: 100, lost: 0, again: 0 };
const PATH: CheckedPath = {
  ...{ address: "e1.1", interface: "net0", mtu: 9000, mac: "52:54:00:00:00:01" },
  ...{ buffers: 16, sectors: 17, requestBytes: 9014, readSectors: 17, refusal: undefined },
  ...{ single: FINE, burst: FINE, contradictory: false },
};

function kinds(paths: readonly CheckedPath[], card = CARD): string[] {
  return findProblems([card], paths, []).map((problem) => problem.kind);
}

function text(...changes: Partial<CheckedPath>[]): string {
  const paths = changes.map((change) => ({ ...PATH, ...change }));
  return findProblems([], paths, []).map((problem) => problem.text).join("\n");
}

for (
  const [name, change, expected] of [
    ["all is well", {}, []],
    ["MTU 1500 at both ends", { mtu: 1500, sectors: 2, requestBytes: 1514, readSectors: 2 }, []],
    ["the target's MTU is smaller", { sectors: 2, requestBytes: 1518, readSectors: 2 }, [
      "mtu-mismatch",
    ]],
    ["the target's MTU is larger", { mtu: 1500, requestBytes: 1514, readSectors: 2 }, [
      "mtu-mismatch",
    ]],
    ["a switch drops requests", { requestBytes: 1518, readSectors: 2 }, ["frames-vanish"]],
    ["a switch drops answers only", { readSectors: 8 }, ["frames-vanish"]],
    ["reads are refused", { readSectors: undefined, refusal: "target is reserved" }, []],
    ["a small disk", { readSectors: 17, sectors: 17 }, []],
    ["no read is answered", { readSectors: 0 }, ["no-reads"]],
    ["single requests are lost", { single: { sent: 100, lost: 3, again: 0 } }, ["loss"]],
    ["all are lost", {
      single: { sent: 100, lost: 100, again: 0 },
      requestBytes: undefined,
      readSectors: undefined,
      refusal: "IDENTIFY is not answered",
    }, ["loss"]],
    ["bursts are lost", { burst: { sent: 64, lost: 3, again: 0 } }, ["burst-loss"]],
    ["answers come twice", { single: { sent: 100, lost: 0, again: 2 } }, ["doubled-frames"]],
    ["two disks behind one MAC answer twice", {
      ...{ single: { sent: 100, lost: 0, again: 100 }, contradictory: true },
    }, []],
    ["one buffer", { buffers: 1 }, ["few-buffers"]],
  ] as const
) {
  Deno.test(`advice: ${name}`, () => {
    assertEquals(kinds([{ ...PATH, ...change } as CheckedPath]), [...expected]);
  });
}

Deno.test("advice: interfaces without answers, without carrier, without flow control", () => {
  assertEquals(kinds([], { ...CARD, answered: false }), ["silence"]);
  assertEquals(kinds([], { ...CARD, answered: false, running: false }), ["no-carrier"]);
  // Nobody asked about this one.
  assertEquals(kinds([], { ...CARD, answered: false, named: false }), []);
  const flow = (receives: boolean, sends: boolean) =>
    kinds([], { ...CARD, flowControl: { receives, sends } });
  assertEquals([flow(true, true), flow(true, false), flow(false, false)], [
    ...[[], [], ["no-flow-control"]],
  ]);
});

Deno.test("advice: what is the same for many disks behind one MAC is said once", () => {
  const slots = Array.from({ length: 64 }, (_, i) => ({ address: `e1.${i}`, sectors: 2 }));
  assertStringIncludes(
    text(...slots),
    "e1.0, e1.1, e1.2 and 61 others at 52:54:00:00:00:01 carries 2 ",
  );
  assertEquals(text(...slots).split("\n").length, 1);
  const lossy = { single: { sent: 100, lost: 1, again: 0 } };
  const lost = text({ ...lossy, address: "e1.1" }, { ...lossy, address: "e1.2" });
  assertStringIncludes(lost, "2 of 200 single requests were lost between net0 and e1.1 and e1.2");
  const cards = text({ ...lossy, mac: "52:54:00:00:00:02" }, lossy);
  assertEquals(cards.split("\n").length, 2);
});

Deno.test("advice: the MTU to set is one that people set", () => {
  assertStringIncludes(text({ requestBytes: 1518, readSectors: 2 }), "that of both ends to 1500");
  assertStringIncludes(text({ requestBytes: 4014, readSectors: 7 }), "that of both ends to 4000");
  assertStringIncludes(text({ sectors: 2 }), "Raise the MTU of the target to 9000");
  assertStringIncludes(text({ mtu: 1500, requestBytes: 1514, readSectors: 2 }), "to 8740 or more");
});

Deno.test("advice: usable frames and sectors", () => {
  const usable = (change: Partial<CheckedPath>) => {
    const path = { ...PATH, ...change };
    return [usableBytes(path), usableSectors(path)];
  };
  assertEquals(usable({}), [9014, 17]);
  assertEquals(usable({ requestBytes: undefined, readSectors: undefined }), [0, 0]);
  assertEquals(usable({ requestBytes: 1518, readSectors: 2 }), [1518, 2]);
  assertEquals(usable({ readSectors: 3 }), [1572, 3]);
  assertEquals(usable({ requestBytes: 60, readSectors: 0 }), [60, 0]);
});
