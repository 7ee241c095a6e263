// What `aoe top` shows: an overview as lines of a terminal, however large that is. Strings of others
// are visible text; only the styles are escape sequences.

import type { Overview, Past, Rates } from "./overview.ts";
import {
  cutStart,
  cutText,
  fitText,
  fittingParts,
  shareBar,
  shortBytes,
  shortDuration,
  shortNumber,
  shortTime,
  sparkline,
  textColumns,
} from "./figures.ts";
import { visibleText } from "./visible_text.ts";

/** What is shown. */
export const TOP_VIEWS = ["loads", "exports", "initiators", "interfaces", "disks"] as const;
export type TopView = typeof TOP_VIEWS[number];
/** What rows are sorted by. */
export const TOP_SORTS = ["requests", "bytes", "time", "depth", "faults", "name"] as const;
export type TopSort = typeof TOP_SORTS[number];

/** What the user has chosen. */
export interface TopChoice {
  readonly view: TopView;
  readonly sort: TopSort;
  /** A part of an address, MAC, name or path; empty for all. */
  readonly filter: string;
  /** Whether the filter is being typed. */
  readonly typing: boolean;
  /** Rows scrolled past. */
  readonly skipped: number;
  /** Said in place of the keys: that a daemon does not answer. */
  readonly notice: string;
}

/** The terminal. */
export interface TopTerminal {
  readonly columns: number;
  readonly rows: number;
  readonly colours: boolean;
  /** Knows no characters beyond ASCII. */
  readonly ascii: boolean;
}

/** One row of a table, whatever it is of. */
interface TopRow {
  readonly name: string;
  /** What the filter looks at. */
  readonly words: string;
  readonly cells: readonly string[];
  readonly requests: number;
  readonly bytes: number;
  readonly time: number;
  readonly depth: number;
  readonly faults: number;
  /** Something goes wrong with it now. */
  readonly alarming: boolean;
}

interface Column {
  readonly title: string;
  readonly columns: number;
  readonly left?: boolean;
  /** Of what is too long the end is shown. */
  readonly end?: boolean;
}

type Style = "bold" | "dim" | "red" | "cyan" | "reverse";
const SGR: Readonly<Record<Style, number>> = { bold: 1, dim: 2, red: 31, cyan: 36, reverse: 7 };

/** Lines that a second table is worth. */
const ROOM_BELOW_MIN = 4;

const MAC_COLUMNS = 17;
const WORK_COLUMNS: readonly Column[] = [
  { title: "REQ/S", columns: 6 },
  { title: "READ/S", columns: 6 },
  { title: "WRIT/S", columns: 6 },
  { title: "P50", columns: 6 },
  { title: "P99", columns: 6 },
  { title: "DISK", columns: 6 },
  { title: "DEPTH", columns: 5 },
  { title: "FAULTS", columns: 6 },
];
const COLUMNS: Readonly<Record<TopView, readonly Column[]>> = {
  loads: [
    { title: "INITIATOR", columns: MAC_COLUMNS, left: true },
    { title: "EXPORT", columns: 8, left: true },
    { title: "REQ/S", columns: 6 },
    { title: "SHARE", columns: 14, left: true },
    { title: "READ/S", columns: 6 },
    { title: "WRIT/S", columns: 6 },
    { title: "MEAN", columns: 6 },
    { title: "HAND", columns: 5 },
  ],
  exports: [{ title: "EXPORT", columns: 9, left: true }, ...WORK_COLUMNS, {
    title: "PATH",
    columns: 40,
    left: true,
    end: true,
  }],
  initiators: [{ title: "INITIATOR", columns: MAC_COLUMNS, left: true }, ...WORK_COLUMNS, {
    title: "MOST OF",
    columns: 7,
    left: true,
  }],
  interfaces: [{ title: "INTERFACE", columns: 15, left: true }, ...WORK_COLUMNS, {
    title: "LOST",
    columns: 6,
  }, { title: "BATCH", columns: 6 }],
  disks: [
    { title: "DISK", columns: 9, left: true },
    { title: "UP", columns: 4, left: true },
    { title: "REQ/S", columns: 6 },
    { title: "READ/S", columns: 6 },
    { title: "WRIT/S", columns: 6 },
    { title: "TRIP", columns: 6 },
    { title: "P99", columns: 6 },
    { title: "WINDOW", columns: 6 },
    { title: "AGAIN", columns: 6 },
    { title: "AS", columns: 20, left: true, end: true },
    { title: "PATHS", columns: 40, left: true },
  ],
};

