// What `aoe top` shows, on every size of terminal.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  shortBytes,
  shortNumber,
  shortTime,
  sparkline,
  textColumns,
} from "../../../src/core/watch/figures.ts";
import type { Overview, Rates } from "../../../src/core/watch/overview.ts";
import {
  onlyWanted,
  TOP_SORTS,
  TOP_VIEWS,
  type TopChoice,
  topScreen,
  topText,
  type TopView,
} from "../../../src/core/watch/top_screen.ts";
import { TOP_MANUAL } from "../../../src/commands/man_watch.ts";
import { TopKeys } from "../../../src/commands/top_keys.ts";

const CHOICE: TopChoice = {
  ...{ view: "loads", sort: "requests", filter: "", typing: false, skipped: 0, notice: "" },
};
const TERMINAL = { columns: 80, rows: 24, colours: false, ascii: false };
const PAST = {
  stepMs: 1000,
  series: {
    ...{ commands: [1, 2, 3], bytes: [1, 2, 3], p50Ms: [1, 1, 1], p99Ms: [2, 4, 8] },
    ...{ depth: [1, 1, 1], faults: [0, 0, 0] },
  },
};

function ratesOf(reads: number, more: Partial<Rates> = {}): Rates {
  return {
    ...{ reads, writes: 0, others: 0, readBytes: reads * 1024, writtenBytes: 0, inHand: 0 },
    ...{ depth: 1.5, p50Ms: 0.05, p99Ms: 2.18, diskMs: 0, errors: 0, drops: 0 },
    retransmissions: 0,
    total: {
      ...{ commands: reads * 9, readBytes: 0, writtenBytes: 0, errors: 0, drops: 0 },
      retransmissions: 0,
    },
    ...more,
  };
}

const mac = (i: number) => `02:00:00:00:00:${i.toString(16).padStart(2, "0")}`;

function overviewOf(count: number, path = "/srv/disk.img"): Overview {
  const each = Array.from({ length: count }, (_, i) => i + 1);
  return {
    ...{ version: "1", name: "serve", pid: 7, startedMs: 0, atMs: 190_000, seconds: 1 },
    all: ratesOf(21_300),
    exports: each.map((i) => ({ address: `e1.${i}`, path, ...ratesOf(i * 100) })),
    initiators: each.map((i) => ({ mac: mac(i), most: `e1.${i}`, ...ratesOf(i * 100) })),
    initiatorCount: count,
    interfaces: [{ name: "eth0", batch: 7.3, overflows: 0, ...ratesOf(21_300) }],
    loads: each.map((i) => ({
      ...{ mac: mac(i), address: `e1.${i}`, commands: i * 100, readBytes: i * 102_400 },
      ...{ writtenBytes: 0, meanMs: 0.25, inHand: i },
    })),
    drops: [],
    disks: [{
      ...{ address: "e9.1", node: "/dev/etherd/e9.1", up: true, reads: 5, writes: 5 },
      ...{ readBytes: 5, writtenBytes: 5, retransmissions: 0 },
      total: {
        ...{ commands: 1, readBytes: 1, writtenBytes: 1, retransmissions: 3, overflows: 0 },
      },
      ...{ p50Ms: 0.2, p99Ms: 0.9 },
      paths: [{
        ...{ interface: "eth0", mac: mac(9), up: true, window: 8, roundTripMs: 0.2 },
        ...{ timeoutMs: 5, frameBytes: 1024 },
      }],
    }],
  };
}

Deno.test("top: who loads what stands on top, the busiest first, with its share", () => {
  const lines = topScreen(overviewOf(3), { all: PAST }, CHOICE, TERMINAL);
  assertEquals(lines.length, 24);
  assertMatch(lines[0]!, /^aoe serve {2}up 3 min {2}21\.3k req\/s {2}20\.8M B\/s {2}p99 2\.18ms/);
  assertMatch(lines[1]!, /^requests .*▄▆█ 3\/s$/);
  assertMatch(lines[5]!, /^INITIATOR +EXPORT +REQ\/S SHARE/);
  assertMatch(lines[6]!, /^02:00:00:00:00:03 e1\.3 +300 █████ +50% +300K +0 +250µs +3$/);
  assertStringIncludes(lines.join("\n"), "\nEXPORT     REQ/S READ/S");
  assertMatch(lines.at(-1)!, /^q quit {2}tab loads {2}s by requests/);
});

