// Asking from the main thread, outside of a session: the one engine of everything that asks without
// being an initiator (scan, inquiry, ping, check).
//
// 1. `explore` asks who is there, and those who answer to identify themselves, as often as the
//    asker wants, and ends as soon as enough of those that are meant have answered.
// 2. `ask` sends a question, again every 100 ms under a fresh tag, until a copy of it is answered
//    or the time is over. The answer to any copy will do: each question can be asked twice.
// 3. In between the thread waits in ppoll, so that round trips are measured in microseconds, and
//    lets the event loop run every few milliseconds, so that signals are heard.

import type { ProbeWish } from "./probe_aids.ts";
import { Discovery, groupByAddress } from "../../core/ask/discovery.ts";
import type { FoundPath, FoundTarget } from "../../core/ask/discovery.ts";
import { Questions } from "../../core/ask/questions.ts";
import type { Answer, Question } from "../../core/ask/questions.ts";
import type { Address } from "../../wire/aoe.ts";
import { ProbeSockets } from "./probe_sockets.ts";
import type { NetworkInterface } from "../../../ffi/netlink.ts";

/** When a question that was not answered is asked again. */
const RETRY_MS = 100;
/** How long others may still answer once enough have. */
const SETTLE_MS = 50;
/** How long the thread may wait before the event loop gets its turn. */
const SLICE_MS = 10;

type Receiver = (view: Uint8Array, at: number, length: number, link: number) => void;

/** A query for an address (or for everybody), or an IDENTIFY for a path. */
export interface Query {
  readonly link: number;
  readonly address?: Address | undefined;
  readonly path?: FoundPath;
}

/** What a look around asks, how often, and when it ends. */
export interface Exploration {
  readonly timeoutMs: number;
  /** When the questions are asked for the nth time, from 0, in ms from the start. */
  readonly askAtMs: (round: number) => number;
  /** How long others may still answer once enough have, and whether they are asked meanwhile. */
  readonly settle: { readonly ms: number; readonly asking: boolean };
  readonly isEnough: () => boolean;
  /** What is still to be asked. */
  readonly queries: () => readonly Query[];
}

function repeatedly(round: number): number {
  return round * RETRY_MS;
}

/** Sockets, and the questions that are out on them. */
export class Inquirer {
  readonly interfaces: readonly NetworkInterface[];
  readonly #sockets: ProbeSockets;
  readonly #questions = new Questions(Math.random() * 2 ** 31);
  #yieldedMs = performance.now();

  /**
   * @param wish What is wanted to look for a fault.
   * @throws {Deno.errors.PermissionDenied} Without CAP_NET_RAW, in one sentence.
   */
  constructor(interfaces: readonly NetworkInterface[], wish?: ProbeWish) {
    this.interfaces = interfaces;
    this.#sockets = new ProbeSockets(interfaces, { wish });
  }

  /**
   * Looks for targets and asks them to identify themselves.
   *
   * @param address All when undefined; then the whole time is waited.
   * @param options `everywhere`: wait until every interface has answered, not only the first;
   * `listenMs`: ask on for so long once that is so, since others may answer for the address, too.
   */
  async find(
    address: Address | undefined,
    options: {
      readonly timeoutMs: number;
      readonly everywhere: boolean;
      readonly listenMs?: number;
    },
  ): Promise<FoundTarget[]> {
    const { timeoutMs, listenMs } = options;
    const discovery = new Discovery(Math.random() * 2 ** 31);
    const links = this.interfaces.keys().toArray();
    const silentLinks = () => {
      const answered = new Set(discovery.paths().map(({ link }) => link));
      return links.filter((link) => !answered.has(link));
    };
    const asking = listenMs !== undefined;
    await this.explore(discovery, {
      timeoutMs,
      askAtMs: repeatedly,
      settle: { ms: listenMs ?? SETTLE_MS, asking },
      isEnough: () =>
        address !== undefined &&
        (options.everywhere ? silentLinks().length === 0 : silentLinks().length < links.length),
      queries: () =>
        (address === undefined || asking ? links : silentLinks()).map((link) => ({
          link,
          address,
        })),
    });
    await this.identify(discovery, timeoutMs, repeatedly);
    return groupByAddress(discovery.paths());
  }

