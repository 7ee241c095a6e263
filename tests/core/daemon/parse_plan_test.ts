// A configuration as a plan: what it may say, and every mistake with its line and what would be right.

import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { parsePlan } from "../../../src/core/daemon/parse_plan.ts";
import type { DaemonPlan } from "../../../src/core/daemon/plan.ts";

const ETHERS = "# the class\n52:54:0:0:0:7 pc-7\n52:54:00:00:00:08 pc-8 # at the window\n";
const EXPORT = {
  line: 0,
  text: '[[export]]\naddress = "e1.1"\npath = "/a"\ninterfaces = "eth0"\n',
};

Deno.test("configuration: every option of the command line, under its long name", () => {
  const plan = planOf(`
[daemon]
name = "lab"
state = "/srv/state"
control = false
metrics = "127.0.0.1:9100"
user = "aoe"
workers = 3
buffers = 32
poll = 50
map = "1G"
no-uring = true
no-ring = true
capture = "frames.pcap"
capture-size = "1M"
drop = 0.5

[[export]]
address = "e7.1"
path = "disks/a.img"
interfaces = ["eth0", "san*"]
direct = true
sync = true
write-cache = "fixed"
offset = 8
length = "1M"
size = "10G"
format = "raw"
force = true
mac = ["52:54:00:12:34:56"]

[initiator]
interfaces = ["san*"]
`);
  assertEquals(plan, {
    ...{ name: "lab", stateDir: "/srv/state", control: false, metrics: "127.0.0.1:9100" },
    ...{ user: "aoe", waits: true, workers: 3, buffers: 32, pollUs: 50, mapBytes: 2 ** 30 },
    ...{ uring: false, ring: false, capture: "/etc/frames.pcap", captureBytes: 2 ** 20 },
    dropPercent: 0.5,
    exports: [{
      address: { shelf: 7, slot: 1 },
      path: "/etc/disks/a.img",
      interfaces: ["eth0", "san*"],
      ...{ direct: true, sync: true, readOnly: false, cacheFixed: true },
      ...{ offsetBytes: 4096, lengthBytes: 2 ** 20, createBytes: 10 * 2 ** 30 },
      ...{ format: "raw", force: true, line: 18 },
      acl: { accept: ["525400123456"], reject: [], readOnly: [] },
    }],
    initiatorInterfaces: ["san*"],
  });
});

Deno.test("configuration: what an export does not say is said by [defaults], or is as without options", () => {
  const plan = planOf(`
[[export]]
address = "1.1"
path = "/a"
[[export]]
address = "1.2"
path = "nbd://host/b"
sync = false
interfaces = "lo"
[[export]]
address = "1.3"
path = "/c"
read-only = true
[defaults]
interfaces = ["eth0"]
sync = true
direct = true
size = "1G"
`);
  const [one, two, three] = plan.exports;
  assertEquals([one!.sync, one!.interfaces, one!.createBytes], [true, ["eth0"], 2 ** 30]);
  assertEquals([two!.sync, two!.interfaces], [false, ["lo"]]);
  assertEquals([two!.direct, two!.createBytes], [false, undefined], "an NBD export has neither");
  assertEquals([three!.readOnly, three!.createBytes], [true, undefined]);
  assertEquals([one!.acl, one!.offsetBytes, plan.buffers, plan.uring], [undefined, 0, 64, true]);
  assertEquals([plan.waits, plan.stateDir, plan.control], [true, true, true]);
});

Deno.test("configuration: ACLs by name, together, in place, and with names of /etc/ethers", () => {
  const plan = planOf(`
[acl.lab]
accept = ["52:54:00:*", "pc-7"]
reject = ["52-54-00-00-00-09"]
[acl.teacher]
accept = [
  "pc-8",  # writes
]
read-only = ["*"]
[defaults]
interfaces = "eth0"
acl = "lab"
[[export]]
address = "1.1"
path = "/a"
[[export]]
address = "1.2"
path = "/b"
acl = ["lab", "teacher"]
[[export]]
address = "1.3"
path = "/c"
acl = { reject = ["AA:*"] }
`);
  const lab = { accept: ["525400", "525400000007"], reject: ["525400000009"], readOnly: [] };
  assertEquals(plan.exports.map(({ acl }) => acl), [
    lab,
    { ...lab, accept: [...lab.accept, "525400000008"], readOnly: [""] },
    { accept: [], reject: ["aa"], readOnly: [] },
  ]);
});