Deno.test("top: no line is longer than the terminal, nor are there more, whatever its size", () => {
  const overview = overviewOf(60, "/srv/\u65e5\u672c\u8a9e/very/long/path/of/some/disk.img");
  const faulty = {
    ...overview,
    drops: [{ reason: "from a MAC that is not allowed", total: 1234, rate: 3 }],
  };
  for (
    const [columns, rows] of [[80, 24], [60, 15], [132, 50], [30, 8], [10, 3], [1, 1]] as const
  ) {
    for (const view of TOP_VIEWS) {
      for (const ascii of [false, true]) {
        const look = { columns, rows, colours: false, ascii };
        const lines = topScreen(faulty, { all: PAST }, { ...CHOICE, view }, look);
        assert(lines.length <= rows, `${lines.length} lines of ${rows}`);
        for (const line of lines) {
          assert(textColumns(line) <= columns || columns < 30, `${columns}: "${line}"`);
        }
      }
    }
  }
});

Deno.test("top: what is too long loses what matters least", () => {
  const path = "/srv/a/long/way/to/the/images/of/everybody/disk-17.img";
  const screen = (columns: number, view: TopChoice["view"]) =>
    topScreen(overviewOf(1, path), { all: PAST }, { ...CHOICE, view }, { ...TERMINAL, columns });
  assertMatch(screen(80, "exports").join("\n"), /^e1\.1 .* …[a-z/]*\/disk-17\.img$/m);
  assertMatch(screen(60, "loads")[0]!, /^aoe serve .* p99 2\.18ms$/);
  assertMatch(screen(40, "loads").at(-1)!, /^q quit {2}tab loads {2}s by requests$/);
  // That frames are lost is seen on every terminal, and whom an initiator loads.
  assertMatch(screen(80, "interfaces").join("\n"), /^INTERFACE .* LOST$/m);
  assertMatch(screen(80, "initiators").join("\n"), /^02:00:00:00:00:01 .* e1\.1$/m);
});

Deno.test("top: a terminal that knows ASCII alone gets nothing else", () => {
  const lines = topScreen(overviewOf(3), { all: PAST }, CHOICE, { ...TERMINAL, ascii: true });
  assertMatch(lines.join(""), /^[ -~]*$/);
});

