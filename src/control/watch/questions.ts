// Asks processes of this host what they do: a serving daemon, and those that use disks of others.

import { joinOverviews, joinPasts } from "../../core/watch/joining.ts";
import { askDaemon, attachedNames } from "../attach/control_socket.ts";
import { askServing } from "../daemon/requests.ts";
import { askWatchSocket, watchSockets } from "./watch_socket.ts";
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
    ...watchSockets().map((path) =>
      askWatchSocket(path, pasts) as Promise<WatchAnswer | undefined>
    ),
  ]);
  // What just begins or ends has no answer.
  const disks = attached.flatMap((answer) =>
    answer.status === "fulfilled" && answer.value !== undefined ? [answer.value] : []
  );
  if (serving!.status === "fulfilled") {
    const { overview, pasts: own } = serving!.value as WatchAnswer;
    const all = [...overview.disks, ...disks.flatMap((disk) => disk.overview.disks)];
    return { overview: { ...overview, disks: all }, pasts: own };
  }
  const [first, ...others] = disks;
  if (name === undefined && first !== undefined) {
    const overview = joinOverviews(first.overview, others.map((other) => other.overview));
    return { overview, pasts: joinPasts(disks.map((disk) => disk.pasts)) };
  }
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
