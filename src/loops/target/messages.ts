// What a target thread is told at its start, and what it tells the main thread.

import type { KeptSettings } from "../../core/target/kept_settings.ts";
import type { TargetState } from "../../core/target/target.ts";
import type { WireAids } from "../capture.ts";
import type { ExportConfig } from "./export_config.ts";

/** What a target thread is started with. */
export interface TargetJobConfig {
  /** Names of the interfaces to serve on. */
  readonly interfaces: readonly string[];
  readonly exports: readonly ExportConfig[];
  /** Requests that one initiator may send without an answer. */
  readonly buffers: number;
  /** Whether io_uring may be used. */
  readonly uring: boolean;
  /** Whether frames may come by a ring of shared memory. */
  readonly ring: boolean;
  /** Frames that it holds; without it as many as several initiators may send. */
  readonly ringSlots?: number | undefined;
  /** What a crossing into the kernel costs, in nanoseconds; see `measureCrossingNs`. */
  readonly crossingNs: number;
  /** Microseconds to spin before sleeping. */
  readonly pollUs: number;
  /** Bytes of the files that may stay mapped. */
  readonly mapBytes: number;
  /**
   * Whether mapped pages may be stored to: not where other threads of the process do so, too. Each
   * page that is written back interrupts all of them, and each copy takes a lock that they share
   * (measured with two: 8.3 µs for a write of 8 KiB instead of 6.5).
   */
  readonly stores: boolean;
  /** What helps to find a fault; undefined for none. */
  readonly aids?: WireAids | undefined;
  /** An eventfd; when it is signalled and `control[CONTROL_STOP]` is 1, the job ends. */
  readonly controlEvent: number;
  /** `CONTROL_WORDS` of 32 bits. */
  readonly control: SharedArrayBuffer;
  /** From `OrderMailbox.allocate`; the eventfd says, too, that there is an order. */
  readonly orders: SharedArrayBuffer;
  /** From `TargetCounters.allocate`. */
  readonly counters: SharedArrayBuffer;
  /** From `TargetMetrics.allocate`. */
  readonly metrics: SharedArrayBuffer;
}

/** What a target thread posts. */
export type TargetMessage =
  /** It serves; `withoutUring` and `withoutRing` say why what was wanted is not used, if it is not. */
  | {
    readonly kind: "serving";
    readonly withoutUring: string | undefined;
    readonly withoutRing: string | undefined;
  }
  | { readonly kind: "resized"; readonly shelf: number; readonly slot: number; sectors: number }
  | {
    readonly kind: "link";
    readonly name: string;
    /** `port`: it has become one of a bridge or bond, `master`, which gets its frames. */
    readonly state: "up" | "down" | "gone" | "port";
    readonly master: string | undefined;
    readonly mtu: number;
    readonly sectors: number;
  }
  /** The interface has another name, and is served as before. */
  | { readonly kind: "renamed"; readonly name: string; readonly before: string }
  /** Another target answers for an address of ours. */
  | {
    readonly kind: "rival";
    readonly shelf: number;
    readonly slot: number;
    readonly mac: string;
    readonly interface: string;
  }
  | { readonly kind: "error"; readonly text: string }
  /** The mailbox has room for another order. */
  | { readonly kind: "taken" }
  /** An order has been carried out, or `refusal` says why not. */
  | {
    readonly kind: "outcome";
    readonly order: number;
    readonly refusal: string | undefined;
    /** Of a removed export: whether all that it had written could be made stable, as far as known. */
    readonly flushed: boolean | undefined;
  }
  /** An NBD server was lost, or is there again; the text says more. */
  | {
    readonly kind: "source";
    readonly shelf: number;
    readonly slot: number;
    readonly state: "away" | "back";
    readonly text: string;
  }
  /** An initiator has switched the write cache of an export. */
  | {
    readonly kind: "write-cache";
    readonly shelf: number;
    readonly slot: number;
    readonly on: boolean;
    readonly mac: string;
    readonly interface: string;
  }
  /** What another needs to answer questions for an export while its disk hangs. */
  | {
    readonly kind: "state";
    readonly shelf: number;
    readonly slot: number;
    readonly state: TargetState;
  }
  /** To be kept; how that went belongs in this word of `control`, and the eventfd is signalled. */
  | {
    readonly kind: "keep";
    readonly shelf: number;
    readonly slot: number;
    readonly settings: KeptSettings;
    readonly word: number;
  }
  /** A disk does not answer, or does so again. */
  | {
    readonly kind: "silence";
    readonly shelf: number;
    readonly slot: number;
    readonly path: string;
    readonly silent: boolean;
    /** For how long it has been, or had been. */
    readonly ms: number;
  }
  /** The end: commands that a disk never finished, and exports that may have lost writes. */
  | {
    readonly kind: "stopped";
    readonly abandoned: number;
    readonly atRisk: readonly RiskyExport[];
  };

/** An export whose last flush failed. */
export interface RiskyExport {
  readonly shelf: number;
  readonly slot: number;
  /** What was written in the last so many milliseconds may be lost; undefined when that is unknown. */
  readonly forMs: number | undefined;
}
