// The initiator's loop, one thread for a few remote disks. What the disks are used for is a driver's
// business: `aoe copy` and `aoe bench` have one each, and whatever else needs a disk can.
//
// 1. `turn` takes a batch of frames from each interface that has some; core/initiator/initiator.ts copies
//    read data to the driver's memory, which lies in the same arena as the frames.
// 2. Timers that are due are handled, completions and events go to the driver.
// 3. The driver submits what it has; only then it is asked what to send, so that an answer makes
//    room for the next request within one turn.
// 4. Everything leaves in one sendmmsg for each interface.
// 5. Nothing to do: one ppoll waits for sockets, the driver's descriptors, and the next timer;
//    it looks for a moment first, where answers or requests have come soon of late.
//
// No step allocates for each frame: no Promise, Map, BigInt, closure or view.

import { Arena } from "../../../ffi/arena.ts";
import { SystemError } from "../../../ffi/errno.ts";
import { takeName } from "../../../ffi/name_lock.ts";
import { LinkMonitor, listInterfaces, masterName } from "../../../ffi/netlink.ts";
import type { NetworkInterface } from "../../../ffi/netlink.ts";
import { clearEvent, Clock, POLLIN, POLLOUT, PollSet } from "../../../ffi/poll.ts";
import { Initiator } from "../../core/initiator/initiator.ts";
import { Patience } from "../../core/initiator/patience.ts";
import type { InitiatorEvent } from "../../core/initiator/session.ts";
import {
  INITIATOR_DEFAULTS,
  initiatorMemoryBytes,
  type InitiatorSettings,
} from "../../core/initiator/state.ts";
import { NONE } from "../../core/tables.ts";
import type { Address } from "../../wire/aoe.ts";
import type { WireAids } from "../capture.ts";
import { INITIATOR_COUNT_KERNEL_DROPS, InitiatorCounters } from "./counters.ts";
import { type AidedInitiatorLinks, aidInitiatorLinks } from "./frame_exchange.ts";
import { InitiatorLink } from "./link.ts";
import { explainSocketError } from "../socket_refusal.ts";
import { ENODEV } from "../../../ffi/errno_numbers.ts";

/** Shared counters are brought up to date so often. */
const COUNT_EVERY_MS = 50;
/** An idle loop looks around so often all the same. */
const IDLE_MS_MAX = 200;
/** A socket that refuses frames for want of memory is tried again after this, readable or not. */
const BLOCKED_RETRY_MS = 1;
/** Between two looks at everything else, so many at a ring: less than a microsecond. */
const RING_LOOKS = 64;
/** Sessions that tags can tell apart on one host. */
const SESSIONS = 8;
/** Descriptors that a driver may watch. */
const WATCHED_MAX = 64;
/** Room for jumbo frames, should the MTU grow. */
const MTU_JUMBO = 9216;

/** What uses the disks. Called by the loop only, and never within another call. */
export interface InitiatorDriver {
  /**
   * Submits what can be submitted; called in every turn.
   *
   * @returns Whether everything is over.
   */
  turn(nowMs: number): boolean;
  /** A request to disk number `disk` has ended with a RESULT constant; its memory is free. */
  complete(nowMs: number, disk: number, userTag: number, result: number): void;
  /** Something to tell people. */
  event(nowMs: number, disk: number, event: InitiatorEvent): void;
  /** An interface has come, gone, or has another name; a sentence for people where they need one. */
  linkChanged(text: string | undefined): void;
  /** The user wants it to end early; called once. */
  stop(nowMs: number): void;
  /** When `turn` wants to be called at the latest; Infinity: when something happens. */
  wakeAtMs(): number;
}

/** A remote disk, and who of those that answer for its address is meant. */
export interface DiskChoice extends Address {
  /** MACs, six bytes each; undefined: whoever answers first, and his disk from then on. */
  readonly targets?: readonly Uint8Array[];
}

/** What a loop is made for. */
export interface InitiatorLoopConfig {
  /** Names; links that are down or gone are waited for. */
  readonly interfaces: readonly string[];
  /** The remote disks, known to the driver by their index. */
  readonly disks: readonly DiskChoice[];
  readonly settings: Partial<InitiatorSettings>;
  /** A flag, not 0 once the main thread wants the loop to end, and an eventfd that tells of it. */
  readonly control: SharedArrayBuffer;
  readonly controlEvent: number;
  readonly counters: SharedArrayBuffer;
  /** Frames that a ring of shared memory should hold; 0: they come by system calls. */
  readonly ringSlots: number;
  /** What helps to find a fault; undefined for none. */
  readonly aids?: WireAids | undefined;
}

