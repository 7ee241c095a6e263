// One run of the simulation: a seed decides the network, the target, the disk, the faults and the
// workload; the checker decides whether it went well.
//
// Limits that the runs keep, because the protocol offers nothing beyond them: no frame lives longer
// than the quarantine (`quarantineMs`), none overtakes another by more than `reorderingMs`, and a
// request that the network doubles arrives for the second time before an answer to the first could
// have come back, unless the initiator was told to expect worse (`repeatsExpected`).

import type { InitiatorSettings } from "../../src/core/initiator/state.ts";
import { REQUEST_FLUSH, REQUEST_READ } from "../../src/core/initiator/requests.ts";
import { contentsOf } from "./content.ts";
import { Disk } from "./disk.ts";
import { History } from "./history.ts";
import { type Breakages, InitiatorHost, type Workload } from "./initiator_host.ts";
import { type Conditions, pcapOf, Wire } from "./network.ts";
import { hostileNeighbour, ScriptedTarget } from "./scripted_target.ts";
import { INTACT, type TargetBreakages } from "./target_breakages.ts";
import { TargetHost } from "./target_host.ts";
import { Clock, Random } from "./virtual_time.ts";

const SHELF = 1;
const SLOT = 1;
/** Virtual time after which a run that has not ended has failed. */
const LIMIT_MS = 7_200_000;

/** What is taken out, to show that it is needed. */
export interface Mutation extends Partial<Breakages>, Partial<TargetBreakages> {
  readonly quarantineMs?: number;
}

/** What a run came to. */
export interface Outcome {
  readonly seed: number;
  /** What went wrong, or undefined. */
  readonly failure: string | undefined;
  readonly requests: number;
  readonly frames: number;
  readonly virtualMs: number;
  readonly operationsChecked: number;
  readonly results: ReadonlyMap<string, number>;
  /** The frames, when a capture was asked for. */
  readonly pcap: Uint8Array | undefined;
  /** What the run was like, for people. */
  readonly profile: string;
}

/** Runs one seed. */
export function runSeed(seed: number, mutation: Mutation = {}, capture = false): Outcome {
  const world = new World(seed, mutation, capture);
  return world.run();
}

/** How rough the network and the target are. */
interface Profile {
  readonly kind: "own" | "vblade" | "ggaoed";
  readonly hostile: boolean;
  readonly lateDoubles: boolean;
  readonly wires: number;
  readonly mtu: number;
  readonly sectors: number;
  readonly conditions: Conditions;
  readonly cuts: boolean;
  readonly mtuDrops: boolean;
  /** The target's interfaces have now this MTU, now that. */
  readonly mtuFlips: boolean;
  readonly pauses: boolean;
  readonly crashes: boolean;
  readonly resizes: boolean;
  /** The export is taken away and comes back. */
  readonly leaves: boolean;
  readonly diskErrors: number;
  readonly writeThrough: boolean;
  readonly latencyMaxMs: number;
  readonly hangs: number;
  readonly buffers: number;
  readonly held: number;
  readonly deadAfterMs: number;
  readonly workload: Workload;
  /** Of our own target: what is behind it, and how it works on that. */
  readonly server: boolean;
  readonly serverKills: boolean;
  readonly directAlignment: number;
  readonly offsetBytes: number;
  readonly gathers: boolean;
  readonly inPlaceMax: number;
  readonly syncErrors: number;
}

