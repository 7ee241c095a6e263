// What the initiator knows of its target: interfaces, the paths found through them, the disk's
// identity, and what there is to tell people. Commands are in initiator.ts.
//
// A path is found by its answer to a query config request (or an advert), and used once an
// IDENTIFY over it has shown the same disk as over the others. It is probed with IDENTIFY at
// intervals, which is also how growth is seen.

import { sectorsPerFrame } from "../../wire/ata.ts";
import { readConfigResponse } from "../../wire/config.ts";
import { ETHERNET_SOURCE } from "../../wire/ethernet.ts";
import { type Identity, readIdentity, takesLba48 } from "../../wire/identify.ts";
import { readIncarnation } from "../../wire/incarnation.ts";
import { Path, PATH_REFUSED, PATH_UP, type PathTimes } from "./path.ts";

const EVENTS_MAX = 256;
const QUERY_MIN_MS = 100;
const QUERY_SEARCHING_MAX_MS = 1000;
const NO_PATH = -1;
/** Other initiators that are told of: who has so many knows. */
const RIVALS_MAX = 16;

/** What happened, for logs and people; everything here is rare. */
export type InitiatorEvent =
  | { kind: "ready"; identity: Identity }
  | { kind: "resized"; sectorsBefore: number; sectors: number }
  | { kind: "restarted" }
  | { kind: "dead" }
  | { kind: "back" }
  /** The disk is silent for longer than it takes by its manner, its target is not; and the end of it. */
  | { kind: "disk-silent" | "disk-answers"; silentMs: number }
  | { kind: "path-found" | "path-up" | "path-lost" | "path-refused"; path: Path }
  | { kind: "frames-small" | "frames-large"; path: Path }
  | { kind: "no-flush-ext" | "no-flush" }
  /** Another initiator looks for the same disk. */
  | { kind: "rival"; interfaceIndex: number; mac: Uint8Array }
  | { kind: "failed"; operation: number; lba: number; sectors: number; result: number }
    & { status: number; error: number };

/** What an earlier process has known of the disk. */
export interface DiskBefore {
  readonly serial: string;
  readonly model: string;
  /** The last in which all lost writes had been told of; 0 when the target names none. */
  readonly incarnation: number;
}

/** An interface the initiator may use. */
export interface Interface {
  /** The loop's number of it. */
  readonly index: number;
  /** Its own MAC, six bytes. */
  mac: Uint8Array;
  mtu: number;
  /** When the next query config request goes out. */
  queryAtMs: number;
  queryWaitMs: number;
  /** When the last one went out. */
  queriedMs: number;
  /** Query frames in the loop's hands. */
  held: number;
}

/** Limits and times that a session takes from the initiator's options. */
export interface SessionSettings {
  readonly pathsMax: number;
  readonly interfacesMax: number;
  readonly windowMax: number;
  readonly sectorsMax: number;
  readonly probeMs: number;
  readonly queryMs: number;
  readonly times: PathTimes;
  /** Others are no paths; undefined: whoever answers. */
  readonly targets?: readonly Uint8Array[] | undefined;
}

/** Interfaces, paths and identity of one target. */
export class Session {
  readonly interfaces: Interface[] = [];
  readonly paths: Path[] = [];
  /** Identity of the disk, once one path has shown it. */
  identity: Identity | undefined;
  /** The disk's 512-byte sectors; Infinity until they are known. */
  sectors = Infinity;
  /** Whether the disk knows 48-bit commands; others are never sent to one that does not. */
  lba48 = true;
  /** The target's incarnation; 0 when it names none. */
  incarnation = 0;
  /** The disk that an earlier process has used. */
  #before: DiskBefore | undefined;
  /** Times that the incarnation changed under us. */
  restarts = 0;
  /** Events that did not fit because nobody fetched them. */
  eventsDropped = 0;

  readonly #settings: SessionSettings;
  readonly #events: InitiatorEvent[] = [];
  readonly #rivals: Uint8Array[] = [];
  /** When the IDENTIFY was sent whose answer is the newest. */
  #identifiedSentMs = -Infinity;

  constructor(settings: SessionSettings) {
    this.#settings = settings;
  }