/** The names of the pasts that a screen draws. */
export const TOP_PASTS = ["all"] as const;

/** The screen as lines, at most as many and as long as the terminal has room for. */
export function topScreen(
  overview: Overview,
  pasts: Readonly<Record<string, Past>>,
  choice: TopChoice,
  terminal: TopTerminal,
): string[] {
  const { rows } = terminal;
  const head = headOf(overview, pasts, terminal);
  const body = bodyOf(overview, choice, terminal, Math.max(1, rows - head.length - 2));
  const faults = faultsOf(overview);
  const foot = [
    ...(faults === "" ? [] : [paint(cut(faults, terminal), "red", terminal)]),
    footOf(choice, terminal),
  ];
  const room = Math.max(0, rows - head.length - foot.length);
  const filled = body.slice(0, room);
  while (filled.length < room) filled.push("");
  return [...head, ...filled, ...foot].slice(0, rows);
}

/**
 * The same as plain text, as long as it is: for pipes and `--once`.
 *
 * @param only The one table that is wanted; without it all that have rows.
 */
export function topText(
  overview: Overview,
  choice: TopChoice,
  only: TopView | undefined,
  terminal: TopTerminal,
): string[] {
  const views = only === undefined
    ? TOP_VIEWS.filter((view) => rowsOf(overview, view, terminal).length > 0)
    : [only];
  const faults = faultsOf(overview);
  return [
    titleOf(overview, terminal),
    ...views.flatMap((view) => [
      "",
      ...tableOf(overview, { ...choice, view }, terminal, Infinity),
    ]),
    ...(faults === "" ? [] : ["", faults]),
  ].map((line) => line.trimEnd());
}

/** What a filter leaves of an overview: the rows that the tables would show. */
export function onlyWanted(overview: Overview, filter: string, terminal: TopTerminal): Overview {
  const kept = <T>(view: TopView, all: readonly T[]) => {
    const rows = rowsOf(overview, view, terminal);
    return all.filter((_, i) => isWanted(rows[i]!, filter));
  };
  return {
    ...overview,
    loads: kept("loads", overview.loads),
    exports: kept("exports", overview.exports),
    initiators: kept("initiators", overview.initiators),
    interfaces: kept("interfaces", overview.interfaces),
    disks: kept("disks", overview.disks),
  };
}

function isWanted({ words }: TopRow, filter: string): boolean {
  return words.toLowerCase().includes(filter.toLowerCase());
}

function titleOf({ name, all, exports, disks, ...about }: Overview, terminal: TopTerminal): string {
  const requests = exports.length > 0
    ? all.reads + all.writes + all.others
    : disks.reduce((sum, disk) => sum + disk.reads + disk.writes, 0);
  const bytes = exports.length > 0
    ? all.readBytes + all.writtenBytes
    : disks.reduce((sum, disk) => sum + disk.readBytes + disk.writtenBytes, 0);
  const parts = [
    `aoe ${visibleText(name)}`.trim(),
    `up ${shortDuration(about.atMs - about.startedMs)}`,
    `${shortNumber(requests)} req/s`,
    `${shortBytes(bytes)} B/s`,
  ];
  if (exports.length > 0) {
    parts.push(`p99 ${shortTime(all.p99Ms, micro(terminal))}`, `depth ${shortNumber(all.depth)}`);
  }
  return cut(fittingParts(parts, terminal.columns), terminal);
}

function headOf(
  overview: Overview,
  pasts: Readonly<Record<string, Past>>,
  terminal: TopTerminal,
): string[] {
  const head = [paint(titleOf(overview, terminal), "bold", terminal)];
  const past = pasts[TOP_PASTS[0]];
  if (past === undefined || terminal.rows < 12) return head;
  const draw = (title: string, numbers: readonly number[], format: (value: number) => string) => {
    const columns = Math.max(10, Math.min(60, terminal.columns - 20));
    const most = format(Math.max(0, ...numbers.slice(-columns)));
    const line = sparkline(numbers, columns, terminal.ascii);
    const text = `${title.padEnd(9)}${paint(line, "cyan", terminal)} ${most}`;
    head.push(text);
  };
  draw("requests", past.series.commands, (value) => `${shortNumber(value)}/s`);
  draw("bytes", past.series.bytes, (value) => `${shortBytes(value)} B/s`);
  if (terminal.rows >= 20) {
    draw(
      overview.exports.length > 0 ? "p99" : "trip",
      past.series.p99Ms,
      (value) => shortTime(value, micro(terminal)),
    );
    head.push("");
  }
  return head;
}