/** What is wrong: the text, the line of the mistake, and what is said. */
const WRONG: readonly (readonly [string, number, RegExp])[] = [
  // Keys and tables.
  ["[daemon]\nwokers = 2", 2, /no key "wokers": did you mean "workers"/],
  ["[defaults]\nread_only = true", 2, /did you mean "read-only"/],
  ["[defaults]\niface = 'eth0'", 2, /did you mean "interfaces"/],
  ["[defaults]\nworkers = 2", 2, /belongs in \[daemon\]/],
  ["[initiator]\ninterfaces = 'eth0'\nxyzzyx = 1", 3, /there are interfaces/],
  ["[deamon]", 1, /did you mean \[daemon\]/],
  ["sync = true", 1, /no "sync" at its top/],
  ["[export]\naddress = 'e1.1'", 1, /Write \[\[export\]\]/],
  ["[acl]\naccept = ['*']", 2, /An ACL has a name/],
  ["[[defaults]]\nsync = true", 1, /There is one defaults/],
  ["[defaults]\nsync = true\n[defaults]", 3, /there already, in line 1/],
  ["[defaults]\nsync = true\nsync = true", 3, /given twice: line 2/],
  // Syntax.
  ["[defaults\nsync = true", 1, /no header/],
  ["[defaults]\nsync", 2, /no statement/],
  ["[defaults]\nsync =", 2, /no value/],
  ["[defaults]\nsync = yes", 2, /write sync = true/],
  ["[defaults]\ninterfaces = eth0", 2, /needs quotation marks: write interfaces = "eth0"/],
  ['[defaults]\ninterfaces = ["eth0"\nsync = true', 2, /not closed/],
  ['[daemon]\nname = "a', 2, /cannot be read/],
  ['[daemon]\nname = """a\nb', 2, /not closed/],
  // Types and ranges.
  ["[defaults]\nsync = 'true'", 2, /true or false, without quotation marks/],
  ["[defaults]\noffset = '1000'\nlength = 0", 3, /at least 512 bytes/],
  ["[defaults]\noffset = '1000b'", 2, /in steps of 512/],
  ["[defaults]\nlength = 1.5", 2, /"length" is a number of sectors/],
  ["[defaults]\nsize = '100'", 2, /at least 512 bytes/],
  ["[defaults]\nwrite-cache = 'off'", 2, /"free" or "fixed"/],
  ["[defaults]\ninterfaces = []", 2, /At least one interface/],
  ["[defaults]\ninterfaces = ['eth0',\n'a b']", 3, /"a b" is not the name of an interface/],
  ["[defaults]\ninterfaces = 1", 2, /a list of texts/],
  ["[daemon]\nworkers = 0", 2, /from 1 to 256/],
  ["[daemon]\nbuffers = 70000", 2, /from 1 to 65535/],
  ["[daemon]\npoll = 1.5", 2, /whole number/],
  ["[daemon]\ndrop = 100", 2, /from 0\.01 to 99/],
  ["[daemon]\nname = 'a/b'", 2, /letters, digits/],
  ["[daemon]\ncontrol = '/run/x.socket'", 2, /true or false, without quotation marks/],
  ["[daemon]\nstate = 'here'", 2, /from \/ on, or true or false/],
  ["[daemon]\nmetrics = 'localhost:99999'", 2, /HOST:PORT/],
  ["[daemon]\ncapture-size = '1M'", 2, /name its file/],
  ["[daemon]\nname = { a = 1 }", 2, /no table/],
  // Exports.
  ["[[export]]\npath = '/a'\ninterfaces = 'eth0'", 1, /has an address/],
  ["[[export]]\naddress = '1.1'\ninterfaces = 'eth0'", 1, /has a path/],
  ["[[export]]\naddress = '1.1'\npath = '/a'", 1, /has interfaces/],
  ["[[export]]\naddress = 1.1\npath = '/a'\ninterfaces = 'lo'", 2, /in quotation marks/],
  ["[[export]]\naddress = '65535.1'\npath = '/a'\ninterfaces = 'lo'", 2, /shelf from 0 to 65534/],
  ["[[export]]\naddress = 'e1.255'\npath = '/a'\ninterfaces = 'lo'", 2, /slot from 0 to 254/],
  [`${EXPORT.text}read-only = true\nwrite-cache = "fixed"`, 6, /no write cache/],
  [`${EXPORT.text}read-only = true\nsize = "1G"`, 6, /empty for ever/],
  [`${EXPORT.text}${EXPORT.text.replace("/a", "/b")}`, 5, /e1\.1 is line 1's already/],
  [
    `${EXPORT.text}${EXPORT.text.replace("1.1", "1.2").replace("/a", "//./a")}`,
    5,
    /"\/a" is line 1/,
  ],
  [EXPORT.text.replace("/a", "nbds://x/y"), 3, /TLS/],
  [`${EXPORT.text.replace("/a", "nbd://x/y")}direct = true`, 5, /page cache/],
  [`${EXPORT.text.replace("/a", "nbd://x/y")}size = "1G"`, 5, /leave it out/],
  // ACLs.
  ["[acl.a]\naccept = [\n'52:54:00:*',\n'52:54:0:*']", 4, /"52:54:0:\*" is no MAC address/],
  ["[acl.a]\naccept = ['pc7']", 2, /did you mean "pc-7"/],
  ["[acl.a]\naccept = []", 2, /says nothing/],
  ["[acl.a]\naccept = ['pc-7']\nread-only = ['52:54:00:00:00:07']", 3, /which is meant/],
  ["[acl.room]\naccept = ['*']\n[defaults]\nacl = 'rom'", 4, /did you mean "room"/],
  ["[defaults]\nacl = 'x'", 2, /write \[acl\.x\]/],
  ["[acl.a]\naccept = ['*']\n[defaults]\nacl = 'a'\nmac = ['pc-7']", 5, /an acl already/],
  ["[defaults]\nacl = { acept = ['*'] }", 2, /did you mean "accept"/],
];

for (const [text, line, said] of WRONG) {
  Deno.test(`configuration: a mistake has its line: ${JSON.stringify(text)}`, () => {
    const { plan, mistakes } = parsePlan(text, { folder: "/etc", ethers: ETHERS });
    assertEquals(plan, undefined);
    assertEquals(mistakes.map((mistake) => mistake.line), [line], JSON.stringify(mistakes));
    assertMatch(mistakes[0]!.text, said);
  });
}

Deno.test("configuration: all mistakes are told at once, in the order of their lines", () => {
  const text = `[daemon]
workers = many
[[export]]
adress = "e1.1"
path = /srv/disk.img
interfaces = ["eth0",
  "a b"]
acl = "nobody"
[[export]
[acl.room]
reject = "x"
`;
  const { mistakes } = parsePlan(text, { folder: "/", ethers: "" });
  assertEquals(mistakes.map(({ line }) => line), [2, 3, 4, 5, 7, 8, 9, 11]);
});

Deno.test("configuration: two exports may read one file", () => {
  const reader = `${EXPORT.text}read-only = true\n`;
  assertEquals(planOf(`${reader}${reader.replace("1.1", "1.2")}`).exports.length, 2);
});

Deno.test("configuration: a header without a name is none", () => {
  for (const text of ["[ # ]", "[[ # ]]", "[]"]) {
    const { mistakes } = parsePlan(text, { folder: "/etc", ethers: ETHERS });
    assert(mistakes[0]?.text.includes("is no header"), JSON.stringify(mistakes));
  }
});

Deno.test("configuration: whatever the bytes, no error but mistakes with lines that exist", () => {
  const words = WRONG.flatMap(([text]) => text.split("\n"));
  const piece = fc.oneof(
    fc.constantFrom(...words),
    fc.constantFrom('"', "'", '"""', "[", "]", "{", "}", "=", "#", "\\", "\r", "__proto__", "a.b"),
    fc.string({ maxLength: 8 }),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), fc.constantFrom("\n", " ", ""), (all, by) => {
      const text = all.join(by);
      const { plan, mistakes } = parsePlan(text, { folder: "/etc", ethers: ETHERS });
      assertEquals(plan === undefined, mistakes.length > 0);
      const lines = text.split("\n").length;
      for (const { line, text } of mistakes) {
        assert(line >= 1 && line <= lines, `line ${line} of ${lines}: ${text}`);
      }
    }),
    { numRuns: 2000 },
  );
});

function planOf(text: string): DaemonPlan {
  const { plan, mistakes } = parsePlan(text, { folder: "/etc", ethers: ETHERS });
  assertEquals(mistakes, []);
  return plan!;
}
