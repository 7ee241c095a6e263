// The reservation of a disk that is attached, so that two hosts do not mount one file system.

import type { NetworkInterface } from "../../../ffi/netlink.ts";
import { type Address, ERROR_UNRECOGNIZED_COMMAND, formatAddress } from "../../wire/aoe.ts";
import { formatMac } from "../../wire/ethernet.ts";
import { RESERVE_READ, RESERVE_SET } from "../../wire/reserve.ts";
import { converse, explainRefusal } from "../ask/inquiry.ts";
import type { InquiryOptions } from "../ask/inquiry.ts";
import { survivingInterfaces } from "../network_interfaces.ts";

const TIMEOUT_MS = 2_000;
/**
 * For so long a target that has just been found is asked for its reservations: who is silent to
 * that knows none, as qaoed does not.
 */
const LIST_PATIENCE_MS = 500;
/** A command that has failed already does not want to wait long for the reason. */
const EXPLAIN_MS = 500;
/** A target that was restarted, unnoticed, has forgotten the reservation for so long. */
const AGAIN_EVERY_MS = 10_000;

/** Of which disk, and whom to tell. */
export interface HeldReservationOptions {
  readonly address: Address;
  /** Their names of now. */
  readonly interfaces: () => readonly string[];
  readonly log: (text: string, severity: "warning" | "info") => void;
}

/**
 * Who holds the reservation of a disk, this host left out.
 *
 * @returns Nobody also where the target does not know reservations.
 */
export function foreignHolders(options: InquiryOptions): Promise<readonly string[]> {
  return converse({ ...options, everywhere: true }, async (disk) => {
    const own = new Set(disk.ownMacs().map((mac) => formatMac(mac)));
    const reply = await disk.reserveIfKnown(RESERVE_READ, [], LIST_PATIENCE_MS);
    if (reply === undefined || reply.error !== 0 || reply.content === undefined) return [];
    return reply.content.map((mac) => formatMac(mac)).filter((mac) => !own.has(mac));
  });
}

/**
 * Says who has reserved a disk that refuses commands for that reason.
 *
 * @param text What is said when nobody tells.
 */
export async function explainReservation(
  text: string,
  of: { readonly address: Address; readonly interfaces: readonly string[] },
): Promise<string> {
  const holders = await foreignHolders({ ...of, timeoutMs: EXPLAIN_MS }).catch(() => []);
  if (holders.length === 0) return text;
  const name = formatAddress(of.address.shelf, of.address.slot);
  const take = `aoe reserve ${name} --force takes it from them`;
  return `${name} is reserved by ${holders.join(", ")}, and refuses this host: ${take}`;
}

/**
 * The reservation of an attached disk. A target forgets it when it is restarted, perhaps unnoticed:
 * it is taken again whenever there may be cause, and every ten seconds.
 */
export class HeldReservation {
  readonly #options: HeldReservationOptions;
  #held = false;
  #attempt: Promise<void> | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  #released = false;

  constructor(options: HeldReservationOptions) {
    this.#options = options;
  }

  /** Nobody else is known to have it. */
  get held(): boolean {
    return this.#held;
  }

  /**
   * Takes it for the first time.
   *
   * @throws {Deno.errors.PermissionDenied} One sentence: somebody else has it.
   * @throws {Deno.errors.NotSupported} One sentence: the target knows no reservations.
   */
  async take(): Promise<void> {
    await this.#set();
    this.#begin();
  }

  /** Takes it again, or for the first time where an earlier process had it; failures are told. */
  takeAgain(): void {
    if (this.#released) return;
    if (this.#timer === undefined) this.#begin();
    this.#attempt ??= this.#try().finally(() => {
      this.#attempt = undefined;
    });
  }

  /** Gives it back; a target that is away forgets it by itself. */
  async release(): Promise<void> {
    this.#released = true;
    clearInterval(this.#timer);
    await this.#attempt;
    if (!this.#held) return;
    this.#held = false;
    try {
      await converse(this.#inquiry(this.#links()), (disk) => disk.reserve(RESERVE_SET, []));
    } catch {
      // It does not answer.
    }
  }

  #begin(): void {
    this.#held = true;
    this.#timer = setInterval(() => this.takeAgain(), AGAIN_EVERY_MS);
  }

  async #try(): Promise<void> {
    const { address: { shelf, slot }, log } = this.#options;
    try {
      await this.#set();
      if (!this.#held) log(`${formatAddress(shelf, slot)} is reserved for this host again`, "info");
      this.#held = true;
    } catch (error) {
      // A target that is away is told of elsewhere.
      if (!(error instanceof Deno.errors.PermissionDenied)) return;
      if (this.#held) log(error.message, "warning");
      this.#held = false;
    }
  }

  /**
   * For this host's MACs on all interfaces: those that the target cannot be reached by now are to be
   * good for it later.
   */
  async #set(): Promise<void> {
    const { address } = this.#options;
    const links = this.#links();
    const own = links.map((link) => link.mac);
    await converse(this.#inquiry(links), async (disk) => {
      const reply = await disk.reserveIfKnown(RESERVE_SET, own, TIMEOUT_MS);
      if (reply === undefined || reply.error === ERROR_UNRECOGNIZED_COMMAND) {
        throw new Deno.errors.NotSupported(
          `${formatAddress(address.shelf, address.slot)} knows no reservations: attach it ` +
            `without --reserve`,
        );
      }
      const { error, content } = reply;
      if (error === 0) return;
      const holders = content?.map((mac) => formatMac(mac)).join(", ") ?? "";
      throw new Deno.errors.PermissionDenied(
        holders === ""
          ? explainRefusal(address, error)
          : `${formatAddress(address.shelf, address.slot)} is reserved by ${holders}: ` +
            `aoe reserve --force takes it from them`,
      );
    });
  }

  #links(): readonly NetworkInterface[] {
    return survivingInterfaces(this.#options.interfaces());
  }

  /** @throws {Deno.errors.NetworkUnreachable} None of these links is up. */
  #inquiry(links: readonly NetworkInterface[]): InquiryOptions & { readonly changes: true } {
    const interfaces = links.filter((link) => link.up).map((link) => link.name);
    if (interfaces.length === 0) throw new Deno.errors.NetworkUnreachable("No interface is up");
    const { address } = this.#options;
    return { address, interfaces, timeoutMs: TIMEOUT_MS, changes: true };
  }
}
