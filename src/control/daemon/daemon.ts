// One process that serves: it takes its name, its state and its plan, has what can be served served
// and the rest waited for, and changes while it runs what is to be changed, and nothing else.

import { formatAddress, parseAddress } from "../../wire/aoe.ts";
import type { Address } from "../../wire/aoe.ts";
import { isNbdUri } from "../../wire/nbd_uri.ts";
import type { DaemonPlan, ExportPlan } from "../../core/daemon/plan.ts";
import { askedPlan } from "../../core/daemon/asked_plan.ts";
import { planChanges } from "../../core/daemon/plan_changes.ts";
import type { PlannedChanges } from "../../core/daemon/plan_changes.ts";
import { listInterfaces, type NetworkInterface } from "../../../ffi/netlink.ts";
import { giveAddress } from "../target/addresses.ts";
import { groupCounters } from "../target/group_counters.ts";
import { closeExport, ExportRefusal } from "../target/open_file.ts";
import type { ExportFile } from "../target/open_file.ts";
import { watchNames } from "../target/lost_names.ts";
import { TargetGroup } from "../target/threads.ts";
import { StartRefusal } from "./daemon_options.ts";
import type { DaemonOptions } from "./daemon_options.ts";
import { awaitGone, Departures, whyNotGone } from "./departures.ts";
import type { Departure } from "./departures.ts";
import {
  findHeldAddresses,
  hasPatterns,
  interfacesOfPlans,
  joinInterfaces,
  leaveInterfaces,
  noteName,
  openPlanned,
  plannedInterfaces,
  whyUnreachable,
  withOldNames,
} from "./opening.ts";
import { noteLoss, withLosses } from "./losses.ts";
import { DAEMON_NAME_DEFAULT, daemonSocketFolder, openDaemonSocket } from "./requests.ts";
import type {
  DaemonListing,
  DaemonRequest,
  DaemonSocket,
  ExportOrigin,
  ListedExport,
  Reloaded,
} from "./requests.ts";
import { ServiceManager } from "./service_manager.ts";
import { exportName, isSentence, listedExport, retryFactor, whyWaiting } from "./wanted_export.ts";
import type { WantedExport } from "./wanted_export.ts";
import { StateFolder, stateFolderPath } from "./state_folder.ts";

/** How long to listen for somebody who has an address already: at the start, and while others wait. */
const HOLDER_START_MS = 250;
const HOLDER_LIVE_MS = 20;
/** How long a reload waits for what it takes away, and somebody for what he takes away by hand. */
const LEAVING_MS = 2_000;
const REMOVED_MS_MAX = 10_000;
/** A cache of gigabytes on a slow disk; less than `aoe ctl` waits. */
const DRAINED_MS_MAX = 55_000;
/** How often it is looked whether what is missing has come. */
const RETRY_MS = 1_000;
/** A server is asked less and less often: each time holds up everybody a little. */
const RETRY_MS_MAX = 30_000;

/** A daemon, running once `start` has resolved. */
export class Daemon {
  readonly #options: DaemonOptions;
  readonly #name: string;
  readonly #socket: DaemonSocket | undefined;
  readonly #state: StateFolder | undefined;
  readonly #manager = new ServiceManager();
  readonly #wanted = new Map<string, WantedExport>();
  readonly #departures = new Departures();
  #group: TargetGroup | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  #unwatch = () => {};
  #lookingAgain = false;
  /** What interfaces are called now that were renamed while they were served, by what is asked for. */
  readonly #newNames = new Map<string, string>();
  /** The last of the changes that are made one after the other. */
  #change: Promise<unknown> = Promise.resolve();
  /** Why it has no socket, though it wanted one; said once it serves, since that may fail as well. */
  #unreachable: string | undefined;

  /**
   * Takes its name and its state, before anything else starts. One that was given no name goes
   * without a socket where the customary one is taken.
   *
   * @throws {Error} One sentence: another daemon has the name, or the state.
   */
  constructor(options: DaemonOptions) {
    const { name, stateDir } = options.plan;
    this.#options = options;
    this.#name = name ?? DAEMON_NAME_DEFAULT;
    this.#socket = this.#openSocket(name);
    if (stateDir === false) return;
    const folder = stateDir === true ? stateFolderPath() : stateDir;
    try {
      this.#state = new StateFolder(folder, this.#name);
    } catch (error) {
      void this.#socket?.close();
      throw error;
    }
  }

