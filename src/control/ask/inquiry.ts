// Asking one target single questions from the main thread, outside of a session: what `aoe identify`,
// `config`, `mask` and `reserve` do.

import type { ProbeWish } from "./probe_aids.ts";
import { isContested } from "../../core/ask/discovery.ts";
import type { FoundTarget } from "../../core/ask/discovery.ts";
import {
  configQuestion,
  identifyQuestion,
  maskQuestion,
  reserveQuestion,
} from "../../core/ask/questions.ts";
import type { Addressee, Question } from "../../core/ask/questions.ts";
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
import { Inquirer } from "./inquirer.ts";
import { describeSearch, explainContest } from "./scan.ts";
import type { NetworkInterface } from "../../../ffi/netlink.ts";

/** Whom to ask, where, and for how long. */
export interface InquiryOptions {
  /** Names; all that are up when empty. */
  readonly interfaces: readonly string[];
  readonly address: Address;
  /** For each of the questions, the search included. */
  readonly timeoutMs: number;
  /** What is wanted to look for a fault. */
  readonly wish?: ProbeWish | undefined;
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
  const inquirer = new Inquirer(findInterfaces(options.interfaces), options.wish);
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
    return this.#inquirer.interfaces[this.#addressee.link]!;
  }

  /** The MAC by which it is asked. */
  get mac(): Uint8Array {
    return this.#addressee.mac;
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
    return this.#insist(
      identifyQuestion(this.#addressee, ETHERNET_FRAME_BYTES_MIN),
      identifyContent,
    );
  }

  /**
   * Query config; a test that does not match is not answered.
   *
   * @param command A CONFIG sub-command of the wire's.
   */
  config(command: number, string: Uint8Array): Promise<Reply<ConfigResponse> | undefined> {
    const question = configQuestion(this.#addressee, command, string);
    return this.#ask(question, (frame) => readConfigResponse(frame, 0, frame.length));
  }

  /**
   * Reads or edits the mask list, with one directive for each MAC.
   *
   * @param directive A DIRECTIVE constant of the wire's; DIRECTIVE_NONE only reads.
   */
  mask(directive: number, macs: readonly Uint8Array[]): Promise<Reply<MaskResponse>> {
    const command = directive === DIRECTIVE_NONE ? MASK_READ : MASK_EDIT;
    const question = maskQuestion(this.#addressee, command, directive, macs);
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
    return this.#insist(reserveQuestion(this.#addressee, command, macs), reserveHolders);
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
    const question = reserveQuestion(this.#addressee, command, macs);
    return this.#ask(question, reserveHolders, Math.min(patienceMs, this.#timeoutMs));
  }

  get #addressee(): Addressee {
    return this.#target.paths[0]!;
  }

  /** @throws {Deno.errors.TimedOut} In one sentence. */
  async #insist<T>(
    question: Question,
    read: (frame: Uint8Array) => T | undefined,
  ): Promise<Reply<T>> {
    const reply = await this.#ask(question, read);
    if (reply !== undefined) return reply;
    const { shelf, slot } = question.addressee.address;
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
