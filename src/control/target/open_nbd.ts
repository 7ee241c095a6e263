// The NBD exports behind AoE exports: connected and checked on the main thread before anything
// starts, as files are opened (open_file.ts). The connection goes to the worker as it is: a
// server may end with its first client, and none is to be bothered twice.

import { connectNbdServer } from "../../loops/nbd_client/connection.ts";
import type { NbdOrigin } from "../../loops/nbd_client/connection.ts";
import { ExportRefusal, hashOf, refuseTooLarge } from "./open_file.ts";
import type { ExportFile, ExportFileOptions } from "./open_file.ts";
import type { Address } from "../../wire/aoe.ts";
import { formatAddress } from "../../wire/aoe.ts";
import { SECTOR_BYTES } from "../../wire/ata.ts";
import {
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_ROTATIONAL,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_WRITE_ZEROES,
} from "../../wire/nbd.ts";
import { parseNbdUri } from "../../wire/nbd_uri.ts";
import { freshIncarnation } from "../../loops/target/export_config.ts";
import { exportedSectors } from "../../core/target/export.ts";

/** Larger blocks are a server's wish for speed, and no physical sector that a file system expects. */
const PHYSICAL_SECTOR_BYTES_MAX = 4096;

/**
 * Connects to an NBD export in order to export it.
 *
 * @throws {ExportRefusal} When it cannot or should not be exported.
 */
export function openNbdExport(
  address: Address,
  uri: string,
  options: ExportFileOptions,
): ExportFile {
  if (options.direct) {
    throw new ExportRefusal(
      `-d goes around the page cache, and "${uri}" has none here: leave it out`,
    );
  }
  if (options.createBytes !== undefined) {
    throw new ExportRefusal(`--size makes image files, and "${uri}" is none: leave it out`);
  }
  const at = parseNbdUri(uri);
  if (typeof at === "string") throw new ExportRefusal(at);
  const origin = connectNbdServer(at);
  if (typeof origin === "string") throw new ExportRefusal(`Cannot use "${uri}": ${origin}`);
  const { facts } = origin;
  const { offsetBytes, lengthBytes } = options;
  const sectors = exportedSectors(facts.bytes, offsetBytes, lengthBytes);
  if (sectors === 0) {
    throw new ExportRefusal(
      `"${uri}" has ${facts.bytes} bytes, which leave no whole sector to export` +
        (offsetBytes > 0 ? ` from byte ${offsetBytes} on` : ""),
    );
  }
  refuseTooLarge(uri, sectors);
  const has = (flag: number) => (facts.flags & flag) !== 0;
  const readOnly = options.readOnly || has(NBD_FLAG_READ_ONLY);
  // Without a flush nothing can be made stable later: no cache is claimed.
  const sync = options.sync || !has(NBD_FLAG_SEND_FLUSH);
  return {
    kind: "nbd",
    sectors,
    created: false,
    warnings: warningsAbout(origin, { ...options, readOnly }),
    config: {
      shelf: address.shelf,
      slot: address.slot,
      path: uri,
      source: origin,
      fd: -1,
      directFd: -1,
      directAlignment: SECTOR_BYTES,
      offsetBytes,
      lengthBytes,
      remote: true,
      readOnly,
      sync,
      cacheFixed: options.cacheFixed,
      trim: !readOnly && has(NBD_FLAG_SEND_WRITE_ZEROES),
      physicalSectorBytes: physicalSectorBytes(facts.blockPreferred, offsetBytes),
      rotational: has(NBD_FLAG_ROTATIONAL),
      serial: serialOf(address, uri),
      // Where nothing is answered before it is stable, nothing can be lost: two hosts agree on it.
      incarnation: sync || readOnly ? hashOf(uri) || 1 : freshIncarnation(),
    },
  };
}

function physicalSectorBytes(preferred: number, offsetBytes: number): number {
  let bytes = SECTOR_BYTES;
  while (
    bytes < PHYSICAL_SECTOR_BYTES_MAX && preferred % (2 * bytes) === 0 &&
    offsetBytes % (2 * bytes) === 0
  ) {
    bytes *= 2;
  }
  return bytes;
}

/** The same on every host that is given the same URI: their targets are paths of one disk. */
function serialOf(address: Address, uri: string): string {
  const hash = hashOf(uri).toString(16).padStart(8, "0");
  return `${formatAddress(address.shelf, address.slot)}-${hash}`;
}

function warningsAbout({ facts }: NbdOrigin, options: ExportFileOptions): string[] {
  const warnings: string[] = [];
  const { offsetBytes, lengthBytes, readOnly } = options;
  const tail = (facts.bytes - offsetBytes) % SECTOR_BYTES;
  if (tail !== 0 && lengthBytes === undefined) {
    warnings.push(`it is no multiple of 512 bytes: its last ${tail} bytes are not exported`);
  }
  if (lengthBytes !== undefined && offsetBytes + lengthBytes > facts.bytes) {
    warnings.push(
      `it ends before --length does: ${facts.bytes - offsetBytes} bytes are there`,
    );
  }
  if (!readOnly && (facts.flags & NBD_FLAG_SEND_FLUSH) === 0) {
    warnings.push(
      "its server knows no flush: what it answers is taken for stable, and no write cache is claimed",
    );
  }
  if (!readOnly && options.force && (facts.flags & NBD_FLAG_CAN_MULTI_CONN) === 0) {
    warnings.push(
      "its server does not say that one connection sees what another has written " +
        "(NBD_FLAG_CAN_MULTI_CONN): do not serve it from a second host",
    );
  }
  return warnings;
}