function profileOf(random: Random): Profile {
  const kind = random.of(["own", "own", "own", "own", "vblade", "ggaoed"] as const);
  const rough = random.below(4);
  const conditions: Conditions = {
    baseMs: random.of([0.05, 0.2, 2]),
    loss: rough === 0 ? 0 : random.of([0.01, 0.05, 0.1, 0.3]),
    duplication: random.of([0, 0.02, 0.1]),
    reordering: rough >= 2 ? random.of([0, 0.1, 0.3]) : 0,
    reorderMs: random.of([1, 20, 50]),
    spikes: rough === 3 ? random.of([0.01, 0.05]) : 0,
    spikeMs: random.of([300, 2000]),
    // A second arrival later than any answer to the first could undo a newer write.
    doubleMs: 0,
    mtu: Infinity,
    cut: false,
  };
  const lateDoubles = conditions.duplication > 0 && random.chance(0.3);
  conditions.doubleMs = lateDoubles ? 50 : 1.8 * conditions.baseMs;
  const sectors = random.of([32, 64, 256]);
  return {
    kind,
    lateDoubles,
    hostile: random.chance(0.2),
    wires: random.of([1, 1, 2, 3]),
    mtu: random.of([1500, 1500, 4096, 9000]),
    sectors,
    conditions,
    cuts: random.chance(0.3),
    mtuDrops: random.chance(0.2),
    pauses: random.chance(0.3),
    crashes: random.chance(0.3),
    resizes: kind === "own" && random.chance(0.1),
    diskErrors: random.chance(0.15) ? 0.01 : 0,
    writeThrough: random.chance(0.2),
    latencyMaxMs: random.of([0.1, 1, 20]),
    hangs: random.chance(0.3) ? 0.01 : 0,
    buffers: kind === "own" ? random.of([16, 64, 128]) : random.of([0, 1, 2, 16]),
    held: random.of([0, 0, 0.05]),
    deadAfterMs: random.of([20_000, 180_000, Infinity]),
    workload: {
      requests: random.of([60, 120, 200]),
      depth: random.of([1, 4, 16, 32]),
      thinkMs: random.of([0, 0, 1, 50]),
      sectorsMax: random.of([1, 8, 20, 40]),
      hotSectors: Math.min(sectors, random.of([4, 16, 64, 256])),
      writeShare: random.of([0.3, 0.5, 0.8]),
      flushShare: random.of([0, 0.05, 0.2]),
      discardShare: random.of([0, 0, 0.05]),
    },
    mtuFlips: random.chance(0.2),
    leaves: kind === "own" && random.chance(0.2),
    server: random.chance(0.2),
    serverKills: random.chance(0.7),
    directAlignment: random.of([0, 0, 0, 512, 4096]),
    offsetBytes: random.of([0, 0, 512, 4096]),
    gathers: random.chance(0.6),
    inPlaceMax: random.of([-1, 4, Infinity]),
    syncErrors: random.chance(0.15) ? 0.2 : 0,
  };
}

function diskOf(profile: Profile, random: Random): Disk {
  const own = profile.kind === "own";
  return new Disk(random, profile.sectors, {
    latencyMinMs: 0.01,
    latencyMaxMs: profile.latencyMaxMs,
    hangs: profile.hangs,
    hangMs: own ? 500 : 50,
    errors: own ? profile.diskErrors : 0,
    partial: 0.03,
    syncErrors: own && !profile.server ? profile.syncErrors : 0,
    // vblade's flush does nothing: only its page cache is what survives. Our target makes writes
    // stable by itself.
    writeThrough: profile.kind === "vblade" || (profile.writeThrough && !own),
  });
}

function targetOf(
  profile: Profile,
  { clock, random, disk, mutation }: {
    readonly clock: Clock;
    readonly random: Random;
    readonly disk: Disk;
    readonly mutation: Mutation;
  },
): TargetHost | ScriptedTarget {
  const identity = { shelf: SHELF, slot: SLOT, serial: "simulated" };
  if (profile.kind !== "own") {
    return new ScriptedTarget(clock, random, disk, {
      ...identity,
      manner: profile.kind,
      buffers: profile.buffers,
      sectorsPerFrame: random.of([0, 2, Math.floor((profile.mtu - 36) / 512)]),
    });
  }
  return new TargetHost(clock, random, disk, {
    ...identity,
    buffers: profile.buffers,
    mtu: profile.mtu,
    trim: true,
    // Few, so that they are scarce at times.
    frames: 96,
    sync: profile.writeThrough,
    server: profile.server,
    directAlignment: profile.server ? 0 : profile.directAlignment,
    offsetBytes: profile.offsetBytes,
    gathers: profile.gathers && profile.directAlignment === 0,
    inPlaceMax: profile.inPlaceMax,
    breakages: { ...INTACT, ...mutation },
  });
}

