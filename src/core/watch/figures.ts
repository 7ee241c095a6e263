// Numbers as people read them in few columns, and lines drawn of block characters.

const BLOCKS = "▁▂▃▄▅▆▇█";
/** For terminals that know no other characters. */
const ASCII_BLOCKS = "_.-:=+*#";
/** Characters that take two columns of a terminal. */
const WIDE =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}\uff01-\uff60]/u;
/** Those that take none. */
const JOINED = /\p{M}/u;

/** A number in at most five columns: 999, 9999, 16.4k, 1.2M. */
export function shortNumber(value: number): string {
  if (value < 10_000) {
    return value < 10 && !Number.isInteger(value) ? value.toFixed(1) : value.toFixed(0);
  }
  return scaled(value, ["k", "M", "G", "T", "P"], 1000);
}

/** Bytes in at most five columns: 0, 512, 1.5K, 16.0M. */
export function shortBytes(value: number): string {
  return value < 1000 ? value.toFixed(0) : scaled(value, ["K", "M", "G", "T", "P"], 1024);
}

/** A time in at most six columns: 42µs, 2.18ms, 1.5s; a dash where nothing was timed. */
export function shortTime(ms: number, micro: string): string {
  if (ms <= 0) return "-";
  if (ms < 1) return `${(ms * 1000).toFixed(0)}${micro}`;
  if (ms < 1000) return `${ms.toFixed(ms < 10 ? 2 : ms < 100 ? 1 : 0)}ms`;
  return `${(ms / 1000).toFixed(ms < 100_000 ? 1 : 0)}s`;
}

/** How long it has run: 12 s, 5 min, 3 h 10 min, 4 d. */
export function shortDuration(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return `${Math.max(0, Math.floor(ms / 1000))} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d`;
}

/** The last numbers as a line of blocks, as high as the highest; spaces where nothing is known. */
export function sparkline(numbers: readonly number[], columns: number, ascii: boolean): string {
  const shown = numbers.slice(-columns);
  const top = Math.max(...shown, 0);
  const blocks = ascii ? ASCII_BLOCKS : BLOCKS;
  const line = shown.map((value) => {
    if (top === 0 || value <= 0) return blocks[0]!;
    return blocks[Math.max(1, Math.min(7, Math.ceil(value / top * 7)))]!;
  }).join("");
  return " ".repeat(columns - shown.length) + line;
}

/** A bar of so many columns for a share of 1. */
export function shareBar(share: number, columns: number, ascii: boolean): string {
  const filled = Math.max(0, Math.min(columns, Math.round(share * columns)));
  return (ascii ? "#" : "█").repeat(filled) + " ".repeat(columns - filled);
}

/** Columns that a text without unseen characters takes. */
export function textColumns(text: string): number {
  let columns = 0;
  for (const character of text) columns += columnsOf(character);
  return columns;
}

/** The beginning of a text that fits, with an end that says that it is one. */
export function cutText(text: string, columns: number, ascii: boolean): string {
  if (textColumns(text) <= columns) return text;
  const end = ascii ? "~" : "…";
  let cut = "";
  let taken = 1;
  for (const character of text) {
    taken += columnsOf(character);
    if (taken > columns) break;
    cut += character;
  }
  return columns > 0 ? cut + end : "";
}

/** The end of a text that fits, with a beginning that says that it is one: what tells paths apart. */
export function cutStart(text: string, columns: number, ascii: boolean): string {
  if (textColumns(text) <= columns) return text;
  let cut = "";
  let taken = 1;
  for (const character of [...text].reverse()) {
    taken += columnsOf(character);
    if (taken > columns) break;
    cut = character + cut;
  }
  return columns > 0 ? (ascii ? "~" : "…") + cut : "";
}

/** Those of the parts, from the first on, that fit beside each other. */
export function fittingParts(parts: readonly string[], columns: number): string {
  let line = parts[0] ?? "";
  for (const part of parts.slice(1)) {
    if (textColumns(line) + 2 + textColumns(part) > columns) break;
    line += `  ${part}`;
  }
  return line;
}

/** Fills a text up with spaces, before it or behind it, or cuts it. */
export function fitText(text: string, columns: number, right: boolean, ascii: boolean): string {
  const cut = cutText(text, columns, ascii);
  const space = " ".repeat(Math.max(0, columns - textColumns(cut)));
  return right ? space + cut : cut + space;
}

function columnsOf(character: string): number {
  if (character < "\u0300") return 1;
  return JOINED.test(character) ? 0 : WIDE.test(character) ? 2 : 1;
}

function scaled(value: number, units: readonly string[], base: number): string {
  let at = -1;
  let rest = value;
  for (; rest >= 999.5 && at < units.length - 1; at++) rest /= base;
  return `${rest.toFixed(rest < 99.95 ? 1 : 0)}${units[at] ?? ""}`;
}
