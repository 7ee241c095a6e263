// Other AoE targets of this host on the same interface. What a host sends on a wire comes back to
// none of its own sockets, so that they cannot be asked: the kernel's list of packet sockets tells
// of them, and their command lines tell which address is theirs.

import type { Address } from "../../wire/aoe.ts";
import { describeProgram } from "../host_uses.ts";
import { kernelText, openDescriptors, runningPrograms } from "../running_programs.ts";
import type { RunningProgram } from "../running_programs.ts";

/** As /proc/net/packet has it. */
const PROTOCOL_AOE = "88a2";

/** An interface, as far as it is looked for. */
interface Served {
  readonly name: string;
  readonly index: number;
}

/** What was found. */
export interface RivalTargets {
  /** Serves one of the addresses on one of the interfaces. */
  readonly holder: { readonly address: Address; readonly who: string } | undefined;
  /** Programs that speak AoE there, and do not say for which address; a sentence each. */
  readonly warnings: readonly string[];
}

/** Looks for targets other than `aoe serve` itself, whose processes lock their addresses. */
export function findRivalTargets(
  interfaces: readonly Served[],
  addresses: readonly Address[],
): RivalTargets {
  const sockets = packetSockets(interfaces);
  const warnings: string[] = [];
  let holder: RivalTargets["holder"];
  if (sockets.size === 0) return { holder, warnings };
  for (const program of runningPrograms()) {
    // An initiator has such a socket as well; ours are known, and so are our targets.
    if (program.ownCommand !== undefined) continue;
    const found = socketOf(program, sockets);
    if (found === undefined) continue;
    const served = servedBy(program);
    const who = `${describeProgram(program)} on ${found.name} of this host`;
    if (served === undefined) {
      warnings.push(
        `${who} speaks AoE as well: make sure that it serves another address, ` +
          `since two targets of one host do not hear each other`,
      );
      continue;
    }
    const address = addresses.find(({ shelf, slot }) =>
      shelf === served.shelf && slot === served.slot
    );
    if (address !== undefined) holder ??= { address, who };
  }
  return { holder, warnings };
}

/** Sockets for AoE on these interfaces, or on all, by inode as `/proc/PID/fd` shows it. */
function packetSockets(interfaces: readonly Served[]): Map<string, Served> {
  const sockets = new Map<string, Served>();
  // sk RefCnt Type Proto Iface R Rmem User Inode
  for (const line of kernelText("/proc/net/packet").split("\n").slice(1)) {
    const [, , , protocol, index, , , , inode] = line.trim().split(/\s+/);
    if (protocol !== PROTOCOL_AOE || inode === undefined) continue;
    const found = index === "0"
      ? interfaces[0]
      : interfaces.find((known) => String(known.index) === index);
    if (found !== undefined) sockets.set(`socket:[${inode}]`, found);
  }
  return sockets;
}

function socketOf(program: RunningProgram, sockets: Map<string, Served>): Served | undefined {
  for (const { target } of openDescriptors(program)) {
    const found = sockets.get(target);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** `vblade [OPTIONS] SHELF SLOT INTERFACE FILE`. */
function servedBy({ words }: RunningProgram): Address | undefined {
  for (let i = 1; i + 2 < words.length; i++) {
    const [shelf, slot, next] = [words[i]!, words[i + 1]!, words[i + 2]!];
    if (!/^\d+$/.test(shelf) || !/^\d+$/.test(slot) || /^\d+$/.test(next)) continue;
    return { shelf: Number(shelf), slot: Number(slot) };
  }
  return undefined;
}
