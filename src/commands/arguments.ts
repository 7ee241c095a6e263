// What the options and arguments of all commands accept. Every parser here refuses with one
// sentence that says what is allowed; Optique puts the flag's name in front of it.

import type { ExportPlan } from "../core/daemon/plan.ts";
import { type InitiatorSettings, RING_SLOTS } from "../core/initiator/state.ts";
import { type Message, message, text as plainText } from "@optique/core/message";
import { map, multiple, optional, withDefault } from "@optique/core/modifiers";
import type { NonEmptyString } from "@optique/core/nonempty";
import { argument, option } from "@optique/core/primitives";
import type { Usage } from "@optique/core/usage";
import { choice, float, type ValueParser } from "@optique/core/valueparser";
import { BACK_END_NAMES } from "../control/attach/back_end.ts";
import { diskNames, knownDisks, NODE_FOLDER } from "./disk_names.ts";
import { parseListenAt } from "../control/watch/http_server.ts";
import { interfaceNames } from "../control/network_interfaces.ts";
import {
  CAPTURE_BYTES_MIN,
  DROP_PERCENT_MAX,
  DROP_PERCENT_MIN,
  isDaemonName,
  isInterfaceName,
  parseBytes,
} from "../core/daemon/values.ts";
import { type Address, formatAddress, parseAddress } from "../wire/aoe.ts";
import { formatMac, parseMac } from "../wire/ethernet.ts";
import { SECTOR_BYTES } from "../wire/ata.ts";

/** The device of a partition. */
const PARTITION = /^(?:\/dev\/etherd\/)?(e\d{1,5}\.\d{1,3})p\d+$/;

/** The shortest time to wait: settings count whole milliseconds. */
const SECONDS_MIN = 0.001;

/**
 * The disk that a text names: a shelf and slot, as in `e1.1` or `1.1`, or the device that attaching
 * it makes, as in `/dev/etherd/e1.1`, whether there is one or not. Undefined when it is neither.
 */
export function parseDisk(text: string): Address | undefined {
  return parseAddress(text.startsWith(NODE_FOLDER) ? text.slice(NODE_FOLDER.length) : text);
}

/**
 * A disk's address, as {@linkcode parseDisk} takes it.
 *
 * @param names Those that a shell completes, as in `e1.1`.
 */
export function address(
  names: () => readonly string[] = knownDisks,
): ValueParser<"sync", Address> {
  return valueParser("SHELF.SLOT", { shelf: 0, slot: 0 }, {
    parse: (text) => parseDisk(text) ?? refuseAddress(text),
    format: ({ shelf, slot }) => formatAddress(shelf, slot),
    suggest: (prefix) => diskNames(prefix, names),
  });
}

/** A disk's address, or the name of an interface. What begins as an address does is one. */
export function addressOrInterface(): ValueParser<"sync", Address | string> {
  return valueParser<Address | string>("SHELF.SLOT", { shelf: 0, slot: 0 }, {
    parse: (text) => {
      const found = parseDisk(text);
      if (found !== undefined) return found;
      if (/^e?\d+(\.|$)/.test(text) || !isInterfaceName(text)) return refuseAddress(text);
      return text;
    },
    format: (value) => typeof value === "string" ? value : formatAddress(value.shelf, value.slot),
    suggest: (prefix) => [...diskNames(prefix, knownDisks), ...interfaceNames()],
  });
}

/** MAC addresses separated by commas, as 12 lower-case hex digits each. */
export function macList(): ValueParser<"sync", readonly string[]> {
  return valueParser<readonly string[]>("MAC[,MAC...]", [], {
    parse: (text) => {
      const macs = [];
      for (const part of text.split(",")) {
        const mac = parseMac(part);
        if (mac === undefined) {
          return refuse`Expected MAC addresses of 12 hex digits, with or without colons, separated by commas, but got ${part}`;
        }
        macs.push(mac.toHex());
      }
      return macs;
    },
    format: (macs) => macs.join(","),
  });
}

/**
 * One MAC address, or `self`: those of this host's own interfaces.
 *
 * @returns Six bytes, or `"self"`.
 */
export function macOrSelf(): ValueParser<"sync", Uint8Array | "self"> {
  return valueParser<Uint8Array | "self">("MAC", "self", {
    parse: (text) =>
      text === "self" ? "self" : parseMac(text) ??
        refuse`Expected a MAC address of 12 hex digits, with or without colons, or ${"self"}, but got ${text}`,
    format: (mac) => mac === "self" ? mac : formatMac(mac),
    suggest: () => ["self"],
  });
}

