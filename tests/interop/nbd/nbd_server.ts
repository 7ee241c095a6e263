// NBD servers as the tests run them: nbdkit with its plugins and filters, and qemu-nbd with a qcow2
// image. Both listen on a Unix socket in the testbed's directory unless told otherwise.

import { eventually, runChecked, type RunningProcess } from "../../harness/process.ts";
import type { Namespace, Testbed } from "../../harness/testbed.ts";

/** Starts nbdkit in a namespace; resolves once it listens. */
export async function startNbdkit(
  namespace: Namespace,
  socket: string,
  words: readonly string[],
): Promise<RunningProcess> {
  return await listening(namespace.start(["nbdkit", "-f", "-U", socket, ...words]), socket);
}

/** A new qcow2 image in the testbed's directory. */
export async function qcow2Image(testbed: Testbed, name: string, bytes: number): Promise<string> {
  const path = testbed.path(name);
  await runChecked(["qemu-img", "create", "-q", "-f", "qcow2", path, `${bytes}`]);
  return path;
}

/** Starts qemu-nbd with a qcow2 image; resolves once it listens. */
export async function startQemuNbd(
  namespace: Namespace,
  socket: string,
  image: string,
  words: readonly string[] = [],
): Promise<RunningProcess> {
  const argv = ["qemu-nbd", "--persistent", "-f", "qcow2", "-k", socket, ...words, image];
  return await listening(namespace.start(argv), socket);
}

/** Waits until a server has made its socket and listens there. */
async function listening(server: RunningProcess, socket: string): Promise<RunningProcess> {
  await eventually("the NBD server listens", async () => {
    if (server.status !== undefined) throw new Error(`The NBD server ended: ${server.text}`);
    try {
      (await Deno.connect({ transport: "unix", path: socket })).close();
      return true;
    } catch {
      return false;
    }
  });
  return server;
}
