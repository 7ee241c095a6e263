// One attached disk, on the main thread of its daemon: starts the initiator's thread and the back
// end, makes the nodes, answers other commands, keeps a keeper, and takes everything away again.

import { closeFile } from "../../../ffi/files.ts";
import { claimDevice, releaseDevice } from "../../../ffi/device_node.ts";
import { refuseOutOfMemoryKill } from "../../../ffi/memory_pressure.ts";
import { INITIATOR_DEFAULTS, type InitiatorSettings } from "../../core/initiator/state.ts";
import { formatAddress } from "../../wire/aoe.ts";
import { SECTOR_BYTES } from "../../wire/ata.ts";
import type { BackEnd, BackEndName, BackEndState } from "./back_end.ts";
import { deviceUses } from "./device_uses.ts";
import type { LineServer } from "../line_socket.ts";
import { openDiskSocket } from "./control_socket.ts";
import type { ControlRequest } from "./control_socket.ts";
import { Keeper } from "./keeper.ts";
import { dismissInherited, NodeWatcher } from "./node_watcher.ts";
import { flushDevice } from "./flush.ts";
import { DeviceNodes } from "./device_nodes.ts";
import type { AttachedStatus } from "./status.ts";
import { foreignHolders, HeldReservation } from "./reservation.ts";
import type { InitiatorCounters } from "../../loops/initiator/counters.ts";
import type { BlockDisk, BlockPath } from "../../loops/block/disk.ts";
import {
  INITIATOR_COUNT_READ_BYTES,
  INITIATOR_COUNT_READS,
  INITIATOR_COUNT_RETRANSMITTED,
  INITIATOR_COUNT_RTT_MS,
  INITIATOR_COUNT_WRITES,
  INITIATOR_COUNT_WRITTEN_BYTES,
} from "../../loops/initiator/counters.ts";
import type { DiskChoice } from "../../loops/initiator/loop.ts";
import { InitiatorThread } from "../initiator_thread.ts";
import type { WireAids } from "../../loops/capture.ts";
import type { JobMessage } from "../threads.ts";
import { openBackEnd } from "./back_ends.ts";
import type { SkippedBackEnd } from "./back_ends.ts";

/** How long a flush may take before detaching is given up. */
const FLUSH_MS_MAX = 20_000;
const FORCED_FLUSH_MS_MAX = 2_000;
/** How long the target is asked for a reservation that may be the cause. */
const HOLDERS_MS_MAX = 500;
/** How long a device may take to go once nobody should have it open any more. */
const GONE_MS_MAX = 3_000;
/**
 * A killed daemon's frames are no longer on their way after this. On one path they arrive before
 * those of the new one do, and this is only for a switch that reorders; on several a frame may be
 * as old as the initiator's quarantine allows for (core/initiator/writes.ts).
 */
const RESUME_AFTER_MS = 150;
const RESUME_SEVERAL_AFTER_MS = INITIATOR_DEFAULTS.quarantineMs;
const KEEPER_AGAIN_MS = 1_000;
/** Sequential readers have so much under way; the kernel's own 128 KiB are for disks without a net. */
const READ_AHEAD_KIB = 1024;

/** What a new daemon needs to go on after this one was killed. */
export interface ResumeState {
  readonly backEnd: BackEndName;
  readonly state: BackEndState;
  /** As in /sys/block. */
  readonly kernelName: string;
  /** With the incarnation that `DiskBefore` wants. */
  readonly disk: BlockDisk;
  readonly interfaces: readonly string[];
  /** Its frames took more than one path. */
  readonly severalPaths: boolean;
  /** Descriptor of the disk's name. */
  readonly lock: number;
  /** To the watcher of the nodes; −1 when there is none. */
  readonly watcherPipe: number;
}

