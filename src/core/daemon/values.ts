// What the values of a configuration and of the command line may be: one rule for both.

import { SECTOR_BYTES } from "../../wire/ata.ts";
import { MAC_BYTES, parseMac } from "../../wire/ethernet.ts";

/** vblade takes as few. */
export const BUFFERS_MIN = 1;
/** The advert's field has 16 bits. */
export const BUFFERS_MAX = 65_535;
/** What the Linux driver uses at most. */
export const BUFFERS_DEFAULT = 64;
export const WORKERS_MAX = 256;
export const POLL_US_MAX = 1_000_000;
export const DROP_PERCENT_MIN = 0.01;
export const DROP_PERCENT_MAX = 99;
/** A few frames: a limit that is smaller was meant to be something else. */
export const CAPTURE_BYTES_MIN = 65_536;
/** The smallest image that can be made. */
export const CREATE_BYTES_MIN = SECTOR_BYTES;

/** Linux's ALTIFNAMSIZ without the closing zero; a name that is no alternative has up to 15. */
const INTERFACE_NAME_CHARACTERS_MAX = 127;

/** Bytes of a plain number or one with a suffix; undefined when it is neither or no whole number. */
export function parseBytes(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)([kmgtp]?)(?:i?b)?$/i.exec(text);
  if (match === null) return undefined;
  const bytes = Number(match[1]) * 1024 ** " kmgtp".indexOf(match[2]?.toLowerCase() || " ");
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Whether an interface may be called so. */
export function isInterfaceName(text: string): boolean {
  return /^[^\s/:,]+$/.test(text) && text.length <= INTERFACE_NAME_CHARACTERS_MAX &&
    text !== "." && text !== "..";
}

/** Whether a daemon may be called so. */
export function isDaemonName(text: string): boolean {
  return /^[A-Za-z0-9][\w.-]{0,31}$/.test(text);
}

/** Whether an interface is meant by a name, or by a pattern with `*` and `?`. */
export function isInterfaceMeant(pattern: string, name: string): boolean {
  if (!/[*?]/.test(pattern)) return pattern === name;
  const escaped = pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${escaped.replaceAll("*", ".*").replaceAll("?", ".")}$`).test(name);
}

/**
 * Digits of a MAC address, or of how addresses begin: `52:54:00:*`, `525400*`, `*`. See
 * `AclConfig`. Undefined when the text is neither.
 */
export function parseMacPattern(text: string): string | undefined {
  const mac = parseMac(text);
  if (mac !== undefined) return mac.toHex();
  const match = /^((?:[0-9a-f]{2}[:-]?)*)\*$/i.exec(text);
  const digits = match?.[1]?.replace(/[:-]/g, "").toLowerCase();
  return digits === undefined || digits.length >= 2 * MAC_BYTES ? undefined : digits;
}

/** The names and addresses of an /etc/ethers: `52:54:0:12:34:56 name` on each line. */
export function parseEthers(text: string): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [address = "", name] = line.replace(/#.*/, "").trim().split(/\s+/);
    // A byte may have one digit there (ethers(5)).
    const mac = parseMac(address.split(":").map((byte) => byte.padStart(2, "0")).join(":"));
    if (mac !== undefined && name !== undefined && !names.has(name)) names.set(name, mac.toHex());
  }
  return names;
}

/** The word of these that somebody may have meant; undefined when none is near. */
export function nearest(word: string, words: Iterable<string>): string | undefined {
  const bare = (text: string) => text.toLowerCase().replace(/[-_ ]/g, "");
  let best: string | undefined;
  let least = Infinity;
  for (const candidate of words) {
    const [one, other] = [bare(word), bare(candidate)];
    // A part of the word is near as well: `interface`, `iface`, `interfaces`.
    const contained = one.length >= 3 && other.length >= 3 &&
      (one.startsWith(other) || other.startsWith(one));
    const distance = contained ? 0.5 : distanceOf(one, other);
    if (distance < least) [best, least] = [candidate, distance];
  }
  return least <= Math.max(1, Math.min(3, word.length / 3)) ? best : undefined;
}

/** Letters to change, put in, take out or swap with the next one (Damerau, Levenshtein). */
function distanceOf(one: string, other: string): number {
  // Nobody's slip of the pen is longer, and a hostile text costs nothing.
  if (one.length > 40 || other.length > 40) return Infinity;
  let [before, row] = [[] as number[], Array.from({ length: other.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++) {
      const same = one[i - 1] === other[j - 1] ? 0 : 1;
      let least = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + same);
      if (i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1]) {
        least = Math.min(least, before[j - 2]! + 1);
      }
      next.push(least);
    }
    [before, row] = [row, next];
  }
  return row[other.length]!;
}
