// A target thread and an initiator's socket in one thread, on the loopback interface of a namespace
// of their own: the real loop, ring, socket and file, led step by step.

import { Arena } from "../../../ffi/arena.ts";
import { openFile } from "../../../ffi/files.ts";
import { MessageTable } from "../../../ffi/message_table.ts";
import { listInterfaces } from "../../../ffi/netlink.ts";
import { PacketSocket } from "../../../ffi/packet_socket.ts";
import { openEvent } from "../../../ffi/poll.ts";
import { readTag, writeAoeHeader } from "./loopback_frames.ts";
import {
  ATA_DATA,
  ATA_FLAG_LBA48,
  ATA_WRITE_SECTORS_EXT,
  SECTOR_BYTES,
  writeAtaRequest,
} from "../../../src/wire/ata.ts";
import { inOwnNetwork } from "../../ffi/own_network.ts";
import { ETHERTYPE_AOE } from "../../../src/wire/ethernet.ts";
import { initiatorFilter } from "../../../src/wire/filter.ts";
import { TargetCounters } from "../../../src/core/target/counters.ts";
import { TargetMetrics } from "../../../src/core/target/metrics.ts";
import { CONTROL_WORDS } from "../../../src/core/target/loop.ts";
import { OrderMailbox } from "../../../src/loops/target/orders.ts";
import { TargetWorker } from "../../../src/loops/target/thread.ts";
import type { TargetMessage } from "../../../src/loops/target/messages.ts";
import type { ExportConfig } from "../../../src/loops/target/export_config.ts";
import { COMMAND_ATA } from "../../../src/wire/aoe.ts";

const FRAMES = 64;
const FRAME_BYTES = 12288;

/** How the target is made. */
export interface LoopbackOptions {
  readonly uring: boolean;
  /** Whether frames come by a ring, as they do unless told. */
  readonly ring?: boolean;
  /** Frames that the ring holds. */
  readonly ringSlots?: number;
  /** What a crossing is taken to cost: 0, the default, writes in place, Infinity hardly any. */
  readonly crossingNs?: number;
  readonly direct?: boolean;
  readonly sync?: boolean;
  readonly mapBytes?: number;
  /** The target's interface and the initiator's; both are `lo` unless told. */
  readonly interfaces?: readonly [string, string];
  /** Theirs, where they are made; 9000 unless told. */
  readonly mtu?: number;
  /** What is different about the export. */
  readonly export?: Partial<ExportConfig>;
  /** More exports of the same thread. */
  readonly neighbours?: readonly Partial<ExportConfig>[];
}

/** One ATA command to send. */
export interface Request {
  readonly command: number;
  readonly feature?: number;
  readonly sector: number;
  readonly sectors: number;
  readonly data?: Uint8Array;
  /** Slot of shelf 1 that it is for, 1 unless told. */
  readonly slot?: number;
}

/** One answer. */
export interface Answer {
  readonly tag: number;
  readonly status: number;
  readonly error: number;
  readonly data: Uint8Array;
}

/** A target for one file, and a socket that speaks to it. Inside `inOwnNetwork` only. */
export class LoopbackTarget {
  readonly counters: TargetCounters;
  readonly metrics: TargetMetrics;
  readonly messages: TargetMessage[] = [];
  readonly #worker: TargetWorker;
  #stopped = false;
  readonly #socket: PacketSocket;
  readonly #macs: { readonly target: Uint8Array; readonly initiator: Uint8Array };
  readonly #arena = new Arena(2 * FRAMES * FRAME_BYTES + 65536);
  readonly #sending = new MessageTable(this.#arena, FRAMES, 1);
  readonly #receiving = new MessageTable(this.#arena, FRAMES, 1);
  readonly #sent = this.#arena.allocate(FRAMES * FRAME_BYTES);
  readonly #received = this.#arena.allocate(FRAMES * FRAME_BYTES);

