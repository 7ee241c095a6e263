// The exports of a target thread: what stands behind each, and what the main thread is told of it.

import { POLLIN } from "../../../ffi/poll.ts";
import type { PollSet } from "../../../ffi/poll.ts";
import { segmentsWithin, TargetExport } from "../../core/target/export.ts";
import { ExportTable } from "../../core/target/export_table.ts";
import type { Link } from "../../core/target/target.ts";
import { formatAddress } from "../../wire/aoe.ts";
import { formatMac } from "../../wire/ethernet.ts";
import { BackingFile } from "./backing_file.ts";
import { sourceNumber } from "./disk_queues.ts";
import { freshIncarnation } from "./export_config.ts";
import type { ExportConfig } from "./export_config.ts";
import { RECEIVE_BATCH } from "./link.ts";
import type { RiskyExport, TargetJobConfig, TargetMessage } from "./messages.ts";
import { NbdSource } from "./nbd_source.ts";
import type { NbdSourceMemory } from "./nbd_source.ts";
import type { TargetParts } from "./parts.ts";

/** All exports of one thread. */
export class ServedExports {
  readonly table: ExportTable;
  /** Those of the exports that have one. */
  readonly sources: NbdSource[] = [];
  readonly #config: TargetJobConfig;
  readonly #parts: TargetParts;
  readonly #post: (message: TargetMessage) => void;

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
    const { pool } = parts;
    // A disk that hangs leaves frames for questions that need none.
    const heldMax = Math.floor(
      (pool.count - RECEIVE_BATCH * config.interfaces.length) / config.exports.length,
    );
    const segments = segmentsWithin(config.mapBytes, config.exports.length);
    this.table = new ExportTable(config.exports.map((ex, index) => {
      const source = this.#openSource(parts.sources[index], ex, index);
      return new TargetExport(
        index,
        source === undefined ? ex : { ...ex, fd: sourceNumber(this.sources.indexOf(source)) },
        {
          backing: source ?? new BackingFile(ex, segments),
          ...{ frames: pool.count, heldMax, segments },
          buffers: config.buffers,
          onChange: () => this.postState(ex.shelf, ex.slot),
          onCacheSwitch: (mac, link, on) => {
            const { shelf, slot } = ex;
            const by = { mac: formatMac(mac), interface: nameOf(link) };
            this.#post({ kind: "write-cache", shelf, slot, on, ...by });
          },
        },
      );
    }));
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
        const { shelf, slot } = ex.settings;
        this.#post({ kind: "resized", shelf, slot, sectors: ex.drive.sectors });
        this.postState(shelf, slot);
        resized(ex);
      }
      this.#listen(ex, nowMs);
    }
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
    this.table.list.forEach(({ backing, settings }, i) => {
      if (!backing.atRisk) return;
      atRisk.push({ shelf: settings.shelf, slot: settings.slot, forMs: undefined });
      const name = formatAddress(settings.shelf, settings.slot);
      const text = `${name}: "${this.#config.exports[i]!.path}" could not be flushed at the end`;
      this.#post({ kind: "error", text });
    });
  }

  /** Tells of a disk for which commands wait, and which has finished none. */
  #listen(ex: TargetExport, nowMs: number): void {
    const news = ex.listen(nowMs);
    if (news === undefined) return;
    const { shelf, slot } = ex.settings;
    const { path } = this.#config.exports[ex.index]!;
    this.#post({ kind: "silence", shelf, slot, path, ...news });
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