/** Names of network interfaces separated by commas, each once. */
export function interfaceList(): ValueParser<"sync", readonly string[]> {
  return valueParser<readonly string[]>("IFACE[,IFACE...]", [], {
    parse: (text) => {
      const names = new Set<string>();
      for (const name of text.split(",")) {
        if (!isInterfaceName(name)) return refuseInterface(name);
        if (names.has(name)) {
          return refuse`Expected each interface once, but got ${name} twice`;
        }
        names.add(name);
      }
      return [...names];
    },
    format: (names) => names.join(","),
    suggest: interfaceNames,
  });
}

/** A number of bytes, with K, M, G, T or P (powers of 1024) behind it if wanted. */
export function byteSize(
  options: { readonly min?: number; readonly multiple?: number } = {},
): ValueParser<"sync", number> {
  const { min = 1, multiple = 1 } = options;
  return valueParser("SIZE", min, {
    parse: (text) => {
      const bytes = parseBytes(text);
      if (bytes !== undefined && bytes % multiple !== 0) {
        return refuse`Expected a multiple of ${multiple} bytes, but got ${text}`;
      }
      return bytes !== undefined && bytes >= min
        ? bytes
        : refuse`Expected a number of bytes (at least ${min}), with K, M, G or T behind it if wanted, but got ${text}`;
    },
    format: String,
  });
}

/** Sectors of 512 bytes as a plain number, or bytes with a suffix. The value is in sectors. */
export function sectorsOrBytes(
  options: { readonly min?: number } = {},
): ValueParser<"sync", number> {
  const min = options.min ?? 0;
  return valueParser("SECTORS", min, {
    parse: (text) => {
      const bytes = /^\d+$/.test(text) ? Number(text) * SECTOR_BYTES : parseBytes(text);
      if (bytes === undefined || bytes > Number.MAX_SAFE_INTEGER || bytes < min * SECTOR_BYTES) {
        return refuse`Expected a number of 512-byte sectors (at least ${min}), or of bytes with K, M, G or T behind it, but got ${text}`;
      }
      if (bytes % SECTOR_BYTES !== 0) {
        return refuse`Expected a multiple of 512 bytes, but got ${text}`;
      }
      return bytes / SECTOR_BYTES;
    },
    format: String,
  });
}

/** A time in seconds, fractions allowed. The value is in milliseconds. */
export function seconds(
  options: { readonly min?: number; readonly max?: number } = {},
): ValueParser<"sync", number> {
  const { min = SECONDS_MIN, max = 86_400 } = options;
  return valueParser("SECONDS", min * 1000, {
    parse: (text) =>
      parseSeconds(text, min, max) ??
        refuse`Expected seconds from ${min} to ${max}, but got ${text}`,
    format: (ms) => String(ms / 1000),
  });
}

/** A time in seconds, or `forever`. The value is in milliseconds. */
function secondsOrForever(): ValueParser<"sync", number> {
  const max = 86_400 * 365;
  return valueParser("SECONDS", max * 1000, {
    parse: (text) =>
      text === "forever" ? Infinity : parseSeconds(text, SECONDS_MIN, max) ??
        refuse`Expected seconds from ${SECONDS_MIN} to ${max}, or forever, but got ${text}`,
    format: (ms) => ms === Infinity ? "forever" : String(ms / 1000),
    suggest: () => ["forever"],
  });
}

/** Milliseconds; undefined when the text is no number of seconds in these limits. */
function parseSeconds(text: string, min: number, max: number): number | undefined {
  const value = /^(\d+(\.\d*)?|\.\d+)$/.test(text) ? Number(text) : NaN;
  return value >= min && value <= max ? Math.round(value * 1000) : undefined;
}

/** The path of a file or device, or the URL of what stands in for one. */
export function path(metavar: NonEmptyString = "PATH"): ValueParser<"sync", string> {
  return {
    ...valueParser(metavar, "", {
      parse: (text) => text === "" ? refuse`Expected a path, but got nothing` : text,
      format: (text) => text,
    }),
    *suggest(prefix) {
      yield { kind: "file", type: "any", pattern: prefix };
    },
  };
}