Deno.test("top: strings of others are visible text, with colours and without", () => {
  const overview = overviewOf(1, "ev\x1b[31mil\u202e\n.img");
  for (const colours of [true, false]) {
    const look = { ...TERMINAL, columns: 132, colours };
    const text = topScreen(overview, {}, { ...CHOICE, view: "exports", filter: "\x1b[31m" }, look)
      .join("");
    assertStringIncludes(text, "ev\\u{1b}[31mil\\u{202e}\\u{a}.img");
    assertStringIncludes(text, 'only "\\u{1b}[31m"');
    // deno-lint-ignore no-control-regex -- the styles are ours
    assertMatch(text.replace(/\x1b\[[\d;]+m/g, ""), /^[^\p{Cc}\p{Cf}]*$/u);
  }
});

Deno.test("top: sorted by what was chosen, and only what was asked for", () => {
  const overview = overviewOf(12);
  const names = (choice: Partial<TopChoice>) =>
    topText(overview, { ...CHOICE, ...choice }, "exports", TERMINAL)
      .filter((line) => /^e1\./.test(line)).map((line) => line.split(" ")[0]);
  assertEquals(names({})[0], "e1.12");
  assertEquals(names({ sort: "name" }).slice(0, 3), ["e1.1", "e1.2", "e1.3"]);
  assertEquals(names({ filter: "E1.12" }), ["e1.12"]);
  const text = topText(overview, { ...CHOICE, filter: "no such" }, undefined, TERMINAL).join("\n");
  assertStringIncludes(text, 'Nothing has "no such" in it.');
  const heads = (only?: TopView) =>
    topText(overview, CHOICE, only, TERMINAL).filter((line) => /^[A-Z]+ .*REQ\/S/.test(line))
      .map((line) => line.split(" ")[0]);
  assertEquals(heads("interfaces"), ["INTERFACE"]);
  assertEquals(heads(), ["INITIATOR", "EXPORT", "INITIATOR", "INTERFACE", "DISK"]);
  const only = onlyWanted(overview, "E1.12", TERMINAL);
  assertEquals([only.exports, only.loads, only.initiators, only.disks].map((rows) => rows.length), [
    ...[1, 1, 1, 0],
  ]);
  assertEquals([only.exports[0], only.all], [overview.exports[11], overview.all]);
});

Deno.test("top: the manual explains each column", () => {
  const manual = TOP_MANUAL.map(({ text }) => text).join("\n");
  const wide = { ...TERMINAL, columns: 200 };
  for (const view of TOP_VIEWS) {
    const titles = topText(overviewOf(1), CHOICE, view, wide)[2]!.split(/ {2,}| (?!OF)/);
    // The first names what the row is of.
    for (const title of titles.slice(1)) {
      if (title !== "EXPORT" && title !== "PATH") assertMatch(manual, new RegExp(`\\b${title}\\b`));
    }
  }
});

Deno.test("top: where nothing is served, the disks that are used stand first", () => {
  const overview = { ...overviewOf(0), interfaces: [], all: ratesOf(0) };
  const { address, reads, writes } = overview.disks[0]!;
  const lines = topScreen(overview, {}, CHOICE, TERMINAL);
  assertMatch(lines[1]!, /^DISK +UP +REQ\/S READ\/S WRIT\/S +TRIP +P99 WINDOW +AGAIN AS$/);
  assertMatch(
    lines[2]!,
    new RegExp(`^${address} +1/1 +${reads + writes} .* 200µs +900µs +8 +3 /dev/etherd/e9\\.1$`),
  );
  const wide = topScreen(overview, {}, CHOICE, { ...TERMINAL, columns: 120 });
  assertMatch(wide[2]!, new RegExp(` /dev/etherd/e9\\.1 +eth0 ${mac(9)}$`));
  assertEquals(lines.filter((line) => line.includes("INITIATOR")), []);
});

Deno.test("top: frames that were lost of a disk, and one that is down, are said in red", () => {
  const healthy = overviewOf(0);
  const [disk] = healthy.disks;
  const overview = {
    ...healthy,
    disks: [{ ...disk!, up: false, paths: [], total: { ...disk!.total, overflows: 7 } }],
  };
  const lines = topScreen(overview, {}, CHOICE, { ...TERMINAL, colours: true });
  // deno-lint-ignore no-control-regex -- the style of what is wrong
  const red = lines.map((line) => /^\x1b\[31m(.*)\x1b\[0m$/.exec(line)?.[1]).filter((text) => text);
  assertMatch(red[0]!, /^e9\.1 +DOWN /);
  assertEquals(red.slice(1), ["Lost by the kernel, too fast to be taken: 7 frames of e9.1"]);
});

Deno.test("top: keys choose, filter and scroll, and q is a letter of a filter", () => {
  const keys = new TopKeys(CHOICE);
  const press = (...pressed: string[]) => pressed.map((key) => keys.press(key)).at(-1);
  press("\t", "s");
  assertEquals([keys.choice.view, keys.choice.sort], ["exports", TOP_SORTS[1]]);
  press("\x1b[Z", "S", "3");
  assertEquals([keys.choice.view, keys.choice.sort], ["initiators", TOP_SORTS[0]]);
  press("/", "q", "x", "\x7f", "1", "\x1b[A");
  assertEquals([keys.choice.filter, keys.choice.typing], ["q1", true]);
  press("\r", "j", "j", "k");
  assertEquals([keys.choice.typing, keys.choice.skipped], [false, 1]);
  press("\x1b");
  assertEquals(keys.choice.filter, "");
  assertEquals(press("q"), false);
  assertEquals(new TopKeys({ ...CHOICE, typing: true }).press("\x03"), false);
});

Deno.test("top: figures fit their columns", () => {
  assertEquals([0, 0.5, 9, 9999, 16_400, 999_949, 1.2e6].map(shortNumber), [
    ...["0", "0.5", "9", "9999", "16.4k", "1.0M", "1.2M"],
  ]);
  for (let value = 0.1; value < 1e14; value *= 1.13) {
    assert(shortNumber(value).length <= 5, shortNumber(value));
    assert(shortBytes(value).length <= 5, shortBytes(value));
    assert(shortTime(value / 1e6, "us").length <= 6 || value > 1e12, shortTime(value / 1e6, "us"));
  }
  assertEquals([0, 0.042, 2.184, 45.6, 456, 1500].map((ms) => shortTime(ms, "µs")), [
    ...["-", "42µs", "2.18ms", "45.6ms", "456ms", "1.5s"],
  ]);
  assertEquals(sparkline([0, 1, 8], 5, false), "  ▁▂█");
  assertEquals(sparkline([0, 0], 2, true), "__");
});
