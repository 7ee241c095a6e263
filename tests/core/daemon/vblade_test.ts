// What vblade's configurations become, and that nothing of them is swallowed.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { parsePlan } from "../../../src/core/daemon/parse_plan.ts";
import {
  isVbladeFragment,
  mergeVbladeExports,
  readVbladeFragment,
  readVbladeLines,
  readVbladePersist,
  type VbladeReading,
} from "../../../src/core/daemon/vblade.ts";
import { writeConfiguration } from "../../../src/core/daemon/write_plan.ts";

// vblade-persistence(5)'s own example.
const FRAGMENT = `
# a disk
shelf=14
slot=2
netif=ens3
filename=/dev/mapper/export
options='-r -m 11:22:33:44:55:66,22:33:44:55:66:77 -o 8'
ionice='--class best-effort --classdata 7'
`;

Deno.test("import-vblade: a fragment of vblade-persistence(5)", () => {
  assert(isVbladeFragment(FRAGMENT));
  const reading = readVbladeFragment(FRAGMENT, "demo.conf");
  const [ex] = planOf(reading).exports;
  assertEquals(ex!.address, { shelf: 14, slot: 2 });
  assertEquals([ex!.path, ex!.interfaces], ["/dev/mapper/export", ["ens3"]]);
  assertEquals([ex!.readOnly, ex!.sync, ex!.offsetBytes], [true, false, 4096]);
  assertEquals(ex!.acl!.accept, ["112233445566", "223344556677"]);
  assertEquals(reading.strangers.map(({ from }) => from), ["demo.conf:8"]);
  assertMatch(reading.strangers[0]!.why, /IOSchedulingClass/);
});

Deno.test("import-vblade: the lines of /etc/vblade.conf; one disk on two interfaces is one export", () => {
  const reading = readVbladeLines(
    `# network_device shelf slot file/disk/partition mac[,mac[,mac]]
eth0 0 0 /dev/sdb 00:11:22:33:44:55
eth1 0 0 /dev/sdb 00:11:22:33:44:55
eth0 0 1 /dev/sdc  # another
`,
    "vblade.conf",
  );
  assert(!isVbladeFragment("eth0 0 0 /dev/sdb"));
  const plan = planOf(reading);
  assertEquals(plan.exports.map(({ interfaces }) => interfaces), [["eth0", "eth1"], ["eth0"]]);
  assertEquals(plan.exports[0]!.acl!.accept, ["001122334455"]);
  assertEquals(reading.strangers, []);
});

Deno.test("import-vblade: a folder of vblade-persist; one that is down is a remark", () => {
  const env = new Map([["SHELF", "1\n"], ["SLOT", "3\n"], ["NETIF", "eth0"], ["SOURCE", "/a b\n"]]);
  const up = readVbladePersist("e1.3", env, ["001122334455"], false);
  const [ex] = planOf(up).exports;
  assertEquals([ex!.path, ex!.acl!.accept], ["/a b", ["001122334455"]]);
  const down = readVbladePersist("e1.3", env, [], true);
  assertEquals(planOf(down).exports, []);
  assertStringIncludes(textOf(down), '# path = "/a b"');
  const strange = readVbladePersist("e1.3", new Map([...env, ["EXTRA", "x"]]), [], false);
  assertEquals(strange.strangers.map(({ from }) => from), ["e1.3/env/EXTRA"]);
});

Deno.test("import-vblade: options as getopt reads them, buffers for all", () => {
  const of = (options: string) =>
    readVbladeFragment(`shelf=1\nslot=1\nnetif=a\nfilename=/x\noptions="${options}"\n`, "f");
  const plan = planOf(of("-dsb32 -l 2048"));
  assertEquals([plan.buffers, plan.exports[0]!.direct, plan.exports[0]!.sync], [32, true, true]);
  assertEquals(plan.exports[0]!.lengthBytes, 1 << 20);
  for (const options of ["-x", "-b", "-b many", "-m nobody", "word"]) {
    const { exports, strangers } = of(options);
    assertEquals([exports.length, strangers.length], [0, 1], options);
    assertStringIncludes(strangers[0]!.text, options);
  }
});

Deno.test("import-vblade: what is not understood stands in the file, word for word", () => {
  for (
    const line of ["eth0 0", "eth0 70000 1 /x", "eth0 1 255 /x", "eth0 1 1 /x nomac", "a b c d e f"]
  ) {
    const reading = readVbladeLines(line, "vblade.conf");
    assertEquals(reading.exports, []);
    assertStringIncludes(textOf(reading), line);
  }
  for (const line of ["if true; then", "shelf=$X", "shelf=`x`", "color=red", "a b=c"]) {
    assertStringIncludes(textOf(readVbladeFragment(`${line}\n`, "f.conf")), line);
  }
});

Deno.test("import-vblade: whatever is read, what is written is TOML, or says what needs a hand", () => {
  const word = fc.oneof(
    fc.constantFrom("eth0", "1", "0", "/a", "-m", "\x00", "\x7f", "\u0085", '"', "\\", "'", "="),
    fc.string({ maxLength: 6 }),
  );
  const line = fc.array(word, { maxLength: 7 }).map((words) => words.join(" "));
  fc.assert(fc.property(fc.array(line, { maxLength: 6 }), (lines) => {
    const text = lines.join("\n");
    for (const reading of [readVbladeLines(text, "f"), readVbladeFragment(text, "f")]) {
      const { mistakes } = parsePlan(textOf(reading), { folder: "/", ethers: "" });
      // Statements are always such; what they say may be wrong.
      for (const { text } of mistakes) {
        assertEquals(/statement|header|cannot be read/.test(text), false, text);
      }
    }
  }));
});

function textOf({ exports, strangers }: VbladeReading): string {
  return writeConfiguration(mergeVbladeExports(exports), strangers);
}

function planOf(reading: VbladeReading) {
  const { plan, mistakes } = parsePlan(textOf(reading), { folder: "/", ethers: "" });
  assertEquals(mistakes, []);
  return plan!;
}
