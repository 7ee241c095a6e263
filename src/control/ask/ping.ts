// `aoe ping`: the round trips of single requests, path by path (interface × MAC).
//
// 1. Once an interval every path is asked the same question, each time under a fresh tag, and never
//    again for the same sequence number: what is lost shall be seen.
// 2. A question is a query config, which every target answers whoever holds it, and without its
//    disk; or a READ of LBA 0, so that the disk's time is in it.
// 3. An answer that comes after the timeout is late, and counts as lost.

import type { ProbeWish } from "./probe_aids.ts";
import type { FoundPath } from "../../core/ask/discovery.ts";
import { configQuestion, readQuestion } from "../../core/ask/questions.ts";
import type { Answer, Question } from "../../core/ask/questions.ts";
import { RoundTrips } from "../../core/ask/round_trips.ts";
import type { RoundTripSummary } from "../../core/ask/round_trips.ts";
import { aoeErrorName, COMMAND_ATA } from "../../wire/aoe.ts";
import type { Address } from "../../wire/aoe.ts";
import { CONFIG_READ } from "../../wire/config.ts";
import { formatMac } from "../../wire/ethernet.ts";
import { Inquirer } from "./inquirer.ts";
import { ataRefusal, findTarget } from "./inquiry.ts";
import { findInterfaces } from "../network_interfaces.ts";

const NO_STRING = new Uint8Array(0);

/** Whom to ping, and how. */
export interface PingOptions {
  /** Names; all that are up when empty. */
  readonly interfaces: readonly string[];
  readonly address: Address;
  /** How long an answer may take, and the search. */
  readonly timeoutMs: number;
  readonly intervalMs: number;
  /** Requests to each path; without end when undefined. */
  readonly count: number | undefined;
  /** READ instead of query config. */
  readonly read: boolean;
  /** What is wanted to look for a fault. */
  readonly wish?: ProbeWish | undefined;
}

/** An interface and a MAC by which the target is seen. */
export interface PingPath {
  readonly interface: string;
  readonly mac: string;
}

/** What became of one request. */
export interface PingEvent extends PingPath {
  /** From 1. */
  readonly sequence: number;
  /** The round trip; undefined when there was no answer in time. */
  readonly ms: number | undefined;
  /** The target's words when it answered with an error. */
  readonly refusal: string | undefined;
  /** The request had been answered before. */
  readonly again: boolean;
}

/** What became of all requests on one path. */
export interface PingSummary extends PingPath {
  /** Without those that still had time when the ping was interrupted. */
  readonly sent: number;
  readonly lost: number;
  /** Answers beyond the first of a request. */
  readonly again: number;
  /** Undefined when there was no answer. */
  readonly roundTrips: RoundTripSummary | undefined;
}

/** What came of a ping. */
export interface PingResult {
  readonly paths: readonly PingSummary[];
  /** Interfaces that were asked for by name, and on which nobody was found. */
  readonly silent: readonly string[];
}

interface Path extends PingPath {
  readonly addressee: FoundPath;
  readonly roundTrips: RoundTrips;
  sent: number;
  answered: number;
  again: number;
}

/** One request that was sent. */
interface Sent {
  readonly path: Path;
  readonly sequence: number;
  readonly dueMs: number;
  answered: boolean;
}

/**
 * Pings every path to a target until so many requests are sent and settled, or it is interrupted.
 *
 * @param onEvent Takes each answer, and each lack of one; false ends the ping.
 * @throws {Deno.errors.TimedOut} One sentence: nobody answers for the address.
 */
export async function ping(
  options: PingOptions,
  signal: AbortSignal,
  onEvent: (event: PingEvent) => boolean,
): Promise<PingResult> {
  const inquirer = new Inquirer(findInterfaces(options.interfaces), options.wish);
  try {
    const { paths } = await findTarget(inquirer, options.address, {
      timeoutMs: options.timeoutMs,
      everywhere: true,
    });
    const summaries = await new Ping(inquirer, paths, options, onEvent).run(signal);
    const found = new Set(summaries.map((path) => path.interface));
    return { paths: summaries, silent: options.interfaces.filter((name) => !found.has(name)) };
  } finally {
    inquirer.close();
  }
}