/** How to attach a disk. */
export interface AttachOptions {
  readonly address: DiskChoice;
  /** Names of interfaces that exist. */
  readonly interfaces: readonly string[];
  readonly backEnd: BackEndName;
  /** What is told of others. */
  readonly skipped: readonly SkippedBackEnd[];
  readonly readOnly: boolean;
  readonly reserve: boolean;
  /** See `BackEndOptions`. */
  readonly fuseUring: boolean;
  readonly settings: Partial<InitiatorSettings>;
  /** See `InitiatorLoopConfig`. */
  readonly ringSlots: number;
  /** What helps to find a fault. */
  readonly aids: WireAids | undefined;
  readonly connectMs: number;
  /** Descriptor of the disk's name, which is taken. */
  readonly lock: number;
  /** Where a killed daemon is to be replaced. */
  readonly resume: ResumeState | undefined;
  /** Arguments that start a new daemon in the place of this one. */
  readonly args: readonly string[];
  readonly log: (text: string, severity: "warning" | "info") => void;
}

/** A disk that is attached. */
export class AttachedDisk {
  readonly name: string;
  /** Resolves when it is gone; rejects with what ended its thread. */
  readonly ended: Promise<void>;
  /** Says what happens to it now, and the past of what is named; see `Watcher.ask`. */
  overview: ((pasts: readonly string[]) => Promise<unknown>) | undefined;
  readonly #options: AttachOptions;
  readonly #backEnd: BackEnd;
  readonly #thread: InitiatorThread;
  readonly #connected = Promise.withResolvers<BlockDisk>();
  readonly #control: LineServer;
  #disk: BlockDisk | undefined;
  #paths: readonly BlockPath[] = [];
  /** As they are called now. */
  #interfaces: readonly string[];
  #up = false;
  #severalPaths = false;
  #nodes: DeviceNodes | undefined;
  #kernelName = "";
  #keeper: Keeper | undefined;
  #whyNoKeeper = "";
  #watcher: NodeWatcher | undefined;
  /** See "settled" of BlockMessage. */
  #incarnation = 0;
  /** The device is being taken away, or gone. */
  #leaving: Promise<boolean> | undefined;
  readonly #reservation: HeldReservation | undefined;

  /**
   * Makes the device, and returns when it can be used.
   *
   * @throws With one sentence: the disk does not answer, or the device cannot be made.
   */
  static async start(options: AttachOptions): Promise<AttachedDisk> {
    const inbox: JobMessage<BackEndName>[] = [];
    const { resume } = options;
    // The device may have grown since the keeper was told of the disk.
    const before = resume === undefined
      ? undefined
      : { ...resume.disk, bytes: deviceBytes(resume.kernelName) };
    const backEnd = openBackEnd(
      options.backEnd,
      {
        readOnly: options.readOnly,
        connectMs: options.connectMs,
        before,
        resumeAfterMs: resume?.severalPaths ? RESUME_SEVERAL_AFTER_MS : RESUME_AFTER_MS,
      },
      options,
      resume?.state,
    );
    // What the thread tells before there is somebody to hear it.
    let hear = (message: JobMessage<BackEndName>): void => {
      inbox.push(message);
    };
    const thread = await InitiatorThread.start({
      interfaces: options.interfaces,
      disks: [options.address],
      ringSlots: options.ringSlots,
      aids: options.aids,
      settings: options.settings,
      use: backEnd.use,
    }, (message) => hear(message));
    const attached = new AttachedDisk(options, backEnd, thread);
    hear = (message) => attached.#message(message);
    inbox.forEach(hear);
    try {
      await attached.#start(before);
      return attached;
    } catch (error) {
      await attached.#dismissKeeper();
      attached.#control.close();
      attached.#nodes?.remove();
      await attached.#reservation?.release();
      await backEnd.stop(false);
      thread.stop();
      throw error;
    }
  }

