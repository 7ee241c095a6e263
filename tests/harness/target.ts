// The targets under test: `./aoe serve`, as the executable that users get, and vblade where a
// peer's answers are wanted.

import { runChecked, type RunningProcess, type RunOptions } from "./process.ts";
import type { Namespace, Testbed } from "./testbed.ts";

const repository = new URL("../..", import.meta.url).pathname;
let executable: Promise<string> | undefined;

/**
 * The path of the executable, built at need. AOE_EXECUTABLE names another one, which is taken as
 * it is.
 */
export function aoeExecutable(): Promise<string> {
  return executable ??= findExecutable();
}

async function findExecutable(): Promise<string> {
  const given = Deno.env.get("AOE_EXECUTABLE");
  if (given) return given;
  // Test files can run side by side; one of them builds, the others find nothing to do.
  const build = [Deno.execPath(), "task", "build"];
  await runChecked(["flock", "-o", `${repository}deno.json`, ...build], {
    cwd: repository,
    timeoutMs: 300_000,
  });
  return `${repository}aoe`;
}

/** What a target exports, and how. */
export interface TargetOptions {
  /** Interface names, joined by commas; none where a configuration says them. */
  readonly interfaces: string;
  /** Pairs of address and path. */
  readonly exports: readonly (readonly [address: string, path: string])[];
  readonly flags?: readonly string[];
  /** The processor it stays on. */
  readonly cpu?: number;
  /** Words in front of the command: a program that runs another. */
  readonly before?: readonly string[];
  readonly process?: Omit<RunOptions, "input" | "timeoutMs">;
}

/** The words of an `aoe serve` command. */
export async function serveCommand(options: TargetOptions): Promise<string[]> {
  const exports = options.exports.flat();
  return [
    ...(options.cpu === undefined ? [] : ["taskset", "-c", `${options.cpu}`]),
    ...options.before ?? [],
    ...[await aoeExecutable(), "serve", ...options.flags ?? []],
    ...options.interfaces === "" ? [] : [options.interfaces, ...exports],
  ];
}

/** Starts `aoe serve` and waits until it says that it serves. */
export async function startTarget(
  namespace: Namespace,
  options: TargetOptions,
): Promise<RunningProcess> {
  const target = namespace.start(await serveCommand(options), options.process);
  await target.waitForLine(/^Serving/);
  return target;
}

/** For `before`: the target finds itself on a host that has booted anew. */
export async function onRebootedHost(testbed: Testbed): Promise<string[]> {
  const id = testbed.path(`boot_id.${crypto.randomUUID()}`);
  await Deno.writeTextFile(id, `${crypto.randomUUID()}\n`);
  const script = `mount --bind ${id} /proc/sys/kernel/random/boot_id && exec "$@"`;
  return ["unshare", "-m", "sh", "-c", script, "sh"];
}

/** Starts one vblade for one export, as a peer. */
export async function startVblade(
  namespace: Namespace,
  options: { readonly iface: string; readonly shelf: number; readonly slot: number; path: string },
): Promise<RunningProcess> {
  const { iface, shelf, slot, path } = options;
  const vblade = namespace.start(["vblade", `${shelf}`, `${slot}`, iface, path]);
  await vblade.waitForLine(/pid \d+: e\d+\.\d+, \d+ sectors/);
  return vblade;
}
