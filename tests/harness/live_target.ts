// A group of target threads that is told on its standard input what to change, a line of JSON each,
// and answers each with a line: the group alone, without a daemon around it. `startLiveTarget` runs
// it in a namespace; as a program, `deno run live_target.ts WORKERS INTERFACE[,…]`.

import { openExport } from "../../src/control/target/open_file.ts";
import { TargetGroup } from "../../src/control/target/threads.ts";
import type { ExportChanges } from "../../src/control/target/threads.ts";
import { TARGET_COUNT_READS, TARGET_COUNT_WRITES } from "../../src/core/target/counters.ts";
import type { ExportConfig } from "../../src/loops/target/export_config.ts";
import { parseAddress } from "../../src/wire/aoe.ts";
import type { RunningProcess } from "./process.ts";
import type { Namespace } from "./testbed.ts";

/** What a group is told. */
export type LiveRequest =
  | {
    readonly ask: "add";
    readonly address: string;
    readonly path: string;
    readonly readOnly?: boolean;
    readonly interfaces?: readonly string[];
  }
  | { readonly ask: "remove"; readonly address: string; readonly drain: boolean }
  /** JSON knows no undefined: null stands for it. */
  | {
    readonly ask: "change";
    readonly address: string;
    readonly changes: { readonly [Key in keyof ExportChanges]: ExportChanges[Key] | null };
  }
  | { readonly ask: "add-interface" | "remove-interface"; readonly name: string }
  /** Commands of an export that have been done, its thread, and anonymous memory of the process. */
  | { readonly ask: "look"; readonly address: string };

/** What it says to that. */
export interface LiveAnswer {
  /** Why it was refused. */
  readonly refusal?: string;
  readonly flushed?: boolean;
  readonly ms: number;
  readonly commands?: number;
  readonly thread?: number;
  readonly anonymousBytes?: number;
}

/** A running group. */
export class LiveTarget implements AsyncDisposable {
  readonly process: RunningProcess;
  #asked = 0;

  constructor(process: RunningProcess) {
    this.process = process;
  }

  /** Tells it something, and waits for the answer. */
  async ask(request: LiveRequest): Promise<LiveAnswer> {
    const id = ++this.#asked;
    const from = this.process.lines.length;
    await this.process.write(`${JSON.stringify({ ...request, id })}\n`);
    const pattern = new RegExp(`^{"id":${id},.*`);
    return JSON.parse((await this.process.waitForLine(pattern, { from }))[0]);
  }

  /** The same, and it must not be refused. */
  async do(request: LiveRequest): Promise<LiveAnswer> {
    const answer = await this.ask(request);
    if (answer.refusal !== undefined) throw new Error(answer.refusal);
    return answer;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.process[Symbol.asyncDispose]();
  }
}

/** Starts a group without exports. */
export async function startLiveTarget(
  namespace: Namespace,
  interfaces: readonly string[],
  workers = 2,
): Promise<LiveTarget> {
  const program = new URL(import.meta.url).pathname;
  const argv = [Deno.execPath(), "run", "-A", "-q", program, `${workers}`, interfaces.join(",")];
  const target = new LiveTarget(namespace.start(argv));
  await target.process.waitForLine(/^ready/);
  return target;
}

function addressOf(text: string) {
  const address = parseAddress(text);
  if (address === undefined) throw new Error(`${text} is no address`);
  return address;
}

async function carryOut(group: TargetGroup, request: LiveRequest): Promise<object> {
  switch (request.ask) {
    case "add": {
      const { path, readOnly = false, interfaces } = request;
      const { config } = openExport(addressOf(request.address), path, {
        ...{ direct: false, sync: false, readOnly, force: true },
        ...{ offsetBytes: 0, lengthBytes: undefined, createBytes: undefined },
      });
      await group.add({ ...config, interfaces } satisfies ExportConfig);
      return {};
    }
    case "remove":
      return await group.remove(addressOf(request.address), request);
    case "change":
      await group.change(
        addressOf(request.address),
        Object.fromEntries(
          Object.entries(request.changes).map(([key, value]) => [key, value ?? undefined]),
        ),
      );
      return {};
    case "add-interface":
      await group.addInterface(request.name);
      return {};
    case "remove-interface":
      await group.removeInterface(request.name);
      return {};
    case "look": {
      const address = addressOf(request.address);
      const anonymous = /^RssAnon:\s+(\d+)/m.exec(Deno.readTextFileSync("/proc/self/status"))?.[1];
      return {
        commands: group.countOf(address, TARGET_COUNT_READS) +
          group.countOf(address, TARGET_COUNT_WRITES),
        thread: group.threadOf(address),
        anonymousBytes: 1024 * Number(anonymous),
      };
    }
  }
}

if (import.meta.main && !("WorkerGlobalScope" in globalThis)) {
  const [workers = "1", interfaces = ""] = Deno.args;
  const group = await TargetGroup.start({
    interfaces: interfaces.split(",").filter((name) => name !== ""),
    exports: [],
    ...{ buffers: 64, uring: true, ring: true, pollUs: 0, mapBytes: 2 ** 30 },
    workers: Number(workers),
    aids: undefined,
    onMessage: (message) => console.log(JSON.stringify(message)),
  });
  console.log("ready");
  let pending = "";
  for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (pending + text).split("\n");
    pending = lines.pop()!;
    for (const line of lines) {
      const { id, ...request } = JSON.parse(line);
      const beganMs = performance.now();
      carryOut(group, request).then(
        (answer) => answer,
        (error: Error) => ({ refusal: error.message }),
      ).then((answer) => {
        console.log(JSON.stringify({ id, ms: performance.now() - beganMs, ...answer }));
      });
    }
  }
  await group.stop();
}
