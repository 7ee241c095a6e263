// The configuration file as a plan: every mistake in it at once, each with its line.

import type { Address } from "../../wire/aoe.ts";
import { formatAddress, parseAddress } from "../../wire/aoe.ts";
import { SECTOR_BYTES } from "../../wire/ata.ts";
import { isNbdUri, parseNbdUri } from "../../wire/nbd_uri.ts";
import type { AclConfig } from "../target/acl.ts";
import { Fields } from "./fields.ts";
import type { KnownKeys } from "./fields.ts";
import type { DaemonPlan, ExportPlan } from "./plan.ts";
import { isTable, isTableList, parseToml } from "./toml.ts";
import type { Mistake, TomlTable } from "./toml.ts";
import {
  BUFFERS_DEFAULT,
  BUFFERS_MAX,
  BUFFERS_MIN,
  CAPTURE_BYTES_MIN,
  CREATE_BYTES_MIN,
  DROP_PERCENT_MAX,
  DROP_PERCENT_MIN,
  isDaemonName,
  isInterfaceName,
  nearest,
  parseEthers,
  parseMacPattern,
  POLL_US_MAX,
  WORKERS_MAX,
} from "./values.ts";

/** What a configuration is read with. */
export interface PlanContext {
  /** Of the file, from the root: what paths are relative to. */
  readonly folder: string;
  /** The text of /etc/ethers, which gives addresses names. */
  readonly ethers: string;
}

/** A plan, or what keeps it from being one. */
export interface ParsedPlan {
  readonly plan: DaemonPlan | undefined;
  /** By line. */
  readonly mistakes: readonly Mistake[];
}

/** What an export may be told, all of it optional: in [defaults] and in [[export]] alike. */
type ExportWish = {
  -readonly [Key in Exclude<keyof ExportPlan, "address" | "path" | "line">]?:
    | ExportPlan[Key]
    | undefined;
};

/** Where the tables of a configuration are read with. */
interface Reading {
  readonly mistakes: Mistake[];
  readonly known: KnownKeys;
  readonly ethers: ReadonlyMap<string, string>;
  readonly acls: ReadonlyMap<string, AclConfig>;
}

const TABLES = ["daemon", "defaults", "export", "acl", "initiator"];
/** What people call things elsewhere. */
const SYNONYMS: Readonly<Record<string, string>> = {
  file: "path",
  filename: "path",
  device: "path",
  image: "path",
  source: "path",
  netif: "interfaces",
  iface: "interfaces",
  ifaces: "interfaces",
  macs: "mac",
  allow: "accept",
  deny: "reject",
  threads: "workers",
  readonly: "read-only",
  ro: "read-only",
  state_dir: "state",
  socket: "control",
};
const RIGHT_INTERFACE = 'the name of an interface or a pattern, as in "eth0" or "eth*"';
const RIGHT_MAC =
  "a MAC address, the beginning of some, as in 52:54:00:*, or a name of /etc/ethers";

/** Reads a configuration. Nothing is opened or asked. */
export function parsePlan(text: string, context: PlanContext): ParsedPlan {
  const { table, mistakes } = parseToml(text);
  const known: KnownKeys = new Map();
  const ethers = parseEthers(context.ethers);
  const bare = { mistakes, known };
  const readers: Fields[] = [];
  const fieldsOf = (title: string, table: TomlTable | undefined) => {
    const fields = new Fields(title, table, bare);
    readers.push(fields);
    return fields;
  };
  const tables = tablesOf(table, mistakes);
  const acls = new Map([...tables.acls].map(([name, table]) => {
    return [name, readAcl(fieldsOf("[acl.NAME]", table), ethers)];
  }));
  // So that its keys are known where the file has none.
  readAcl(fieldsOf("[acl.NAME]", undefined), ethers);
  const reading = { mistakes, known, ethers, acls };
  const defaults = readWish(fieldsOf("[defaults]", tables.defaults), reading);
  const exports = tables.exports.flatMap((table) => {
    const fields = fieldsOf("[[export]]", table);
    return readExport(fields, defaults, reading, context.folder) ?? [];
  });
  if (tables.exports.length === 0) {
    const none = new Fields("[[export]]", undefined, { mistakes: [], known });
    readExport(none, defaults, reading, context.folder);
  }
  const daemon = readDaemon(fieldsOf("[daemon]", tables.daemon), context.folder);
  const initiator = readInterfaces(fieldsOf("[initiator]", tables.initiator)) ?? [];
  refuseTwice(exports, mistakes);
  for (const fields of readers) fields.refuseStrangers(known, SYNONYMS);
  mistakes.sort((one, other) => one.line - other.line);
  const plan = { ...daemon, exports, initiatorInterfaces: initiator };
  return { plan: mistakes.length === 0 ? plan : undefined, mistakes };
}

