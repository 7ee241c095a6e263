// What a target thread is told of an export, and what both sides of that work out the same way.

import type { ExportSettings } from "../../core/target/export.ts";
import type { NbdOrigin } from "../nbd_client/connection.ts";

/** What a worker is told of an export. The descriptors are the main thread's, and stay open. */
export interface ExportConfig extends ExportSettings {
  /** Path of the file or device, or the URI of the NBD export. */
  readonly path: string;
  /** The NBD export in place of a file; the descriptors are none then. */
  readonly source?: NbdOrigin | undefined;
  /** Names of the thread's interfaces that it is served on; all of them when undefined. */
  readonly interfaces?: readonly string[] | undefined;
}

/** A number that no other start of a program has: whatever was answered before it may be lost. */
export function freshIncarnation(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]! || 1;
}
