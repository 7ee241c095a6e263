// Addresses of NBD exports as the NBD project's URI specification (doc/uri.md) writes them:
// `nbd://host[:port]/export` and `nbd+unix:///export?socket=/path`. A short form is understood
// beside it: `nbd+unix:///path`, whose path is the socket and whose export is the default one.

/** IANA's port for NBD. */
const NBD_PORT = 10_809;
/** NBD protocol, 'Values': strings of at most 4096 bytes. */
const EXPORT_NAME_BYTES_MAX = 4096;
/** struct sockaddr_un, without the closing zero. */
const SOCKET_PATH_BYTES_MAX = 107;

/** Where an NBD server listens, and what it calls the export; "" is its default one. */
export type NbdAddress =
  | { readonly kind: "unix"; readonly socketPath: string; readonly exportName: string }
  | {
    readonly kind: "tcp";
    readonly host: string;
    readonly port: number;
    readonly exportName: string;
  };

/** Whether a text is meant as the URI of an NBD export, rather than as the path of a file. */
export function isNbdUri(text: string): boolean {
  return /^nbds?(\+[a-z]+)?:\/\//i.test(text);
}

/**
 * Takes a URI apart.
 *
 * @returns The address, or in one sentence why there is none.
 */
export function parseNbdUri(text: string): NbdAddress | string {
  const parts = /^([a-z+]+):\/\/([^/?#]*)(\/[^?#]*)?(?:\?([^#]*))?(#.*)?$/i.exec(text);
  const [, scheme = "", authority = "", path = "", query = "", fragment] = parts ?? [];
  if (parts === null || fragment !== undefined) return `"${text}" is no NBD URI`;
  const name = scheme.toLowerCase();
  if (name !== "nbd" && name !== "nbd+unix") {
    return name.startsWith("nbds")
      ? `"${text}" asks for TLS, which is not spoken here: use nbd:// or nbd+unix://`
      : `"${text}" has a scheme that is not known: use nbd:// or nbd+unix://`;
  }
  const decodedPath = decode(path);
  const socket = socketOf(query);
  if (decodedPath === undefined || socket === undefined) {
    return `"${text}" has a % that no two hex digits follow, or what they mean is no UTF-8`;
  }
  if (name === "nbd") {
    if (socket !== "") return `"${text}" names a socket: that goes with nbd+unix://`;
    return tcpAddress(text, authority, decodedPath.slice(1));
  }
  if (authority !== "") {
    return `"${text}" names a host, but a Unix socket has none: write nbd+unix:/// with three slashes`;
  }
  const [socketPath, exportName] = socket === ""
    ? [decodedPath, ""]
    : [socket, decodedPath.slice(1)];
  if (!/^\/[^\0]*[^/\0]$/.test(socketPath)) {
    return `"${text}" names no socket: write its full path, as in nbd+unix:///run/nbd.sock`;
  }
  if (byteLength(socketPath) > SOCKET_PATH_BYTES_MAX) {
    return `"${text}" has a socket path of more than ${SOCKET_PATH_BYTES_MAX} bytes`;
  }
  return refusedName(text, exportName) ?? { kind: "unix", socketPath, exportName };
}

function tcpAddress(text: string, authority: string, exportName: string): NbdAddress | string {
  const [, bracketed, plain, port] = /^(?:\[([0-9a-f:.]+)\]|([^:@[\]\s]+))(?::(\d*))?$/i.exec(
    authority,
  ) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined) return `"${text}" names no host, as in nbd://host:${NBD_PORT}/export`;
  const number = port === undefined || port === "" ? NBD_PORT : Number(port);
  if (number < 1 || number > 65_535) return `"${text}" has a port that is not from 1 to 65535`;
  return refusedName(text, exportName) ?? { kind: "tcp", host, port: number, exportName };
}

function refusedName(text: string, exportName: string): string | undefined {
  return byteLength(exportName) > EXPORT_NAME_BYTES_MAX
    ? `"${text}" has an export name of more than ${EXPORT_NAME_BYTES_MAX} bytes`
    : undefined;
}

/** The socket that a query names; "" when it names none, undefined when it is malformed. */
function socketOf(query: string): string | undefined {
  for (const part of query.split("&")) {
    if (part.startsWith("socket=")) return decode(part.slice("socket=".length));
  }
  return "";
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function byteLength(text: string): number {
  return new TextEncoder().encode(text).length;
}