  /** Adds an event, unless nobody has fetched the last ones. */
  tell(event: InitiatorEvent): void {
    if (this.#events.length < EVENTS_MAX) this.#events.push(event);
    else this.eventsDropped++;
  }

  /** The oldest event that was not fetched. */
  pollEvent(): InitiatorEvent | undefined {
    return this.#events.shift();
  }

  /** Somebody asks for exactly this disk: told once for each, unless it is this host. */
  receiveQuery(interfaceIndex: number, view: Uint8Array, at: number): void {
    const mac = view.slice(at + ETHERNET_SOURCE, at + ETHERNET_SOURCE + 6);
    const equals = (other: Uint8Array) => other.every((byte, i) => byte === mac[i]);
    if (this.#rivals.length === RIVALS_MAX || this.#rivals.some(equals)) return;
    if (this.interfaces.some((own) => equals(own.mac))) return;
    // The target's host looks for others with its address before it serves.
    if (this.paths.some((path) => equals(path.mac))) return;
    this.#rivals.push(mac);
    this.tell({ kind: "rival", interfaceIndex, mac });
  }

  /** An earlier process has used the disk: no other will do, and a restart since then counts. */
  expect(before: DiskBefore): void {
    this.#before = before;
    this.incarnation = before.incarnation;
  }

  /** Adds an interface, or takes its new MAC and MTU. */
  setInterface(nowMs: number, index: number, mac: Uint8Array, mtu: number): void {
    const known = this.interfaces.find((known) => known.index === index);
    if (known !== undefined) {
      known.mac = mac.slice(0, 6);
      known.mtu = mtu;
      for (const path of this.paths) {
        if (path.interfaceIndex === index) path.limit(sectorsPerFrame(mtu));
      }
      known.queryAtMs = nowMs;
      known.queryWaitMs = QUERY_MIN_MS;
      return;
    }
    if (this.interfaces.length === this.#settings.interfacesMax) {
      throw new RangeError(`More than ${this.#settings.interfacesMax} interfaces`);
    }
    this.interfaces.push({
      index,
      mac: mac.slice(0, 6),
      mtu,
      queryAtMs: nowMs,
      queryWaitMs: QUERY_MIN_MS,
      queriedMs: -Infinity,
      held: 0,
    });
  }

  /** The interface with the loop's number. */
  interfaceOf(index: number): Interface {
    for (const known of this.interfaces) if (known.index === index) return known;
    throw new RangeError(`Unknown interface ${index}`);
  }

  /** The path a frame came by, or undefined when its source is unknown. */
  pathOfFrame(interfaceIndex: number, view: Uint8Array, at: number): Path | undefined {
    const sender = at + ETHERNET_SOURCE;
    const high = (view[sender]! << 8) | view[sender + 1]!;
    const low = (view[sender + 2]! << 24) | (view[sender + 3]! << 16) | (view[sender + 4]! << 8) |
      view[sender + 5]!;
    for (let i = 0; i < this.paths.length; i++) {
      const path = this.paths[i]!;
      if (path.macLow === low && path.macHigh === high && path.interfaceIndex === interfaceIndex) {
        return path;
      }
    }
    return undefined;
  }

  /**
   * Takes a query config answer or an advert: a new path, or news of a known one.
   *
   * @returns Whether it was understood.
   */
  receiveConfig(
    nowMs: number,
    interfaceIndex: number,
    view: Uint8Array,
    at: number,
    length: number,
  ): boolean {
    const config = readConfigResponse(view, at, length);
    const through = this.interfaces.find((known) => known.index === interfaceIndex);
    if (config === undefined || through === undefined) return false;
    let path = this.pathOfFrame(interfaceIndex, view, at);
    if (path === undefined) {
      if (this.paths.length === this.#settings.pathsMax) return false;
      const mac = view.subarray(at + ETHERNET_SOURCE, at + ETHERNET_SOURCE + 6);
      // Well said, but by somebody else.
      if (!this.#isMeant(mac)) return true;
      path = new Path(this.paths.length, interfaceIndex, mac, this.#settings.times);
      path.probeAtMs = nowMs;
      this.paths.push(path);
      this.tell({ kind: "path-found", path });
    } else if (path.state !== PATH_REFUSED && path.probeAtMs > nowMs && path.probeAtMs < Infinity) {
      // It may have grown, or come back.
      path.probeAtMs = nowMs;
    }
    const sectors = Math.min(
      config.sectors,
      sectorsPerFrame(through.mtu),
      this.#settings.sectorsMax,
    );
    path.configure(config.buffers, sectors, this.#settings.windowMax, nowMs);
    return true;
  }

  #isMeant(mac: Uint8Array): boolean {
    const { targets } = this.#settings;
    return targets === undefined ||
      targets.some((target) => target.every((byte, i) => byte === mac[i]));
  }

  /**
   * Takes IDENTIFY data that came over a path.
   *
   * @param sentMs When the IDENTIFY was sent: what an older one says does not count.
   * @returns Whether it is the disk of this session.
   */
  receiveIdentity(nowMs: number, path: Path, sentMs: number, view: Uint8Array, dataAt: number) {
    const identity = readIdentity(view, dataAt);
    path.probeAtMs = path.nextProbeMs(nowMs, this.#settings.probeMs);
    const known = this.identity;
    const expected = known ?? this.#before;
    if (expected !== undefined) {
      if (identity.serial !== expected.serial || identity.model !== expected.model) {
        if (path.state !== PATH_REFUSED) this.tell({ kind: "path-refused", path });
        path.refuse();
        // A disk that was swapped back is welcome.
        path.probeAtMs = nowMs + this.#settings.probeMs;
        return false;
      }
    }
    if (path.state !== PATH_UP) this.pathUp(nowMs, path);
    if (sentMs < this.#identifiedSentMs) return true;
    this.#identifiedSentMs = sentMs;
    const incarnation = readIncarnation(view, dataAt);
    if (known === undefined) this.tell({ kind: "ready", identity });
    if (expected !== undefined && incarnation !== this.incarnation) {
      this.restarts++;
      this.tell({ kind: "restarted" });
    }
    this.incarnation = incarnation;
    if (known !== undefined && identity.sectors !== this.sectors) {
      this.tell({
        kind: "resized",
        sectorsBefore: this.sectors,
        sectors: identity.sectors,
      });
    }
    this.identity = identity;
    this.lba48 = takesLba48(view, dataAt);
    this.sectors = identity.sectors;
    return true;
  }

  /** Commands may use a path (again). */
  pathUp(nowMs: number, path: Path): void {
    path.up(nowMs);
    this.tell({ kind: "path-up", path });
  }

  /** Whether commands can be sent at all. */
  anyUp(): boolean {
    for (const path of this.paths) if (path.state === PATH_UP) return true;
    return false;
  }

  /**
   * The path that the next frame takes: a round robin weighted by the windows of those with room.
   *
   * @param avoid Path of the copy that was lost, taken only when no other has room; `NONE` for none.
   */
  pick(avoid: number): Path | undefined {
    let best: Path | undefined;
    let fallback: Path | undefined;
    let total = 0;
    for (let i = 0; i < this.paths.length; i++) {
      const path = this.paths[i]!;
      if (!path.hasRoom()) continue;
      if (i === avoid) {
        fallback = path;
        continue;
      }
      total += path.window;
      path.credit += path.window;
      if (best === undefined || path.credit > best.credit) best = path;
    }
    if (best === undefined) return fallback;
    best.credit -= total;
    return best;
  }

  /** The first path whose probe is due, or undefined. */
  probeDue(nowMs: number): Path | undefined {
    for (const path of this.paths) if (path.probeAtMs <= nowMs) return path;
    return undefined;
  }

  /** The first path whose large probe is due, or undefined. */
  largeProbeDue(nowMs: number): Path | undefined {
    for (const path of this.paths) {
      if (path.state === PATH_UP && path.largeProbeAtMs <= nowMs) return path;
    }
    return undefined;
  }

  /** The first path on which the size of requests is in doubt, or undefined. */
  sizedProbeDue(): Path | undefined {
    for (const path of this.paths) {
      if (path.state === PATH_UP && path.sizedProbeDue) return path;
    }
    return undefined;
  }

  /** The first interface whose query is due, or `NONE`; the next one is scheduled. */
  takeDueQuery(nowMs: number): number {
    for (let i = 0; i < this.interfaces.length; i++) {
      const through = this.interfaces[i]!;
      if (through.queryAtMs > nowMs || through.held > 0) continue;
      if (this.anyUp()) {
        through.queryWaitMs = this.#settings.queryMs;
      } else {
        through.queryWaitMs = Math.min(2 * through.queryWaitMs, QUERY_SEARCHING_MAX_MS);
      }
      through.queriedMs = nowMs;
      through.queryAtMs = nowMs + through.queryWaitMs;
      return i;
    }
    return NO_PATH;
  }

  /** Something has changed at the target: its config is asked for, at most every `QUERY_MIN_MS`. */
  askAgain(nowMs: number, interfaceIndex: number): void {
    const through = this.interfaceOf(interfaceIndex);
    const atMs = Math.max(nowMs, through.queriedMs + QUERY_MIN_MS);
    through.queryAtMs = Math.min(through.queryAtMs, atMs);
  }

  /** The last path is gone: look for others at once. */
  searchAgain(nowMs: number): void {
    for (const through of this.interfaces) {
      through.queryWaitMs = QUERY_MIN_MS;
      through.queryAtMs = Math.min(through.queryAtMs, nowMs + QUERY_MIN_MS);
    }
  }

  /**
   * When a query or a probe is due next.
   *
   * @param probes Whether there is a command left for a probe: one that cannot be sent is not due.
   */
  nextDueMs(probes: boolean): number {
    let dueMs = Infinity;
    for (let i = 0; i < this.interfaces.length; i++) {
      const through = this.interfaces[i]!;
      if (through.held === 0 && through.queryAtMs < dueMs) dueMs = through.queryAtMs;
    }
    if (!probes) return dueMs;
    for (let i = 0; i < this.paths.length; i++) {
      const path = this.paths[i]!;
      if (path.probeAtMs < dueMs) dueMs = path.probeAtMs;
      if (path.state === PATH_UP && path.largeProbeAtMs < dueMs) dueMs = path.largeProbeAtMs;
    }
    return dueMs;
  }
}
