// `aoe nbd SHELF.SLOT`: a disk on the network for everything that speaks NBD: QEMU, nbdcopy, fio,
// nbd-client. It needs no kernel driver on this host, only a socket.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map, optional } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { string } from "@optique/core/valueparser";
import { type Address, formatAddress } from "../wire/aoe.ts";
import { NBD_STRING_BYTES_MAX } from "../wire/nbd.ts";
import type { BlockDisk } from "../loops/block/disk.ts";
import { admitDisk } from "../control/admission.ts";
import { openInitiatorAids } from "../control/wire_aids.ts";
import { InitiatorThread } from "../control/initiator_thread.ts";
import { findInterfaces } from "../control/network_interfaces.ts";
import {
  INITIATOR_COUNT_READ_BYTES,
  INITIATOR_COUNT_READS,
  INITIATOR_COUNT_RETRANSMITTED,
  INITIATOR_COUNT_WRITES,
  INITIATOR_COUNT_WRITTEN_BYTES,
  type InitiatorCounters,
} from "../loops/initiator/counters.ts";
import configuration from "../../deno.json" with { type: "json" };
import { diskSnapshots } from "../control/watch/disk_snapshot.ts";
import { openWatch } from "../control/watch/watch_server.ts";
import type { Watch } from "../control/watch/watch_server.ts";
import { openWatchSocket } from "../control/watch/watch_socket.ts";
import { Watcher } from "../control/watch/watcher.ts";
import { listenNbd, type NbdEndpoint } from "../control/nbd_listener.ts";
import {
  address,
  fileMode,
  forceOption,
  type HostAndPort,
  hostAndPort,
  initiatorRingOptions,
  jsonFlag,
  metricsOption,
  path,
  type SessionArguments,
  sessionOptions,
  sessionSettings,
  shortUsage,
  type WireArguments,
  wireOptions,
} from "./arguments.ts";
import { EXIT_INTERRUPTED, EXIT_SILENT, EXIT_USAGE } from "./exit_codes.ts";
import {
  counted,
  eventTime,
  Failure,
  formatBytes,
  printJson,
  printLine,
  warn,
  writeWithoutWaiting,
} from "./output.ts";
import { listenToSignals } from "./stop_signals.ts";
import { SUMMARIES } from "./summaries.ts";

/** What `aoe nbd` was asked to do. */
export interface NbdOptions extends SessionArguments, WireArguments {
  readonly address: Address;
  readonly socket: string | undefined;
  /** Permissions of the socket file. */
  readonly socketMode: number | undefined;
  readonly listen: HostAndPort | undefined;
  readonly name: string | undefined;
  readonly readOnly: boolean;
  readonly force: boolean;
  readonly metrics: string | undefined;
  readonly json: boolean;
}

/** `aoe nbd SHELF.SLOT` */
export const nbdParser = command(
  "nbd",
  map(
    object({
      address: argument(address(), { description: message`Which disk.` }),
      socket: optional(
        option("--socket", path(), {
          description:
            message`Listen on a unix socket of this path; one that nobody listens on any more is replaced.`,
        }),
      ),
      socketMode: optional(
        option("--socket-mode", fileMode(), {
          description:
            message`Permissions of that path: who may write to it has the disk (default 0600, this user alone).`,
        }),
      ),
      listen: optional(
        option("--listen", hostAndPort(), {
          description:
            message`Listen on a TCP port instead, as 127.0.0.1:10809. NBD has no passwords: whoever reaches it has the disk.`,
        }),
      ),
      name: optional(
        option("--name", string({ metavar: "NAME" }), {
          description:
            message`Name of the export (default: the address). It is also found under no name.`,
        }),
      ),
      readOnly: option("-r", "--read-only", { description: message`Refuse every write.` }),
      force: forceOption(),
      ...sessionOptions(),
      ...initiatorRingOptions(),
      metrics: metricsOption(),
      ...wireOptions(),
      json: jsonFlag(),
    }),
    (options): NbdOptions => options,
  ),
  {
    brief: SUMMARIES.nbd,
    description:
      message`Finds a disk and serves it to whatever speaks NBD, several clients at once, until SIGINT or SIGTERM; requests in flight are answered first. A target that goes away is waited for; after --dead-after what waits fails.${lineBreak()}${lineBreak()}Exit codes: 0 stopped by a signal, 1 cannot listen, 2 called wrongly, 3 no answer.`,
    usageLine: shortUsage,
    footer:
      message`Examples:${lineBreak()}  aoe nbd e1.1 --socket /run/e1.1.nbd${lineBreak()}  aoe nbd e1.1 --listen 127.0.0.1:10809 --read-only${lineBreak()}  qemu-img convert 'nbd+unix:///?socket=/run/e1.1.nbd' disk.qcow2`,
  },
);

