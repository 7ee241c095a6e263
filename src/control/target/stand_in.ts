// Answers for the disks of a thread that is held up. A write to the page cache, an fdatasync or a page
// that is fetched holds the thread for as long as the disk hangs, and no way of asking the kernel
// first costs nothing: so the main thread watches the thread's pulse, and while that stands still it
// answers who asks whether the target is there and what it is. An initiator can then tell a slow
// disk from a dead host; its reads and writes wait in the thread's own socket.
//
// 1. `look`, ten times a second, compares the pulse with the last one.
// 2. When it has stood still within a turn for three looks, sockets are opened, and the thread is
//    made wary: it gives everything to the ring from then on, until all has been well for a while.
// 3. Until the pulse moves again, questions are answered every 20 ms.

import { listInterfaces } from "../../../ffi/netlink.ts";
import type { NetworkInterface } from "../../../ffi/netlink.ts";
import { sectorsPerFrame } from "../../wire/ata.ts";
import { targetFilter } from "../../wire/filter.ts";
import { formatAddress } from "../../wire/aoe.ts";
import type { Address } from "../../wire/aoe.ts";
import type { Link, Target, TargetState } from "../../core/target/target.ts";
import { DiskSilence } from "../../core/target/silence.ts";
import type { TargetMessage } from "../../loops/target/messages.ts";
import { CONTROL_PULSE, CONTROL_WARY } from "../../core/target/loop.ts";
import type { ExportConfig } from "../../loops/target/export_config.ts";
import { ProbeSockets } from "../ask/probe_sockets.ts";
import { makeTarget } from "../../core/target/export.ts";

/** How often `look` wants to be called, and where it has said that nothing goes on. */
export const LOOK_EVERY_MS = 150;
export const LOOK_IDLY_EVERY_MS = 600;
/** Looks at a pulse that stands still before the thread counts as held up. */
const STILL_LOOKS = 2;
const ANSWER_EVERY_MS = 20;
/** How long a disk must not have hung before anything is done in place again. */
const WARY_MS = 10_000;
/** The longest question: a config string to compare with, and the header. */
const QUESTION_BYTES_MAX = 2_048;

/** What a stand-in must know of its thread. */
export interface StandInOptions {
  /** See `CONTROL_WORDS` of the loop. */
  readonly control: Int32Array;
  readonly exports: () => readonly ExportConfig[];
  /** Names, as at the start; see `serveOn`. */
  readonly interfaces: readonly string[];
  readonly buffers: number;
  readonly tell: (message: TargetMessage) => void;
}

