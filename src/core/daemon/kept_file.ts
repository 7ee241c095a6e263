// The file in which what frames have set of a target is kept (core/target/kept_settings.ts): JSON,
// with the version of its schema and a checksum, so that a damaged one is told from a true one.

import { formatMac, MAC_BYTES, parseMac } from "../../wire/ethernet.ts";
import { CONFIG_STRING_BYTES_MAX } from "../../wire/config.ts";
import { MASK_ENTRIES_MAX } from "../../wire/mask.ts";
import { RESERVE_ENTRIES_MAX } from "../../wire/reserve.ts";
import type { KeptSettings } from "../target/kept_settings.ts";

const SCHEMA = 1;

/** What a file holds; or, as a sentence's end, why it is not to be used. */
export type KeptFile =
  | { readonly settings: KeptSettings; readonly refusal?: undefined }
  | { readonly settings?: undefined; readonly refusal: string };

/** The text of the file for an export. */
export function formatKeptFile(address: string, settings: KeptSettings): string {
  const content = {
    config: hexOf(settings.configString),
    mask: macsOf(settings.mask),
    reservation: macsOf(settings.reservation),
  };
  const check = checksumOf(address, content);
  return `${JSON.stringify({ schema: SCHEMA, address, ...content, check }, undefined, 1)}\n`;
}

/** Reads such a text; nothing that it may be throws. */
export function parseKeptFile(address: string, text: string): KeptFile {
  let file: Record<string, unknown>;
  try {
    file = Object(JSON.parse(text));
  } catch {
    return { refusal: "is damaged (it is no JSON)" };
  }
  const { schema, config, mask, reservation } = file;
  if (typeof schema === "number" && schema > SCHEMA) {
    return { refusal: `is a newer aoe's (schema ${schema}; this one knows ${SCHEMA})` };
  }
  if (schema !== SCHEMA) return { refusal: "is damaged (it has no schema)" };
  if (file.address !== address) return { refusal: `is not that of ${address}` };
  if (file.check !== checksumOf(address, { config, mask, reservation })) {
    return { refusal: "is damaged (its checksum is wrong)" };
  }
  const settings = {
    configString: bytesOf(config),
    mask: listOf(mask, MASK_ENTRIES_MAX),
    reservation: listOf(reservation, RESERVE_ENTRIES_MAX),
  };
  const { configString } = settings;
  if (
    configString === undefined || configString.length > CONFIG_STRING_BYTES_MAX ||
    settings.mask === undefined || settings.reservation === undefined
  ) return { refusal: "is damaged (it holds what no target can)" };
  return { settings: settings as KeptSettings };
}

function hexOf(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function bytesOf(hex: unknown): Uint8Array | undefined {
  if (typeof hex !== "string" || !/^(?:[0-9a-f]{2})*$/.test(hex)) return undefined;
  return Uint8Array.from(hex.match(/../g) ?? [], (digits) => parseInt(digits, 16));
}

function macsOf(macs: Uint8Array): string[] {
  const texts: string[] = [];
  for (let at = 0; at < macs.length; at += MAC_BYTES) {
    texts.push(formatMac(macs.subarray(at, at + MAC_BYTES)));
  }
  return texts;
}

function listOf(macs: unknown, entriesMax: number): Uint8Array | undefined {
  if (!Array.isArray(macs) || macs.length > entriesMax) return undefined;
  const bytes = new Uint8Array(macs.length * MAC_BYTES);
  for (const [i, text] of macs.entries()) {
    const mac = typeof text === "string" ? parseMac(text) : undefined;
    if (mac === undefined) return undefined;
    bytes.set(mac, i * MAC_BYTES);
  }
  return bytes;
}

/** CRC-32 of what is kept, as eight digits. */
function checksumOf(address: string, content: Record<string, unknown>): string {
  const text = JSON.stringify([address, content.config, content.mask, content.reservation]);
  let crc = -1;
  for (let i = 0; i < text.length; i++) {
    crc ^= text.charCodeAt(i) & 0xff;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return (~crc >>> 0).toString(16).padStart(8, "0");
}