/**
 * The table that was chosen; below who loads what there is room for the exports. Where nothing is
 * served nobody loads anything, and the disks are what there is to see.
 */
function bodyOf(
  overview: Overview,
  choice: TopChoice,
  terminal: TopTerminal,
  room: number,
): string[] {
  const isClient = overview.exports.length === 0 && overview.disks.length > 0;
  if (choice.view === "loads" && isClient) {
    return tableOf(overview, { ...choice, view: "disks" }, terminal, room);
  }
  const table = tableOf(overview, choice, terminal, room);
  const left = room - table.length - 1;
  if (choice.view !== "loads" || left < ROOM_BELOW_MIN) return table;
  const more = tableOf(overview, { ...choice, view: "exports", skipped: 0 }, terminal, left);
  return [...table, "", ...more];
}

function tableOf(
  overview: Overview,
  { view, sort, filter, skipped }: TopChoice,
  terminal: TopTerminal,
  room: number,
): string[] {
  const columns = fitting(COLUMNS[view], terminal.columns);
  const title = columns.map((column) => fitText(column.title, column.columns, !column.left, true))
    .join(" ");
  const rows = rowsOf(overview, view, terminal)
    .filter((row) => isWanted(row, filter))
    .sort((a, b) => sort === "name" ? compareNames(a, b) : b[sort] - a[sort] || compareNames(a, b));
  const lines = rows.slice(Math.min(skipped, Math.max(0, rows.length - 1))).slice(0, room - 1)
    .map((row) => {
      const line = columns.map((column, i) => {
        const cell = row.cells[i] ?? "";
        const cut = column.end ? cutStart(cell, column.columns, terminal.ascii) : cell;
        return fitText(cut, column.columns, !column.left, terminal.ascii);
      }).join(" ").trimEnd();
      return row.alarming ? paint(line, "red", terminal) : line;
    });
  const none = filter === "" ? "Nothing happens." : `Nothing has "${visibleText(filter)}" in it.`;
  return [
    paint(title.trimEnd(), "reverse", terminal),
    ...(lines.length === 0 ? [cut(none, terminal)] : lines),
  ];
}

function rowsOf(overview: Overview, view: TopView, terminal: TopTerminal): TopRow[] {
  switch (view) {
    case "loads":
      return loadRows(overview, terminal);
    case "exports":
      return overview.exports.map((ex) =>
        workRow(ex.address, ex, [visibleText(ex.path)], ex.path, terminal)
      );
    case "initiators":
      return overview.initiators.map((one) =>
        workRow(one.mac, one, [one.most], one.most, terminal)
      );
    case "interfaces":
      return overview.interfaces.map((link) => {
        const more = [shortNumber(link.overflows), shortNumber(link.batch)];
        const name = visibleText(link.name);
        return workRow(name, link, more, "", terminal);
      });
    case "disks":
      return diskRows(overview, terminal);
  }
}

function loadRows({ loads }: Overview, terminal: TopTerminal): TopRow[] {
  const all = loads.reduce((sum, { commands }) => sum + commands, 0);
  return loads.map((load) => {
    const share = all === 0 ? 0 : load.commands / all;
    const percent = `${Math.round(share * 100)}%`.padStart(4);
    return {
      name: `${load.mac} ${load.address}`,
      words: `${load.mac} ${load.address}`,
      cells: [
        load.mac,
        load.address,
        shortNumber(load.commands),
        `${shareBar(share, 9, terminal.ascii)} ${percent}`,
        shortBytes(load.readBytes),
        shortBytes(load.writtenBytes),
        shortTime(load.meanMs, micro(terminal)),
        shortNumber(load.inHand),
      ],
      requests: load.commands,
      bytes: load.readBytes + load.writtenBytes,
      time: load.meanMs,
      depth: load.inHand,
      faults: 0,
      alarming: false,
    };
  });
}

function workRow(
  name: string,
  rates: Rates,
  more: readonly string[],
  words: string,
  terminal: TopTerminal,
): TopRow {
  const requests = rates.reads + rates.writes + rates.others;
  const faults = rates.total.errors + rates.total.drops;
  const time = (ms: number) => shortTime(ms, micro(terminal));
  const depth = Math.max(rates.depth, rates.inHand);
  return {
    ...{ name, requests, faults, depth },
    alarming: rates.errors + rates.drops > 0,
    words: `${name} ${words}`,
    cells: [
      name,
      shortNumber(requests),
      shortBytes(rates.readBytes),
      shortBytes(rates.writtenBytes),
      time(rates.p50Ms),
      time(rates.p99Ms),
      time(rates.diskMs),
      shortNumber(depth),
      shortNumber(faults),
      ...more,
    ],
    bytes: rates.readBytes + rates.writtenBytes,
    time: rates.p99Ms,
  };
}