class World {
  readonly #seed: number;
  readonly #random: Random;
  readonly #clock = new Clock();
  readonly #profile: Profile;
  readonly #wires: Wire[] = [];
  readonly #disk: Disk;
  readonly #target: TargetHost | ScriptedTarget;
  readonly #history: History;
  readonly #host: InitiatorHost;

  constructor(seed: number, mutation: Mutation, capture: boolean) {
    this.#seed = seed;
    const random = this.#random = new Random(seed);
    const clock = this.#clock;
    const profile = this.#profile = profileOf(random);
    for (let i = 0; i < profile.wires; i++) {
      const wire = new Wire(clock, random, { ...profile.conditions });
      if (capture) wire.capture = [];
      this.#wires.push(wire);
    }
    this.#disk = diskOf(profile, random);
    this.#target = targetOf(profile, { clock, random, disk: this.#disk, mutation });
    this.#history = new History(2 * profile.sectors);
    const settings: Partial<InitiatorSettings> = {
      commandsMax: random.of([64, 256]),
      requestsMax: 64,
      pathsMax: 8,
      interfacesMax: 4,
      sectorsMax: 32,
      quarantineMax: random.of([4, 256]),
      deadAfterMs: profile.deadAfterMs,
      quarantineMs: mutation.quarantineMs ?? 8000,
      repeatsExpected: profile.lateDoubles,
      ...(random.chance(0.1) ? { rtoInitialMs: 0.5, rtoMinMs: 0.5 } : {}),
    };
    this.#host = new InitiatorHost(clock, random, this.#history, {
      ...{ shelf: SHELF, slot: SLOT },
      workload: profile.workload,
      breakages: {
        forgetGeneration: mutation.forgetGeneration === true,
        releaseEarly: mutation.releaseEarly === true,
      },
      settings,
      held: profile.held,
      heldMs: random.of([1, 50, 400]),
    });
    this.#host.stableContents = () => contentsOf(this.#disk.stable);
    this.#host.writesAreStable = profile.kind === "own" && profile.writeThrough;
    if (this.#target instanceof TargetHost) {
      this.#target.onServerLoss = () => this.#history.crash(contentsOf(this.#disk.current));
    }
    this.#join();
    this.#appointFaults();
  }

  run(): Outcome {
    const failure = this.#run();
    const { workload, ...rest } = this.#profile;
    return {
      seed: this.#seed,
      failure,
      requests: workload.requests,
      frames: this.#wires.reduce((sum, wire) => sum + wire.frames, 0),
      virtualMs: this.#clock.nowMs,
      operationsChecked: this.#history.checked,
      results: this.#host.results,
      pcap: this.#wires[0]!.capture === undefined
        ? undefined
        : pcapOf(this.#wires.flatMap((wire) => wire.capture ?? [])),
      profile: JSON.stringify({ ...rest, ...workload }),
    };
  }

  #run(): string | undefined {
    const host = this.#host;
    this.#clock.after(0, () => host.turn());
    const running = () => host.failure === undefined && !host.isDone;
    while (running()) {
      if (!this.#clock.step(LIMIT_MS)) {
        return `${host.open} requests have not ended after ${LIMIT_MS} ms`;
      }
    }
    if (host.failure !== undefined) return host.failure;
    // Nothing that was asked for is wrong: a target that aborts means that its MTU has shrunk.
    if (host.results.has("Aborted")) return "a request was aborted";
    return this.#readBack() ?? this.#history.check();
  }

  /** All faults end; what a flush and a read of the whole disk say is what is there. */
  #readBack(): string | undefined {
    for (const wire of this.#wires) {
      Object.assign(wire.conditions, {
        loss: 0,
        duplication: 0,
        reordering: 0,
        spikes: 0,
        mtu: Infinity,
        cut: false,
      });
    }
    this.#disk.manners.errors = 0;
    this.#disk.manners.syncErrors = 0;
    const host = this.#host;
    this.#clock.after(10_000, () => {
      if (!this.#target.up) this.#target.restart();
      if (this.#target.paused) this.#target.resume();
    });
    const settledMs = this.#clock.nowMs + 30_000;
    while (this.#clock.step(settledMs));
    this.#clock.nowMs = settledMs;
    const reads: (() => void)[] = [];
    for (let lba = 0; lba < this.#disk.sectors; lba += 32) {
      const sectors = Math.min(32, this.#disk.sectors - lba);
      reads.push(() => host.call(0, REQUEST_READ, lba, sectors));
    }
    // A first flush may report a loss; the second may not.
    const flush = () => host.call(0, REQUEST_FLUSH, 0, 0);
    for (const call of [flush, flush, ...reads]) {
      call();
      host.turn();
      const before = host.results.get("Ok") ?? 0;
      while (host.open > 0) {
        if (!this.#clock.step(LIMIT_MS + 60_000)) return "the last reads have not ended";
      }
      if (call !== flush && host.results.get("Ok") === before) return "a last read failed";
      if (host.failure !== undefined) return host.failure;
    }
    return undefined;
  }

  #join(): void {
    const { mtu } = this.#profile;
    this.#wires.forEach((wire, i) => {
      this.#target.join(wire, Uint8Array.of(2, 0, 0, 0, 1, i));
      this.#host.join(wire, Uint8Array.of(2, 0, 0, 0, 0, i), mtu);
      if (!this.#profile.hostile) return;
      const forge = hostileNeighbour(
        this.#clock,
        this.#random,
        (bytes) => wire.toInitiator(bytes),
      );
      const send = wire.toInitiator.bind(wire);
      let forging = false;
      wire.toInitiator = (bytes) => {
        send(bytes);
        if (forging) return;
        // What is forged is sent later, and not forged again.
        forging = true;
        forge(bytes);
        forging = false;
      };
    });
  }

  /**
   * The MTU of the target's interface shrinks, and grows again, a few times; what is larger either
   * arrives and is aborted, or vanishes.
   */
  #flipMtu(): void {
    const random = this.#random;
    const target = this.#target;
    if (!(target instanceof TargetHost)) return;
    const port = random.below(this.#wires.length);
    const { conditions } = this.#wires[port]!;
    const vanishes = random.chance(0.5);
    for (let i = 0, ms = 0; i < 4; i++) {
      ms += random.next() * random.of([5, 200, 2000]);
      const small = i % 2 === 0;
      this.#clock.after(ms, () => {
        target.setMtu(port, small ? 1500 : this.#profile.mtu);
        if (vanishes) conditions.mtu = small ? 1500 : Infinity;
      });
    }
  }

  /** Faults at random moments of the first seconds. */
  #appointFaults(): void {
    const random = this.#random;
    const profile = this.#profile;
    const clock = this.#clock;
    const target = this.#target;
    const spanMs = random.of([100, 2000, 10_000]);
    const some = (wanted: boolean, act: () => void) => {
      if (!wanted) return;
      const times = 1 + random.below(4);
      for (let i = 0; i < times; i++) clock.at(random.next() * spanMs, act);
    };
    some(profile.cuts, () => {
      const { conditions } = random.of(this.#wires);
      conditions.cut = true;
      clock.after(random.next() * random.of([50, 1000, 30_000]), () => conditions.cut = false);
    });
    some(profile.mtuDrops, () => {
      const { conditions } = random.of(this.#wires);
      conditions.mtu = random.of([1500, 1500, 1100]);
      clock.after(random.next() * 20_000, () => conditions.mtu = Infinity);
    });
    some(profile.mtuFlips, () => this.#flipMtu());
    some(profile.pauses, () => {
      if (!target.up || target.paused) return;
      target.paused = true;
      clock.after(random.next() * 3000, () => target.resume());
    });
    some(profile.crashes, () => {
      if (!target.up) return;
      target.crash();
      if (target instanceof TargetHost) this.#history.crash(contentsOf(this.#disk.current));
      clock.after(random.next() * random.of([100, 5000, 40_000]), () => target.restart());
    });
    some(profile.server && profile.serverKills, () => {
      if (target instanceof TargetHost) {
        target.killServer(random.next() * random.of([10, 1000, 20_000]));
      }
    });
    some(profile.leaves, () => {
      if (!(target instanceof TargetHost)) return;
      target.leave(random.chance(0.5), random.next() * random.of([1, 100, 5000]));
    });
    some(profile.resizes, () => {
      if (!target.up) return;
      target.resize(this.#disk.sectors + random.below(profile.sectors / 4));
    });
  }
}