  private constructor(options: AttachOptions, backEnd: BackEnd, thread: InitiatorThread) {
    this.#options = options;
    this.#interfaces = options.interfaces;
    this.#backEnd = backEnd;
    this.#thread = thread;
    const { shelf, slot } = options.address;
    this.name = formatAddress(shelf, slot);
    if (options.reserve) {
      this.#reservation = new HeldReservation({ ...options, interfaces: () => this.#interfaces });
    }
    this.#control = openDiskSocket(this.name, (request) => this.#answer(request));
    // Callers that have asked for its end hear of it before the process ends.
    this.ended = thread.ended.finally(() => this.#gone());
    this.ended.catch((error) => this.#connected.reject(error));
  }

  /** What its thread has counted. */
  get counters(): InitiatorCounters {
    return this.#thread.counters;
  }

  get status(): AttachedStatus {
    const disk = this.#disk!;
    const { counters } = this.#thread;
    const drop = this.#options.aids?.dropPercent ?? 0;
    return {
      address: this.name,
      node: this.#nodes!.path,
      device: `/dev/${this.#kernelName}`,
      backEnd: this.#backEnd.name,
      skipped: this.#options.skipped,
      pid: Deno.pid,
      bytes: disk.bytes,
      readOnly: disk.readOnly,
      asked: {
        readOnly: this.#options.readOnly,
        reserve: this.#options.reserve,
        fuseUring: this.#options.fuseUring,
      },
      state: this.#up ? "up" : "down",
      paths: this.#paths,
      ...(this.#backEnd.fuseUring === undefined ? {} : { fuseUring: this.#backEnd.fuseUring }),
      keeper: this.#keeper !== undefined ? true : this.#whyNoKeeper,
      reserved: this.#reservation?.held ?? false,
      reads: counters.value(INITIATOR_COUNT_READS),
      writes: counters.value(INITIATOR_COUNT_WRITES),
      readBytes: counters.value(INITIATOR_COUNT_READ_BYTES),
      writtenBytes: counters.value(INITIATOR_COUNT_WRITTEN_BYTES),
      retransmitted: counters.value(INITIATOR_COUNT_RETRANSMITTED),
      rttMs: counters.value(INITIATOR_COUNT_RTT_MS),
      atMs: performance.now(),
      ...(drop > 0 ? { drop } : {}),
    };
  }

  /**
   * Takes the device away.
   *
   * @param force Also when it is in use, or cannot be flushed: what is under way fails.
   * @returns False when somebody has it open, unmounted: it goes when he closes it.
   * @throws {Error} One sentence: it is in use, or could not be flushed; it stays attached.
   */
  async detach(force: boolean): Promise<boolean> {
    while (this.#leaving !== undefined) {
      // A second caller hears how it ends; one that insists tries again when it has failed.
      if (!force) return await this.#leaving;
      try {
        if (!await this.#leaving) this.#thread.terminate();
        return true;
      } catch {
        // The first who asked is told.
      }
    }
    this.#leaving = this.#leave(force);
    try {
      return await this.#leaving;
    } catch (error) {
      this.#leaving = undefined;
      throw error;
    }
  }

  /** @param before The disk as a killed daemon knew it: what that one served is served at once. */
  async #start(before: BlockDisk | undefined): Promise<void> {
    const { resume } = this.#options;
    const disk = before ?? await this.#connected.promise;
    this.#disk = disk;
    this.#incarnation = disk.incarnation;
    this.#severalPaths ||= resume?.severalPaths ?? false;
    // The daemon that was killed had it, and its device is in use: how it ends is told later.
    if (before === undefined) await this.#reservation?.take();
    else this.#reservation?.takeAgain();
    refuseOutOfMemoryKill();
    if (resume !== undefined) {
      this.#kernelName = resume.kernelName;
      this.#nodes = new DeviceNodes(this.name, resume.kernelName);
      this.#watch();
      if (resume.watcherPipe >= 0) dismissInherited(resume.watcherPipe);
      this.#keep();
    }
    const { kernelName } = await this.#backEnd.start(disk, this.name);
    this.#kernelName = kernelName;
    // A device that was there is tuned, and the kernel would wait for all that is under way.
    if (resume === undefined) tune(kernelName, disk);
    this.#nodes ??= new DeviceNodes(this.name, kernelName);
    if (resume === undefined) this.#watch();
    this.#nodes.make();
    if (resume === undefined) this.#keep();
  }

  #message(message: JobMessage<BackEndName>): void {
    this.#backEnd.message(message);
    switch (message.kind) {
      case "connected":
        this.#up = true;
        this.#notePaths(message.paths);
        this.#connected.resolve(message.disk);
        // The disk may have grown while no daemon was there.
        if (this.#disk !== undefined && this.#disk.bytes !== message.disk.bytes) {
          this.#resized(message.disk.bytes);
        }
        this.#reserveAgain();
        break;
      case "note":
        this.#options.log(message.text, "warning");
        break;
      case "unguarded":
        this.#options.log(message.text, "info");
        break;
      case "paths":
        this.#up = message.up;
        this.#notePaths(message.paths);
        this.#reserveAgain();
        break;
      case "interfaces":
        this.#noteInterfaces(message.names);
        break;
      case "restarted":
        this.#reserveAgain();
        break;
      case "settled":
        // A new daemon must know what this one knew of the writes that were answered.
        this.#incarnation = message.incarnation;
        if (this.#keeper !== undefined) this.#keepAgain();
        break;
      case "resized":
        this.#resized(message.bytes);
        break;
      case "ended":
        if (message.failure !== undefined) this.#connected.reject(new Error(message.failure));
        break;
    }
  }

  /** Not before it was taken for the first time. */
  #reserveAgain(): void {
    if (this.#nodes !== undefined && this.#leaving === undefined) this.#reservation?.takeAgain();
  }

  #notePaths(paths: readonly BlockPath[]): void {
    this.#paths = paths;
    if (this.#severalPaths || paths.length < 2) return;
    this.#severalPaths = true;
    if (this.#keeper !== undefined) this.#keepAgain();
  }

  /** A new daemon must know them by the names of now. */
  #noteInterfaces(names: readonly string[]): void {
    const same = names.every((name, i) => name === this.#interfaces[i]);
    this.#interfaces = names;
    if (!same && this.#keeper !== undefined) this.#keepAgain();
  }

  #resized(bytes: number): void {
    if (this.#disk === undefined || this.#kernelName === "") return;
    this.#disk = { ...this.#disk, bytes };
    const problem = this.#backEnd.resize(bytes);
    if (problem !== undefined) {
      this.#options.log(`${this.name} keeps the size it had: ${problem}`, "warning");
    }
  }

  async #answer(request: ControlRequest): Promise<unknown> {
    if (this.#nodes === undefined) throw new Error(`${this.name} is being attached`);
    if (request.ask === "status") return this.status;
    if (request.ask === "overview") {
      if (this.overview === undefined) throw new Error(`${this.name} is being attached`);
      return await this.overview(request.pasts);
    }
    return await this.detach(request.force);
  }

  async #leave(force: boolean): Promise<boolean> {
    const node = this.#nodes!.path;
    const claim = claimDevice(node);
    if (claim === undefined && !force) {
      throw new Error(
        `${this.name} is in use: unmount it first, or detach it with --force, ` +
          `which fails what is under way${deviceUses(node)}`,
      );
    }
    try {
      if (claim !== undefined) await this.#flush(force);
    } catch (error) {
      if (claim !== undefined) releaseDevice(claim);
      throw error;
    }
    await this.#dismissKeeper();
    this.#nodes!.remove();
    await this.#dismissWatcher();
    await this.#reservation?.release();
    const stopped = Promise.resolve(this.#backEnd.stop(force)).catch((error) => {
      this.#options.log(`${this.name}: ${(error as Error).message}`, "warning");
    });
    if (claim !== undefined) releaseDevice(claim);
    // A program that has the device open all the same, unmounted, keeps it until it closes it.
    const gone = await Promise.race([
      Promise.all([stopped, this.#thread.ended]).then(() => true),
      new Promise<boolean>((resolve) => setTimeout(() => resolve(false), GONE_MS_MAX)),
    ]);
    // It may wait for a target that is dead.
    if (force) this.#thread.terminate();
    return gone || force;
  }

  /** Puts everything onto the target's stable storage. */
  async #flush(force: boolean): Promise<void> {
    if (this.#disk!.readOnly) return;
    const why = await flushDevice(
      this.#nodes!.path,
      force ? FORCED_FLUSH_MS_MAX : FLUSH_MS_MAX,
    );
    if (why === undefined || force) return;
    const { address } = this.#options;
    const asking = { address, interfaces: this.#interfaces, timeoutMs: HOLDERS_MS_MAX };
    const holders = await foreignHolders(asking).catch(() => []);
    const reason = holders.length > 0 ? `it is reserved by ${holders.join(", ")}` : why;
    throw new Error(
      `${this.name} could not be flushed, ${reason}: it stays attached; ` +
        `--force detaches it and gives up what was not flushed`,
    );
  }

  async #gone(): Promise<void> {
    this.#nodes?.remove();
    await this.#dismissWatcher();
    await this.#control.close();
  }

  /** Starts a watcher of the nodes, and another one should it be killed. */
  #watch(): void {
    const { deviceFd } = this.#backEnd;
    const held = [this.#options.lock, ...(deviceFd === undefined ? [] : [deviceFd])];
    const watcher = NodeWatcher.start(this.name, this.#kernelName, held);
    this.#watcher = watcher;
    watcher.ended.then(() => {
      if (this.#watcher !== watcher || this.#leaving !== undefined) return;
      this.#watcher = undefined;
      closeFile(watcher.pipe);
      setTimeout(() => {
        if (this.#watcher !== undefined || this.#leaving !== undefined) return;
        this.#watch();
        // The daemon that goes on after this one must hold the new one's pipe.
        if (this.#keeper !== undefined) this.#keepAgain();
      }, KEEPER_AGAIN_MS);
    });
  }

  async #dismissWatcher(): Promise<void> {
    const watcher = this.#watcher;
    this.#watcher = undefined;
    await watcher?.dismiss();
  }

  /** Starts a keeper, and another one should it be killed. */
  #keep(): void {
    const { state } = this.#backEnd;
    if (typeof state === "string") {
      this.#whyNoKeeper = state;
      return;
    }
    const own = this.#watcher === undefined
      ? [this.#options.lock]
      : [this.#options.lock, this.#watcher.pipe];
    const held = [...own, ...state.fds];
    const keeper = Keeper.start(this.#options.args, held, (fds): ResumeState => ({
      backEnd: this.#backEnd.name,
      state: { ...state, fds: fds.slice(own.length) },
      lock: fds[0]!,
      watcherPipe: this.#watcher === undefined ? -1 : fds[1]!,
      kernelName: this.#kernelName,
      disk: { ...this.#disk!, incarnation: this.#incarnation },
      interfaces: this.#interfaces,
      severalPaths: this.#severalPaths,
    }));
    this.#keeper = keeper;
    keeper.ended.then(() => {
      if (this.#keeper !== keeper || this.#leaving !== undefined) return;
      this.#keeper = undefined;
      this.#whyNoKeeper = "it was killed";
      setTimeout(() => {
        if (this.#keeper === undefined && this.#leaving === undefined) this.#keep();
      }, KEEPER_AGAIN_MS);
    });
  }

  async #keepAgain(): Promise<void> {
    await this.#dismissKeeper();
    if (this.#leaving === undefined) this.#keep();
  }

  async #dismissKeeper(): Promise<void> {
    const keeper = this.#keeper;
    this.#keeper = undefined;
    await keeper?.dismiss();
  }
}

/** Size that the kernel takes a device to have. */
function deviceBytes(kernelName: string): number {
  return Number(Deno.readTextFileSync(`/sys/block/${kernelName}/size`)) * SECTOR_BYTES;
}

/** Tells the block layer what it cannot know of a disk behind a network. */
function tune(kernelName: string, disk: BlockDisk): void {
  const queue = `/sys/block/${kernelName}/queue`;
  for (
    const [attribute, value] of [
      // The initiator and the target have queues of their own.
      ["scheduler", "none"],
      ["read_ahead_kb", String(READ_AHEAD_KIB)],
      ["rotational", disk.rotational ? "1" : "0"],
    ] as const
  ) {
    try {
      Deno.writeTextFileSync(`${queue}/${attribute}`, value);
    } catch {
      // It works without.
    }
  }
}
