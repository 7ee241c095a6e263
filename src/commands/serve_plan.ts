// What `aoe serve` is to do: what its arguments say, or its configuration, as one plan.

import { formatAddress } from "../wire/aoe.ts";
import { configurationFile, hasConfiguration, readPlan } from "../control/configuration.ts";
import type { DaemonPlan } from "../core/daemon/plan.ts";
import type { Mistake } from "../core/daemon/toml.ts";
import { BUFFERS_DEFAULT } from "../core/daemon/values.ts";
import { planOfExport } from "./arguments.ts";
import { EXIT_USAGE } from "./exit_codes.ts";
import { counted, Failure, printError, printJson } from "./output.ts";
import type { ServeOptions } from "./serve_arguments.ts";

const EXAMPLE = "aoe serve eth0 1.1 disk.img";

/** A plan, and the file that it comes from. */
export interface WantedPlan {
  readonly plan: DaemonPlan;
  /** Undefined when the arguments say it all. */
  readonly file: string | undefined;
}

/**
 * The plan of the configuration that is named, or that is there by habit when there are no arguments;
 * else that of the arguments.
 *
 * @throws {Failure} Once all mistakes have been said.
 */
export function wantedPlan(options: ServeOptions): WantedPlan {
  if (options.noState && options.state !== undefined) {
    throw new Failure("Give --state or --no-state, not both", EXIT_USAGE);
  }
  const bare = options.interfaces.length === 0 && options.exports.length === 0;
  const file = options.config ??
    (bare && (options.check || hasConfiguration()) ? configurationFile() : undefined);
  if (file === undefined) {
    refuseIncomplete(options);
    return { plan: planOfArguments(options), file };
  }
  refuseBoth(options, file);
  const { plan, mistakes } = readPlan(file);
  if (plan === undefined) throw sayMistakes(file, mistakes, options.json);
  return { plan: withAids(plan, options), file };
}

/**
 * The plan of a daemon's configuration as it is now.
 *
 * @throws {Failure} Once all mistakes have been said; it says the first.
 */
export function planAgain(options: ServeOptions, file: string): DaemonPlan {
  const { plan, mistakes } = readPlan(file);
  if (plan !== undefined) return withAids(plan, options);
  const { message } = sayMistakes(file, mistakes, options.json);
  const [first] = mistakes;
  throw new Failure(first === undefined ? message : `${message} (${first.line}: ${first.text})`);
}

/** Says every mistake, and returns the last word. */
function sayMistakes(file: string, mistakes: readonly Mistake[], json: boolean): Failure {
  for (const { line, text } of mistakes) {
    if (json) printJson({ event: "mistake", file, line, text });
    else printError(`aoe: ${file}:${line}: ${text}`);
  }
  return new Failure(
    `"${file}" has ${counted(mistakes.length, "mistake")}: nothing is changed or started`,
    EXIT_USAGE,
  );
}

function refuseIncomplete(options: ServeOptions): void {
  if (options.check) {
    throw new Failure("--check looks at a configuration: leave the arguments out", EXIT_USAGE);
  }
  if (options.interfaces.length === 0) {
    throw new Failure(`Missing the interface to serve on, as in ${EXAMPLE}`, EXIT_USAGE);
  }
  if (options.exports.length === 0) {
    const missing = "Missing what to export: SHELF.SLOT and PATH, as in";
    throw new Failure(`${missing} ${EXAMPLE}`, EXIT_USAGE);
  }
}

/** What stands in the configuration is not said twice: nobody would know which counts. */
function refuseBoth(options: ServeOptions, file: string): void {
  const given: readonly (readonly [string, string, boolean])[] = [
    ["an interface", "interfaces", options.interfaces.length > 0],
    ["an export", "[[export]]", options.exports.length > 0],
    ["--buffers", "buffers in [daemon]", options.buffers !== undefined],
    ["--direct", "direct", options.direct],
    ["--sync", "sync", options.sync],
    ["--read-only", "read-only", options.readOnly],
    ["--write-cache", "write-cache", options.writeCache !== undefined],
    ["--mac", "mac or acl", options.macs.length > 0],
    ["--offset", "offset", options.offsetSectors !== undefined],
    ["--length", "length", options.lengthSectors !== undefined],
    ["--size", "size", options.sizeBytes !== undefined],
    ["--workers", "workers in [daemon]", options.workers !== undefined],
    ["--poll", "poll in [daemon]", options.pollUs !== undefined],
    ["--map", "map in [daemon]", options.mapBytes !== undefined],
    ["--no-uring", "no-uring in [daemon]", !options.uring],
    ["--no-ring", "no-ring in [daemon]", !options.ring],
    ["--format", "format", options.format !== undefined],
    ["--force", "force", options.force],
  ];
  const [first] = given.filter(([, , present]) => present);
  if (first === undefined) return;
  const [what, key] = first;
  throw new Failure(
    `With a configuration ${what} stands in it: write ${key} into "${file}"`,
    EXIT_USAGE,
  );
}

/** What the arguments say of state; undefined when that is nothing. */
function stateOf({ state, noState }: ServeOptions): string | false | undefined {
  return noState ? false : state;
}

/** What names a process, or helps to find a fault, may stand beside a configuration. */
function withAids(plan: DaemonPlan, options: ServeOptions): DaemonPlan {
  return {
    ...plan,
    name: options.name ?? plan.name,
    stateDir: stateOf(options) ?? plan.stateDir,
    metrics: options.metrics ?? plan.metrics,
    user: options.user ?? plan.user,
    capture: options.capture ?? plan.capture,
    captureBytes: options.captureBytes ?? plan.captureBytes,
    dropPercent: options.dropPercent ?? plan.dropPercent,
  };
}

/** What the arguments ask for: one set of options for all exports, and no state. */
function planOfArguments(options: ServeOptions): DaemonPlan {
  const shared = planOfExport(options);
  const { workers, buffers = BUFFERS_DEFAULT, pollUs = 0, uring, ring, mapBytes } = options;
  const { capture, captureBytes, dropPercent } = options;
  return {
    name: options.name,
    stateDir: stateOf(options) ?? false,
    ...{ control: true, metrics: options.metrics, user: options.user },
    waits: options.wait,
    ...{ workers, buffers, pollUs, uring, ring, mapBytes },
    ...{ capture, captureBytes, dropPercent },
    exports: onlyOnce(options.exports).map((ex) => ({ ...ex, ...shared })),
    initiatorInterfaces: [],
  };
}

function onlyOnce(exports: ServeOptions["exports"]): ServeOptions["exports"] {
  const names = exports.map(({ address: { shelf, slot } }) => formatAddress(shelf, slot));
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice === undefined) return exports;
  throw new Failure(`${twice} is given twice: each export needs its own`);
}
