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
import type { ExportConfig } from "./export_config.ts";

/** After an error of an export, others of it are only counted for so long. */
const QUIET_MS = 1000;

/** Tells of disk errors in words, of each export once a second at most. */
export class ErrorReporter {
  readonly #exports: readonly ExportConfig[];
  readonly #post: (text: string) => void;
  readonly #quietUntil: Float64Array;
  readonly #withheld: Int32Array;

  constructor(exports: readonly ExportConfig[], post: (text: string) => void) {
    this.#exports = exports;
    this.#post = post;
    this.#quietUntil = new Float64Array(exports.length);
    this.#withheld = new Int32Array(exports.length);
  }

  report(index: number, operation: number, sector: number, code: number, nowMs: number): void {
    if (nowMs < this.#quietUntil[index]!) {
      this.#withheld[index] = this.#withheld[index]! + 1;
      return;
    }
    this.#quietUntil[index] = nowMs + QUIET_MS;
    const { shelf, slot, path } = this.#exports[index]!;
    const place = operation === DRIVE_FLUSH || operation === DRIVE_TRIM
      ? ""
      : ` at sector ${sector}`;
    const consequence = operation === DRIVE_FLUSH
      ? "; flushes fail from now on, since written data may be lost"
      : "";
    this.#post(
      `${formatAddress(shelf, slot)}: ${OPERATION_NAMES[operation]} of "${path}"${place}: ` +
        errnoText(code) + consequence,
    );
  }

  /** Tells how many were withheld, once their time is over. */
  flush(nowMs: number): void {
    this.#exports.forEach(({ shelf, slot }, index) => {
      const withheld = this.#withheld[index]!;
      if (withheld === 0 || nowMs < this.#quietUntil[index]!) return;
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