/** The name of one of several daemons on a host. */
export function daemonName(): ValueParser<"sync", string> {
  return valueParser("NAME", "", {
    parse: (text) =>
      isDaemonName(text)
        ? text
        : refuse`Expected a name of up to 32 letters, digits, dots and dashes, but got ${text}`,
    format: (text) => text,
  });
}

/** A disk's address or a path; what it is, is for the caller to tell. */
export function diskOrPath(metavar: NonEmptyString): ValueParser<"sync", string> {
  return {
    ...path(metavar),
    *suggest(prefix) {
      for (const name of diskNames(prefix, knownDisks)) {
        if (name.startsWith(prefix)) yield { kind: "literal", text: name };
      }
      yield { kind: "file", type: "any", pattern: prefix };
    },
  };
}

/** A usage line in which `[OPTION...]` stands for all options, which the help lists below it. */
export function shortUsage(usage: Usage): Usage {
  const isOption = (term: Usage[number]): boolean =>
    term.type === "option" ||
    (term.type === "optional" || term.type === "multiple") && term.terms.every(isOption);
  const options: Usage = [{ type: "optional", terms: [{ type: "literal", value: "OPTION..." }] }];
  return [...options, ...usage.filter((term) => !isOption(term))];
}

/** The options `-i IFACE`, of which all that are up are meant when there is none; each name once. */
export function interfaceOptions(
  description: Message =
    message`Interfaces to ask on. Without one: those of /etc/aoe.toml, else all Ethernet interfaces that are up, the loopback interface only when there is no other.`,
) {
  return map(
    multiple(option("-i", "--interface", interfaceList(), { description })),
    (lists) => [...new Set(lists.flat())],
  );
}

/** The option `--timeout SECONDS`, in milliseconds. */
export function timeoutOption(description: Message, defaultMs: number) {
  return withDefault(option("--timeout", seconds({ max: 3600 }), { description }), defaultMs);
}

/** What `sessionOptions` make of a command line. */
export interface SessionArguments {
  /** All that are up when empty. */
  readonly interfaces: readonly string[];
  readonly targets: readonly string[];
  readonly timeoutMs: number;
  readonly deadAfterMs: number;
  /** Retransmit after exactly so long; undefined: as the network has it. */
  readonly retransmitMs: number | undefined;
  readonly noRing: boolean;
  readonly ringSlots: number;
}

/** What every command has that works on a disk for a while: where to find it, when to give up. */
export function sessionOptions() {
  return {
    interfaces: interfaceOptions(
      message`Interfaces to find the disk on; all of them share the work. Without one: those of /etc/aoe.toml, else all Ethernet interfaces that are up.`,
    ),
    targets: withDefault(
      option("--target", macList(), {
        description:
          message`Use the disk of this target only, where several answer for one address.`,
      }),
      [],
    ),
    timeoutMs: timeoutOption(message`How long to look for a disk (default 3).`, 3000),
    deadAfterMs: withDefault(
      option("--dead-after", secondsOrForever(), {
        description:
          message`Give up a disk that is silent for so long; forever is possible (default 180).`,
      }),
      180_000,
    ),
    // For tests: whatever the network is like.
    retransmitMs: optional(
      option("--retransmit-ms", float({ min: 0.1, max: 60_000, metavar: "MS" }), {
        description: message`Send again after just so long, however long answers take.`,
        hidden: true,
      }),
    ),
  };
}

/** What a session goes by instead of its defaults. */
export function sessionSettings(
  { deadAfterMs, retransmitMs }: SessionArguments,
): Partial<InitiatorSettings> {
  return {
    deadAfterMs,
    ...(retransmitMs === undefined ? {} : { rtoMinMs: retransmitMs, rtoMaxMs: retransmitMs }),
  };
}

/** How frames come. */
export function ringOption() {
  return option("--no-ring", {
    description: message`Receive by system calls, not by a ring of shared memory.`,
  });
}

/** How frames come to an initiator. */
export function initiatorRingOptions() {
  return {
    noRing: ringOption(),
    // For tests: a ring that overflows.
    ringSlots: withDefault(
      option("--ring-slots", integerBetween(1, 4096), {
        description: message`Frames that the ring holds.`,
        hidden: true,
      }),
      RING_SLOTS,
    ),
  };
}

/** What `wireOptions` make of a command line. */
export interface WireArguments extends CaptureArguments {
  readonly dropPercent: number | undefined;
}

