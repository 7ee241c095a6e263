// What every command says to its user: lines and JSON to stdout, warnings and errors to stderr.
// Colours only on a terminal, and none when NO_COLOR is set (https://no-color.org).
//
// A command that only prints writes each line at once, and fails when standard output does. One that
// serves a disk, or hears signals, calls `writeWithoutWaiting` first.

import { EXIT_FAILED } from "./exit_codes.ts";
import { OutputQueue, reasonOf } from "./output_queue.ts";

/** An error whose message is meant for the user: one clear sentence, no stack. */
export class Failure extends Error {
  /** What the process exits with: 1 failed, 2 wrong use. */
  readonly exitCode: number;

  constructor(message: string, exitCode = 1) {
    super(message);
    this.name = "Failure";
    this.exitCode = exitCode;
  }
}

/** The styles of {@linkcode paint}, as SGR codes. */
const SGR = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;

/** syslog(3)'s levels, as far as they are used. */
const SEVERITIES = { error: 3, warning: 4, info: 6 } as const;

/** Width of a terminal that does not say how wide it is, and of everything that is no terminal. */
const WIDTH_DEFAULT = 80;

/** How long one write waits for a reader that lets a non-blocking pipe run full. */
const RETRY_MS = 5;
/** How long the last lines of one that serves may take: whoever stops it waits. */
const FINISH_MS_MAX = 1000;

/** What a terminal must not be sent in a text of others, nor a reader of JSON mistake. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
/** Our own colours are among it, and the lines of a longer text; no colour hides (8). */
const UNSEEN_BUT_OURS = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}](?:\[(?!(?:\d+;)*0*8[;m])[\d;]{1,8}m)?/gu;

const encoder = new TextEncoder();
const journals = new Map<unknown, boolean>();
let stdoutOpen = true;
let stdoutFailure: string | undefined;
let queue: OutputQueue | undefined;
let countsLost = false;
let hurried = false;
let json = false;

/**
 * From here on nothing that is written is waited for: the thread that hears signals must not stand
 * in a write. `finishOutput` waits for what is left.
 *
 * @param lost What becomes of lines that cannot be written: a command that serves counts them and
 * says so when it can again; of one that prints, standard output has failed.
 */
export function writeWithoutWaiting(lost: "counted" | "failure"): void {
  if (queue !== undefined) return;
  countsLost = lost === "counted";
  queue = new OutputQueue(!countsLost);
  queue.open(
    Deno.stdout,
    (lines, reason) =>
      json
        ? formatJson({ event: "lost", lines, reason })
        : `aoe: ${counted(lines, "line")} could not be written here: ${reason}`,
  );
  queue.open(
    Deno.stderr,
    (lines, reason) => `aoe: ${counted(lines, "line")} could not be written here: ${reason}`,
  );
}

/** Whoever has sent a signal does not wait for a reader that takes its time. */
export function hurryOutput(): void {
  hurried = true;
}

/**
 * Waits for what has not been written yet: for a second at most when a command serves, or was told
 * to end.
 *
 * @returns What the process exits with: `code`, unless what was to be printed could not be.
 */
export async function finishOutput(code: number): Promise<number> {
  await queue?.finish(countsLost || hurried ? FINISH_MS_MAX : Infinity);
  const lost = queue?.lostOf(Deno.stdout);
  if (countsLost && lost !== undefined) {
    printError(`aoe: Standard output has not got ${counted(lost.lines, "line")}: ${lost.reason}`);
    await queue?.finish(FINISH_MS_MAX);
  }
  const failure = countsLost ? undefined : stdoutFailure ?? lost?.reason;
  if (failure === undefined) return code;
  // Whatever else went wrong has been told; this is the last word.
  queue = undefined;
  printError(`aoe: Standard output cannot be written: ${failure}`);
  return code === 0 ? EXIT_FAILED : code;
}

/**
 * Writes one line to stdout.
 *
 * @returns false once nobody reads any more (`aoe discover | head -1`), or it cannot be written: the
 * line went nowhere, and a command that has nothing else to do may end; one that serves goes on.
 */
export function printLine(line: string): boolean {
  const text = journalLine(visible(line, hasColors(Deno.stdout)), Deno.stdout, "info") + "\n";
  if (queue !== undefined) return queue.add(Deno.stdout, text);
  if (stdoutOpen) stdoutOpen = writeAll(Deno.stdout, text);
  return stdoutOpen;
}

/** Writes one value as a line of JSON to stdout. Returns as {@linkcode printLine}. */
export function printJson(value: unknown): boolean {
  json = true;
  return printLine(formatJson(value));
}

/** A value as one line of JSON, in which nothing is unseen: terminals read it too. */
export function formatJson(value: unknown): string {
  return JSON.stringify(value).replace(
    UNSEEN,
    (character) =>
      character.split("").map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
        .join(""),
  );
}

/**
 * Writes one line to stderr.
 *
 * @param severity For systemd's journal, where the line goes there.
 */
export function printError(line: string, severity: keyof typeof SEVERITIES = "error"): void {
  const text = journalLine(visible(line, hasColors(Deno.stderr)), Deno.stderr, severity) + "\n";
  if (queue !== undefined) queue.add(Deno.stderr, text);
  else writeAll(Deno.stderr, text);
}

/** Tells the user on stderr what will bite, though the command goes on. */
export function warn(sentence: string): void {
  printError(`${paint("aoe: warning:", "yellow", Deno.stderr)} ${sentence}`, "warning");
}

/** The line as the journal wants it, with its severity, where it goes there (sd-daemon(3)). */
function journalLine(
  line: string,
  stream: typeof Deno.stdout | typeof Deno.stderr,
  severity: keyof typeof SEVERITIES,
): string {
  if (!isJournal(stream)) return line;
  return line.split("\n").map((part) => `<${SEVERITIES[severity]}>${part}`).join("\n");
}

/** Whether a stream is the journal's, and not a file or pipe that somebody has put in its place. */
function isJournal(stream: typeof Deno.stdout | typeof Deno.stderr): boolean {
  const journal = Deno.env.get("JOURNAL_STREAM");
  if (journal === undefined) return false;
  const known = journals.get(stream);
  if (known !== undefined) return known;
  let is = false;
  try {
    const { dev, ino } = Deno.statSync(`/proc/self/fd/${stream === Deno.stdout ? 1 : 2}`);
    is = journal === `${dev}:${ino}`;
  } catch {
    // Then it is none.
  }
  journals.set(stream, is);
  return is;
}

/** A text without line breaks. */
export function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, " ");
}

