// What a daemon is to serve, whoever says so: the configuration file or the command line. Every
// default is in its place; whether the files and interfaces exist is for the daemon to see.

import type { Address } from "../../wire/aoe.ts";
import type { AclConfig } from "../target/acl.ts";

/** One export as it is wanted. */
export interface ExportPlan {
  readonly address: Address;
  /** Of a file or device, from the root where a file says so; or the URI of an NBD export. */
  readonly path: string;
  /** Names, or patterns with `*` and `?`. */
  readonly interfaces: readonly string[];
  readonly direct: boolean;
  readonly sync: boolean;
  readonly readOnly: boolean;
  /** Whether initiators may not switch the write cache. */
  readonly cacheFixed: boolean;
  readonly offsetBytes: number;
  /** The rest of the file when undefined. */
  readonly lengthBytes: number | undefined;
  /** Size of an image that does not exist yet; without it, it must. */
  readonly createBytes: number | undefined;
  /** `raw`: what is served is a disk, whatever it looks like. */
  readonly format: "raw" | undefined;
  /** Whether what this host uses, or an address that already answers, is served all the same. */
  readonly force: boolean;
  /** Everybody may read and write when undefined. */
  readonly acl: AclConfig | undefined;
  /** Where the configuration asks for it; 0 on the command line. */
  readonly line: number;
}

/** One process that serves. */
export interface DaemonPlan {
  /** Tells this daemon from others on the host; undefined for the only one. */
  readonly name: string | undefined;
  /** Where config strings, mask lists and reservations are kept; true: at the customary place. */
  readonly stateDir: string | boolean;
  /** Whether there is a socket for `aoe ctl`. */
  readonly control: boolean;
  /** Where metrics are to be had: HOST:PORT, or the path of a socket. */
  readonly metrics: string | undefined;
  /** Whom to become before anything is opened. */
  readonly user: string | undefined;
  /** Whether what is missing at the start is waited for; otherwise nothing starts. */
  readonly waits: boolean;
  /** Threads; as many as cores when undefined. */
  readonly workers: number | undefined;
  /** Commands an initiator may have in flight, as advertised. */
  readonly buffers: number;
  readonly pollUs: number;
  readonly uring: boolean;
  readonly ring: boolean;
  /** Bytes of the images that may stay mapped; undefined: as the machine has memory. */
  readonly mapBytes: number | undefined;
  readonly capture: string | undefined;
  readonly captureBytes: number | undefined;
  readonly dropPercent: number | undefined;
  readonly exports: readonly ExportPlan[];
  /** What commands ask on that are given no interface; all that are up when empty. */
  readonly initiatorInterfaces: readonly string[];
}