/** Serves; returns the exit code. */
export async function runNbd(options: NbdOptions): Promise<number> {
  writeWithoutWaiting("counted");
  const endpoint = endpointOf(options);
  const name = nameOf(options);
  const interfaces = findInterfaces(options.interfaces).map((link) => link.name);
  const writes = !options.readOnly;
  const disk = await admitDisk({ ...options, writes, pastDevice: writes && !options.force }, warn);
  const aids = openInitiatorAids(options, warn);
  let thread: InitiatorThread | undefined;
  let stopped = false;
  // Before there is a socket: no signal may leave one behind.
  const deaf = listenToSignals({
    stop: () => {
      stopped = true;
      thread?.stop();
    },
    insist: () => {
      listener.close();
      Deno.exit(EXIT_INTERRUPTED);
    },
    count: () => {
      if (thread !== undefined) sayCounters(options, thread.counters);
    },
  });
  const listener = listenNbd(endpoint);
  let failure: string | undefined;
  let unwatch: (() => Promise<void>) | undefined;
  try {
    thread = await InitiatorThread.start({
      interfaces,
      disks: [disk],
      ringSlots: options.noRing ? 0 : options.ringSlots,
      aids,
      settings: sessionSettings(options),
      use: {
        kind: "nbd",
        socket: { listener: listener.fd, name },
        readOnly: options.readOnly,
        connectMs: options.timeoutMs,
        before: undefined,
        resumeAfterMs: 0,
      },
    }, (news) => {
      if (news.kind === "connected") report(options, name, listener.endpoint, news.disk);
      else if (news.kind === "note") warn(eventTime() + news.text);
      else if (news.kind === "resized") warn("Clients see the new size when they connect again");
      else if (news.kind === "ended") failure = news.failure;
    });
    if (stopped) thread.stop();
    unwatch = await watchClients(options, uriOf(listener.endpoint), thread.counters);
    await thread.ended;
  } finally {
    deaf();
    listener.close();
    await unwatch?.();
  }
  if (failure !== undefined) throw new Failure(failure, EXIT_SILENT);
  return 0;
}

/** Where to listen. */
function endpointOf({ socket, socketMode, listen }: NbdOptions): NbdEndpoint {
  if (socket !== undefined && listen !== undefined) {
    throw new Failure("--socket and --listen exclude each other: one place to listen", EXIT_USAGE);
  }
  if (socket === undefined && socketMode !== undefined) {
    throw new Failure("--socket-mode is for a --socket", EXIT_USAGE);
  }
  const endpoint = socket === undefined ? listen : { path: socket, mode: socketMode ?? 0o600 };
  if (endpoint === undefined) {
    throw new Failure("Say where to listen: --socket PATH or --listen HOST:PORT", EXIT_USAGE);
  }
  return endpoint;
}

/** Under which name clients find the disk. */
function nameOf(options: NbdOptions): string {
  const name = options.name ?? formatAddress(options.address.shelf, options.address.slot);
  if (new TextEncoder().encode(name).length > NBD_STRING_BYTES_MAX) {
    throw new Failure(`--name is at most ${NBD_STRING_BYTES_MAX} bytes long`, EXIT_USAGE);
  }
  return name;
}