/** What Optique says of a mistake, as our own errors are: one line, and no final period. */
export function oneSentence(text: string): string {
  return oneLine(text).replace(/\.$/, "")
    .replace(/^Expected an? (.+), but too few arguments$/, "Missing $1: --help says what it may be")
    .replace(
      /^Expected at least 1 values, but got only 0$/,
      "Missing an argument: --help shows which",
    );
}

/** Colours a text when the stream that it is meant for is a terminal. */
export function paint(
  text: string,
  style: keyof typeof SGR,
  stream: { isTerminal(): boolean } = Deno.stdout,
): string {
  return hasColors(stream) ? `\x1b[${SGR[style]}m${text}\x1b[0m` : text;
}

/** Whether a stream gets colours. */
export function hasColors(stream: { isTerminal(): boolean }): boolean {
  return (Deno.env.get("NO_COLOR") ?? "") === "" && Deno.env.get("TERM") !== "dumb" &&
    stream.isTerminal();
}

/** Columns of the terminal on stdout, 80 when there is none. */
export function outputWidth(): number {
  try {
    return Deno.consoleSize().columns || WIDTH_DEFAULT;
  } catch {
    return WIDTH_DEFAULT;
  }
}

/**
 * Lays rows out in columns, two spaces apart. Columns named in `right` are aligned to the right.
 * On a terminal the last column is cut to fit it; a pipe gets everything.
 */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  options: { readonly right?: readonly string[]; readonly width?: number } = {},
): string[] {
  const width = options.width ?? (Deno.stdout.isTerminal() ? outputWidth() : Infinity);
  const widths = header.map((name, column) =>
    rows.reduce((most, row) => Math.max(most, row[column]?.length ?? 0), name.length)
  );
  return [header, ...rows].map((row) => {
    const cells = header.map((name, column) => {
      const cell = row[column] ?? "";
      const cellWidth = widths[column] ?? 0;
      return options.right?.includes(name) ? cell.padStart(cellWidth) : cell.padEnd(cellWidth);
    });
    const line = cells.join("  ").trimEnd();
    return line.length > width ? line.slice(0, width - 1) + "…" : line;
  });
}

