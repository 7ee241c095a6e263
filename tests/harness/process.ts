// Commands as the interoperability tests run them: with a deadline, with their output kept, and
// never left behind. `run` is for commands that end by themselves, `RunningProcess` for servers.

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** What a finished command left. */
export interface Outcome {
  /** The exit code; 128 + the signal's number when a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** True when the deadline passed and the command was killed. */
  readonly timedOut: boolean;
}

/** How a command is run. */
export interface RunOptions {
  /** Text for its standard input, which is closed behind it. */
  readonly input?: string;
  /** After this the command is killed. */
  readonly timeoutMs?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

const defaultTimeoutMs = 30_000;

function command(argv: readonly string[], options: RunOptions, stdin: "piped" | "null") {
  const [program, ...args] = argv;
  if (program === undefined) throw new Error("A command needs a program");
  return new Deno.Command(program, {
    args,
    stdin,
    stdout: "piped",
    stderr: "piped",
    env: { LC_ALL: "C", NO_COLOR: "1", ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
}

/** Runs a command to its end, or kills it at its deadline. */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const child = command(argv, options, options.input === undefined ? "null" : "piped").spawn();
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    kill(child, "SIGKILL");
  }, options.timeoutMs ?? defaultTimeoutMs);
  try {
    if (options.input !== undefined) {
      const writer = child.stdin.getWriter();
      // A command that ends before it has read everything is judged by its exit code.
      await writer.write(encoder.encode(options.input)).catch(() => undefined);
      await writer.close().catch(() => undefined);
    }
    const output = await child.output();
    return {
      code: output.code,
      stdout: decoder.decode(output.stdout),
      stderr: decoder.decode(output.stderr),
      timedOut,
    };
  } finally {
    clearTimeout(timer);
  }
}

/** Runs a command that must succeed. @throws when it does not, with everything it said. */
export async function runChecked(
  argv: readonly string[],
  options: RunOptions = {},
): Promise<Outcome> {
  const outcome = await run(argv, options);
  if (outcome.code !== 0) {
    const end = outcome.timedOut ? "ran into its deadline" : `ended with ${outcome.code}`;
    throw new Error(`"${argv.join(" ")}" ${end}\n${outcome.stdout}${outcome.stderr}`);
  }
  return outcome;
}

/** A line that a running process has printed. */
export interface Line {
  readonly stream: "stdout" | "stderr";
  readonly text: string;
}

/** A process that runs until it is told to stop. Disposing it stops it, gently and then not. */
export class RunningProcess implements AsyncDisposable {
  /** Every line so far, in the order in which it was read. */
  readonly lines: Line[] = [];
  /** Resolves when the process has ended and its output is read to the end. */
  readonly ended: Promise<Deno.CommandStatus>;
  readonly #argv: readonly string[];
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  #status: Deno.CommandStatus | undefined;
  readonly #waiting = new Set<() => void>();

  constructor(argv: readonly string[], options: Omit<RunOptions, "input" | "timeoutMs"> = {}) {
    this.#argv = argv;
    this.#child = command(argv, options, "piped").spawn();
    this.#stdin = this.#child.stdin.getWriter();
    const readers = [
      this.#collect("stdout", this.#child.stdout),
      this.#collect("stderr", this.#child.stderr),
    ];
    this.ended = this.#child.status.then(async (status) => {
      await Promise.all(readers);
      await this.#stdin.close().catch(() => undefined);
      this.#status = status;
      this.#wake();
      return status;
    });
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** The exit status, undefined while the process runs. */
  get status(): Deno.CommandStatus | undefined {
    return this.#status;
  }

  /** Everything printed so far. */
  get text(): string {
    return this.lines.map((line) => line.text).join("\n");
  }

  /** What was printed on standard error, line by line. */
  get errorLines(): string[] {
    return this.lines.filter((line) => line.stream === "stderr").map((line) => line.text);
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
  }

  async #collect(stream: Line["stream"], source: ReadableStream<Uint8Array>): Promise<void> {
    const streamDecoder = new TextDecoder();
    let pending = "";
    for await (const bytes of source) {
      pending += streamDecoder.decode(bytes, { stream: true });
      const complete = pending.split("\n");
      pending = complete.pop() ?? "";
      for (const text of complete) this.lines.push({ stream, text: text.replace(/\r+$/, "") });
      this.#wake();
    }
    if (pending !== "") this.lines.push({ stream, text: pending });
    this.#wake();
  }

  /**
   * Waits for a line that matches, beginning with line `from`.
   * @throws when the process ends or the time is over before such a line.
   */
  async waitForLine(
    pattern: RegExp,
    options: { readonly timeoutMs?: number; readonly from?: number } = {},
  ): Promise<RegExpMatchArray> {
    const timeoutMs = options.timeoutMs ?? 15_000;
    const deadline = performance.now() + timeoutMs;
    let next = options.from ?? 0;
    while (true) {
      for (; next < this.lines.length; next++) {
        const match = this.lines[next]?.text.match(pattern);
        if (match) return match;
      }
      const remainingMs = deadline - performance.now();
      if (this.#status !== undefined || remainingMs <= 0) {
        const why = this.#status === undefined
          ? `${timeoutMs} ms passed`
          : `the process ended with ${this.#status.code}`;
        throw new Error(
          `No line matched ${pattern} before ${why}: ${this.#argv.join(" ")}\n${this.text}`,
        );
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.add(resolve);
      const timer = setTimeout(resolve, remainingMs);
      await promise;
      this.#waiting.delete(resolve);
      clearTimeout(timer);
    }
  }

  /** Writes text to the process's standard input. */
  async write(text: string): Promise<void> {
    await this.#stdin.write(encoder.encode(text));
  }

  signal(name: Deno.Signal): void {
    kill(this.#child, name);
  }

  /** Sends a signal and waits for the end; after the grace time SIGKILL follows. */
  async stop(name: Deno.Signal = "SIGTERM", graceMs = 5_000): Promise<Deno.CommandStatus> {
    if (this.#status !== undefined) return this.#status;
    this.signal(name);
    const timer = setTimeout(() => this.signal("SIGKILL"), graceMs);
    try {
      return await this.ended;
    } finally {
      clearTimeout(timer);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

function kill(child: Deno.ChildProcess, name: Deno.Signal): void {
  try {
    child.kill(name);
  } catch {
    // It has ended already, which is all that was wanted.
  }
}

/** Waits; for what has no event to wait for. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * Asks again and again until the answer is neither undefined nor false.
 * @throws when the time is over, with the description of what was waited for.
 */
export async function eventually<T>(
  description: string,
  ask: () => Promise<T | undefined | false> | T | undefined | false,
  options: { readonly timeoutMs?: number; readonly pauseMs?: number } = {},
): Promise<T> {
  const timeoutMs = options.timeoutMs ?? 10_000;
  const deadline = performance.now() + timeoutMs;
  while (true) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadline) throw new Error(`Not within ${timeoutMs} ms: ${description}`);
    await sleep(options.pauseMs ?? 100);
  }
}
