// What a daemon, its keeper and its watcher have left when all three were killed: whatever of ours
// runs next takes it away, before it can lead to somebody else's disk.

import { closeFile } from "../../../ffi/files.ts";
import { removeControlSocket, takeDiskName, wasAttachedHere } from "./control_socket.ts";
import { namesWithNodes, removeNodes } from "./device_nodes.ts";

/** Removes nodes that no daemon, keeper or watcher answers for; their disks' names. */
export function removeLeftNodes(): string[] {
  if (Deno.uid() !== 0) return [];
  return namesWithNodes().filter((name) => {
    // A node that was never ours is none of our business.
    if (!wasAttachedHere(name)) return false;
    const lock = takeDiskName(name);
    if (lock === undefined) return false;
    try {
      removeControlSocket(name);
      return removeNodes(name);
    } finally {
      closeFile(lock);
    }
  });
}