/**
 * The time in front of a line that tells what has happened, as in `2026-11-28 12:34:56 `; empty
 * where the line goes to systemd's journal, which has it.
 */
export function eventTime(): string {
  if (Deno.env.has("JOURNAL_STREAM")) return "";
  const now = new Date();
  const parts = [now.getMonth() + 1, now.getDate(), now.getHours(), now.getMinutes()];
  const [month, day, hour, minute] = parts.map((part) => String(part).padStart(2, "0"));
  const second = String(now.getSeconds()).padStart(2, "0");
  return `${now.getFullYear()}-${month}-${day} ${hour}:${minute}:${second} `;
}

/** A number and what it counts: `1 flush`, `2 flushes`. */
export function counted(count: number, one: string, several = `${one}s`): string {
  return `${count} ${count === 1 ? one : several}`;
}

/** Writes a size for people: `10.0 GiB`, and the exact bytes below 1 KiB. */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value.toFixed(value < 100 ? 1 : 0)} ${units[unit]}`;
}

/**
 * A config string as a terminal may show it: as it is when that is unmistakable, else in quotes,
 * with `\xNN` for what cannot be printed.
 */
export function quoteConfig(string: Uint8Array): string {
  const text = decodeText(string);
  if (text !== undefined && /^[\p{L}\p{N}\p{P}\p{S} ]*$/u.test(text)) {
    return /^[ "]| $/.test(text) ? `"${text}"` : text;
  }
  let quoted = "";
  for (const byte of string) {
    const printable = byte >= 0x20 && byte < 0x7f;
    quoted += printable ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return `"${quoted}"`;
}

/** The bytes as UTF-8; undefined when they are something else. */
export function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/**
 * A line in which nothing moves a terminal's cursor, hides, or turns what stands behind it.
 *
 * @param colours Whether we paint there; where we do not, a colour is somebody else's.
 */
export function visible(line: string, colours: boolean): string {
  return line.replace(UNSEEN_BUT_OURS, (found) => {
    if (found.startsWith("\n") || colours && found.startsWith("\x1b[")) return found;
    const code = found.codePointAt(0)!;
    return `\\u{${code.toString(16)}}${found.slice(code > 0xffff ? 2 : 1)}`;
  });
}

/** Writes all of a text, waiting for slow readers; false when the reader has gone. */
function writeAll(stream: { writeSync(bytes: Uint8Array): number }, text: string): boolean {
  const bytes = encoder.encode(text);
  for (let at = 0; at < bytes.length;) {
    try {
      at += stream.writeSync(at === 0 ? bytes : bytes.subarray(at));
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) {
        const gone = error instanceof Deno.errors.BrokenPipe;
        if (!gone && stream === Deno.stdout) stdoutFailure = reasonOf(error);
        return false;
      }
      // The other end of an ssh session leaves pipes and terminals non-blocking.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
    }
  }
  return true;
}

/** One line on stderr that is written again and again; nothing at all when that is no terminal. */
export class ProgressLine {
  readonly #shown: boolean;
  #length = 0;

  /** @param wanted Whether it is to be shown. */
  constructor(wanted: boolean) {
    this.#shown = wanted && Deno.stderr.isTerminal();
  }

  /** Puts a text in the place of the last one. */
  show(text: string): void {
    if (!this.#shown) return;
    const line = text.slice(0, outputWidth() - 1);
    this.#write(`\r${line.padEnd(this.#length)}`);
    this.#length = line.length;
  }

  /** Takes the line away, before something else is written. */
  clear(): void {
    if (this.#length === 0) return;
    this.#write(`\r${" ".repeat(this.#length)}\r`);
    this.#length = 0;
  }

  #write(text: string): void {
    if (queue !== undefined) queue.addFleeting(Deno.stderr, text);
    else writeAll(Deno.stderr, text);
  }
}
