// Hears of others that answer for our addresses while we serve them: an initiator that takes now one
// disk and now the other destroys both. Who comes says so by adverts, which are heard at once; who
// was there when two networks were joined is asked for now and then.

import { listInterfaces } from "../../../ffi/netlink.ts";
import type { NetworkInterface } from "../../../ffi/netlink.ts";
import {
  AOE_SLOT,
  aoeShelf,
  COMMAND_CONFIG,
  formatAddress,
  writeAoeHeader,
} from "../../wire/aoe.ts";
import type { Address } from "../../wire/aoe.ts";
import { CONFIG_READ, writeConfigRequest } from "../../wire/config.ts";
import {
  ETHERNET_FRAME_BYTES_MIN,
  ETHERNET_SOURCE,
  formatMac,
  MAC_BROADCAST,
  MAC_BYTES,
} from "../../wire/ethernet.ts";
import { rivalFilter } from "../../wire/filter.ts";
import type { TargetMessage } from "../../loops/target/messages.ts";
import { ProbeSockets } from "../ask/probe_sockets.ts";

const LOOK_EVERY_MS = 1_000;
/** Interfaces are listed in so many looks, and when somebody is heard: it takes longer than all else. */
const LOOKS_OF_LIST = 10;
/** In so many questions all addresses are asked for once, … */
const ASKS_FOR_ALL = 10;
/** … which are so many looks apart: five minutes, and no storm in a rack of targets. */
const LOOKS_OF_ASK = 30;
/** The same rival is told of again after so long. */
const QUIET_MS = 3_600_000;
/** Rivals that are remembered at most. */
const REMEMBERED_MAX = 256;
const NO_STRING = new Uint8Array(0);

/** What is served, and where. */
interface Served {
  readonly exports: readonly Address[];
  readonly interfaces: readonly string[];
}

/** Watches for other targets. */
export class RivalWatch {
  readonly #served: () => Served;
  readonly #tell: (message: TargetMessage) => void;
  readonly #timer = setInterval(() => this.#look(), LOOK_EVERY_MS);
  /** What the sockets were opened for. */
  #key = "";
  #sockets: ProbeSockets | undefined;
  #looks = 0;
  /** How many exports and interfaces were served when interfaces were listed. */
  #counts = "";
  #nextAsked = 0;
  /** When each was told of. */
  readonly #toldMs = new Map<string, number>();

  /** @param served Asked every second. */
  constructor(served: () => Served, tell: (message: TargetMessage) => void) {
    this.#served = served;
    this.#tell = tell;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#sockets?.close();
  }

  #look(): void {
    const { exports, interfaces } = this.#served();
    const counts = `${exports.length} ${interfaces.length}`;
    const heard = this.#sockets?.wait(0) === true;
    if (heard || counts !== this.#counts || this.#looks % LOOKS_OF_LIST === 0) {
      this.#counts = counts;
      this.#openAndReceive(exports, interfaces);
    }
    if (++this.#looks % LOOKS_OF_ASK === 0 && this.#sockets !== undefined) this.#ask(exports);
  }

  #openAndReceive(exports: readonly Address[], interfaces: readonly string[]): void {
    const existing = listInterfaces();
    // What is sent on lo comes back to ourselves.
    const links = existing.filter(({ name, altNames, up, ethernet, loopback }) =>
      up && ethernet && !loopback &&
      (interfaces.includes(name) || altNames.some((other) => interfaces.includes(other)))
    );
    this.#open(exports, links);
    if (this.#sockets !== undefined) {
      this.#receive(new Set(existing.map(({ mac }) => formatMac(mac))));
    }
  }

  /** Opens sockets where something has changed. */
  #open(exports: readonly Address[], links: readonly NetworkInterface[]): void {
    const key = JSON.stringify([
      exports.map(({ shelf, slot }) => [shelf, slot]),
      links.map(({ index }) => index),
    ]);
    if (key === this.#key) return;
    this.#key = key;
    this.#sockets?.close();
    this.#sockets = undefined;
    if (exports.length === 0 || links.length === 0) return;
    try {
      this.#sockets = new ProbeSockets(links, { filter: rivalFilter(exports) });
    } catch {
      // An interface that goes at this very moment, or more exports than a filter takes.
      this.#key = "";
    }
  }

  #receive(own: ReadonlySet<string>): void {
    const sockets = this.#sockets!;
    sockets.receive((view, at, length, link) => {
      if (length < ETHERNET_FRAME_BYTES_MIN) return;
      const source = at + ETHERNET_SOURCE;
      const mac = formatMac(view.subarray(source, source + MAC_BYTES));
      // Two interfaces of ours on one network hear each other.
      if (own.has(mac)) return;
      const { name } = sockets.interfaces[link]!;
      this.#notice({ shelf: aoeShelf(view, at), slot: view[at + AOE_SLOT]! }, mac, name);
    });
  }

  #notice({ shelf, slot }: Address, mac: string, interfaceName: string): void {
    const nowMs = performance.now();
    const key = `${formatAddress(shelf, slot)} ${mac}`;
    if (nowMs < (this.#toldMs.get(key) ?? -Infinity) + QUIET_MS) return;
    if (this.#toldMs.size === REMEMBERED_MAX) this.#toldMs.clear();
    this.#toldMs.set(key, nowMs);
    this.#tell({ kind: "rival", shelf, slot, mac, interface: interfaceName });
  }

  /** Asks for the next few addresses. */
  #ask(exports: readonly Address[]): void {
    const sockets = this.#sockets!;
    for (let i = 0; i < Math.ceil(exports.length / ASKS_FOR_ALL); i++) {
      const { shelf, slot } = exports[this.#nextAsked++ % exports.length]!;
      for (const link of sockets.interfaces.keys()) {
        sockets.send(link, (view, at, source) => {
          view.fill(0, at, at + ETHERNET_FRAME_BYTES_MIN);
          const header = { flags: 0, shelf, slot, command: COMMAND_CONFIG, tag: 0 };
          writeAoeHeader(view, at, MAC_BROADCAST, source, header);
          writeConfigRequest(view, at, CONFIG_READ, NO_STRING);
          return ETHERNET_FRAME_BYTES_MIN;
        });
      }
    }
  }
}
