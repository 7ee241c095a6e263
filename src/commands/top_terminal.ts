// The terminal as `aoe top` uses it: a screen of its own, redrawn in one write, so that nothing
// flickers, and left as it was found on every way out.

import { textColumns } from "../core/watch/figures.ts";

const SIZE_DEFAULT = { columns: 80, rows: 24 };

// The alternate screen, without a cursor and without wrapping; and back.
const ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l";
// What stands between the two is shown at once, where the terminal knows that.
const BEGIN = "\x1b[?2026h\x1b[H";
const END = "\x1b[J\x1b[?2026l";

const encoder = new TextEncoder();

/** The screen; one at a time. */
export class TopScreen {
  #open = true;
  #shown = "";

  constructor() {
    Deno.stdin.setRaw(true);
    write(ENTER);
  }

  size(): { columns: number; rows: number } {
    try {
      const { columns, rows } = Deno.consoleSize();
      return columns > 0 && rows > 0 ? { columns, rows } : SIZE_DEFAULT;
    } catch {
      return SIZE_DEFAULT;
    }
  }

  /** Shows these lines, no more than there is room for. */
  show(lines: readonly string[]): void {
    if (!this.#open) return;
    const { columns } = this.size();
    const text = BEGIN + lines.map((line) => line + restOfLine(line, columns)).join("\r\n") + END;
    if (text === this.#shown && lines.length > 0) return;
    this.#shown = text;
    write(text);
  }

  /** What is pressed: a character each, or an escape sequence; ends when nobody can press any more. */
  async *keys(): AsyncGenerator<string> {
    const bytes = new Uint8Array(256);
    const decoder = new TextDecoder();
    while (this.#open) {
      let count: number | null;
      try {
        count = await Deno.stdin.read(bytes);
      } catch {
        return;
      }
      if (count === null) return;
      const text = decoder.decode(bytes.subarray(0, count), { stream: true });
      // deno-lint-ignore no-control-regex -- what a terminal sends for keys that are no characters
      for (const [key] of text.matchAll(/\x1b\[[\d;]*[A-Za-z~]|\x1bO[A-Z]|[\s\S]/gu)) yield key;
    }
  }

  /** Leaves the terminal as it was. Closing twice is once. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    write(LEAVE);
    try {
      Deno.stdin.setRaw(false);
    } catch {
      // The terminal is gone.
    }
  }
}

/** What clears the rest of a line; behind a full one it would clear the last character. */
function restOfLine(line: string, columns: number): string {
  // deno-lint-ignore no-control-regex -- the styles take no room
  return textColumns(line.replace(/\x1b\[[\d;]*m/g, "")) < columns ? "\x1b[K" : "";
}

/** A terminal takes a screen in one write; one that is gone takes nothing. */
function write(text: string): void {
  const bytes = encoder.encode(text);
  try {
    for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
  } catch {
    // The terminal is gone, or its reader does not read: the next second has another screen.
  }
}
