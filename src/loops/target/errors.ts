// What goes wrong at the disks of a worker, in words: the real error, before it is narrowed to the
// few bits of ATA.

import { errnoText } from "../../../ffi/errno.ts";
import {
  DRIVE_FLUSH,
  DRIVE_READ,
  DRIVE_TRIM,
  DRIVE_VERIFY,
  DRIVE_WRITE,
} from "../../core/target/drive.ts";
import { formatAddress } from "../../wire/aoe.ts";
import { EXPORTS_MAX } from "../../core/target/export_table.ts";
import type { ExportConfig } from "./export_config.ts";

/** After an error of an export, others of it are only counted for so long. */
const QUIET_MS = 1000;

/** Tells of disk errors in words, of each export once a second at most. */
export class ErrorReporter {
  readonly #configOf: (index: number) => ExportConfig;
  readonly #post: (text: string) => void;
  readonly #quietUntil = new Float64Array(EXPORTS_MAX);
  readonly #withheld = new Int32Array(EXPORTS_MAX);

  /** @param configOf Of an export that has errors. */
  constructor(configOf: (index: number) => ExportConfig, post: (text: string) => void) {
    this.#configOf = configOf;
    this.#post = post;
  }

  report(index: number, operation: number, sector: number, code: number, nowMs: number): void {
    if (nowMs < this.#quietUntil[index]!) {
      this.#withheld[index] = this.#withheld[index]! + 1;
      return;
    }
    this.#quietUntil[index] = nowMs + QUIET_MS;
    const { shelf, slot, path } = this.#configOf(index);
    const where = operation === DRIVE_FLUSH || operation === DRIVE_TRIM
      ? ""
      : ` at sector ${sector}`;
    const consequence = operation === DRIVE_FLUSH
      ? "; flushes fail from now on, since written data may be lost"
      : "";
    this.#post(
      `${formatAddress(shelf, slot)}: ${OPERATION_NAMES[operation]} of "${path}"${where}: ` +
        errnoText(code) + consequence,
    );
  }

  /** Forgets what was withheld of an export that is no more. */
  forget(index: number): void {
    this.#quietUntil[index] = 0;
    this.#withheld[index] = 0;
  }

  /** Tells how many were withheld, once their time is over. */
  flush(nowMs: number): void {
    this.#withheld.forEach((withheld, index) => {
      if (withheld === 0 || nowMs < this.#quietUntil[index]!) return;
      const { shelf, slot } = this.#configOf(index);
      this.#withheld[index] = 0;
      this.#post(`${formatAddress(shelf, slot)}: ${withheld} more errors within a second`);
    });
  }
}

const OPERATION_NAMES: Readonly<Record<number, string>> = {
  [DRIVE_READ]: "Reading",
  [DRIVE_WRITE]: "Writing",
  [DRIVE_VERIFY]: "Verifying",
  [DRIVE_FLUSH]: "Flushing",
  [DRIVE_TRIM]: "Discarding",
};
