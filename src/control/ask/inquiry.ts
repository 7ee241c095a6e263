// Asking targets single questions from the main thread, outside of a session: what `aoe identify`,
// `config`, `mask` and `reserve` do, and what ping and check build on.
//
// 1. `find` looks for the address with query config, as `scan` does, but ends as soon as enough of
//    those that are meant have answered.
// 2. `ask` sends a question, again every 100 ms under a fresh tag, until a copy of it is answered
//    or the time is over. The answer to any copy will do: each question can be asked twice.
// 3. In between the thread waits in ppoll, so that round trips are measured in microseconds, and
//    lets the event loop run every few milliseconds, so that signals are heard.

import { Discovery, groupByAddress, isContested } from "../../core/ask/discovery.ts";
import type { FoundTarget } from "../../core/ask/discovery.ts";
import {
  configQuestion,
  identifyQuestion,
  maskQuestion,
  Questions,
  reserveQuestion,
} from "../../core/ask/questions.ts";
import type { Answer, Place, Question } from "../../core/ask/questions.ts";
import { aoeErrorName, formatAddress } from "../../wire/aoe.ts";
import type { Address } from "../../wire/aoe.ts";
import {
  ATA_COMMAND_STATUS,
  ATA_DATA,
  ATA_FEATURE_ERROR,
  ATA_HEADER_BYTES,
  ATA_STATUS_DF,
  ATA_STATUS_ERR,
  ataErrorName,
} from "../../wire/ata.ts";
import { readConfigResponse } from "../../wire/config.ts";
import type { ConfigResponse } from "../../wire/config.ts";
import { ETHERNET_FRAME_BYTES_MIN, ETHERNET_HEADER_BYTES, formatMac } from "../../wire/ethernet.ts";
import { IDENTIFY_BYTES } from "../../wire/identify.ts";
import { DIRECTIVE_NONE, MASK_EDIT, MASK_READ, readMaskResponse } from "../../wire/mask.ts";
import type { MaskResponse } from "../../wire/mask.ts";
import { readReserveHolders } from "../../wire/reserve.ts";
import { findInterfaces } from "../network_interfaces.ts";
import { ProbeSockets } from "./probe_sockets.ts";
import { describeSearch, explainContest } from "./scan.ts";
import type { NetworkInterface } from "../../../ffi/netlink.ts";

/** When a question that was not answered is asked again. */
const RETRY_MS = 100;
/** How long others may still answer once enough have. */
const SETTLE_MS = 50;
/** How long the thread may wait before the event loop gets its turn. */
const SLICE_MS = 10;

/** Sockets, and the questions that are out on them. */
export class Inquirer {
  readonly interfaces: readonly NetworkInterface[];
  readonly #sockets: ProbeSockets;
  readonly #questions = new Questions(Math.random() * 2 ** 31);
  #yieldedMs = performance.now();

  /** @throws {Deno.errors.PermissionDenied} Without CAP_NET_RAW, in one sentence. */
  constructor(interfaces: readonly NetworkInterface[]) {
    this.interfaces = interfaces;
    this.#sockets = new ProbeSockets(interfaces);
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
    const { listenMs } = options;
    const discovery = new Discovery(Math.random() * 2 ** 31);
    const links = this.interfaces.keys().toArray();
    const silentLinks = () => {
      const answered = new Set(discovery.paths().map(({ link }) => link));
      return links.filter((link) => !answered.has(link));
    };
    const isEnough = () =>
      address !== undefined &&
      (options.everywhere ? silentLinks().length === 0 : silentLinks().length < links.length);
    const settling = { ms: listenMs ?? SETTLE_MS, asking: listenMs !== undefined };
    await this.#repeat(options.timeoutMs, settling, discovery, isEnough, () => {
      for (const link of address === undefined || settling.asking ? links : silentLinks()) {
        this.#sockets.send(
          link,
          (view, at, source) => discovery.writeQuery(view, at, source, address),
        );
      }
    });
    const found = discovery.paths();
    const isSilent = (path: typeof found[number]) =>
      path.identity === undefined && path.refusal === undefined;
    await this.#repeat(
      options.timeoutMs,
      { ms: 0, asking: false },
      discovery,
      () => !found.some(isSilent),
      () => {
        for (const path of found.filter(isSilent)) {
          this.#sockets.send(
            path.link,
            (view, at, source) => discovery.writeIdentify(view, at, source, path),
          );
        }
      },
    );
    return groupByAddress(discovery.paths());
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
      question.place.link,
      (view, at, source) => this.#questions.write(view, at, source, question, performance.now()),
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

  /** Sends again and again until there is enough and nobody else wants to speak. */
  async #repeat(
    timeoutMs: number,
    settle: { readonly ms: number; readonly asking: boolean },
    discovery: Discovery,
    isEnough: () => boolean,
    send: () => void,
  ): Promise<void> {
    const start = performance.now();
    let endMs = start + timeoutMs;
    let settling = false;
    for (let nextMs = start; performance.now() < endMs;) {
      if (!settling && isEnough()) {
        settling = true;
        endMs = Math.min(endMs, performance.now() + settle.ms);
      }
      if ((!settling || settle.asking) && performance.now() >= nextMs) {
        nextMs = performance.now() + RETRY_MS;
        send();
      }
      await this.#turn(
        settling && !settle.asking ? endMs : Math.min(nextMs, endMs),
        (view, at, length, link) => discovery.receive(view, at, length, link),
      );
    }
  }

  async #turn(
    untilMs: number,
    take: (view: Uint8Array, at: number, length: number, link: number) => void,
  ): Promise<void> {
    this.#sockets.wait(Math.min(SLICE_MS, untilMs - performance.now()));
    this.#sockets.receive(take);
    if (performance.now() - this.#yieldedMs < SLICE_MS) return;
    await new Promise((resolve) => setTimeout(resolve));
    this.#yieldedMs = performance.now();
  }
}