  constructor(path: string, options: LoopbackOptions) {
    const [served, used] = options.interfaces ?? ["lo", "lo"];
    const own = exportOf(path, options);
    const exports = [own, ...(options.neighbours ?? []).map((other) => ({ ...own, ...other }))];
    const counters = TargetCounters.allocate(exports.length);
    this.counters = new TargetCounters(counters);
    const metrics = TargetMetrics.allocate(exports.length, 1);
    this.metrics = new TargetMetrics(metrics);
    this.#worker = new TargetWorker({
      interfaces: [served],
      exports,
      buffers: 64,
      uring: options.uring,
      ring: options.ring ?? true,
      ringSlots: options.ringSlots,
      crossingNs: options.crossingNs ?? 0,
      pollUs: 0,
      mapBytes: options.mapBytes ?? 64 * 2 ** 20,
      stores: true,
      controlEvent: openEvent(),
      control: new SharedArrayBuffer(4 * CONTROL_WORDS),
      counters,
      metrics,
      orders: OrderMailbox.allocate(),
    }, (message) => this.messages.push(message));
    const [target, initiator] = [served, used].map((name) =>
      listInterfaces().find((link) => link.name === name)!
    );
    this.#macs = { target: target!.mac, initiator: initiator!.mac };
    this.#socket = new PacketSocket(initiator!.index, {
      etherType: ETHERTYPE_AOE,
      filter: initiatorFilter(),
      bufferBytes: 8 << 20,
    });
    for (let i = 0; i < FRAMES; i++) {
      const address = this.#arena.address + this.#received + i * FRAME_BYTES;
      this.#receiving.setOne(i, address, FRAME_BYTES);
    }
  }

  /** Puts request `i` of a batch into its frame. */
  prepare(i: number, tag: number, request: Request): void {
    const at = this.#sent + i * FRAME_BYTES;
    const view = this.#arena.bytes;
    view.fill(0, at, at + 60);
    writeAoeHeader(view, at, COMMAND_ATA, tag, { ...this.#macs, slot: request.slot ?? 1 });
    writeAtaRequest(view, at, {
      flags: ATA_FLAG_LBA48,
      feature: request.feature ?? 0,
      count: request.sectors,
      command: request.command,
      lba: request.sector,
    });
    if (request.data !== undefined) view.set(request.data, at + ATA_DATA);
    const bytes = Math.max(60, ATA_DATA + (request.data?.length ?? 0));
    this.#sending.setOne(i, this.#arena.address + at, bytes);
  }

  /** Sends the first `count` prepared requests in one batch. */
  send(count: number): void {
    if (this.#socket.send(this.#sending, 0, count) !== count) throw new Error("Not all was sent");
  }

  /** Lets the target do what it can; the number of things done. */
  turn(): number {
    return this.#worker.turn();
  }

  /** Whether the target has commands at the disk or answers in line. */
  get busy(): boolean {
    return this.#worker.busy;
  }

  /** Lets the target see what becomes of its interfaces, for so long at most. */
  look(timeoutMs: number): void {
    this.#worker.look(timeoutMs);
  }

  /** Takes answers that have arrived, without looking at them; how many. */
  skip(): number {
    return this.#socket.receive(this.#receiving, FRAMES);
  }

  /** Takes answers that have arrived. */
  receive(): Answer[] {
    const count = this.#socket.receive(this.#receiving, FRAMES);
    return Array.from({ length: count }, (_, i) => {
      const at = this.#received + i * FRAME_BYTES;
      const view = this.#arena.bytes;
      return {
        tag: readTag(view, at),
        status: view[at + 27]!,
        error: view[at + 25]!,
        data: view.slice(at + ATA_DATA, at + this.#receiving.length(i)),
      };
    });
  }

  /** Sends a batch and turns until every request of it is answered; answers by tag. */
  exchange(requests: readonly Request[]): Map<number, Answer> {
    requests.forEach((request, i) => this.prepare(i, i, request));
    this.send(requests.length);
    const answers = new Map<number, Answer>();
    for (let turns = 0; answers.size < requests.length; turns++) {
      if (turns > 1e6) throw new Error(`${requests.length - answers.size} requests have no answer`);
      this.turn();
      this.look(0);
      for (const answer of this.receive()) answers.set(answer.tag, answer);
    }
    return answers;
  }

  /** Stops the target, once. */
  stop(): void {
    if (!this.#stopped) this.#worker.stop();
    this.#stopped = true;
  }

  /** Leaves the target as it is, with a disk that would be waited for. */
  abandon(): void {
    this.#stopped = true;
  }

  close(): void {
    this.stop();
    this.#socket.close();
  }
}

/**
 * Runs a body with a target for an image of its own, in a network namespace of its own.
 *
 * @param image `fill` gives it its content; `dir` is where it lies, on a disk unless told.
 * @param prepare Done in the namespace before the target is made.
 */
export function withLoopbackTarget(
  image: { readonly fill: (path: string) => void; readonly dir?: string },
  options: LoopbackOptions,
  body: (target: LoopbackTarget, path: string) => void,
  prepare: () => void = () => {},
): void {
  const path = Deno.makeTempFileSync({ dir: image.dir ?? "/var/tmp", prefix: "aoe-loopback-" });
  try {
    image.fill(path);
    inOwnNetwork(() => {
      prepare();
      const target = new LoopbackTarget(path, options);
      try {
        body(target, path);
      } finally {
        target.close();
      }
    });
  } finally {
    Deno.removeSync(path);
  }
}

/** A write of so many sectors, all of the same bytes. */
export function writeOf(sector: number, sectors: number, fill: number): Request {
  const data = new Uint8Array(sectors * SECTOR_BYTES).fill(fill);
  return { command: ATA_WRITE_SECTORS_EXT, sector, sectors, data };
}

/** An export of a file as e1.1. */
export function exportOf(path: string, options: LoopbackOptions): ExportConfig {
  return {
    shelf: 1,
    slot: 1,
    path,
    fd: options.export?.fd ?? openFile(path, { readOnly: false }),
    directFd: options.direct === true ? openFile(path, { readOnly: false, direct: true }) : -1,
    directAlignment: SECTOR_BYTES,
    offsetBytes: 0,
    lengthBytes: undefined,
    remote: false,
    readOnly: false,
    sync: options.sync === true,
    trim: true,
    physicalSectorBytes: 4096,
    rotational: false,
    serial: "loopback",
    incarnation: 1,
    ...options.export,
  };
}
