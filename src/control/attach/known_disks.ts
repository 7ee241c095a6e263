// The names of disks that a shell can complete: those attached here, and those that answer at once.

import { Discovery } from "../../core/ask/discovery.ts";
import { formatAddress } from "../../wire/aoe.ts";
import { attachedNames } from "./control_socket.ts";
import { findInterfaces } from "../network_interfaces.ts";
import { ProbeSockets } from "../ask/probe_sockets.ts";

/** How long who is at the keyboard waits for answers; on a quiet wire they take a tenth of it. */
const LISTEN_MS = 100;
/** The wait ends when for so long nobody has answered any more. */
const QUIET_MS = 30;

/**
 * Disks attached here and disks that answer, as in `e1.1`, in order; without the privilege to ask,
 * or an interface, only the former. Blocks the thread for {@linkcode LISTEN_MS} at most.
 */
export function disksToComplete(): string[] {
  const names = new Set(attachedNames());
  for (const name of answeringDisks()) names.add(name);
  return [...names].sort();
}

function answeringDisks(): string[] {
  const discovery = new Discovery(Math.random() * 2 ** 15);
  let sockets: ProbeSockets | undefined;
  try {
    const interfaces = findInterfaces([]);
    sockets = new ProbeSockets(interfaces);
    for (const link of interfaces.keys()) {
      sockets.send(
        link,
        (view, at, sender) => discovery.writeQuery(view, at, sender, undefined),
      );
    }
    const untilMs = performance.now() + LISTEN_MS;
    let quietMs = LISTEN_MS;
    for (let nowMs = performance.now(); nowMs < untilMs; nowMs = performance.now()) {
      const before = discovery.paths().length;
      sockets.wait(Math.min(quietMs, untilMs - nowMs));
      sockets.receive((view, at, length, link) => discovery.receive(view, at, length, link));
      const { length } = discovery.paths();
      if (length > 0 && length === before) break;
      if (length > 0) quietMs = QUIET_MS;
    }
  } catch {
    // What cannot be asked is not completed.
  } finally {
    sockets?.close();
  }
  return discovery.paths().map(({ address }) => formatAddress(address.shelf, address.slot));
}