function diskRows({ disks }: Overview, terminal: TopTerminal): TopRow[] {
  return disks.map((disk) => {
    const up = disk.paths.filter((path) => path.up);
    const trip = up.length === 0 ? 0 : Math.min(...up.map((path) => path.roundTripMs));
    const window = up.reduce((sum, path) => sum + path.window, 0);
    const paths = disk.paths.map((path) =>
      `${visibleText(path.interface)} ${path.mac}${path.up ? "" : " lost"}`
    ).join(", ");
    return {
      name: disk.address,
      words: `${disk.address} ${disk.node} ${paths}`,
      cells: [
        disk.address,
        disk.up ? `${up.length}/${disk.paths.length}` : "DOWN",
        shortNumber(disk.reads + disk.writes),
        shortBytes(disk.readBytes),
        shortBytes(disk.writtenBytes),
        shortTime(trip, micro(terminal)),
        shortTime(disk.p99Ms, micro(terminal)),
        shortNumber(window),
        shortNumber(disk.total.retransmissions),
        // There is room for what tells sockets apart.
        visibleText(disk.node.replace("nbd+unix:///?socket=", "nbd:")),
        paths,
      ],
      requests: disk.reads + disk.writes,
      bytes: disk.readBytes + disk.writtenBytes,
      time: trip,
      depth: window,
      faults: disk.up ? 0 : 1,
      alarming: !disk.up,
    };
  });
}

function faultsOf({ drops, exports, disks }: Overview): string {
  const lost = disks.filter(({ total }) => total.overflows > 0)
    .map(({ address, total }) => `${shortNumber(total.overflows)} frames of ${address}`);
  const said = drops.map(({ reason, total }) => `${shortNumber(total)} ${reason}`);
  const errors = exports.filter(({ total }) => total.errors > 0)
    .map(({ address, total }) => `${shortNumber(total.errors)} of ${address}`);
  return [
    ...(said.length === 0 ? [] : [`Dropped: ${said.join(", ")}`]),
    ...(errors.length === 0 ? [] : [`Errors: ${errors.join(", ")}`]),
    ...(lost.length === 0 ? [] : [`Lost by the kernel, too fast to be taken: ${lost.join(", ")}`]),
  ].join("; ");
}

function footOf(choice: TopChoice, terminal: TopTerminal): string {
  if (choice.typing) return cut(`Show only: ${visibleText(choice.filter)}_`, terminal);
  if (choice.notice !== "") {
    return paint(cut(visibleText(choice.notice), terminal), "red", terminal);
  }
  const only = choice.filter === "" ? "/ filter" : `/ only "${visibleText(choice.filter)}"`;
  const keys = ["q quit", `tab ${choice.view}`, `s by ${choice.sort}`, only, "arrows scroll"];
  return paint(cut(fittingParts(keys, terminal.columns), terminal), "dim", terminal);
}

/** The columns from the first on that the terminal has room for; the last has all that is left. */
function fitting(columns: readonly Column[], room: number): Column[] {
  const taken: Column[] = [];
  let used = 0;
  for (const column of columns) {
    const left = room - used;
    if (left < Math.min(column.columns, 12)) break;
    const grows = column === columns.at(-1) && column.left === true;
    taken.push({ ...column, columns: grows ? left : Math.min(column.columns, left) });
    used += column.columns + 1;
  }
  return taken;
}

function compareNames(a: TopRow, b: TopRow): number {
  const parts = (row: TopRow) => row.name.split(/(\d+)/);
  const [own, others] = [parts(a), parts(b)];
  for (let i = 0; i < Math.min(own.length, others.length); i++) {
    const [x, y] = [own[i]!, others[i]!];
    if (x === y) continue;
    return i % 2 === 1 ? Number(x) - Number(y) : x < y ? -1 : 1;
  }
  return own.length - others.length;
}

function cut(text: string, { columns, ascii }: TopTerminal): string {
  return cutText(text, columns, ascii);
}

function micro({ ascii }: TopTerminal): string {
  return ascii ? "us" : "µs";
}

function paint(text: string, style: Style, { colours, columns }: TopTerminal): string {
  if (!colours) return text;
  const space = style === "reverse" ? " ".repeat(Math.max(0, columns - textColumns(text))) : "";
  return `\x1b[${SGR[style]}m${text}${space}\x1b[0m`;
}