class Ping {
  readonly #inquirer: Inquirer;
  readonly #paths: readonly Path[];
  readonly #options: PingOptions;
  readonly #onEvent: (event: PingEvent) => boolean;
  /** Those that may still be answered in time, in the order of sending. */
  readonly #outstanding = new Map<Question, Sent>();
  /** Those and the former ones, as long as an answer may be recognized. */
  readonly #sent = new WeakMap<Question, Sent>();
  #heard = true;

  constructor(
    inquirer: Inquirer,
    found: readonly FoundPath[],
    options: PingOptions,
    onEvent: (event: PingEvent) => boolean,
  ) {
    this.#inquirer = inquirer;
    this.#options = options;
    this.#onEvent = onEvent;
    this.#paths = found.map((addressee) => ({
      addressee,
      interface: inquirer.interfaces[addressee.link]!.name,
      mac: formatMac(addressee.mac),
      roundTrips: new RoundTrips(),
      ...{ sent: 0, answered: 0, again: 0 },
    }));
  }

  async run(signal: AbortSignal): Promise<PingSummary[]> {
    const { count = Infinity, intervalMs } = this.#options;
    let nextMs = performance.now();
    for (let sequence = 0; !signal.aborted && this.#heard;) {
      if (sequence < count && performance.now() >= nextMs) {
        nextMs = performance.now() + intervalMs;
        this.#sendAll(++sequence);
      }
      if (sequence >= count && this.#outstanding.size === 0) break;
      const [first] = this.#outstanding.values();
      const untilMs = Math.min(sequence < count ? nextMs : Infinity, first?.dueMs ?? Infinity);
      await this.#inquirer.listen(untilMs, (answer) => this.#take(answer));
      this.#giveUp();
    }
    // Those that still had time are neither answered nor lost.
    for (const { path } of this.#outstanding.values()) path.sent--;
    return this.#paths.map((path) => ({
      ...{ interface: path.interface, mac: path.mac, sent: path.sent, again: path.again },
      lost: path.sent - path.answered,
      roundTrips: path.roundTrips.summary(),
    }));
  }

  #sendAll(sequence: number): void {
    for (const path of this.#paths) {
      const question = this.#options.read
        ? readQuestion(path.addressee, 1, path.addressee.lba48)
        : configQuestion(path.addressee, CONFIG_READ, NO_STRING);
      const dueMs = performance.now() + this.#options.timeoutMs;
      const sent = { path, sequence, dueMs, answered: false };
      path.sent++;
      this.#outstanding.set(question, sent);
      this.#sent.set(question, sent);
      this.#inquirer.send(question);
    }
  }

  #take({ question, error, frame, roundTripMs, again }: Answer): void {
    const sent = this.#sent.get(question);
    if (sent === undefined) return;
    if (this.#outstanding.delete(question)) {
      sent.answered = true;
      sent.path.answered++;
      sent.path.roundTrips.add(roundTripMs);
    } else if (again && sent.answered) sent.path.again++;
    else return;
    const isAta = question.command === COMMAND_ATA;
    const refusal = error !== 0 ? aoeErrorName(error) : isAta ? ataRefusal(frame) : undefined;
    this.#tell(sent, { ms: roundTripMs, refusal, again });
  }

  #giveUp(): void {
    const now = performance.now();
    for (const [question, sent] of this.#outstanding) {
      if (now < sent.dueMs) return;
      this.#outstanding.delete(question);
      this.#tell(sent, { ms: undefined, refusal: undefined, again: false });
    }
  }

  #tell({ path, sequence }: Sent, what: Pick<PingEvent, "ms" | "refusal" | "again">): void {
    const { interface: iface, mac } = path;
    this.#heard = this.#onEvent({ interface: iface, mac, sequence, ...what }) && this.#heard;
  }
}
