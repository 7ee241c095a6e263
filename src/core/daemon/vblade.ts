// What vblade's own ways to start at boot say, as exports of a configuration: the lines of
// /etc/vblade.conf, the shell fragments of /etc/vblade.conf.d (vblade-persistence(5)), and the folders
// of vblade-persist. Whatever is not understood is kept, word for word, for the user to see.

import { formatAddress, parseAddress } from "../../wire/aoe.ts";
import { parseMac } from "../../wire/ethernet.ts";
import { BUFFERS_MAX } from "./values.ts";

/** One vblade process that would be started. */
export interface VbladeExport {
  /** Where it is said, as in `/etc/vblade.conf:3`. */
  readonly from: string;
  /** As in `e1.1`. */
  readonly address: string;
  readonly path: string;
  readonly interfaces: readonly string[];
  readonly options: VbladeOptions;
  /** Whether it is not started at boot. */
  readonly down: boolean;
}

/** What stands behind vblade's options. */
export interface VbladeOptions {
  readonly direct: boolean;
  readonly sync: boolean;
  readonly readOnly: boolean;
  readonly buffers: number | undefined;
  /** In sectors. */
  readonly offset: number | undefined;
  readonly length: number | undefined;
  readonly macs: readonly string[];
}

/** What is not understood, and why. */
export interface VbladeStranger {
  readonly from: string;
  readonly text: string;
  readonly why: string;
}

/** What a text says. */
export interface VbladeReading {
  readonly exports: readonly VbladeExport[];
  readonly strangers: readonly VbladeStranger[];
}

/** The variables of a fragment or of vblade-persist's env folder, in small letters. */
export type VbladeVariables = ReadonlyMap<string, string>;

const NO_OPTIONS: VbladeOptions = {
  ...{ direct: false, sync: false, readOnly: false },
  ...{ buffers: undefined, offset: undefined, length: undefined, macs: [] },
};
const VARIABLES = ["shelf", "slot", "netif", "filename", "options", "ionice"];

/** Whether a text is a shell fragment, and not lines of words. */
export function isVbladeFragment(text: string): boolean {
  return text.split("\n").some((line) => /^\s*\w+=/.test(line));
}

