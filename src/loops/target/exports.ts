// The exports of a target thread: what stands behind each, and what the main thread is told of it.

import { touchFile } from "../../../ffi/files.ts";
import { POLLIN } from "../../../ffi/poll.ts";
import type { PollSet } from "../../../ffi/poll.ts";
import { TargetExport } from "../../core/target/export.ts";
import { segmentsWithin } from "../../core/target/residency.ts";
import { ExportTable } from "../../core/target/export_table.ts";
import type { Link } from "../../core/target/target.ts";
import { formatAddress } from "../../wire/aoe.ts";
import { targetFilter } from "../../wire/filter.ts";
import { formatMac } from "../../wire/ethernet.ts";
import { BackingFile } from "./backing_file.ts";
import { sourceNumber } from "./disk_queues.ts";
import { freshIncarnation } from "./export_config.ts";
import type { ExportConfig } from "./export_config.ts";
import { RECEIVE_BATCH } from "./link.ts";
import type { TargetLink } from "./link.ts";
import type { RiskyExport, TargetJobConfig, TargetMessage } from "./messages.ts";
import { NbdSource } from "./nbd_source.ts";
import type { NbdSourceMemory } from "./nbd_source.ts";
import { ringSlots } from "./parts.ts";
import type { TargetParts } from "./parts.ts";

/** Commands that an export may hold at least, however many share the frames. */
const HELD_MIN = 1;

/** All exports of one thread. */
export class ServedExports {
  readonly table = new ExportTable();
  /** Those of the exports that have one. */
  readonly sources: NbdSource[] = [];
  readonly #config: TargetJobConfig;
  readonly #parts: TargetParts;
  readonly #post: (message: TargetMessage) => void;
  readonly #nameOf: (link: Link) => string;
  /** By their indexes. */
  readonly #configs: ExportConfig[] = [];

  /** @param nameOf Names the interface of a link. */
  constructor(
    config: TargetJobConfig,
    parts: TargetParts,
    post: (message: TargetMessage) => void,
    nameOf: (link: Link) => string,
  ) {
    this.#config = config;
    this.#parts = parts;
    this.#post = post;
    this.#nameOf = nameOf;
    const segments = segmentsWithin(config.mapBytes, config.exports.length);
    for (const [index, ex] of config.exports.entries()) {
      this.#open(index, ex, segments, parts.sources[index]);
    }
  }

  /** What an export was made of. */
  configOf(index: number): ExportConfig {
    return this.#configs[index]!;
  }

