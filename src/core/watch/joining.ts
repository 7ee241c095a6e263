// Several processes that use disks of others, as one: what happens on a host that serves nothing.

import type { Overview, Past, Rates } from "./overview.ts";

/** As one: what is said of a process alone, its name and number, is the first one's if it is alone. */
export function joinOverviews(first: Overview, others: readonly Overview[]): Overview {
  if (others.length === 0) return first;
  const each = [first, ...others];
  return {
    ...first,
    name: "",
    startedMs: Math.min(...each.map(({ startedMs }) => startedMs)),
    all: each.map(({ all }) => all).reduce(addRates),
    disks: each.flatMap(({ disks }) => disks),
  };
}

/** The pasts of the same name added up, where the last number of each is now. */
export function joinPasts(
  each: readonly Readonly<Record<string, Past>>[],
): Readonly<Record<string, Past>> {
  const joined: Record<string, Past> = {};
  for (const pasts of each) {
    for (const [name, past] of Object.entries(pasts)) {
      joined[name] = joined[name] === undefined ? past : addPasts(joined[name], past);
    }
  }
  return joined;
}

/** Times cannot be added up: all of them are no longer than the longest. */
function addRates(a: Rates, b: Rates): Rates {
  return {
    reads: a.reads + b.reads,
    writes: a.writes + b.writes,
    others: a.others + b.others,
    readBytes: a.readBytes + b.readBytes,
    writtenBytes: a.writtenBytes + b.writtenBytes,
    inHand: a.inHand + b.inHand,
    depth: a.depth + b.depth,
    p50Ms: Math.max(a.p50Ms, b.p50Ms),
    p99Ms: Math.max(a.p99Ms, b.p99Ms),
    diskMs: Math.max(a.diskMs, b.diskMs),
    errors: a.errors + b.errors,
    drops: a.drops + b.drops,
    retransmissions: a.retransmissions + b.retransmissions,
    total: {
      commands: a.total.commands + b.total.commands,
      readBytes: a.total.readBytes + b.total.readBytes,
      writtenBytes: a.total.writtenBytes + b.total.writtenBytes,
      errors: a.total.errors + b.total.errors,
      drops: a.total.drops + b.total.drops,
      retransmissions: a.total.retransmissions + b.total.retransmissions,
    },
  };
}

function addPasts(a: Past, b: Past): Past {
  const sum = (x: number, y: number) => x + y;
  const merged = (key: keyof Past["series"], of: (x: number, y: number) => number) => {
    const [long, short] = a.series[key].length >= b.series[key].length
      ? [a.series[key], b.series[key]]
      : [b.series[key], a.series[key]];
    const earlier = long.length - short.length;
    return long.map((value, i) => i < earlier ? value : of(value, short[i - earlier]!));
  };
  return {
    stepMs: a.stepMs,
    series: {
      commands: merged("commands", sum),
      bytes: merged("bytes", sum),
      p50Ms: merged("p50Ms", Math.max),
      p99Ms: merged("p99Ms", Math.max),
      depth: merged("depth", sum),
      faults: merged("faults", sum),
    },
  };
}