/** What helps to see what goes over the wire, and what happens when frames are lost. */
export function wireOptions() {
  return {
    ...captureOptions(),
    dropPercent: optional(
      option("--drop", percentage(), {
        description:
          message`For tests: lose so many percent of the frames, received and sent, on purpose.`,
      }),
    ),
  };
}

/** What `captureOptions` make of a command line. */
export interface CaptureArguments {
  readonly capture: string | undefined;
  readonly captureBytes: number | undefined;
}

/** What helps to see what goes over the wire. */
export function captureOptions() {
  return {
    capture: optional(
      option("--capture", path("FILE"), {
        description: message`Write the frames that are received and sent to a new pcap file.`,
      }),
    ),
    captureBytes: optional(
      option("--capture-size", byteSize({ min: CAPTURE_BYTES_MIN }), {
        description: message`How large it may become; then it ends (default 64M).`,
      }),
    ),
  };
}

/** Where a daemon shows what it does. */
export function metricsOption() {
  return optional(
    option("--metrics", listenAddress(), {
      description:
        message`Show numbers for Prometheus, and a page for browsers, at this address: HOST:PORT, PORT on loopback, or unix:PATH.`,
    }),
  );
}

/** What to attach and how: for the command, and for a unit that runs it. */
export function attachOptions() {
  return {
    addresses: multiple(argument(address(), { description: message`Which disks.` })),
    all: option("--all", { description: message`Every disk that answers.` }),
    config: optional(
      option("--config", path("FILE"), {
        description:
          message`The disks of a file: on each line what would stand behind ${"aoe attach"}; # begins a remark.`,
      }),
    ),
    backEnd: withDefault(
      option("--backend", choice(["auto", ...BACK_END_NAMES, "kernel"]), {
        description:
          message`What makes the block device (default auto: the first that this kernel has). kernel is the aoe module.`,
      }),
      "auto" as const,
    ),
    fuseUring: option("--fuse-uring", {
      description:
        message`By fuse, take requests by io_uring where the kernel has it and it is on: faster, but a killed daemon is not replaced.`,
    }),
    readOnly: option("-r", "--read-only", { description: message`Refuse every write.` }),
    reserve: option("--reserve", {
      description: message`Take the disk's reservation, so that no other host reads or writes it.`,
    }),
  };
}

/** The option `--force` of what writes to a disk. */
export function forceOption() {
  return option("--force", {
    description: message`Write also to what this host uses itself: mounted, or open elsewhere.`,
  });
}

/** The option `--json`, which every command has. */
export function jsonFlag() {
  return option("--json", { description: message`Write JSON, one value a line.` });
}