/** Reads what a configuration says to initiators; what is wrong elsewhere is not their business. */
export function parseInitiator(
  text: string,
): { readonly interfaces: readonly string[]; readonly mistakes: readonly Mistake[] } {
  const { table } = parseToml(text);
  const mistakes: Mistake[] = [];
  const value = table.entries.get("initiator")?.value;
  const initiator = value !== undefined && isTable(value) ? value : undefined;
  const fields = new Fields("[initiator]", initiator, { mistakes, known: new Map() });
  const interfaces = readInterfaces(fields) ?? [];
  fields.refuseStrangers(new Map(), SYNONYMS);
  return { interfaces, mistakes };
}

/** The tables by their kind; what is none of them is a mistake. */
function tablesOf(root: TomlTable, mistakes: Mistake[]) {
  const single = (name: string): TomlTable | undefined => {
    const entry = root.entries.get(name);
    if (entry === undefined || isTable(entry.value)) return entry?.value as TomlTable | undefined;
    const text = `There is one ${name}: write [${name}] above its keys`;
    mistakes.push({ line: entry.line, text });
  };
  for (const [name, { line, value }] of root.entries) {
    if (TABLES.includes(name)) continue;
    const what = isTable(value) || isTableList(value) ? `[${name}]` : `"${name}"`;
    const meant = nearest(name, TABLES);
    const hint = meant === undefined
      ? `there are [daemon], [defaults], [[export]], [acl.NAME] and [initiator]`
      : `did you mean ${headerOf(meant)}?`;
    mistakes.push({ line, text: `A configuration has no ${what} at its top: ${hint}` });
  }
  const exports = root.entries.get("export");
  const listed = exports === undefined || isTableList(exports.value);
  if (!listed) mistakes.push({ line: exports.line, text: "Write [[export]] above each export" });
  const acls = [...single("acl")?.entries ?? []].flatMap(([name, { line, value }]) => {
    if (isTable(value)) return [[name, value] as const];
    mistakes.push({ line, text: `An ACL has a name: write [acl.NAME] above "${name}"` });
    return [];
  });
  return {
    acls: new Map(acls),
    defaults: single("defaults"),
    daemon: single("daemon"),
    initiator: single("initiator"),
    exports: listed ? exports?.value as readonly TomlTable[] ?? [] : [],
  };
}

function headerOf(name: string): string {
  return name === "export" ? "[[export]]" : name === "acl" ? "[acl.NAME]" : `[${name}]`;
}

function readExport(
  fields: Fields,
  defaults: ExportWish,
  reading: Reading,
  folder: string,
): ExportPlan | undefined {
  const address = readAddress(fields);
  const given = fields.text("path", "the path of a file or device, or an NBD URI", nonEmpty);
  const own = readWish(fields, reading);
  const wish: ExportWish = { ...defaults, ...own };
  if (!fields.has("address")) fields.refuse(undefined, 'An export has an address, as in "e1.1"');
  if (!fields.has("path")) fields.refuse(undefined, "An export has a path: what is to be served?");
  if (wish.interfaces === undefined && !fields.has("interfaces")) {
    fields.refuse(
      undefined,
      'An export has interfaces, as in ["eth0"]: say them here or in [defaults]',
    );
  }
  if (given !== undefined) refuseForNbd(fields, given, own);
  if (address === undefined || given === undefined) return undefined;
  const direct = wish.direct ?? false;
  return {
    address,
    path: isNbdUri(given) ? given : absolute(given, folder),
    interfaces: wish.interfaces ?? [],
    // What is said for all is not meant for what cannot do it.
    direct: direct && !isNbdUri(given),
    sync: wish.sync ?? false,
    readOnly: wish.readOnly ?? false,
    cacheFixed: wish.cacheFixed ?? false,
    offsetBytes: wish.offsetBytes ?? 0,
    lengthBytes: wish.lengthBytes,
    createBytes: wish.readOnly === true || isNbdUri(given) ? undefined : wish.createBytes,
    format: wish.format,
    force: wish.force ?? false,
    acl: wish.acl,
    line: fields.line,
  };
}

function readAddress(fields: Fields): Address | undefined {
  const right = 'a shelf from 0 to 65534 and a slot from 0 to 254, as in "e1.1"';
  return fields.text("address", right, parseAddress);
}

