// The interfaces of a target thread, and what netlink tells of them.

import { SystemError } from "../../../ffi/errno.ts";
import { ENODEV } from "../../../ffi/errno_numbers.ts";
import { LinkMonitor, listInterfaces, masterName } from "../../../ffi/netlink.ts";
import type { NetworkInterface } from "../../../ffi/netlink.ts";
import { POLLIN, POLLOUT } from "../../../ffi/poll.ts";
import type { PollSet } from "../../../ffi/poll.ts";
import type { FrameLink } from "../../core/target/frame_link.ts";
import type { TargetCounters } from "../../core/target/counters.ts";
import type { Link } from "../../core/target/target.ts";
import { explainSocketError } from "../socket_refusal.ts";
import { LINKS_MAX } from "./link.ts";
import type { TargetLink } from "./link.ts";
import { aidTargetLinks } from "./link_aids.ts";
import type { AidedTargetLinks } from "./link_aids.ts";
import type { TargetJobConfig, TargetMessage } from "./messages.ts";
import type { TargetParts } from "./parts.ts";

/** All links of one thread. */
export class ServedLinks {
  /** By their numbers; one that is free has no name. */
  readonly list: TargetLink[];
  /** The same, as the loop has them. */
  readonly aided: AidedTargetLinks;
  readonly #parts: TargetParts;
  readonly #poll: PollSet;
  readonly #post: (message: TargetMessage) => void;
  readonly #monitor = new LinkMonitor();
  readonly #monitorEntry: number;

  /** */
  constructor(
    config: TargetJobConfig,
    parts: TargetParts,
    counters: TargetCounters,
    post: (message: TargetMessage) => void,
  ) {
    const { pool, commands, poll } = parts;
    this.#parts = parts;
    this.#poll = poll;
    this.#post = post;
    this.#monitorEntry = poll.add(this.#monitor.fd, POLLIN);
    this.list = parts.links;
    for (const link of this.list) link.pollEntry = poll.add(-1, POLLIN);
    this.aided = aidTargetLinks(this.list, config.aids, {
      ...{ pool, commands, counters },
      tell: (text) => post({ kind: "error", text }),
    });
  }

  /**
   * Opens the sockets, once the links know what is to pass.
   *
   * @param present The interfaces there are.
   * @throws {Error} One sentence: a socket cannot be had.
   */
  open(present: readonly NetworkInterface[]): void {
    for (const link of this.list) {
      try {
        link.update(present.find(({ name }) => name === link.name));
      } catch (error) {
        throw explainSocketError(error);
      }
    }
  }

  /**
   * Gives a link to one more interface; `begin` opens its socket.
   *
   * @returns The link's number.
   * @throws {Error} One sentence: there are too many.
   */
  dedicate(name: string): number {
    const free = this.list.findIndex(({ asked }) => asked === "");
    if (free >= 0) {
      this.list[free]!.dedicate(name);
      return free;
    }
    if (this.list.length === LINKS_MAX) {
      throw new Error(`${LINKS_MAX} interfaces are served already: remove one before "${name}"`);
    }
    const link = this.#parts.makeLink(name);
    link.pollEntry = this.#poll.add(-1, POLLIN);
    this.aided.links.push(this.aided.aid(link));
    return this.list.push(link) - 1;
  }

  /**
   * Opens the socket of a link that was dedicated, if its interface is there.
   *
   * @throws {SystemError} When it cannot be had.
   */
  begin(number: number): void {
    const link = this.list[number]!;
    const present = listInterfaces();
    const named = present.find(({ name }) => name === link.asked) ??
      present.find(({ altNames }) => altNames.includes(link.asked));
    link.update(named);
  }

  /** Why frames do not come by a ring at one of them, if one was wanted. */
  get withoutRing(): string | undefined {
    return this.list.find((link) => link.withoutRing !== undefined)?.withoutRing;
  }

  /** What the interface is called that the loop has such a link to. */
  nameOf(link: Link): string {
    const number = this.aided.links.findIndex((mine) => mine === link);
    return this.list[number]?.name ?? "an interface";
  }

  /** Prepares the wait for frames, or for room for answers. */
  beginWait(): void {
    for (const link of this.list) {
      const wanted = link.blocked ? POLLOUT : link.starved ? 0 : POLLIN;
      // An error is told of whether it is wanted or not, for as long as nobody receives.
      this.#poll.replace(link.pollEntry, wanted === 0 ? -1 : link.fd);
      this.#poll.want(link.pollEntry, wanted);
    }
  }

  /** Takes what the wait has found; whether there was anything. */
  endWait(): boolean {
    let any = false;
    for (const link of this.list) {
      if (this.#poll.found(link.pollEntry) === 0) continue;
      link.readable = true;
      link.blocked = false;
      any = true;
    }
    return any;
  }

  /**
   * Takes over what netlink has told of the interfaces, if the wait found something.
   *
   * @param announce Told of a link whose peers should hear of it.
   */
  follow(announce: (link: FrameLink) => void): void {
    if (this.#poll.found(this.#monitorEntry) === 0) return;
    this.#monitor.follow(this.list, (number, now) => {
      if (this.#take(this.list[number]!, now)) announce(this.aided.links[number]!);
    });
  }

  close(): void {
    for (const link of this.list) link.close();
    this.aided.capture?.close();
    this.#monitor.close();
  }

  /** Takes over the news of one interface, and tells of them; whether its peers should hear of it. */
  #take(link: TargetLink, now: NetworkInterface | undefined): boolean {
    const { name, running, mtu, port } = link;
    const news = this.#update(link, now);
    if (link.name !== name) this.#post({ kind: "renamed", name: link.name, before: name });
    if (news || running !== link.running || mtu !== link.mtu || port !== link.port) {
      const up = link.port ? "port" : link.running ? "up" : "down";
      this.#post({
        kind: "link",
        name: link.name,
        state: now === undefined ? "gone" : up,
        master: now === undefined ? undefined : masterName(now),
        mtu: link.mtu,
        sectors: link.sectors,
      });
    }
    return news;
  }

  /** See `TargetLink.update`; an interface that cannot be had is none. */
  #update(link: TargetLink, now: NetworkInterface | undefined): boolean {
    try {
      return link.update(now);
    } catch (error) {
      link.update(undefined);
      // Gone again before it was looked at: that change follows.
      if (error instanceof SystemError && error.code === ENODEV) return false;
      const reason = error instanceof Error ? error.message : String(error);
      this.#post({ kind: "error", text: `${link.name} is not served: ${reason}` });
      return false;
    }
  }
}
