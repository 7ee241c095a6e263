// The socket on which an NBD server listens: a path, or a host and a port.

import { SystemError } from "../../ffi/errno.ts";
import {
  closeStream,
  connectStream,
  listenStream,
  localPort,
  resolveTcp,
  unixAddress,
} from "../../ffi/stream_socket.ts";
import { ECONNREFUSED } from "../../ffi/errno_numbers.ts";

/** Where to listen. */
export type NbdEndpoint =
  | {
    readonly path: string;
    /** Permissions of the socket file. */
    readonly mode: number;
  }
  | { readonly host: string; readonly port: number };

/** A socket that listens. */
export interface NbdListener {
  readonly fd: number;
  /** As it turned out: with the port that the kernel has chosen in place of 0. */
  readonly endpoint: NbdEndpoint;
  /** Stops listening, and removes the path. */
  close(): void;
}

/**
 * Listens. A socket file that nobody listens on is replaced.
 *
 * @throws {Error} One sentence: the endpoint is in use, is something else, or is not there.
 */
export function listenNbd(endpoint: NbdEndpoint): NbdListener {
  return "path" in endpoint
    ? listenOnPath(endpoint.path, endpoint.mode)
    : listenOnPort(endpoint.host, endpoint.port);
}

function listenOnPath(path: string, mode: number): NbdListener {
  const address = unixAddress(path);
  removeStale(path);
  const fd = explained(() => listenStream(address, mode), `Cannot listen on "${path}"`);
  const { ino } = Deno.lstatSync(path);
  return {
    fd,
    endpoint: { path, mode },
    close: () => {
      closeStream(fd);
      // Somebody may have put his own in its place.
      if (lookAt(path)?.ino === ino) Deno.removeSync(path);
    },
  };
}

function listenOnPort(host: string, port: number): NbdListener {
  const [address] = resolveTcp(host, port);
  if (address === undefined) throw new Deno.errors.NotFound(`No host is called "${host}"`);
  const fd = explained(() => listenStream(address), `Cannot listen on ${host} port ${port}`);
  return { fd, endpoint: { host, port: localPort(fd) }, close: () => closeStream(fd) };
}

/** Removes a socket that was left behind by a process that is gone. */
function removeStale(path: string): void {
  const there = lookAt(path);
  if (there === undefined) return;
  if (!there.isSocket) throw new Deno.errors.AlreadyExists(`"${path}" exists and is no socket`);
  try {
    closeStream(connectStream(unixAddress(path)));
  } catch (error) {
    if (!(error instanceof SystemError) || error.code !== ECONNREFUSED) throw error;
    Deno.removeSync(path);
    return;
  }
  throw new Deno.errors.AddrInUse(`Another process listens on "${path}"`);
}

function lookAt(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function explained(listen: () => number, what: string): number {
  try {
    return listen();
  } catch (error) {
    throw error instanceof SystemError ? new SystemError(what, error.code) : error;
  }
}