  /**
   * Serves a file or device more; `route` leads frames to it.
   *
   * @throws {SystemError} When the descriptor is none of a file.
   */
  add(index: number, config: ExportConfig): TargetExport {
    // All together may map somewhat more than was meant, rather than the last ones nothing.
    const segments = segmentsWithin(this.#config.mapBytes, this.table.count + 1);
    return this.#open(index, config, segments, undefined);
  }

  /**
   * Serves an export in another way; `route` takes over its interfaces.
   *
   * @returns Whether its size changed.
   */
  change(ex: TargetExport, config: ExportConfig): boolean {
    this.#configs[ex.index] = config;
    const resized = ex.change({ ...config, fd: ex.settings.fd, directFd: ex.settings.directFd });
    if (resized) this.#tellSize(ex);
    this.postState(config.shelf, config.slot);
    return resized;
  }

  /** Lets go of one that has left and whose commands are over. */
  close(ex: TargetExport): void {
    noteStores(ex);
    const { fd, directFd } = this.configOf(ex.index);
    for (const file of [fd, directFd]) if (file >= 0) this.#parts.files.removeFile(file);
    if (ex.backing instanceof BackingFile || ex.backing instanceof NbdSource) ex.backing.close();
    this.table.forget(ex);
  }

  /** Says which exports are served on which links, and shares out what there is among them. */
  route(links: readonly TargetLink[]): void {
    const { list } = this.table;
    for (const ex of list) {
      const { interfaces } = this.configOf(ex.index);
      ex.links = links.reduce((bits, link, number) => {
        const served = link.asked !== "" &&
          (interfaces === undefined || interfaces.some((name) => link.isCalled(name)));
        return served ? bits | 1 << number : bits;
      }, 0);
      // A disk that hangs leaves frames for questions that need none.
      const frames = this.#parts.pool.count - RECEIVE_BATCH * links.length;
      ex.heldMax = Math.max(HELD_MIN, Math.floor(frames / list.length));
    }
    for (const [number, link] of links.entries()) {
      const here = list.filter((ex) => (ex.links >>> number & 1) !== 0);
      link.filter = targetFilter(here.map((ex) => ex.settings));
      link.growTo(ringSlots(here.length, this.#config.buffers));
    }
  }

  /** Tells what another needs to answer for an export. */
  postState(shelf: number, slot: number): void {
    for (const { target } of this.table.list) {
      if (target.shelf !== shelf || target.slot !== slot) continue;
      this.#post({ kind: "state", shelf, slot, state: target.state });
    }
  }

  /**
   * Looks at the size of each file or device again, tells of those that changed, and of disks for
   * which commands wait and which finish none.
   *
   * @param resized Told of an export that has another size.
   */
  look(nowMs: number, resized: (ex: TargetExport) => void): void {
    for (const ex of this.table.list) {
      if (ex.refreshSize()) {
        this.#tellSize(ex);
        this.postState(ex.settings.shelf, ex.settings.slot);
        resized(ex);
      }
      this.#listen(ex, nowMs);
    }
  }

  /** Whether pages of a file have been stored to of which its time of change knows nothing. */
  get haveStored(): boolean {
    return this.table.list.some((ex) => ex.stored);
  }

  /** Gives such files their times of change; not where a disk works, and may hang. */
  noteStores(): void {
    for (const ex of this.table.list) if (!ex.working && !ex.syncUnderWay) noteStores(ex);
  }

  /** Asks for news of the sources; returns how long to wait for them at most. */
  watchSources(poll: PollSet, timeoutMs: number): number {
    let waitMs = timeoutMs;
    const nowMs = this.#parts.clock.nowMs();
    for (const source of this.sources) {
      poll.replace(source.pollEntry, source.fd);
      poll.want(source.pollEntry, source.events);
      waitMs = Math.min(waitMs, Math.max(0, source.dueMs - nowMs));
    }
    return waitMs;
  }

  /**
   * Flushes what the servers of sources have in their caches.
   *
   * @param wait Called while that goes on.
   */
  finishSources(untilMs: number, atRisk: RiskyExport[], wait: () => void): void {
    for (const source of this.sources) source.finish();
    while (
      this.sources.some((source) => source.finishing) && this.#parts.clock.nowMs() < untilMs
    ) {
      wait();
    }
    this.table.list.forEach(({ backing, settings, index }) => {
      if (!backing.atRisk) return;
      atRisk.push({ shelf: settings.shelf, slot: settings.slot, forMs: undefined });
      const name = formatAddress(settings.shelf, settings.slot);
      const text = `${name}: "${this.configOf(index).path}" could not be flushed at the end`;
      this.#post({ kind: "error", text });
    });
  }

  /** Tells of a disk for which commands wait, and which has finished none. */
  #listen(ex: TargetExport, nowMs: number): void {
    const news = ex.listen(nowMs);
    if (news === undefined) return;
    const { shelf, slot } = ex.settings;
    const { path } = this.configOf(ex.index);
    this.#post({ kind: "silence", shelf, slot, path, ...news });
  }

  #tellSize({ settings: { shelf, slot }, drive: { sectors } }: TargetExport): void {
    this.#post({ kind: "resized", shelf, slot, sectors });
  }

  #open(
    index: number,
    config: ExportConfig,
    segments: number,
    memory: NbdSourceMemory | undefined,
  ): TargetExport {
    const { shelf, slot } = config;
    const { pool, files } = this.#parts;
    const source = this.#openSource(memory, config, index);
    const ex = new TargetExport(
      index,
      source === undefined ? config : { ...config, fd: sourceNumber(this.sources.indexOf(source)) },
      {
        backing: source ?? new BackingFile(config, segments, this.#config.stores),
        ...{ frames: pool.count, heldMax: HELD_MIN, segments },
        buffers: this.#config.buffers,
        onChange: () => this.postState(shelf, slot),
        onCacheSwitch: (mac, link, on) => {
          const by = { mac: formatMac(mac), interface: this.#nameOf(link) };
          this.#post({ kind: "write-cache", shelf, slot, on, ...by });
        },
      },
    );
    this.#configs[index] = config;
    for (const fd of [config.fd, config.directFd]) if (fd >= 0) files.addFile(fd);
    this.table.add(ex);
    return ex;
  }

  #openSource(
    memory: NbdSourceMemory | undefined,
    ex: ExportConfig,
    index: number,
  ): NbdSource | undefined {
    if (memory === undefined || ex.source === undefined) return undefined;
    const { shelf, slot, path, source: origin } = ex;
    const { pool, commands, clock, poll } = this.#parts;
    const source = new NbdSource(memory, {
      ...{ pool, commands, clock, origin },
      pollEntry: poll.add(-1, POLLIN),
      listener: (state, text, lost) => {
        this.table.at(index)!.sourceAway = state === "away";
        // Initiators that know the incarnation learn so that writes they had not flushed are gone.
        if (lost) {
          this.table.at(index)!.drive.incarnation = freshIncarnation();
          this.postState(shelf, slot);
        }
        const loss = lost
          ? `; what it answered and had not flushed may be lost, as the next flush says`
          : "";
        this.#post({ ...{ kind: "source", shelf, slot, state }, text: `"${path}" ${text}${loss}` });
      },
    });
    this.sources.push(source);
    return source;
  }
}

/** Gives a file whose pages have been stored to its time of change, which backups go by. */
function noteStores(ex: TargetExport): void {
  if (!ex.stored) return;
  ex.stored = false;
  if (touchFile(ex.settings.fd) < 0) ex.refuseStores(Infinity);
}