/** Whom to ask, where, and for how long. */
export interface InquiryOptions {
  /** Names; all that are up when empty. */
  readonly interfaces: readonly string[];
  readonly address: Address;
  /** For each of the questions, the search included. */
  readonly timeoutMs: number;
}

/** What a target answered. */
export interface Reply<T> {
  /** An AoE error, 0 for none. */
  readonly error: number;
  /** What the answer says besides; missing from most errors. */
  readonly content: T | undefined;
}

/**
 * Finds a target and talks with it.
 *
 * @param options `changes`: something will be changed, so that it must be clear whose; `everywhere`:
 * all paths to it matter, not only the first that answers.
 * @throws {Deno.errors.TimedOut} One sentence: nobody answers for the address.
 * @throws {Deno.errors.AddrInUse} One sentence: different disks answer, and one is to be changed.
 */
export async function converse<T>(
  options: InquiryOptions & { readonly changes?: boolean; readonly everywhere?: boolean },
  talk: (conversation: Conversation) => Promise<T>,
): Promise<T> {
  const { address, timeoutMs, changes = false, everywhere = false } = options;
  const inquirer = new Inquirer(findInterfaces(options.interfaces));
  try {
    const target = await findTarget(inquirer, address, { timeoutMs, everywhere });
    const contest = isContested(target) ? explainContest(target, inquirer.interfaces) : undefined;
    if (changes && contest !== undefined) throw new Deno.errors.AddrInUse(contest);
    return await talk(new Conversation(inquirer, target, { timeoutMs, contest }));
  } finally {
    inquirer.close();
  }
}

/**
 * Looks for one address.
 *
 * @throws {Deno.errors.TimedOut} One sentence: nobody answers for it.
 */
export async function findTarget(
  inquirer: Inquirer,
  address: Address,
  options: { readonly timeoutMs: number; readonly everywhere: boolean },
): Promise<FoundTarget> {
  const [target] = (await inquirer.find(address, options)).filter((found) =>
    found.address.shelf === address.shelf && found.address.slot === address.slot
  );
  if (target !== undefined) return target;
  const name = formatAddress(address.shelf, address.slot);
  const where = describeSearch(inquirer.interfaces, options.timeoutMs);
  const [deaf] = inquirer.warnings();
  throw new Deno.errors.TimedOut(deaf ?? `No answer from ${name} ${where}`);
}

/** A target that was found, and is asked by the first of its paths. */
export class Conversation {
  /** Different disks answer for the address, in one sentence. */
  readonly contest: string | undefined;
  readonly #inquirer: Inquirer;
  readonly #target: FoundTarget;
  readonly #timeoutMs: number;

  constructor(
    inquirer: Inquirer,
    target: FoundTarget,
    options: { readonly timeoutMs: number; readonly contest: string | undefined },
  ) {
    this.#inquirer = inquirer;
    this.#target = target;
    this.#timeoutMs = options.timeoutMs;
    this.contest = options.contest;
  }

  /** The interface by which it is asked. */
  get interface(): NetworkInterface {
    return this.#inquirer.interfaces[this.#place.link]!;
  }

  /** The MAC by which it is asked. */
  get mac(): Uint8Array {
    return this.#place.mac;
  }

  /** The config string it had when it was found. */
  get configString(): Uint8Array {
    return this.#target.paths[0]!.config.string;
  }

  /** This host's own MACs, as the target sees them. */
  ownMacs(): Uint8Array[] {
    const macs = this.#target.paths.map(({ link }) => this.#inquirer.interfaces[link]!.mac);
    return [...new Map(macs.map((mac) => [formatMac(mac), mac])).values()];
  }