/** Lets others see how the disk is used: `aoe top` by a socket, and whom --metrics is for. */
async function watchClients(
  options: NbdOptions,
  uri: string,
  counters: InitiatorCounters,
): Promise<() => Promise<void>> {
  const { version } = configuration;
  const address = formatAddress(options.address.shelf, options.address.slot);
  const watcher = new Watcher(diskSnapshots({ version, address }, counters, () => uri));
  let socket: { close(): Promise<void> } | undefined;
  let watch: Watch | undefined;
  const close = async () => {
    watcher.close();
    await Promise.all([socket?.close(), watch?.close()]);
  };
  try {
    if (options.metrics !== undefined) {
      watch = openWatch(options.metrics, watcher);
      sayWatch(watch, options.json);
    }
    socket = await openWatchSocket(watcher).catch((error) => {
      warn(`aoe top cannot see this process: ${(error as Error).message}`);
      return undefined;
    });
    return close;
  } catch (error) {
    await close();
    throw error;
  }
}

/** Says where metrics are. */
function sayWatch({ at, warning }: Watch, json: boolean): void {
  if (json) printJson({ event: "metrics", at });
  else printLine(`Metrics at ${at}`);
  if (warning !== undefined) warn(warning);
}

/** Says what the clients have done so far. */
function sayCounters(options: NbdOptions, counters: InitiatorCounters): void {
  const address = formatAddress(options.address.shelf, options.address.slot);
  const value = (counter: number) => counters.value(counter);
  const [reads = 0, writes = 0, retransmitted = 0] = [
    INITIATOR_COUNT_READS,
    INITIATOR_COUNT_WRITES,
    INITIATOR_COUNT_RETRANSMITTED,
  ].map(
    value,
  );
  const [readBytes = 0, writtenBytes = 0] = [
    INITIATOR_COUNT_READ_BYTES,
    INITIATOR_COUNT_WRITTEN_BYTES,
  ].map(value);
  if (options.json) {
    const event = "counters";
    printJson({ event, address, reads, readBytes, writes, writtenBytes, retransmitted });
  } else {
    printLine(
      `${address}  ${counted(reads, "read")} (${formatBytes(readBytes)}), ` +
        `${counted(writes, "write")} (${
          formatBytes(writtenBytes)
        }), ${retransmitted} retransmitted`,
    );
  }
}

/** Says what is served, and how it is used. */
function report(options: NbdOptions, name: string, endpoint: NbdEndpoint, disk: BlockDisk): void {
  const address = formatAddress(options.address.shelf, options.address.slot);
  const uri = uriOf(endpoint);
  if (options.json) {
    const { bytes, readOnly, physicalBlockBytes, discard, discardsAreZero, serial, model } = disk;
    const about = { bytes, readOnly, physicalBlockBytes, discard, discardsAreZero, serial, model };
    const { dropPercent: drop } = options;
    const aids = drop === undefined ? {} : { drop };
    printJson({ address, name, uri, ...endpoint, ...about, ...aids });
  } else {
    const kind = disk.readOnly ? ", read-only" : "";
    printLine(`${address}, ${formatBytes(disk.bytes)}${kind}, is served at ${uri}`);
    const client = "path" in endpoint
      ? `-unix ${endpoint.path}`
      : `${endpoint.host} ${endpoint.port}`;
    printLine(`  qemu-img info '${uri}'`);
    printLine(`  nbd-client ${client} /dev/nbd0`);
  }
  if ("host" in endpoint && !/^(127\.|::1$|localhost$)/.test(endpoint.host)) {
    warn(
      `NBD has no passwords: whoever reaches ${endpoint.host} port ${endpoint.port} has the disk`,
    );
  }
}

/** As libnbd and QEMU read it; the export without a name is the same. */
function uriOf(endpoint: NbdEndpoint): string {
  if ("path" in endpoint) {
    const socket = endpoint.path.startsWith("/") ? endpoint.path : `${Deno.cwd()}/${endpoint.path}`;
    return `nbd+unix:///?socket=${encodeURI(socket).replace(/[?&#+]/g, encodeURIComponent)}`;
  }
  const host = endpoint.host.includes(":") ? `[${endpoint.host}]` : endpoint.host;
  return `nbd://${host}:${endpoint.port}`;
}
