// The file or device behind an export: its size, and its pages.

import { closeFile, fileStatus, openFile } from "../../../ffi/files.ts";
import { MappedSegments } from "../../../ffi/mapping.ts";
import type { Backing } from "../../core/target/export.ts";
import { MAPPED_SEGMENT_BYTES } from "../../core/target/residency.ts";
import type { ExportConfig } from "./export_config.ts";

/** A file or device. */
export class BackingFile implements Backing {
  readonly remoteServer = false;
  readonly atRisk = false;
  readonly pages: MappedSegments | undefined;
  readonly #config: ExportConfig;
  #bytes: number;

  /**
   * @param segments How many of its segments may be mapped.
   * @param stores Whether mapped pages may be stored to, if the file may be written.
   * @throws {SystemError} When the descriptor is none of a file.
   */
  constructor(config: ExportConfig, segments: number, stores: boolean) {
    this.#config = config;
    const { bytes, kind } = fileStatus(config.fd);
    this.#bytes = bytes;
    this.pages = config.directFd < 0 && segments > 0
      ? new MappedSegments(config.fd, MAPPED_SEGMENT_BYTES, segments, {
        device: kind === "block device",
        writable: stores && !config.readOnly && !config.remote,
      })
      : undefined;
  }

  /** A block device's size stands still in an open descriptor's inode on some kernels. */
  get bytes(): number {
    this.#bytes = this.#currentBytes();
    return this.#bytes;
  }

  /** Lets go of its pages. */
  close(): void {
    this.pages?.close();
  }

  #currentBytes(): number {
    const { fd, path } = this.#config;
    // What is known will do: asking a network file system that hangs would hang this worker.
    let bytes = this.#bytes;
    try {
      bytes = fileStatus(fd, { known: true }).bytes;
    } catch {
      // A stale file or a device that was pulled out: reads and writes will tell.
    }
    if (bytes !== this.#bytes || !path.startsWith("/dev/")) return bytes;
    try {
      const opened = openFile(path, { readOnly: true });
      try {
        return fileStatus(opened).bytes;
      } finally {
        closeFile(opened);
      }
    } catch {
      // The node is gone; the open descriptor still serves.
      return bytes;
    }
  }
}