/** The lines of an /etc/vblade.conf: `netif shelf slot file [mac,mac...]`. */
export function readVbladeLines(text: string, file: string): VbladeReading {
  const exports: VbladeExport[] = [];
  const strangers: VbladeStranger[] = [];
  for (const [i, line] of text.split("\n").entries()) {
    const words = line.replace(/(^|\s)#.*/, "").trim().split(/\s+/).filter((word) => word !== "");
    if (words.length === 0) continue;
    const from = `${file}:${i + 1}`;
    const [netif = "", shelf = "", slot = "", path = "", macs, ...rest] = words;
    const variables = new Map(Object.entries({ netif, shelf, slot, filename: path }));
    if (macs !== undefined) variables.set("options", `-m ${macs}`);
    const read = rest.length > 0 || path === ""
      ? "a line is: netif shelf slot file [mac,mac...]"
      : exportOf(variables, from);
    if (typeof read === "string") strangers.push({ from, text: line.trim(), why: read });
    else exports.push(read);
  }
  return { exports, strangers };
}

/** One fragment of /etc/vblade.conf.d. */
export function readVbladeFragment(text: string, file: string): VbladeReading {
  const strangers: VbladeStranger[] = [];
  const variables = new Map<string, string>();
  for (const [i, line] of text.split("\n").entries()) {
    if (/^\s*(#|$)/.test(line)) continue;
    const from = `${file}:${i + 1}`;
    const refuse = (why: string) => strangers.push({ from, text: line.trim(), why });
    const [, given, value] = /^\s*(\w+)=("[^"]*"|'[^']*'|[^\s"'#]*)\s*(#.*)?$/.exec(line) ?? [];
    // What vblade-persist-convert writes has capitals.
    const name = given?.toLowerCase();
    if (name === undefined || value === undefined) refuse("it is no NAME=VALUE");
    else if (!VARIABLES.includes(name)) refuse("vblade knows no such variable");
    else if (/[$`\\]/.test(value) && !value.startsWith("'")) refuse("only a shell knows its value");
    else if (name === "ionice") {
      refuse("aoe serve knows no ionice, but its unit IOSchedulingClass=");
    } else variables.set(name, value.replace(/^(["'])(.*)\1$/, "$2"));
  }
  if (variables.size === 0) return { exports: [], strangers };
  const read = exportOf(variables, file);
  if (typeof read !== "string") return { exports: [read], strangers };
  const all = [...variables].map(([name, value]) => `${name}=${value}`).join(" ");
  return { exports: [], strangers: [...strangers, { from: file, text: all, why: read }] };
}

/**
 * One folder of vblade-persist.
 *
 * @param env The files of its env folder by name.
 * @param macs Names of the files of its macs folder.
 * @param down Whether runit leaves it alone at boot.
 */
export function readVbladePersist(
  folder: string,
  env: ReadonlyMap<string, string>,
  macs: readonly string[],
  down: boolean,
): VbladeReading {
  const strangers: VbladeStranger[] = [];
  const variables = new Map<string, string>();
  for (const [name, value] of env) {
    const known = name === "SOURCE" ? "filename" : name.toLowerCase();
    if (["netif", "shelf", "slot", "filename"].includes(known)) variables.set(known, value.trim());
    else {
      const from = `${folder}/env/${name}`;
      strangers.push({ from, text: value.trim(), why: "vblade-persist has no such file" });
    }
  }
  if (macs.length > 0) variables.set("options", `-m ${macs.join(",")}`);
  const read = exportOf(variables, folder);
  if (typeof read !== "string") return { exports: [{ ...read, down }], strangers };
  const all = [...variables].map(([name, value]) => `${name}=${value}`).join(" ");
  return { exports: [], strangers: [...strangers, { from: folder, text: all, why: read }] };
}

/**
 * The exports, those that are one disk on several interfaces put together: vblade has a process for
 * each.
 */
export function mergeVbladeExports(exports: readonly VbladeExport[]): VbladeExport[] {
  const merged: VbladeExport[] = [];
  const same = (one: VbladeExport, other: VbladeExport) =>
    one.address === other.address && one.path === other.path && one.down === other.down &&
    JSON.stringify(one.options) === JSON.stringify(other.options);
  for (const ex of exports) {
    const at = merged.findIndex((other) => same(ex, other));
    if (at < 0) merged.push(ex);
    else {
      const { interfaces, from } = merged[at]!;
      merged[at] = {
        ...ex,
        interfaces: [...new Set([...interfaces, ...ex.interfaces])],
        from: `${from}, ${ex.from}`,
      };
    }
  }
  return merged;
}

function exportOf(variables: VbladeVariables, from: string): VbladeExport | string {
  const missing = ["shelf", "slot", "netif", "filename"]
    .filter((name) => (variables.get(name) ?? "") === "");
  if (missing.length > 0) {
    return `${missing.join(" and ")} ${missing.length > 1 ? "are" : "is"} missing`;
  }
  const [shelf, slot] = [variables.get("shelf")!, variables.get("slot")!];
  const address = parseAddress(`${shelf}.${slot}`);
  if (address === undefined) return "its shelf is not from 0 to 65534, or its slot not to 254";
  const options = optionsOf(variables.get("options") ?? "");
  if (typeof options === "string") return options;
  return {
    from,
    address: formatAddress(address.shelf, address.slot),
    path: variables.get("filename")!,
    interfaces: variables.get("netif")!.split(","),
    options,
    down: false,
  };
}

/** vblade(8)'s options, as getopt reads them. */
function optionsOf(text: string): VbladeOptions | string {
  const options: { -readonly [Key in keyof VbladeOptions]: VbladeOptions[Key] } = { ...NO_OPTIONS };
  const words = text.split(/\s+/).filter((word) => word !== "");
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (!/^-[a-z]/.test(word)) return `"${word}" is no option of vblade`;
    for (let at = 1; at < word.length; at++) {
      const letter = word[at]!;
      if (letter === "d") options.direct = true;
      else if (letter === "s") options.sync = true;
      else if (letter === "r") options.readOnly = true;
      else if ("bolm".includes(letter)) {
        const value = at + 1 < word.length ? word.slice(at + 1) : words[++i] ?? "";
        const refusal = setValue(options, letter, value);
        if (refusal !== undefined) return refusal;
        break;
      } else return `-${letter} is no option of vblade`;
    }
  }
  return options;
}

function setValue(
  options: { -readonly [Key in keyof VbladeOptions]: VbladeOptions[Key] },
  letter: string,
  value: string,
): string | undefined {
  if (letter === "m") {
    const macs = value.split(",").map((mac) => parseMac(mac)?.toHex());
    if (macs.includes(undefined)) return `"${value}" is no list of MAC addresses`;
    options.macs = macs.map((mac) => mac!.match(/../g)!.join(":"));
    return undefined;
  }
  const number = /^\d{1,15}$/.test(value) ? Number(value) : undefined;
  const most = letter === "b" ? BUFFERS_MAX : Number.MAX_SAFE_INTEGER / 512;
  if (number === undefined || number > most) return `-${letter} ${value} is no number`;
  if (letter === "b") options.buffers = number;
  else if (letter === "o") options.offset = number;
  else options.length = number;
  return undefined;
}
