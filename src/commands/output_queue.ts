// Lines on their way to standard output and standard error, for commands that must not wait for
// whoever reads them. A write that waits for a reader, a terminal or a disk stands in a thread of
// Deno's own, where the thread that hears signals does not notice it; behind it stands a queue that
// is bounded. A line that cannot be written is counted, and told of as soon as one can be again.
//
// A non-blocking descriptor would not do: it is shared with every process that has the terminal,
// and a file is written without one in any case.

/** Lines that wait for a reader, of each stream. */
const QUEUED_BYTES_MAX = 256 * 1024;
/** So long a line waits for one of the other stream that was said before it. */
const ORDER_MS_MAX = 100;
/** How often it is tried again to tell of lines that were lost. */
const RETRY_EVERY_MS = 1000;
/** How long one write waits for a reader that lets a non-blocking pipe run full. */
const WOULD_BLOCK_MS = 20;

/** What is written to. */
export interface OutputStream {
  write(bytes: Uint8Array): Promise<number>;
}

/** One of the two streams. */
interface Channel {
  readonly stream: OutputStream;
  /** How lines that were lost are told of. */
  readonly notice: (lines: number, reason: string) => string;
  bytes: number;
  writing: boolean;
  /** Half a line was written. */
  torn: boolean;
  lost: number;
  reason: string;
  closed: boolean;
}

interface Entry {
  readonly channel: Channel;
  readonly bytes: Uint8Array;
  readonly counted: boolean;
}

const encoder = new TextEncoder();

/** What is to be written to some streams, in the order in which it was said where possible. */
export class OutputQueue {
  readonly #channels = new Map<OutputStream, Channel>();
  readonly #entries: Entry[] = [];
  readonly #failsForGood: boolean;
  #idle = Promise.withResolvers<void>();

  /** @param failsForGood Whether a stream that cannot be written is given up. */
  constructor(failsForGood: boolean) {
    this.#failsForGood = failsForGood;
    this.#idle.resolve();
  }

  /** Tells of a stream before anything is written to it. */
  open(stream: OutputStream, notice: (lines: number, reason: string) => string): void {
    this.#channels.set(stream, {
      ...{ stream, notice, bytes: 0, writing: false, torn: false, lost: 0, reason: "" },
      closed: false,
    });
  }

  /** Puts a line in the queue; false when nobody reads the stream any more. */
  add(stream: OutputStream, text: string): boolean {
    const channel = this.#channels.get(stream)!;
    if (channel.closed) return false;
    const bytes = encoder.encode(text);
    if (channel.bytes + bytes.length > QUEUED_BYTES_MAX) {
      channel.lost++;
      channel.reason = "its reader did not take them";
    } else this.#push({ channel, bytes, counted: true });
    return true;
  }

  /** Writes what is worth writing now or never. */
  addFleeting(stream: OutputStream, text: string): void {
    const channel = this.#channels.get(stream)!;
    if (channel.closed || channel.writing || channel.bytes > 0) return;
    this.#push({ channel, bytes: encoder.encode(text), counted: false });
  }

  /** Lines that a stream did not get, and why; undefined when it got all. */
  lostOf(stream: OutputStream): { readonly lines: number; readonly reason: string } | undefined {
    const { lost, reason } = this.#channels.get(stream)!;
    return lost === 0 ? undefined : { lines: lost, reason };
  }

  /** Resolves when all is written or lost, or the time is over. */
  async finish(msMax: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => {
      if (msMax !== Infinity) timer = setTimeout(resolve, msMax);
    });
    await Promise.race([this.#idle.promise, late]);
    clearTimeout(timer);
  }

  #push(entry: Entry): void {
    if (this.#entries.length === 0 && ![...this.#channels.values()].some((one) => one.writing)) {
      this.#idle = Promise.withResolvers();
    }
    entry.channel.bytes += entry.bytes.length;
    this.#entries.push(entry);
    this.#next(false);
  }

  /** Begins what can be begun. @param late Whether the other stream has been waited for enough. */
  #next(late: boolean): void {
    const writing = [...this.#channels.values()].filter((channel) => channel.writing);
    if (this.#entries.length === 0 && writing.length === 0) this.#idle.resolve();
    if (writing.length > 0 && !late) return;
    const at = this.#entries.findIndex(({ channel }) => !channel.writing);
    if (at < 0) return;
    const [entry] = this.#entries.splice(at, 1);
    this.#write(entry!);
  }

  async #write({ channel, bytes, counted }: Entry): Promise<void> {
    channel.writing = true;
    const timer = setTimeout(() => this.#next(true), ORDER_MS_MAX);
    Deno.unrefTimer(timer);
    try {
      if (channel.lost > 0) {
        const { lost } = channel;
        const text = channel.notice(lost, channel.reason) + "\n";
        await this.#writeAll(channel, encoder.encode(channel.torn ? `\n${text}` : text));
        channel.lost -= lost;
      }
      await this.#writeAll(channel, bytes);
    } catch (error) {
      if (counted && bytes.length > 0) channel.lost++;
      this.#failed(channel, error);
    } finally {
      clearTimeout(timer);
      channel.writing = false;
      channel.bytes -= bytes.length;
      // A stream that nobody reads holds up nothing, nor does it keep what it was to get.
      this.#next(false);
    }
  }

  async #writeAll(channel: Channel, bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      try {
        at += await channel.stream.write(at === 0 ? bytes : bytes.subarray(at));
        channel.torn = at < bytes.length;
      } catch (error) {
        if (!(error instanceof Deno.errors.WouldBlock)) throw error;
        await new Promise((resolve) => setTimeout(resolve, WOULD_BLOCK_MS));
      }
    }
  }

  #failed(channel: Channel, error: unknown): void {
    const gone = error instanceof Deno.errors.BrokenPipe;
    if (gone) channel.lost = 0;
    else channel.reason = reasonOf(error);
    if (gone || this.#failsForGood) {
      channel.closed = true;
      for (let i = this.#entries.length - 1; i >= 0; i--) {
        if (this.#entries[i]!.channel === channel) this.#entries.splice(i, 1);
      }
      channel.bytes = 0;
      return;
    }
    const timer = setTimeout(() => {
      if (channel.lost > 0 && !channel.writing && channel.bytes === 0) {
        this.#push({ channel, bytes: new Uint8Array(), counted: false });
      }
    }, RETRY_EVERY_MS);
    Deno.unrefTimer(timer);
  }
}

/** `No space left on device (ENOSPC)`, of an error of Deno's. */
export function reasonOf(error: unknown): string {
  const { message, code } = error as Error & { readonly code?: unknown };
  return message.replace(/ \(os error \d+\)$/, typeof code === "string" ? ` (${code})` : "");
}
