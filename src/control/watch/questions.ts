// Asks daemons of this host what they do: a serving one, and those of attached disks.

import type { Overview, Past } from "../../core/watch/overview.ts";
import { askDaemon, attachedNames } from "../attach/control_socket.ts";
import { askServing } from "../daemon/requests.ts";
import type { WatchAnswer } from "./watcher.ts";

/**
 * What happens on this host, as one.
 *
 * @param name Of the serving daemon; without it, a host that serves nothing shows its disks alone.
 * @param pasts The names of those that are wanted.
 * @throws {Error} One sentence: there is nothing to be seen.
 */
export async function askWatched(
  name: string | undefined,
  pasts: readonly string[],
): Promise<WatchAnswer> {
  const [serving, ...attached] = await Promise.allSettled([
    askServing(name, { ask: "overview", pasts }) as Promise<WatchAnswer>,
    ...attachedNames().map((disk) =>
      askDaemon(disk, { ask: "overview", pasts }) as Promise<WatchAnswer | undefined>
    ),
  ]);
  // A disk that is just being attached, or detached, has no answer.
  const disks = attached.flatMap((answer) =>
    answer.status === "fulfilled" && answer.value !== undefined ? [answer.value] : []
  );
  if (serving!.status === "fulfilled") return join(serving!.value as WatchAnswer, disks);
  const [first, ...others] = disks;
  if (name === undefined && first !== undefined) return join(first, others);
  if (name !== undefined || !(serving!.reason instanceof Deno.errors.NotFound)) {
    throw serving!.reason;
  }
  // One that is there and does not answer is not nothing.
  for (const answer of attached) {
    if (answer.status === "fulfilled") continue;
    if (!(answer.reason instanceof Deno.errors.PermissionDenied)) throw answer.reason;
    throw new Deno.errors.PermissionDenied("Attached disks are root's: ask as root");
  }
  const { message } = serving!.reason;
  throw new Deno.errors.NotFound(`No disk is attached, and ${uncapitalised(message)}`);
}

function uncapitalised(sentence: string): string {
  return sentence.charAt(0).toLowerCase() + sentence.slice(1);
}

function join(first: WatchAnswer, others: readonly WatchAnswer[]): WatchAnswer {
  const overview: Overview = {
    ...first.overview,
    disks: [...first.overview.disks, ...others.flatMap((other) => other.overview.disks)],
  };
  const pasts: Record<string, Past> = { ...first.pasts };
  for (const other of others) {
    for (const [of, past] of Object.entries(other.pasts)) if (of !== "all") pasts[of] = past;
  }
  return { overview, pasts };
}