  /**
   * Asks everybody who was found to identify himself.
   *
   * @param timeoutMs For how long answers are waited for.
   * @param askAtMs See `Exploration`.
   */
  async identify(
    discovery: Discovery,
    timeoutMs: number,
    askAtMs: (round: number) => number,
  ): Promise<void> {
    const found = discovery.paths();
    const silent = () =>
      found.filter(({ identity, refusal }) => identity === undefined && refusal === undefined);
    await this.explore(discovery, {
      timeoutMs,
      askAtMs,
      settle: { ms: 0, asking: false },
      isEnough: () => silent().length === 0,
      queries: () => silent().map((path) => ({ link: path.link, path })),
    });
  }

  /** Asks again and again until there is enough and nobody else wants to speak. */
  async explore(discovery: Discovery, exploration: Exploration): Promise<void> {
    const { timeoutMs, askAtMs, settle, isEnough, queries } = exploration;
    const receive: Receiver = (view, at, length, link) => discovery.receive(view, at, length, link);
    const start = performance.now();
    let endMs = start + timeoutMs;
    let settling = false;
    let nextMs = start + askAtMs(0);
    for (let round = 1; performance.now() < endMs;) {
      if (!settling && isEnough()) {
        settling = true;
        endMs = Math.min(endMs, performance.now() + settle.ms);
      }
      if ((!settling || settle.asking) && performance.now() >= nextMs) {
        nextMs = performance.now() + askAtMs(round) - askAtMs(round - 1);
        round++;
        for (const { link, address, path } of queries()) {
          this.#sockets.send(
            link,
            (view, at, sender) =>
              path === undefined
                ? discovery.writeQuery(view, at, sender, address)
                : discovery.writeIdentify(view, at, sender, path),
          );
          // Answers to many questions must not pile up in the socket.
          this.#sockets.receive(receive);
        }
      }
      await this.#turn(settling && !settle.asking ? endMs : Math.min(nextMs, endMs), receive);
    }
  }

  /**
   * Asks questions, side by side, and repeats those that are not answered.
   *
   * @param read Makes sense of an answer; undefined for one that makes none, which is passed over.
   * @returns What `read` made of each question's answer; nothing for who stayed silent.
   */
  async ask<T>(
    questions: readonly Question[],
    timeoutMs: number,
    read: (answer: Answer) => T | undefined,
  ): Promise<Map<Question, T>> {
    const results = new Map<Question, T>();
    // Former questions may be answered still, late or twice.
    const wanted = new Set(questions);
    const start = performance.now();
    for (let nextMs = start; results.size < questions.length;) {
      const now = performance.now();
      if (now - start >= timeoutMs) break;
      if (now >= nextMs) {
        nextMs = now + RETRY_MS;
        for (const question of questions) if (!results.has(question)) this.send(question);
      }
      await this.listen(Math.min(nextMs, start + timeoutMs), (answer) => {
        if (!wanted.has(answer.question) || results.has(answer.question)) return;
        const result = read(answer);
        if (result !== undefined) results.set(answer.question, result);
      });
    }
    return results;
  }

  /** Sends one question once. */
  send(question: Question): void {
    this.#sockets.send(
      question.addressee.link,
      (view, at, sender) => this.#questions.write(view, at, sender, question, performance.now()),
    );
  }

  /** Waits for the next frames, at most until `untilMs` of performance.now(), and takes them. */
  async listen(untilMs: number, take: (answer: Answer) => void): Promise<void> {
    await this.#turn(untilMs, (view, at, length, link) => {
      const answer = this.#questions.receive(view, at, length, link, performance.now());
      if (answer !== undefined) take(answer);
    });
  }

  /** What the user should know about the interfaces, one sentence each. */
  warnings(): string[] {
    return this.#sockets.warnings();
  }

  close(): void {
    this.#sockets.close();
  }

  async #turn(untilMs: number, take: Receiver): Promise<void> {
    this.#sockets.wait(Math.min(SLICE_MS, untilMs - performance.now()));
    this.#sockets.receive(take);
    if (performance.now() - this.#yieldedMs < SLICE_MS) return;
    await new Promise((resolve) => setTimeout(resolve));
    this.#yieldedMs = performance.now();
  }
}
