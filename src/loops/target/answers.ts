// How a command that the disk has finished, or that was gathered, becomes an answer in line at its
// interface. See loop.ts for the way of a request.

import { ATA_DATA } from "../../wire/ata.ts";
import { DRIVE_READ } from "../../core/target/drive.ts";
import { OUTCOME_DONE } from "../../core/target/target.ts";
import { FRAME_GATHERED } from "./frames.ts";
import type { FramePool } from "./frames.ts";
import { TARGET_COUNT_GATHERED, TARGET_COUNT_READ_BYTES, TARGET_COUNT_READS } from "./counters.ts";
import type { TargetCounters } from "./counters.ts";
import type { TargetExport } from "./export.ts";
import type { TargetLink } from "./link.ts";

/** Completes commands at their target and hands the frames to the links. */
export class TargetAnswers {
  readonly #pool: FramePool;
  readonly #links: readonly TargetLink[];
  readonly #counters: TargetCounters;

  constructor(pool: FramePool, links: readonly TargetLink[], counters: TargetCounters) {
    this.#pool = pool;
    this.#links = links;
    this.#counters = counters;
  }

  /** Answers with what lies in the frame; `outcome` is an OUTCOME constant. */
  answer(ex: TargetExport, frame: number, outcome: number): void {
    const pool = this.#pool;
    const link = this.#links[pool.linkOf[frame]!]!;
    const length = ex.target.complete(
      pool.bytes,
      pool.start(frame),
      link,
      pool.operation[frame]!,
      pool.sectors[frame]!,
      outcome,
    );
    pool.flags[frame] = 0;
    ex.held--;
    ex.answers++;
    link.enqueue(frame, length);
  }

  /** Answers a read with data gathered from `pool.gatherAddress` as the frame is sent. */
  answerGathered(ex: TargetExport, frame: number, bytes: number): void {
    const pool = this.#pool;
    const link = this.#links[pool.linkOf[frame]!]!;
    ex.target.complete(
      pool.bytes,
      pool.start(frame),
      link,
      DRIVE_READ,
      pool.sectors[frame]!,
      OUTCOME_DONE,
    );
    pool.flags[frame] = FRAME_GATHERED;
    ex.held--;
    ex.answers++;
    ex.gathersUnsent++;
    link.enqueueGathered(frame, ATA_DATA, bytes);
    this.#counters.addTo(ex.index, TARGET_COUNT_READS, 1);
    this.#counters.addTo(ex.index, TARGET_COUNT_GATHERED, 1);
    this.#counters.addTo(ex.index, TARGET_COUNT_READ_BYTES, bytes);
  }
}