/** The stand-in of one target thread. */
export class StandIn {
  readonly #options: StandInOptions;
  /** As what the served interfaces were asked for, by their numbers: names may change. */
  #asked: ReadonlyMap<number, string>;
  #interfaces: readonly string[];
  /** By their addresses. */
  readonly #states = new Map<string, TargetState>();
  #pulse = 0;
  #stillLooks = 0;
  readonly #silence = new DiskSilence();
  #calmSinceMs = -Infinity;
  #active: {
    sockets: ProbeSockets;
    /** By the links that each is served on. */
    targets: Target[][];
    links: Link[];
    timer: ReturnType<typeof setInterval>;
  } | undefined;
  readonly #scratch = new Uint8Array(QUESTION_BYTES_MAX + 1024);

  constructor(options: StandInOptions) {
    this.#options = options;
    this.#interfaces = options.interfaces;
    this.#asked = askedNames(options.interfaces);
  }

  /** Whether the thread is held up. */
  get active(): boolean {
    return this.#stillLooks >= STILL_LOOKS;
  }

  /** The thread serves on other interfaces. */
  serveOn(interfaces: readonly string[]): void {
    this.#interfaces = [...interfaces];
    this.#asked = askedNames(interfaces);
    this.#beginAnew();
  }

  /** Takes what the thread has told of an export. */
  learn(shelf: number, slot: number, state: TargetState): void {
    this.#states.set(formatAddress(shelf, slot), state);
  }

  /** An export is served no more. */
  forget({ shelf, slot }: Address): void {
    this.#states.delete(formatAddress(shelf, slot));
    this.#beginAnew();
  }

  /** What it does it does with what it knows by now. */
  #beginAnew(): void {
    if (this.#active === undefined) return;
    this.close();
    this.#begin();
  }

  /** Looks how the thread fares; returns whether it has done something since the last look, or does. */
  look(): boolean {
    const { control } = this.#options;
    const nowMs = performance.now();
    const pulse = Atomics.load(control, CONTROL_PULSE);
    // Even: it waits for frames.
    if (pulse !== this.#pulse || (pulse & 1) === 0) {
      const moved = pulse !== this.#pulse;
      this.#pulse = pulse;
      this.#stillLooks = 0;
      if (this.#active !== undefined) {
        this.close();
        this.#calmSinceMs = nowMs;
      }
      this.#listen(nowMs, false);
      if (nowMs - this.#calmSinceMs >= WARY_MS) Atomics.store(control, CONTROL_WARY, 0);
      return moved;
    }
    if (++this.#stillLooks === STILL_LOOKS) this.#begin();
    this.#listen(nowMs, true);
    return true;
  }

  close(): void {
    if (this.#active === undefined) return;
    clearInterval(this.#active.timer);
    this.#active.sockets.close();
    this.#active = undefined;
  }

  #begin(): void {
    const { control, buffers } = this.#options;
    const exports = this.#options.exports();
    Atomics.store(control, CONTROL_WARY, 1);
    const served = (link: NetworkInterface) =>
      this.#asked.has(link.index) || this.#interfaces.includes(link.name);
    const interfaces = listInterfaces().filter((link) => link.up && served(link));
    const targets = interfaces.map((): Target[] => []);
    for (const ex of exports) {
      const state = this.#states.get(formatAddress(ex.shelf, ex.slot));
      if (state === undefined) continue;
      const target = makeTarget(ex, state.sectors, { buffers });
      target.restore(state);
      interfaces.forEach(({ name, index }, link) => {
        const asked = this.#asked.get(index) ?? name;
        const { interfaces = [name] } = ex;
        if (interfaces.includes(name) || interfaces.includes(asked)) targets[link]!.push(target);
      });
    }
    const links = interfaces.map(({ mac, mtu }) => ({ mac, mtu, sectors: sectorsPerFrame(mtu) }));
    try {
      const sockets = new ProbeSockets(interfaces, { filter: targetFilter(exports) });
      const timer = setInterval(() => this.#answer(), ANSWER_EVERY_MS);
      this.#active = { sockets, targets, links, timer };
    } catch {
      // An interface that goes at this very moment: nobody answers, as without a stand-in.
    }
  }

  #listen(nowMs: number, silent: boolean): void {
    const news = this.#silence.look(nowMs, silent);
    if (news === undefined) return;
    for (const { shelf, slot, path } of this.#options.exports()) {
      this.#options.tell({ kind: "silence", shelf, slot, path, ...news });
    }
  }

  #answer(): void {
    const { sockets, targets, links } = this.#active!;
    sockets.receive((view, at, length, link) => {
      if (length > QUESTION_BYTES_MAX) return;
      // An answer is sent from the memory that the question lies in.
      const question = view.slice(at, at + length);
      for (const target of targets[link]!) {
        // A question to all is answered by each, and each answers in the question's own bytes.
        this.#scratch.fill(0);
        this.#scratch.set(question);
        const answer = target.receiveQuestion(this.#scratch, 0, length, links[link]!);
        if (answer <= 0) continue;
        sockets.send(link, (frame, to) => {
          frame.set(this.#scratch.subarray(0, answer), to);
          return answer;
        });
      }
    });
  }
}

function askedNames(names: readonly string[]): ReadonlyMap<number, string> {
  const existing = listInterfaces();
  return new Map(
    names.flatMap((asked) =>
      existing.filter(({ name, altNames }) => name === asked || altNames.includes(asked))
        .map(({ index }) => [index, asked] as const)
    ),
  );
}
