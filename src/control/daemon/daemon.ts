// One process that serves: its threads, what runs in them, and the socket by which it is asked.

import { formatAddress } from "../../wire/aoe.ts";
import { SECTOR_BYTES } from "../../wire/ata.ts";
import type { Address } from "../../wire/aoe.ts";
import type { DaemonPlan } from "../../core/daemon/plan.ts";
import type { KeptSettings } from "../../core/target/kept_settings.ts";
import type { ExportConfig } from "../../loops/target/export_config.ts";
import { groupCounters } from "../target/group_counters.ts";
import type { ExportFile } from "../target/open_file.ts";
import type { TargetGroup } from "../target/threads.ts";
import { DAEMON_NAME_DEFAULT, daemonSocketFolder, openDaemonSocket } from "./requests.ts";
import type { DaemonListing, DaemonRequest, DaemonSocket, ListedExport } from "./requests.ts";
import { ServiceManager } from "./service_manager.ts";
import { StateFolder, stateFolderPath } from "./state_folder.ts";

/** What runs in a daemon. */
export interface Served {
  readonly group: TargetGroup;
  readonly files: readonly ExportFile[];
  readonly interfaces: readonly string[];
  /** The lines of a summary, for people. */
  readonly summary: () => readonly string[];
  /** What happens now, and the past of what is named; see `Watcher.ask`. */
  readonly overview: (pasts: unknown) => Promise<unknown>;
}

/** Folders that a daemon of this plan has for itself: of its socket, and of its state. */
export function foldersOfDaemon(
  { name, stateDir }: Pick<DaemonPlan, "name" | "stateDir">,
): string[] {
  const called = name ?? DAEMON_NAME_DEFAULT;
  const socket = daemonSocketFolder(called);
  if (stateDir === false) return [socket];
  return [socket, `${stateDir === true ? stateFolderPath() : stateDir}/${called}`];
}

/** A running daemon. */
export class Daemon {
  readonly #name: string;
  readonly #socket: DaemonSocket | undefined;
  readonly #state: StateFolder | undefined;
  readonly #manager = new ServiceManager();
  #served: Served | undefined;

  /**
   * Takes its name and its state, before anything else starts. One that was given no name goes
   * without a socket where the customary one is taken.
   *
   * @throws {Error} One sentence: another daemon has the name, or the state.
   */
  constructor({ name, stateDir }: Pick<DaemonPlan, "name" | "stateDir">) {
    this.#name = name ?? DAEMON_NAME_DEFAULT;
    this.#socket = this.#open(name);
    if (stateDir === false) return;
    const folder = stateDir === true ? stateFolderPath() : stateDir;
    this.#state = new StateFolder(folder, this.#name);
  }

  /**
   * An export with what an earlier daemon has kept of it.
   *
   * @throws {Error} One sentence: that cannot be read.
   */
  withKept(config: ExportConfig): ExportConfig {
    if (this.#state === undefined) return config;
    return { ...config, keeps: true, kept: this.#state.load(config) };
  }

  /**
   * Keeps what frames have set of an export.
   *
   * @returns A sentence when that cannot be.
   */
  async keep(address: Address, settings: KeptSettings): Promise<string | undefined> {
    try {
      await this.#state!.keep(address, settings);
      return undefined;
    } catch (error) {
      const name = formatAddress(address.shelf, address.slot);
      const reason = (error as Error).message.replace(/ \(os error \d+\)/, "");
      return `${name}: a change of its config string, mask list or reservation is refused, since ` +
        `it cannot be kept: ${reason}`;
    }
  }

  /** From here on it tells of what it serves. */
  serves(served: Served): void {
    this.#served = served;
    this.#manager.ready(
      `Serving ${served.files.length === 1 ? "one export" : `${served.files.length} exports`}`,
    );
    this.#manager.keepAlive(() => served.group.isWell());
  }

  /** Ends what is asked; the threads are another's to stop. */
  async close(): Promise<void> {
    this.#manager.stopping();
    this.#manager.close();
    await this.#socket?.close();
  }

  #open(name: string | undefined): DaemonSocket | undefined {
    try {
      const socket = openDaemonSocket(
        this.#name,
        (question) => this.#answer(question as DaemonRequest),
      );
      if (socket !== undefined || name === undefined) return socket;
    } catch (error) {
      if (name !== undefined) throw error;
      return undefined;
    }
    throw new Deno.errors.AddrInUse(`Another aoe serve is called "${name}": choose another --name`);
  }

  async #answer(request: DaemonRequest): Promise<unknown> {
    if (this.#served === undefined) throw new Error("It is starting: ask again");
    switch (request?.ask) {
      case "list":
        return this.#list(this.#served);
      case "stats": {
        const { group, files, summary } = this.#served;
        return { ...groupCounters(group, files), lines: summary() };
      }
      case "overview":
        return await this.#served.overview(request.pasts);
      default:
        throw new Error("This aoe serve does not know that question: it is of another version");
    }
  }

  #list({ group, files, interfaces }: Served): DaemonListing {
    const exports = files.map(({ config, kind, sectors }): ListedExport => ({
      address: formatAddress(config.shelf, config.slot),
      path: config.path,
      state: "serving",
      reason: null,
      kind,
      bytes: sectors * SECTOR_BYTES,
      readOnly: config.readOnly,
      sync: config.sync,
      direct: config.directFd >= 0,
      interfaces,
      worker: group.threadOf(config) ?? null,
      from: "command line",
    }));
    return { name: this.#name, pid: Deno.pid, exports };
  }
}
