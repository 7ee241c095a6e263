// The text formats that Prometheus reads: its own (0.0.4) and OpenMetrics (1.0.0). The two differ in
// how a counter's family is named, and in the end.
// https://prometheus.io/docs/instrumenting/exposition_formats/

import { TIME_BUCKETS, timeBucket, timeBucketEndMs } from "../time_buckets.ts";
import { visibleText } from "./visible_text.ts";

/** What an exposition is sent as. */
export const TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8";
export const OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/** Labels as they stand in a sample: made once for each thing that is told of. */
export type Labels = string;

/** Pairs of a label's name and its value, as they stand in a sample. */
export function labelsOf(
  ...pairs: readonly (readonly [name: string, value: string])[]
): Labels {
  return pairs.map(([name, value]) => `${name}="${escapeLabel(value)}"`).join(",");
}

/** Whoever asks for OpenMetrics in a header `Accept` gets it, unless its own format is preferred. */
export function wantsOpenMetrics(accept: string | null): boolean {
  const weight = (type: string) => {
    const range = (accept ?? "").split(",").find((part) => part.trim().startsWith(type));
    return range === undefined ? 0 : Number(/;\s*q=([\d.]+)/.exec(range)?.[1] ?? 1);
  };
  const openMetrics = weight("application/openmetrics-text");
  return openMetrics > 0 && openMetrics >= weight("text/plain");
}

/** Writes families of metrics, one after the other. */
export class Exposition {
  readonly #openMetrics: boolean;
  readonly #lines: string[] = [];
  #name = "";

  constructor(openMetrics: boolean) {
    this.#openMetrics = openMetrics;
  }

  /**
   * Begins a family.
   *
   * @param name As in samples; a counter's ends in `_total`.
   */
  family(name: string, type: "counter" | "gauge" | "histogram", help: string): void {
    this.#name = name;
    const family = this.#openMetrics && type === "counter" ? name.replace(/_total$/, "") : name;
    this.#lines.push(`# HELP ${family} ${escapeHelp(help)}`, `# TYPE ${family} ${type}`);
  }

  /** One number of the family. */
  sample(labels: Labels, value: number): void {
    this.#lines.push(
      labels === "" ? `${this.#name} ${value}` : `${this.#name}{${labels}} ${value}`,
    );
  }

  /**
   * One histogram of the family.
   *
   * @param counts How many lie within each end, and not within the one before; the last has no end.
   * @param ends As long as `counts`, less one.
   */
  histogram(
    labels: Labels,
    counts: readonly number[],
    ends: readonly number[],
    total: number,
  ): void {
    const head = `${this.#name}_bucket{${labels},le="`;
    let count = 0;
    for (let i = 0; i < counts.length; i++) {
      count += counts[i]!;
      const end = i < ends.length ? canonical(ends[i]!) : "+Inf";
      this.#lines.push(`${head}${end}"} ${count}`);
    }
    this.#lines.push(
      `${this.#name}_sum{${labels}} ${total}`,
      `${this.#name}_count{${labels}} ${count}`,
    );
  }

  /** All of it. */
  text(): string {
    if (this.#openMetrics) this.#lines.push("# EOF");
    return this.#lines.join("\n") + "\n";
  }
}

/** Puts the fine buckets of a histogram of times into coarse ones, which end where fine ones do. */
export class CoarseTimes {
  /** In seconds. */
  readonly ends: readonly number[];
  readonly #coarse = new Uint8Array(TIME_BUCKETS);

  /** @param endsMs Each the end of a fine bucket: a quarter of a microsecond times a power of two. */
  constructor(endsMs: readonly number[]) {
    this.ends = endsMs.map((ms) => Number((ms / 1000).toPrecision(12)));
    for (let fine = 0; fine < TIME_BUCKETS; fine++) {
      const place = endsMs.findIndex((ms) => timeBucketEndMs(fine) <= ms + 1e-9);
      this.#coarse[fine] = place < 0 ? endsMs.length : place;
    }
  }

  /** The counts of the coarse buckets; the last is of what is beyond. */
  fold(times: ArrayLike<number>): number[] {
    const counts = new Array<number>(this.ends.length + 1).fill(0);
    for (let fine = 0; fine < TIME_BUCKETS; fine++) {
      const count = times[fine]!;
      if (count !== 0) counts[this.#coarse[fine]!]! += count;
    }
    return counts;
  }
}

/** Powers of two from 2^first to 2^last, in milliseconds: each the end of a bucket. */
export function binaryEndsMs(first: number, last: number, step: number): number[] {
  const ends: number[] = [];
  for (let power = first; power <= last; power += step) ends.push(2 ** power / 1000);
  if (ends.some((ms) => timeBucket(ms) === timeBucket(ms - ms / 16))) {
    throw new RangeError("A coarse bucket must end where a fine one does");
  }
  return ends;
}

/** As OpenMetrics wants a bound to be written: with a point. */
function canonical(value: number): string {
  return Number.isInteger(value) ? `${value}.0` : `${value}`;
}

function escapeLabel(value: string): string {
  return /^[\w.:/-]*$/.test(value)
    ? value
    : visibleText(value).replace(/[\\"]/g, (found) => `\\${found}`);
}

function escapeHelp(text: string): string {
  return text.replace(/\\/g, "\\\\").replace(/\n/g, "\\n");
}