  /** IDENTIFY DEVICE: 512 bytes, or the words of the ATA registers that refuse it. */
  identify(): Promise<Reply<Uint8Array | string>> {
    return this.#insist(identifyQuestion(this.#place, ETHERNET_FRAME_BYTES_MIN), identifyContent);
  }

  /**
   * Query config; a test that does not match is not answered.
   *
   * @param command A CONFIG sub-command of the wire's.
   */
  config(command: number, string: Uint8Array): Promise<Reply<ConfigResponse> | undefined> {
    const question = configQuestion(this.#place, command, string);
    return this.#ask(question, (frame) => readConfigResponse(frame, 0, frame.length));
  }

  /**
   * Reads or edits the mask list, with one directive for each MAC.
   *
   * @param directive A DIRECTIVE constant of the wire's; DIRECTIVE_NONE only reads.
   */
  mask(directive: number, macs: readonly Uint8Array[]): Promise<Reply<MaskResponse>> {
    const command = directive === DIRECTIVE_NONE ? MASK_READ : MASK_EDIT;
    const question = maskQuestion(this.#place, command, directive, macs);
    return this.#insist(question, (frame) => readMaskResponse(frame, 0, frame.length));
  }

  /**
   * Reads or sets who holds the reservation.
   *
   * @param command A RESERVE sub-command of the wire's.
   */
  reserve(
    command: number,
    macs: readonly Uint8Array[],
  ): Promise<Reply<readonly Uint8Array[]>> {
    return this.#insist(reserveQuestion(this.#place, command, macs), reserveHolders);
  }

  /**
   * The same with a target that may not know reservations.
   *
   * @param patienceMs For how long an answer is waited for.
   * @returns Nothing when there was none: old targets are silent to what they do not know.
   */
  reserveIfKnown(
    command: number,
    macs: readonly Uint8Array[],
    patienceMs: number,
  ): Promise<Reply<readonly Uint8Array[]> | undefined> {
    const question = reserveQuestion(this.#place, command, macs);
    return this.#ask(question, reserveHolders, Math.min(patienceMs, this.#timeoutMs));
  }

  get #place(): Place {
    return this.#target.paths[0]!;
  }

  /** @throws {Deno.errors.TimedOut} In one sentence. */
  async #insist<T>(
    question: Question,
    read: (frame: Uint8Array) => T | undefined,
  ): Promise<Reply<T>> {
    const reply = await this.#ask(question, read);
    if (reply !== undefined) return reply;
    const { shelf, slot } = question.place.address;
    throw new Deno.errors.TimedOut(
      `${formatAddress(shelf, slot)} was there, but did not answer within ${
        this.#timeoutMs / 1000
      } s`,
    );
  }

  async #ask<T>(
    question: Question,
    read: (frame: Uint8Array) => T | undefined,
    timeoutMs = this.#timeoutMs,
  ): Promise<Reply<T> | undefined> {
    const { name, mtu } = this.interface;
    const bytesMax = mtu + ETHERNET_HEADER_BYTES;
    if (question.frame.length > bytesMax) {
      throw new Deno.errors.NotSupported(
        `This makes a frame of ${question.frame.length} bytes, but the MTU of "${name}" allows ` +
          `${bytesMax}`,
      );
    }
    const replies = await this.#inquirer.ask([question], timeoutMs, ({ error, frame }) => {
      const content = read(frame);
      return error === 0 && content === undefined ? undefined : { error, content };
    });
    return replies.get(question);
  }
}

function reserveHolders(frame: Uint8Array): readonly Uint8Array[] | undefined {
  return readReserveHolders(frame, 0, frame.length);
}

/** The data of an IDENTIFY answer, or what its registers say; undefined for half an answer. */
function identifyContent(frame: Uint8Array): Uint8Array | string | undefined {
  if (frame.length < ATA_HEADER_BYTES) return undefined;
  const refusal = ataRefusal(frame);
  if (refusal !== undefined) return refusal;
  const data = frame.slice(ATA_DATA, ATA_DATA + IDENTIFY_BYTES);
  return data.length < IDENTIFY_BYTES ? undefined : data;
}

/** What the registers of an ATA answer say when they say that it failed. */
export function ataRefusal(frame: Uint8Array): string | undefined {
  const status = frame[ATA_COMMAND_STATUS] ?? 0;
  if ((status & (ATA_STATUS_ERR | ATA_STATUS_DF)) === 0) return undefined;
  return ataErrorName(status, frame[ATA_FEATURE_ERROR] ?? 0);
}

/** `e1.1 refused: target is reserved`. */
export function explainRefusal(address: Address, error: number): string {
  return `${formatAddress(address.shelf, address.slot)} refused: ${aoeErrorName(error)}`;
}
