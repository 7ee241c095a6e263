// Query config: 8 bytes at 24, the config string at 32 (wire/README.md, 'Query config').

import { AOE_HEADER_BYTES, AOE_VERSION } from "./aoe.ts";
import { readUint16Be, writeUint16Be } from "./endian.ts";

export const CONFIG_BUFFER_COUNT = AOE_HEADER_BYTES;
export const CONFIG_FIRMWARE = AOE_HEADER_BYTES + 2;
export const CONFIG_SECTORS = AOE_HEADER_BYTES + 4;
export const CONFIG_VERSION_COMMAND = AOE_HEADER_BYTES + 5;
export const CONFIG_LENGTH = AOE_HEADER_BYTES + 6;
export const CONFIG_STRING = AOE_HEADER_BYTES + 8;
export const CONFIG_STRING_BYTES_MAX = 1024;

export const CONFIG_READ = 0;
export const CONFIG_TEST = 1;
export const CONFIG_TEST_PREFIX = 2;
export const CONFIG_SET = 3;
export const CONFIG_FORCE_SET = 4;

/** Sub-command of a request: the low nibble of byte 29. */
export function configCommand(view: Uint8Array, at: number): number {
  return view[at + CONFIG_VERSION_COMMAND]! & 0x0f;
}

/** Length of the string that a frame claims to carry, unchecked. */
export function configLength(view: Uint8Array, at: number): number {
  return readUint16Be(view, at + CONFIG_LENGTH);
}

/**
 * Writes the section of a request.
 *
 * @returns Length of the frame in bytes, header and string included, before padding.
 */
export function writeConfigRequest(
  view: Uint8Array,
  at: number,
  command: number,
  string: Uint8Array,
): number {
  view.fill(0, at + CONFIG_BUFFER_COUNT, at + CONFIG_STRING);
  view[at + CONFIG_VERSION_COMMAND] = (AOE_VERSION << 4) | command;
  writeUint16Be(view, at + CONFIG_LENGTH, string.length);
  view.set(string, at + CONFIG_STRING);
  return CONFIG_STRING + string.length;
}

/**
 * Writes the section of a response; the sub-command nibble stands as it came.
 *
 * @param config `sectors` is the largest count a request may carry.
 * @returns Length of the frame in bytes, before padding.
 */
export function writeConfigResponse(
  view: Uint8Array,
  at: number,
  config: { buffers: number; firmware: number; sectors: number; string: Uint8Array },
): number {
  writeUint16Be(view, at + CONFIG_BUFFER_COUNT, config.buffers);
  writeUint16Be(view, at + CONFIG_FIRMWARE, config.firmware);
  view[at + CONFIG_SECTORS] = config.sectors;
  view[at + CONFIG_VERSION_COMMAND] = (AOE_VERSION << 4) | configCommand(view, at);
  writeUint16Be(view, at + CONFIG_LENGTH, config.string.length);
  view.set(config.string, at + CONFIG_STRING);
  return CONFIG_STRING + config.string.length;
}

/** What a target says of itself. */
export interface ConfigResponse {
  /** Requests it accepts without an answer. */
  readonly buffers: number;
  readonly firmware: number;
  /** Sectors it takes in one frame; the 0 that old targets send is read as 2. */
  readonly sectors: number;
  readonly string: Uint8Array;
}

/**
 * Reads the section of a response.
 *
 * @param length Length of the frame in bytes.
 * @returns `undefined` when the frame is too short for its section or its string.
 */
export function readConfigResponse(
  view: Uint8Array,
  at: number,
  length: number,
): ConfigResponse | undefined {
  if (length < CONFIG_STRING) return undefined;
  const stringBytes = configLength(view, at);
  if (stringBytes > CONFIG_STRING_BYTES_MAX || CONFIG_STRING + stringBytes > length) {
    return undefined;
  }
  return {
    buffers: readUint16Be(view, at + CONFIG_BUFFER_COUNT),
    firmware: readUint16Be(view, at + CONFIG_FIRMWARE),
    sectors: view[at + CONFIG_SECTORS]! || 2,
    string: view.slice(at + CONFIG_STRING, at + CONFIG_STRING + stringBytes),
  };
}
