// How a command that the disk has finished, or that was gathered, becomes an answer in line at its
// interface. See loop.ts for the way of a request.

import { ATA_DATA } from "../../wire/ata.ts";
import { NONE } from "../tables.ts";
import { DRIVE_READ } from "./drive.ts";
import { OUTCOME_DONE } from "./target.ts";
import { FRAME_GATHERED } from "./commands.ts";
import type { TargetCommands } from "./commands.ts";
import type { FramePool } from "./frames.ts";
import { TARGET_COUNT_GATHERED, TARGET_COUNT_READ_BYTES, TARGET_COUNT_READS } from "./counters.ts";
import type { TargetCounters } from "./counters.ts";
import type { TargetMeter } from "./meter.ts";
import type { TargetExport } from "./export.ts";
import type { FrameLink } from "./frame_link.ts";

/** Completes commands at their target and hands the frames to the links. */
export class TargetAnswers {
  readonly #pool: FramePool;
  readonly #commands: TargetCommands;
  readonly #links: readonly FrameLink[];
  readonly #counters: TargetCounters;
  readonly #meter: TargetMeter;
  // Gathered reads of one export that are not counted yet.
  #gathered = 0;
  #gatheredBytes = 0;
  #gatheredExport = 0;

  constructor(
    parts: {
      pool: FramePool;
      commands: TargetCommands;
      links: readonly FrameLink[];
      counters: TargetCounters;
      meter: TargetMeter;
    },
  ) {
    this.#pool = parts.pool;
    this.#commands = parts.commands;
    this.#links = parts.links;
    this.#counters = parts.counters;
    this.#meter = parts.meter;
  }

  /** Answers with what lies in the frame, and repetitions alike; `outcome` is an OUTCOME constant. */
  answer(ex: TargetExport, frame: number, outcome: number): void {
    const pool = this.#pool;
    const commands = this.#commands;
    const first = commands.repetition[frame]!;
    commands.repetition[frame] = NONE;
    const reads = commands.operation[frame] === DRIVE_READ && outcome === OUTCOME_DONE;
    // In the order in which they came, which tells the initiator that nothing was lost.
    this.#answerOne(ex, frame, outcome);
    for (let repetition = first; repetition >= 0;) {
      const next = commands.repetition[repetition]!;
      commands.repetition[repetition] = NONE;
      if (reads) {
        const from = pool.start(frame) + ATA_DATA;
        const to = pool.start(repetition) + ATA_DATA;
        pool.bytes.copyWithin(to, from, from + commands.byteCount[frame]!);
      }
      this.#answerOne(ex, repetition, outcome);
      repetition = next;
    }
  }

  #answerOne(ex: TargetExport, frame: number, outcome: number): void {
    const pool = this.#pool;
    const commands = this.#commands;
    const link = this.#links[commands.linkOf[frame]!];
    if (link === undefined) {
      commands.flags[frame] = 0;
      this.#meter.unanswered(frame);
      ex.release();
      pool.release(frame);
      return;
    }
    const length = ex.target.complete(
      pool.bytes,
      pool.start(frame),
      link,
      commands.operation[frame]!,
      commands.sectors[frame]!,
      outcome,
    );
    commands.flags[frame] = 0;
    if (outcome !== OUTCOME_DONE) this.#meter.failed(frame);
    ex.release();
    link.enqueue(frame, length);
  }

  /** Answers a read with data gathered from `commands.gatherAddress` as the frame is sent. */
  answerGathered(ex: TargetExport, frame: number, bytes: number): void {
    const pool = this.#pool;
    const commands = this.#commands;
    const link = this.#links[commands.linkOf[frame]!];
    if (link === undefined) {
      this.#meter.unanswered(frame);
      ex.ended(frame);
      ex.release();
      pool.release(frame);
      return;
    }
    ex.target.complete(
      pool.bytes,
      pool.start(frame),
      link,
      DRIVE_READ,
      commands.sectors[frame]!,
      OUTCOME_DONE,
    );
    commands.flags[frame] = FRAME_GATHERED;
    ex.gathered();
    link.enqueueGathered(frame, ATA_DATA, bytes);
    if (ex.index !== this.#gatheredExport) {
      this.settle();
      this.#gatheredExport = ex.index;
    }
    this.#gathered++;
    this.#gatheredBytes += bytes;
  }

  /** Counts what has not been counted yet: once for a turn, as long as it is all one export's. */
  settle(): void {
    if (this.#gathered === 0) return;
    this.#counters.addTo(this.#gatheredExport, TARGET_COUNT_READS, this.#gathered);
    this.#counters.addTo(this.#gatheredExport, TARGET_COUNT_GATHERED, this.#gathered);
    this.#counters.addTo(this.#gatheredExport, TARGET_COUNT_READ_BYTES, this.#gatheredBytes);
    this.#gathered = 0;
    this.#gatheredBytes = 0;
  }
}