/** Where a TCP server listens. */
export interface HostAndPort {
  /** A name or an address, IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
}

/** A host and a port: `127.0.0.1:10809`, `[::1]:10809`. */
export function hostAndPort(): ValueParser<"sync", HostAndPort> {
  return valueParser("HOST:PORT", { host: "localhost", port: 0 }, {
    parse: (text) => {
      const match = /^(?:\[([0-9a-f:.]+)\]|([^\s:[\]/]+)):(\d{1,5})$/i.exec(text);
      const host = match?.[1] ?? match?.[2];
      const port = Number(match?.[3]);
      return host !== undefined && port <= 65535
        ? { host, port }
        : refuse`Expected a host and a port, as in ${"127.0.0.1:10809"} or ${"[::1]:10809"}, but got ${text}`;
    },
    format: ({ host, port }) => host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`,
  });
}

/** A whole number between two bounds, both allowed. */
export function integerBetween(
  min: number,
  max: number,
  metavar: NonEmptyString = "N",
): ValueParser<"sync", number> {
  return valueParser(metavar, min, {
    parse: (text) => {
      const value = /^\d+$/.test(text) ? Number(text) : NaN;
      return value >= min && value <= max
        ? value
        : refuse`Expected a whole number from ${min} to ${max}, but got ${text}`;
    },
    format: String,
  });
}

/** A share of a hundred, fractions allowed: enough to be one, and not all. */
function listenAddress(): ValueParser<"sync", string> {
  return valueParser("HOST:PORT", "127.0.0.1:9477", {
    parse: (text) =>
      parseListenAt(text) === undefined
        ? refuse`Expected HOST:PORT, PORT or unix:PATH, but got ${text}`
        : text,
    format: (text) => text,
  });
}

function percentage(): ValueParser<"sync", number> {
  return valueParser("PERCENT", DROP_PERCENT_MIN, {
    parse: (text) => {
      const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN;
      return value >= DROP_PERCENT_MIN && value <= DROP_PERCENT_MAX
        ? value
        : refuse`Expected a number from ${DROP_PERCENT_MIN} to ${DROP_PERCENT_MAX}, but got ${text}`;
    },
    format: String,
  });
}

/** Permissions of a file in octal digits, as chmod takes them: `660`, `0660`. */
export function fileMode(): ValueParser<"sync", number> {
  return valueParser("MODE", 0o600, {
    parse: (text) =>
      /^0?[0-7]{3}$/.test(text)
        ? parseInt(text, 8)
        : refuse`Expected permissions in octal digits, as in ${"0660"}, but got ${text}`,
    format: (mode) => `0${mode.toString(8).padStart(3, "0")}`,
  });
}

function refuseAddress(text: string): Refusal {
  const disk = PARTITION.exec(text)?.[1];
  return disk !== undefined
    ? refuse`${text} is a partition; name the disk, ${disk}`
    : refuse`Expected a shelf from 0 to 65534 and a slot from 0 to 254, as in ${"e1.1"} or ${"1.1"}, but got ${text}`;
}

function refuseInterface(text: string): Refusal {
  return refuse`Expected the name of a network interface, as in ${"eth0"}, but got ${text}`;
}

/** Why a text is not accepted. */
class Refusal {
  constructor(readonly reason: Message) {}
}

/** The sentence for a text that is not accepted. */
function refuse(strings: TemplateStringsArray, ...values: readonly (string | number)[]): Refusal {
  const terms = values.map((value) => typeof value === "number" ? plainText(String(value)) : value);
  return new Refusal(message(strings, ...terms));
}

/** Makes Optique's interface of a function that returns the value or the sentence that refuses it. */
function valueParser<T>(
  metavar: NonEmptyString,
  placeholder: T,
  functions: {
    readonly parse: (text: string) => T | Refusal;
    readonly format: (value: T) => string;
    readonly suggest?: (prefix: string) => Iterable<string>;
  },
): ValueParser<"sync", T> {
  const { parse, format, suggest } = functions;
  return {
    mode: "sync",
    metavar,
    placeholder,
    format,
    parse: (text) => {
      const result = parse(text);
      return result instanceof Refusal
        ? { success: false, error: result.reason }
        : { success: true, value: result };
    },
    ...(suggest === undefined ? {} : {
      *suggest(prefix: string) {
        // A list is completed at its last part.
        const kept = prefix.slice(0, prefix.lastIndexOf(",") + 1);
        for (const name of suggest(prefix)) {
          if ((kept + name).startsWith(prefix)) yield { kind: "literal", text: kept + name };
        }
      },
    }),
  };
}

/** What arguments say of an export, besides where it appears and what is behind it. */
export interface ExportArguments {
  /** All of the daemon's when empty. */
  readonly interfaces: readonly string[];
  readonly direct: boolean;
  readonly sync: boolean;
  readonly readOnly: boolean;
  /** `fixed`: initiators may not switch it. */
  readonly writeCache: "free" | "fixed" | undefined;
  /** Who is answered, as 12 lower-case hex digits each; everybody when empty. */
  readonly macs: readonly string[];
  readonly offsetSectors: number | undefined;
  readonly lengthSectors: number | undefined;
  readonly sizeBytes: number | undefined;
  /** `raw`: what is served is a disk, whatever it looks like. */
  readonly format: "raw" | undefined;
  readonly force: boolean;
}

/** The same as a configuration would have it. */
export function planOfExport(wish: ExportArguments): Omit<ExportPlan, "address" | "path"> {
  const { macs, offsetSectors = 0, lengthSectors } = wish;
  return {
    interfaces: wish.interfaces,
    direct: wish.direct,
    sync: wish.sync,
    readOnly: wish.readOnly,
    cacheFixed: wish.writeCache === "fixed",
    offsetBytes: offsetSectors * SECTOR_BYTES,
    lengthBytes: lengthSectors === undefined ? undefined : lengthSectors * SECTOR_BYTES,
    createBytes: wish.sizeBytes,
    format: wish.format,
    force: wish.force,
    acl: macs.length === 0 ? undefined : { accept: macs, reject: [], readOnly: [] },
    line: 0,
  };
}
