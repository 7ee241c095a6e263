// What is left of a load beside 100,000 hostile frames a second (tests/harness/flood.ts), against the
// same load beside as many frames of another EtherType: those cost the generator's core as much, and
// the target nothing. The flood comes by a port of a switch that is its own: what is answered to spoofed
// senders goes back there.

import { Testbed } from "../harness/testbed.ts";
import type { Settings } from "./compare.ts";
import { writeCachedImage } from "./images.ts";
import { generatorResult, startGenerator, type Station } from "./load.ts";
import { build } from "./network.ts";
import { IFACE, startTarget } from "./peers.ts";
import type { Line, Table } from "./report.ts";

const MTU = 9000;
const PER_SECOND = 100_000;
const TARGET_CORE = 0;
const GENERATOR_CORE = 1;
/** How long a flood goes on before and after the load. */
const LEAD_SECONDS = 1;
const ETHER_TYPES = { hostile: "88a2", harmless: "88b5" } as const;
const WORKS = [
  { label: "1 KiB reads", load: { mode: "read", sectors: 2, window: 64 } },
  { label: "8 KiB writes", load: { mode: "write", sectors: 16, window: 64 } },
] as const;

/** Measures a load of window 64 beside either flood, in turns. */
export async function measureHostile(settings: Settings): Promise<Table> {
  await using testbed = await Testbed.create();
  const plan = { disks: 2, mtu: MTU, bytes: settings.cachedBytes, write: writeCachedImage };
  const { target, stations } = await build(testbed, plan);
  const [station, other] = stations as [Station, Station];
  const mac = await target.mac(IFACE);
  const { shelf, slot } = station.export;
  const [serve] = await startTarget("aoe", target, settings.reflector, {
    ...{ exports: [station.export], core: TARGET_CORE, flags: settings.serveFlags },
  });
  const flood = new URL("../harness/flood.ts", import.meta.url).pathname;
  const measureBeside = async (
    kind: keyof typeof ETHER_TYPES,
    load: typeof WORKS[number]["load"],
  ) => {
    const { seconds } = settings;
    const flooding = other.namespace.start([
      ...[
        "taskset",
        "-c",
        `${GENERATOR_CORE}`,
        Deno.execPath(),
        "run",
        "-A",
        "--quiet",
        flood,
        IFACE,
      ],
      ...[mac, `${shelf}.${slot}`, `${PER_SECOND}`, `${seconds + 2 * LEAD_SECONDS}`],
      ETHER_TYPES[kind],
    ]);
    const generator = startGenerator(settings.aoebench, station, {
      ...{ ...load, seconds: LEAD_SECONDS, core: GENERATOR_CORE },
    });
    await generatorResult(generator);
    const result = await generatorResult(startGenerator(settings.aoebench, station, {
      ...{ ...load, seconds, core: GENERATOR_CORE },
    }));
    await flooding.ended;
    const sent = Number(flooding.text.match(/^sent (\d+)$/m)?.[1]);
    if (!(sent > 0)) throw new Error(`The flood failed: ${flooding.text}`);
    return result.requestsPerSecond / 1000;
  };
  const lines: Line[] = [];
  for (const { label, load } of WORKS) {
    const figures: Record<string, number[]> = { hostile: [], harmless: [] };
    for (let round = 0; round < settings.rounds; round++) {
      const kinds = ["hostile", "harmless"] as const;
      for (const kind of round % 2 === 0 ? kinds : kinds.toReversed()) {
        settings.progress(`hostile: ${label}, round ${round + 1} of ${settings.rounds}, ${kind}`);
        figures[kind]!.push(await measureBeside(kind, load));
      }
    }
    const goals = [{ against: "harmless", bound: "at least", value: 0.5 }] as const;
    lines.push({ label, unit: "k/s", figures, goals, compared: true });
  }
  await serve?.stop();
  const title = `Window 64 beside ${PER_SECOND} hostile frames a second, and beside harmless ones`;
  return { name: "hostile", title, columns: ["hostile", "harmless"], lines };
}