/** Sockets, initiators and the memory that they share with a driver. */
export class InitiatorLoop<DriverMemory = unknown> {
  /** Frames and everything that a driver allocates: one arena, so that copying needs no views. */
  readonly arena: Arena;
  /** What the driver has there. */
  readonly memory: DriverMemory;
  readonly initiators: readonly Initiator[];
  readonly counters: InitiatorCounters;
  readonly clock: Clock;
  readonly #control: Int32Array;
  readonly #controlEvent: number;
  readonly #controlEntry: number;
  readonly #monitor = new LinkMonitor();
  readonly #monitorEntry: number;
  readonly #links: readonly InitiatorLink[];
  /** The same, as frames go through them. */
  readonly #aided: AidedInitiatorLinks;
  readonly #poll: PollSet;
  /** How long to look for answers before it sleeps. */
  readonly #patience = new Patience();
  /** How long to look for a driver's requests, when no answer is due. */
  readonly #requestPatience = new Patience();
  /** Something beside frames may come while answers are due: a driver watches descriptors. */
  #driverWatches = false;
  #countAtMs = 0;
  /** Something has happened since the shared counters were brought up to date. */
  #uncounted = true;

  /**
   * @param driverMemory Builds what the driver needs in the arena, and does nothing else; see
   * `Arena.fit`.
   * @param tell Hears what people should know that is no driver's business.
   * @throws {Deno.errors.PermissionDenied} Without CAP_NET_RAW, in one sentence.
   */
  constructor(
    config: InitiatorLoopConfig,
    driverMemory: (arena: Arena) => DriverMemory,
    tell: (text: string) => void,
  ) {
    const settings = {
      ...config.settings,
      interfacesMax: Math.max(INITIATOR_DEFAULTS.interfacesMax, config.interfaces.length),
    };
    const found = listInterfaces();
    const links = config.interfaces.map((name) => found.find((link) => link.name === name));
    const mtuMax = Math.max(MTU_JUMBO, ...links.map((link) => link?.mtu ?? 0));
    const { commandsMax, interfacesMax } = { ...INITIATOR_DEFAULTS, ...settings };
    const queued = config.disks.length * (commandsMax + interfacesMax);
    const entries = config.interfaces.length + 2 + WATCHED_MAX;
    const memoryBytes = initiatorMemoryBytes(settings);
    const { disks, ringSlots } = config;
    const { arena, built } = Arena.fit((arena) => ({
      clock: new Clock(arena),
      poll: new PollSet(arena, entries),
      memoryAt: config.disks.map(() => arena.allocate(memoryBytes, 64)),
      links: config.interfaces.map((name) =>
        new InitiatorLink(name, { arena, capacity: queued, mtuMax, disks, ringSlots })
      ),
      memory: driverMemory(arena),
    }));
    this.arena = arena;
    this.memory = built.memory;
    this.clock = built.clock;
    this.counters = new InitiatorCounters(config.counters);
    this.#control = new Int32Array(config.control);
    this.#controlEvent = config.controlEvent;
    this.#poll = built.poll;
    this.#controlEntry = this.#poll.add(config.controlEvent, POLLIN);
    this.#monitorEntry = this.#poll.add(this.#monitor.fd, POLLIN);
    const session = takeSession();
    this.initiators = config.disks.map(({ shelf, slot, targets }, i) =>
      new Initiator({
        ...settings,
        shelf,
        slot,
        targets,
        memory: arena.bytes,
        memoryAt: built.memoryAt[i]!,
        session: (session + i) % SESSIONS,
        seed: Math.floor(Math.random() * 2 ** 31),
      })
    );
    const nowMs = this.clock.nowMs();
    this.#links = built.links;
    this.#links.forEach((link, i) => {
      try {
        if (link.update(links[i])) this.#announce(nowMs, i, link);
      } catch (error) {
        throw explainSocketError(error);
      }
      link.pollEntry = this.#poll.add(link.fd, POLLIN);
    });
    const withoutRing = this.#links.find((link) => link.withoutRing !== undefined)?.withoutRing;
    if (withoutRing !== undefined) {
      tell(`Frames are received by system calls, which is slower: ${withoutRing}`);
    }
    this.#aided = aidInitiatorLinks(this.#links, config.aids, {
      ...{ arena: this.arena, queued, counters: this.counters, tell },
    });
  }

  /** Name of an interface by the number that paths have. */
  interfaceName(index: number): string {
    return this.#links[index]!.name;
  }

  /** The interfaces' names of now, in the order in which they were given. */
  interfaceNames(): string[] {
    return this.#links.map((link) => link.name);
  }

  /** Whether frames can come by an interface: it is up, and nobody's port. */
  isInterfaceUsable(index: number): boolean {
    const link = this.#links[index]!;
    return link.running && !link.port;
  }

  /** Adds a descriptor to what the loop waits for; returns its entry for the calls below. */
  watch(fd: number, events: number): number {
    this.#driverWatches = true;
    return this.#poll.add(fd, events);
  }

  /** Puts another descriptor in an entry; −1 leaves it empty. */
  rewatch(entry: number, fd: number): void {
    this.#poll.replace(entry, fd);
  }

  /** Changes which events are waited for; 0 for none. */
  want(entry: number, events: number): void {
    this.#poll.want(entry, events);
  }

  /** The events that the last wait found, told once. */
  found(entry: number): number {
    return this.#poll.take(entry);
  }

  /** Works until the driver says that everything is over. */
  run(driver: InitiatorDriver): void {
    let stopped = false;
    for (;;) {
      const nowMs = this.clock.nowMs();
      if (!stopped && Atomics.load(this.#control, 0) !== 0) {
        stopped = true;
        driver.stop(nowMs);
      }
      const received = this.#receive(nowMs);
      // What waits for room in a window leaves first: a driver may be busy for longer.
      let sent = received > 0 ? this.#transmit(nowMs) : 0;
      const worked = received + this.#deliver(nowMs, driver);
      const over = driver.turn(nowMs);
      sent += this.#transmit(nowMs);
      this.#uncounted ||= worked + sent > 0;
      if (nowMs >= this.#countAtMs || over) this.#count(nowMs);
      if (over) break;
      if (worked + sent === 0) this.#wait(driver);
    }
    const nowMs = this.clock.nowMs();
    for (const initiator of this.initiators) initiator.close(nowMs);
    for (const link of this.#links) link.close();
    this.#aided.capture?.close();
    this.#monitor.close();
  }

  #receive(nowMs: number): number {
    let received = 0;
    const { links } = this.#aided;
    for (let i = 0; i < links.length; i++) {
      const link = links[i]!;
      if (!link.readable) continue;
      const count = link.receive();
      received += count;
      for (let frame = 0; frame < count; frame++) {
        const at = link.frameAt(frame);
        const length = link.length(frame);
        for (let disk = 0; disk < this.initiators.length; disk++) {
          this.initiators[disk]!.receive(nowMs, i, this.arena.bytes, at, length);
        }
      }
      link.giveBack();
    }
    return received;
  }

  /** Timers, then completions and events. */
  #deliver(nowMs: number, driver: InitiatorDriver): number {
    let delivered = 0;
    for (let disk = 0; disk < this.initiators.length; disk++) {
      const initiator = this.initiators[disk]!;
      if (initiator.pollTimeout() <= nowMs) initiator.handleTimeout(nowMs);
      while (initiator.pollCompletion()) {
        delivered++;
        driver.complete(nowMs, disk, initiator.completion.userTag, initiator.completion.result);
      }
      for (let event = initiator.pollEvent(); event !== undefined; event = initiator.pollEvent()) {
        driver.event(nowMs, disk, event);
      }
    }
    return delivered;
  }

  #transmit(nowMs: number): number {
    let taken = 0;
    const { links } = this.#aided;
    for (let disk = 0; disk < this.initiators.length; disk++) {
      const initiator = this.initiators[disk]!;
      while (initiator.pollTransmit(nowMs)) {
        taken++;
        links[initiator.frame.interfaceIndex]!.enqueue(initiator.frame, initiator);
      }
    }
    for (let i = 0; i < links.length; i++) {
      const link = links[i]!;
      if (link.pending > 0 && !link.blocked) link.flush(nowMs);
    }
    return taken;
  }

  /** The one point where this thread sleeps. */
  #wait(driver: InitiatorDriver): void {
    // What has not changed need not be counted again: an idle loop sleeps longer.
    const countMs = this.#uncounted ? this.#countAtMs : this.#countAtMs + IDLE_MS_MAX;
    let dueMs = Math.min(driver.wakeAtMs(), countMs);
    for (let disk = 0; disk < this.initiators.length; disk++) {
      dueMs = Math.min(dueMs, this.initiators[disk]!.pollTimeout());
    }
    const nowMs = this.clock.nowMs();
    let blocked = false;
    for (let i = 0; i < this.#links.length; i++) {
      const link = this.#links[i]!;
      blocked ||= link.blocked;
      this.#poll.want(link.pollEntry, link.blocked ? POLLIN | POLLOUT : POLLIN);
    }
    if (blocked) dueMs = Math.min(dueMs, nowMs + BLOCKED_RETRY_MS);
    const found = this.#sleep(nowMs, dueMs);
    for (let i = 0; i < this.#links.length; i++) {
      const link = this.#links[i]!;
      link.blocked = false;
      if (found > 0 && (this.#poll.found(link.pollEntry) & ~POLLOUT) !== 0) link.readable = true;
    }
    if (found === 0) return;
    if (this.#poll.found(this.#controlEntry) !== 0) clearEvent(this.#controlEvent);
    if (this.#poll.found(this.#monitorEntry) !== 0) {
      this.#monitor.follow(this.#links, (number, link) => this.#follow(driver, number, link));
    }
  }

  /**
   * Sleeps until something comes, or the time; where answers, or a driver's next requests, have
   * come soon of late, it looks for them first.
   *
   * @returns Number of descriptors that are ready; none where a ring has frames.
   */
  #sleep(nowMs: number, dueMs: number): number {
    const due = this.#isAnswerDue();
    const patience = due ? this.#patience : this.#requestPatience;
    const lookMs = due || this.#driverWatches ? patience.lookMs() : 0;
    if (lookMs > 0) {
      const found = this.#look(Math.min(dueMs, nowMs + lookMs));
      if (found !== NONE) {
        patience.found();
        return found;
      }
    }
    // Never early: a turn before the time would find nothing to do and wait again.
    const found = this.#poll.wait(Math.max(0, Math.ceil((dueMs - nowMs) * 1000)));
    if (found > 0) patience.slept(this.clock.nowMs() - nowMs);
    return found;
  }

  #isAnswerDue(): boolean {
    for (let disk = 0; disk < this.initiators.length; disk++) {
      if (this.initiators[disk]!.commandsOpen > 0) return true;
    }
    return false;
  }

  /**
   * Looks until something comes, or the time. A look at a ring costs a load or two, one at anything
   * else a system call: that is spared where nothing else can come.
   *
   * @returns As `#sleep`; `NONE` when nothing has come.
   */
  #look(untilMs: number): number {
    const links = this.#links;
    let others = this.#driverWatches;
    for (let i = 0; i < links.length; i++) others ||= !links[i]!.byRing;
    do {
      for (let i = 0; i < links.length; i++) {
        if (links[i]!.byRing && links[i]!.watch(RING_LOOKS)) return 0;
      }
      const found = others ? this.#poll.wait(0) : 0;
      if (found > 0) return found;
    } while (this.clock.nowMs() < untilMs);
    return NONE;
  }

  /** Takes over what netlink tells of the interfaces. */
  #follow(driver: InitiatorDriver, i: number, now: NetworkInterface | undefined): void {
    const link = this.#links[i]!;
    const { name, running, port } = link;
    let news = false;
    try {
      news = link.update(now);
    } catch (error) {
      // Gone again before it was looked at: that change follows.
      if (!(error instanceof SystemError) || error.code !== ENODEV) throw error;
      link.update(undefined);
    }
    this.#poll.replace(link.pollEntry, link.fd);
    if (news) this.#announce(this.clock.nowMs(), i, link);
    if (name === link.name && running === link.running && port === link.port) return;
    const renamed = name === link.name ? undefined : `${name} is called ${link.name} now`;
    const enslaved = link.port && !port
      ? `${link.name} is a port of ${masterName(now!)} now: name ${masterName(now!)}`
      : undefined;
    driver.linkChanged(enslaved ?? renamed);
  }

  #announce(nowMs: number, index: number, link: InitiatorLink): void {
    for (const initiator of this.initiators) {
      initiator.setInterface(nowMs, index, link.mac, link.mtu);
    }
  }

  #count(nowMs: number): void {
    this.#countAtMs = nowMs + COUNT_EVERY_MS;
    this.#uncounted = false;
    this.#aided.capture?.write();
    this.counters.record(this.initiators);
    const [first] = this.initiators;
    if (first !== undefined) {
      this.counters.recordPaths(
        first.paths,
        (index) => this.isInterfaceUsable(index) ? this.interfaceName(index) : "",
      );
    }
    for (const link of this.#links) {
      this.counters.add(INITIATOR_COUNT_KERNEL_DROPS, link.takeDrops());
    }
  }
}

/** A session that no other process of this host has, as far as there are free ones. */
function takeSession(): number {
  const first = Math.floor(Math.random() * SESSIONS);
  for (let i = 0; i < SESSIONS; i++) {
    const session = (first + i) % SESSIONS;
    if (takeName(`aoe-session/${session}`) !== undefined) return session;
  }
  return first;
}
