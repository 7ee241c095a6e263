// What an initiator has to tell, in sentences for people; undefined for what only programs want.

import { describeResult } from "../../core/initiator/results.ts";
import type { InitiatorEvent } from "../../core/initiator/session.ts";
import { REQUEST_DISCARD, REQUEST_READ, REQUEST_WRITE } from "../../core/initiator/requests.ts";
import { formatAddress } from "../../wire/aoe.ts";
import { formatMac } from "../../wire/ethernet.ts";
import type { InitiatorLoop } from "./loop.ts";

const OPERATION_NAMES: Readonly<Record<number, string>> = {
  [REQUEST_READ]: "read",
  [REQUEST_WRITE]: "write",
  [REQUEST_DISCARD]: "discard",
};

/** An event of disk number `disk`, without a final period. */
export function describeEvent(
  loop: InitiatorLoop,
  disk: number,
  event: InitiatorEvent,
): string | undefined {
  const initiator = loop.initiators[disk]!;
  const name = formatAddress(initiator.shelf, initiator.slot);
  const path = "path" in event
    ? `${formatMac(event.path.mac)} on ${loop.interfaceName(event.path.interfaceIndex)}`
    : "";
  switch (event.kind) {
    case "resized":
      return `${name} has now ${event.sectors} sectors, not ${event.sectorsBefore}`;
    case "restarted":
      return `${name} was restarted`;
    case "dead":
      return `${name} does not answer any more`;
    case "back":
      return `${name} answers again`;
    case "disk-silent":
      return `${name}'s disk does not answer, its target does (for ${seconds(event.silentMs)} s)`;
    case "disk-answers":
      return `${name}'s disk answers again (after ${seconds(event.silentMs)} s)`;
    case "path-lost":
      return `${name}: the path to ${path} is lost`;
    case "path-up":
      return event.path.counters.timesLost > 0 ? `${name}: the path to ${path} is back` : undefined;
    case "path-refused":
      return `${name}: ${path} is a different disk, and is left alone`;
    case "frames-small":
      return `${name}: large frames get lost on the path to ${path}: small ones are used`;
    case "no-flush":
      return `${name} cannot flush: whether data are on stable storage is not known`;
    case "failed": {
      const { words } = describeResult(event.result);
      const operation = OPERATION_NAMES[event.operation] ?? "command";
      const registers = `status ${hex(event.status)}, error ${hex(event.error)}`;
      return `${name}: ${words} (${operation} at sector ${event.lba}, ${registers})`;
    }
    default:
      return undefined;
  }
}

function seconds(ms: number): number {
  return Math.round(ms / 1000);
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}