  /** What is served, in the order of the plan. */
  get files(): readonly ExportFile[] {
    return [...this.#wanted.values()].flatMap(({ file }) => file ?? []);
  }

  /** What is wanted, and what is still on its way out. */
  get #present(): readonly WantedExport[] {
    return [...this.#wanted.values(), ...this.#departures.list.map(({ wanted }) => wanted)];
  }

  /** What is waited for, and why. */
  get waiting(): readonly { readonly address: string; readonly reason: string }[] {
    const existing = this.#servedInterfaces();
    return [...this.#wanted].flatMap(([address, wanted]) => {
      const reason = whyWaiting(wanted, existing);
      return reason === undefined ? [] : [{ address, reason }];
    });
  }

  get #folder(): string {
    return this.#state?.path ?? daemonSocketFolder(this.#name);
  }

  /** Its threads. */
  get group(): TargetGroup {
    return this.#group!;
  }

  /**
   * Begins to serve. A plan that waits begins with what there is.
   *
   * @throws {StartRefusal} What is missing, where nothing is waited for.
   */
  async start(): Promise<void> {
    try {
      await this.#begin();
      const text = this.#unreachable;
      if (text !== undefined) this.#options.tell({ kind: "warning", text });
    } catch (error) {
      this.#closeAll([...this.#wanted.values()]);
      await this.#socket?.close();
      throw error;
    }
  }

  async #begin(): Promise<void> {
    const { plan, from, group, onMessage } = this.#options;
    for (const ex of plan.exports) this.#want(ex, from);
    const all = [...this.#wanted.values()];
    await this.#open(all, HOLDER_START_MS);
    const refusals = all.flatMap(({ reason }) => reason ?? []);
    if (!plan.waits && refusals.length > 0) throw new StartRefusal(refusals);
    this.#group = await TargetGroup.start({
      ...group,
      interfaces: interfacesOfPlans(plan.exports).names,
      exports: this.files.map(({ config }) => config),
      onMessage: (message) => {
        if (message.kind === "resized") this.#resized(message, message.sectors);
        if (message.kind === "renamed") noteName(this.#newNames, message);
        onMessage(message);
      },
      keep: (address, settings) => this.#state!.keepOrTell(address, settings, onMessage),
    });
    this.#timer = setInterval(() => this.#lookAgain(), RETRY_MS);
    this.#unwatch = watchNames(
      () => this.files,
      (text) => onMessage({ kind: "error", text }),
    );
  }

  /** Everybody who wants to know has been told what is served. */
  ready(): void {
    this.#manager.ready(this.#status());
    this.#manager.keepAlive(() => this.group.isWell());
  }

  /**
   * Stops, and leaves nothing unflushed.
   *
   * @returns Number of commands that a disk never finished.
   */
  async stop(): Promise<number> {
    this.#manager.stopping();
    this.#manager.close();
    clearInterval(this.#timer);
    this.#unwatch();
    // What is asked is answered, and what is being changed has been.
    await this.#socket?.close();
    const abandoned = await this.group.stop();
    for (const lost of this.group.atRisk) await noteLoss(this.#folder, lost);
    this.#state?.close();
    return abandoned;
  }

  /** Reads the plan again, and makes what has changed so; a plan with a mistake changes nothing. */
  reload(): Promise<Reloaded> {
    return this.#inTurn(async () => {
      const { readPlan, tell } = this.#options;
      if (readPlan === undefined) {
        throw new Error(
          "It was started by arguments, and has no configuration to read again: aoe ctl add and " +
            "remove change it",
        );
      }
      this.#manager.reloading();
      try {
        const outcome = await this.#follow(readPlan());
        tell({ kind: "reloaded", outcome });
        return outcome;
      } catch (error) {
        tell({ kind: "not reloaded", text: (error as Error).message });
        throw error;
      } finally {
        this.#manager.ready(this.#status());
      }
    });
  }

  async #follow(plan: DaemonPlan): Promise<Reloaded> {
    const mine = [...this.#wanted.values()].filter(({ from }) => from !== "ctl");
    const changes = planChanges(mine.map(({ plan }) => plan), plan.exports);
    const opened: WantedExport[] = [];
    const refused = new Set<WantedExport>();
    const departures: Departure[] = [];
    const count = { add: 0, remove: 0, change: 0, replace: 0 };
    for (const change of changes) {
      const address = exportName(change.plan);
      const wanted = this.#wanted.get(address);
      count[change.kind]++;
      if (change.kind === "change" && wanted?.file !== undefined) {
        wanted.refusal = undefined;
        if (await this.#changeLive(wanted, change.plan, change.changes)) {
          if (wanted.plan === change.plan) continue;
          // The next reload finds that it differs, and tries again.
          refused.add(wanted);
          count.change--;
          continue;
        }
      }
      if (wanted !== undefined) departures.push(this.#remove(wanted, false));
      if (change.kind !== "remove") opened.push(this.#want(change.plan, this.#options.from));
    }
    const leaving = await this.#awaitGone(departures, LEAVING_MS);
    await this.#serve(opened, HOLDER_LIVE_MS);
    // Where a line stands in the file may have changed of all.
    for (const ex of plan.exports) {
      const wanted = this.#wanted.get(exportName(ex));
      if (wanted?.from !== this.#options.from) continue;
      wanted.plan = refused.has(wanted) ? { ...wanted.plan, line: ex.line } : ex;
    }
    await leaveInterfaces(this.group, this.#present);
    const touched = count.add + count.change + count.replace;
    return {
      added: count.add,
      removed: count.remove,
      changed: count.change + count.replace,
      same: plan.exports.length - touched,
      waiting: this.waiting.length,
      leaving,
    };
  }

  /** Waits a little until some are gone; returns how many are not, after which nothing else waits. */
  async #awaitGone(departures: readonly Departure[], ms: number): Promise<number> {
    const late = await awaitGone(departures, ms);
    for (const { wanted: { plan } } of late) {
      this.#options.tell({ kind: "leaving", address: exportName(plan), path: plan.path });
    }
    // Their interfaces have stayed, since what they have is still answered.
    if (late.length > 0) {
      Promise.all(late.map(({ gone }) => gone))
        .then(() => this.#inTurn(() => leaveInterfaces(this.group, this.#present))).catch(() => {});
    }
    return late.length;
  }

  /**
   * Has the plan of an export that could be changed; one that is refused is as it was.
   *
   * @returns False when that cannot be done while it is served.
   */
  async #changeLive(
    wanted: WantedExport,
    plan: ExportPlan,
    changes: PlannedChanges,
  ): Promise<boolean> {
    const address = exportName(plan);
    const live = changes.interfaces === undefined
      ? changes
      : { ...changes, interfaces: plannedInterfaces(plan, listInterfaces()) };
    try {
      if (live.interfaces !== undefined) await joinInterfaces(this.group, live.interfaces);
      await this.group.change(plan.address, live);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotSupported)) {
        const text = `${address} is as it was: ${(error as Error).message}`;
        // What is tried every second is said once.
        if (text !== wanted.refusal) this.#options.tell({ kind: "warning", text });
        wanted.refusal = text;
        return true;
      }
      return false;
    }
    wanted.refusal = undefined;
    const file = wanted.file!;
    wanted.file = { ...file, config: { ...file.config, ...live } };
    wanted.plan = plan;
    this.#options.tell({ kind: "changed", address, what: Object.keys(changes) });
    return true;
  }

  #want(plan: ExportPlan, from: ExportOrigin): WantedExport {
    const wanted: WantedExport = {
      ...{ plan, from, file: undefined, reason: undefined, refusal: undefined },
      ...{ retryMs: RETRY_MS, dueMs: 0 },
    };
    this.#wanted.set(exportName(plan), wanted);
    return wanted;
  }

  /** Opens what can be; the others have a reason afterwards. */
  async #open(some: readonly WantedExport[], timeoutMs: number): Promise<void> {
    const { tell } = this.#options;
    const existing = listInterfaces();
    const reachable = some.filter((wanted) => {
      wanted.reason = this.#options.plan.waits ? undefined : whyUnreachable(wanted.plan, existing);
      return wanted.reason === undefined;
    });
    for (const wanted of reachable) {
      try {
        this.#refuseTwice(wanted);
        this.#refuseTooSoon(wanted);
        const file = openPlanned(wanted.plan, existing);
        wanted.file = this.#withKept(withLosses(this.#folder, file));
      } catch (error) {
        if (!isSentence(error)) throw error;
        wanted.reason = error.message;
      }
    }
    const opened = reachable.filter(({ file }) => file !== undefined);
    const { refusals, warnings } = await findHeldAddresses(
      opened.map(({ plan }) => plan),
      timeoutMs,
    );
    for (const text of warnings) tell({ kind: "warning", text });
    for (const wanted of opened) {
      const address = exportName(wanted.plan);
      wanted.reason = refusals.get(address);
      if (wanted.reason !== undefined) {
        this.#closeAll([wanted]);
        continue;
      }
      for (const warning of wanted.file!.warnings) {
        tell({ kind: "warning", text: `${address}: ${warning}` });
      }
    }
  }

  /** Files are locked, and tell so themselves. */
  #refuseTwice({ plan: { path } }: WantedExport): void {
    const twice = isNbdUri(path) && this.#present.some(({ file }) => file?.config.path === path);
    if (twice) throw new ExportRefusal(`"${path}" is given twice: one export cannot be two disks`);
  }

  /** What is on its way out has its address until it is gone. */
  #refuseTooSoon({ plan }: WantedExport): void {
    const address = exportName(plan);
    const before = this.#departures.of(address);
    if (before === undefined) return;
    throw new ExportRefusal(
      `${address} is still that of "${before.wanted.plan.path}", which has not finished what it ` +
        `was given: wait, or choose another address`,
    );
  }

  /** Opens and serves in a running group; says what becomes of each, but for what waits as before. */
  async #serve(some: readonly WantedExport[], timeoutMs: number): Promise<void> {
    const before = some.map(({ reason }) => reason);
    try {
      await this.#open(some, timeoutMs);
    } catch (error) {
      // What is open and not served would be taken for served, and never looked for again.
      this.#closeAll(some);
      throw error;
    }
    const nowMs = performance.now();
    for (const [i, wanted] of some.entries()) {
      const address = exportName(wanted.plan);
      if (wanted.file !== undefined) {
        try {
          await joinInterfaces(this.group, wanted.file.config.interfaces ?? []);
          await this.group.add(wanted.file.config, { force: wanted.plan.force });
        } catch (error) {
          this.#closeAll([wanted]);
          wanted.reason = (error as Error).message;
        }
      }
      if (wanted.file !== undefined) {
        this.#options.tell({ kind: "added", address, file: wanted.file });
        continue;
      }
      wanted.dueMs = nowMs + wanted.retryMs;
      wanted.retryMs = Math.min(RETRY_MS_MAX, wanted.retryMs * retryFactor(wanted.plan));
      if (wanted.reason === before[i] || wanted.from === "ctl") continue;
      this.#options.tell({ kind: "waiting", address, reason: wanted.reason ?? "" });
    }
  }

  /** From now on it is on its way out, and its address another's to want. */
  #remove(wanted: WantedExport, drain: boolean): Departure {
    const { plan, file } = wanted;
    const address = exportName(plan);
    this.#wanted.delete(address);
    const removal = file === undefined ? undefined : this.group.remove(plan.address, { drain });
    return this.#departures.begin(address, wanted, removal, (flushed) => {
      this.#options.tell({ kind: "removed", address, flushed });
      const next = this.#wanted.get(address);
      if (next === undefined) return;
      next.dueMs = 0;
      this.#lookAgain();
    });
  }

  /** Looks whether what is missing has come. */
  #lookAgain(): void {
    if (this.#lookingAgain) return;
    const due = () => {
      const nowMs = performance.now();
      return [...this.#wanted.values()].filter((wanted) =>
        wanted.file === undefined && wanted.dueMs <= nowMs
      );
    };
    const patterned = () =>
      [...this.#wanted.values()].filter(({ file, plan }) =>
        file !== undefined && hasPatterns(plan)
      );
    if (due().length === 0 && patterned().length === 0) return;
    this.#lookingAgain = true;
    this.#inTurn(async () => {
      await this.#followPatterns(patterned());
      // As it is now: a change that came first may have taken some of them away.
      await this.#serve(due(), HOLDER_LIVE_MS);
    }).catch((error: Error) => {
      this.#options.tell({ kind: "warning", text: error.message });
    }).finally(() => this.#lookingAgain = false);
  }

  async #followPatterns(patterned: readonly WantedExport[]): Promise<void> {
    const existing = patterned.length === 0 ? [] : listInterfaces();
    for (const wanted of patterned) {
      const has = wanted.file?.config.interfaces ?? [];
      const names = plannedInterfaces(wanted.plan, existing);
      // Those that have gone may come again, by any name.
      if (names.every((name) => has.includes(name))) continue;
      const interfaces = [...new Set([...has, ...names])];
      await this.#changeLive(wanted, { ...wanted.plan }, { interfaces });
    }
  }

  #withKept(file: ExportFile): ExportFile {
    if (this.#state === undefined) return file;
    try {
      const kept = this.#state.load(file.config);
      return { ...file, config: { ...file.config, keeps: true, kept } };
    } catch (error) {
      closeExport(file.config);
      throw error;
    }
  }

  #resized({ shelf, slot }: Address, sectors: number): void {
    const wanted = this.#wanted.get(formatAddress(shelf, slot));
    if (wanted?.file !== undefined) wanted.file = { ...wanted.file, sectors };
  }

  /** The interfaces that there are; one that was renamed is served on, and has its old name, too. */
  #servedInterfaces(): NetworkInterface[] {
    return withOldNames(listInterfaces(), this.#newNames);
  }

  #closeAll(some: readonly WantedExport[]): void {
    for (const wanted of some) {
      const { file, plan: { address } } = wanted;
      wanted.file = undefined;
      if (file === undefined) continue;
      closeExport(file.config);
      // They were taken before it was known whether it can be served.
      for (const name of file.config.interfaces ?? []) giveAddress(name, address);
    }
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#change.then(change);
    this.#change = result.catch(() => {});
    return result;
  }

  #status(): string {
    const waiting = this.waiting.length;
    const served = this.#wanted.size - waiting;
    const what = served === 1 ? "Serving one export" : `Serving ${served} exports`;
    return waiting === 0 ? what : `${what}, waiting for ${waiting}`;
  }

  #openSocket(name: string | undefined): DaemonSocket | undefined {
    if (this.#options.plan.control === false) return undefined;
    try {
      const answer = (question: unknown) => this.#answer(question as DaemonRequest);
      const socket = openDaemonSocket(this.#name, answer);
      if (socket !== undefined || name === undefined) return socket;
    } catch (error) {
      if (name !== undefined) throw error;
      this.#unreachable = `aoe ctl cannot reach this daemon: ${(error as Error).message}`;
      return undefined;
    }
    throw new Deno.errors.AddrInUse(`Another aoe serve is called "${name}": choose another --name`);
  }

  async #answer(request: DaemonRequest): Promise<unknown> {
    if (this.#group === undefined) throw new Error("It is starting: ask again");
    switch (request?.ask) {
      case "list":
        return this.#list();
      case "stats":
        return { ...groupCounters(this.group, this.files), lines: this.#options.summary() };
      case "overview":
        return await this.#options.overview(request.pasts);
      case "reload":
        return await this.reload();
      case "add":
        return await this.#inTurn(() => this.#addByHand(askedPlan(request.plan)));
      case "remove":
      case "drain":
        return await this.#removeByHand(request);
      default:
        throw new Error("This aoe serve does not know that question: it is of another version");
    }
  }

  async #addByHand(plan: ExportPlan | undefined): Promise<ListedExport> {
    if (plan === undefined) throw new Error("That is no export: aoe ctl add makes the question");
    const address = exportName(plan);
    if (this.#wanted.has(address)) {
      throw new Error(`${address} is there already: aoe ctl remove ${address} first`);
    }
    const interfaces = plan.interfaces.length === 0 ? this.group.interfaces : plan.interfaces;
    const wanted = this.#want({ ...plan, interfaces }, "ctl");
    wanted.reason = whyUnreachable(wanted.plan, listInterfaces());
    try {
      if (wanted.reason === undefined) await this.#serve([wanted], HOLDER_LIVE_MS);
    } finally {
      if (wanted.file === undefined) this.#wanted.delete(address);
    }
    if (wanted.file !== undefined) {
      return listedExport(wanted, listInterfaces(), { group: this.group });
    }
    throw new Error(wanted.reason);
  }

  async #removeByHand(
    { ask, address: given }: { readonly ask: "remove" | "drain"; readonly address: string },
  ): Promise<{ readonly address: string; readonly flushed: boolean }> {
    const { shelf = NaN, slot = NaN } = parseAddress(`${given}`) ?? {};
    const address = formatAddress(shelf, slot);
    // Nobody waits until it is gone but who has asked.
    const departure = await this.#inTurn(() => {
      const wanted = this.#wanted.get(address);
      const leaving = this.#departures.of(address);
      if (wanted === undefined && leaving === undefined) {
        throw new Error(`${given} is not served: aoe ctl list shows what is`);
      }
      // Who asks once more waits with who has asked first.
      if (wanted === undefined) return Promise.resolve(leaving!);
      return Promise.resolve(this.#remove(wanted, ask === "drain"));
    });
    const ms = ask === "drain" ? DRAINED_MS_MAX : REMOVED_MS_MAX;
    if (await this.#awaitGone([departure], ms) === 0) {
      return { address, flushed: await departure.gone };
    }
    throw new Error(
      `${address} takes no more commands, but ${whyNotGone(departure)}: aoe ctl list shows it ` +
        `until it is gone`,
    );
  }

  #list(): DaemonListing {
    const existing = this.#servedInterfaces();
    const exports = this.#present.toSorted(({ plan: a }, { plan: b }) =>
      a.address.shelf - b.address.shelf || a.address.slot - b.address.slot
    ).map((wanted) => {
      const departure = this.#departures.of(exportName(wanted.plan));
      const leaving = departure?.wanted === wanted ? departure : undefined;
      return listedExport(wanted, existing, { group: this.group, leaving });
    });
    return { name: this.#name, pid: Deno.pid, exports };
  }
}