/** The options of an export, each under the long name that it has on the command line. */
function readWish(fields: Fields, reading: Reading): ExportWish {
  const sectors = (key: string, min: number) =>
    fields.bytes(key, { min, unit: SECTOR_BYTES, multiple: SECTOR_BYTES });
  const writeCache = fields.choice("write-cache", ["free", "fixed"]);
  const wish: ExportWish = {
    interfaces: readInterfaces(fields),
    direct: fields.flag("direct"),
    sync: fields.flag("sync"),
    readOnly: fields.flag("read-only"),
    cacheFixed: writeCache === undefined ? undefined : writeCache === "fixed",
    offsetBytes: sectors("offset", 0),
    lengthBytes: sectors("length", SECTOR_BYTES),
    createBytes: fields.bytes("size", { min: CREATE_BYTES_MIN, unit: 1, multiple: 1 }),
    format: fields.choice("format", ["raw"]),
    force: fields.flag("force"),
    acl: readWhom(fields, reading),
  };
  if (wish.readOnly === true && wish.cacheFixed === true) {
    fields.refuse("write-cache", "A read-only export has no write cache: leave out one of the two");
  }
  if (wish.readOnly === true && wish.createBytes !== undefined) {
    fields.refuse("size", "A new image would be empty for ever: leave out size or read-only");
  }
  // What is absent here is not absent in [defaults].
  for (const key of Object.keys(wish) as (keyof ExportWish)[]) {
    if (wish[key] === undefined) delete wish[key];
  }
  return wish;
}

/** Who may use an export: `acl`, by name, or `mac`, as behind -m. */
function readWhom(fields: Fields, { ethers, acls, mistakes, known }: Reading) {
  const entry = fields.entry("acl");
  const macs = readPatterns(fields, "mac", ethers);
  if (entry !== undefined && fields.has("mac")) {
    return fields.refuse("mac", "There is an acl already: put these addresses into it");
  }
  if (macs !== undefined) return { accept: macs, reject: [], readOnly: [] };
  if (entry === undefined) return undefined;
  if (isTable(entry.value)) {
    const inline = new Fields("[acl.NAME]", entry.value, { mistakes, known });
    const acl = readAcl(inline, ethers);
    inline.refuseStrangers(known, SYNONYMS);
    return acl;
  }
  const names = fields.list("acl", "the name of an ACL");
  if (names === undefined) return undefined;
  const parts = names.flatMap((name) => {
    const acl = acls.get(name);
    if (acl !== undefined) return [acl];
    const meant = nearest(name, acls.keys());
    const hint = meant === undefined ? `write [acl.${name}]` : `did you mean "${meant}"?`;
    fields.refuseItem("acl", name, `There is no ACL "${name}": ${hint}`);
    return [];
  });
  return {
    accept: parts.flatMap((acl) => acl.accept),
    reject: parts.flatMap((acl) => acl.reject),
    readOnly: parts.flatMap((acl) => acl.readOnly),
  };
}

function readAcl(fields: Fields, ethers: ReadonlyMap<string, string>): AclConfig {
  const lists = {
    accept: readPatterns(fields, "accept", ethers) ?? [],
    reject: readPatterns(fields, "reject", ethers) ?? [],
    readOnly: readPatterns(fields, "read-only", ethers) ?? [],
  };
  const seen = new Map<string, string>();
  for (
    const [key, list] of [
      ["accept", lists.accept],
      ["reject", lists.reject],
      ["read-only", lists.readOnly],
    ] as const
  ) {
    for (const pattern of new Set(list)) {
      const other = seen.get(pattern);
      const name = pattern === "" ? "*" : pattern;
      if (other !== undefined) {
        fields.refuse(key, `"${name}" is in "${other}" as well as in "${key}": which is meant?`);
      }
      seen.set(pattern, key);
    }
  }
  return lists;
}

function readPatterns(
  fields: Fields,
  key: string,
  ethers: ReadonlyMap<string, string>,
): readonly string[] | undefined {
  const items = fields.list(key, RIGHT_MAC);
  if (items?.length === 0) {
    return fields.refuse(key, `An empty "${key}" says nothing: leave it out, or name somebody`);
  }
  return items?.flatMap((item) => {
    const pattern = parseMacPattern(item) ?? ethers.get(item);
    if (pattern !== undefined) return [pattern];
    const meant = nearest(item, ethers.keys());
    const hint = meant === undefined ? "" : `: did you mean "${meant}"?`;
    const text =
      `"${item}" is no MAC address, no beginning of one, as in 52:54:00:*, and no name ` +
      `in /etc/ethers${hint}`;
    fields.refuseItem(key, item, text);
    return [];
  });
}

function readInterfaces(fields: Fields): readonly string[] | undefined {
  const given = fields.list("interfaces", RIGHT_INTERFACE);
  if (given === undefined) return undefined;
  if (given.length === 0) return fields.refuse("interfaces", "At least one interface is needed");
  const names = given.flatMap((item) => item.split(",")).map((name) => name.trim());
  for (const name of names) {
    if (!isInterfaceName(name)) {
      fields.refuseItem("interfaces", name, `"${name}" is not ${RIGHT_INTERFACE}`);
    }
  }
  return [...new Set(names)];
}

function readDaemon(
  fields: Fields,
  folder: string,
): Omit<DaemonPlan, "exports" | "initiatorInterfaces"> {
  const path = (key: string) => {
    const given = fields.text(key, "the path of a file", nonEmpty);
    return given === undefined ? undefined : absolute(given, folder);
  };
  const name = "a name of up to 32 letters, digits, dots and dashes";
  const plan = {
    name: fields.text("name", name, (text) => isDaemonName(text) ? text : undefined),
    stateDir: fields.textOrFlag("state", "the path of a folder, from / on") ?? true,
    control: fields.flag("control") ?? true,
    metrics: fields.text(
      "metrics",
      'HOST:PORT, as in "127.0.0.1:9477", PORT, or unix:PATH',
      metricsPlace,
    ),
    user: fields.text("user", "the name of a user", (text) => /^[^\s:/]+$/.exec(text)?.[0]),
    waits: true,
    workers: fields.number("workers", { min: 1, max: WORKERS_MAX }),
    buffers: fields.number("buffers", { min: BUFFERS_MIN, max: BUFFERS_MAX }) ?? BUFFERS_DEFAULT,
    pollUs: fields.number("poll", { min: 0, max: POLL_US_MAX }) ?? 0,
    mapBytes: fields.bytes("map", { min: 1, unit: 1, multiple: 1 }),
    uring: !(fields.flag("no-uring") ?? false),
    ring: !(fields.flag("no-ring") ?? false),
    capture: path("capture"),
    captureBytes: fields.bytes("capture-size", { min: CAPTURE_BYTES_MIN, unit: 1, multiple: 1 }),
    dropPercent: fields.number("drop", { min: DROP_PERCENT_MIN, max: DROP_PERCENT_MAX }, "any"),
  };
  if (fields.has("capture-size") && !fields.has("capture")) {
    fields.refuse("capture-size", "capture-size is for a capture: name its file");
  }
  return plan;
}

/** What an NBD export cannot be told, as behind the command line. */
function refuseForNbd(fields: Fields, path: string, own: ExportWish): void {
  if (!isNbdUri(path)) return;
  const parsed = parseNbdUri(path);
  if (typeof parsed === "string") fields.refuse("path", parsed);
  if (own.direct === true) {
    fields.refuse("direct", "direct goes around the page cache, and an NBD export has none here");
  }
  if (own.createBytes !== undefined) {
    fields.refuse("size", "size makes image files, and an NBD export is none: leave it out");
  }
}

/** An address or a file that two exports have; readers may share a file. */
function refuseTwice(exports: readonly ExportPlan[], mistakes: Mistake[]): void {
  const addresses = new Map<string, ExportPlan>();
  const paths = new Map<string, ExportPlan>();
  for (const ex of exports) {
    const address = formatAddress(ex.address.shelf, ex.address.slot);
    const holder = addresses.get(address);
    if (holder !== undefined) {
      const text = `${address} is line ${holder.line}'s already: each export needs its own address`;
      mistakes.push({ line: ex.line, text });
    } else addresses.set(address, ex);
    const other = paths.get(ex.path);
    const shared = other !== undefined && other.readOnly && ex.readOnly && !isNbdUri(ex.path);
    if (other !== undefined && !shared) {
      const text =
        `"${ex.path}" is line ${other.line}'s already: two exports of it would have to ` +
        `be read-only`;
      mistakes.push({ line: ex.line, text });
    }
    if (other === undefined) paths.set(ex.path, ex);
  }
}

/** As behind --metrics: HOST:PORT, PORT of the loopback interface, or unix:PATH. */
function metricsPlace(text: string): string | undefined {
  if (/^(unix:|\/)./.test(text)) return text;
  const [, port] = /^(?:(?:\[[0-9a-f:.]+\]|[^\s:[\]/]+):)?(\d{1,5})$/i.exec(text) ?? [];
  return Number(port) <= 65_535 ? text : undefined;
}

function nonEmpty(text: string): string | undefined {
  return text === "" || text.includes("\0") ? undefined : text;
}

/** A path from the root, without what changes nothing: the same file has the same path. */
function absolute(path: string, folder: string): string {
  const whole = path.startsWith("/") ? path : `${folder}/${path}`;
  return whole.replace(/\/(?:\.?\/)+/g, "/");
}
