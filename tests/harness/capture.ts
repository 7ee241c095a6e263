// Captures: tcpdump writes one while a test runs; afterwards tshark and tcpdump judge it, and
// `readAtaExchanges` pairs requests with answers by its own reading of the bytes.

import { type RunningProcess, sleep } from "./process.ts";
import type { Namespace } from "./testbed.ts";

/** A capture that is being written. */
export class Capture implements AsyncDisposable {
  readonly path: string;
  readonly #tcpdump: RunningProcess;

  private constructor(path: string, tcpdump: RunningProcess) {
    this.path = path;
    this.#tcpdump = tcpdump;
  }

  /** Captures every AoE frame on an interface, cut to `snapLength` bytes. */
  static async start(
    namespace: Namespace,
    iface: string,
    path: string,
    snapLength = 0,
  ): Promise<Capture> {
    const argv = ["tcpdump", "-i", iface, "-w", path, "-U", "-s", `${snapLength}`];
    // As root, tcpdump would become its own user, who cannot write the file; and a big buffer.
    const tcpdump = namespace.start([
      ...[...argv, "--immediate-mode", "-Z", "root", "-B", "65536", "ether proto 0x88a2"],
    ]);
    await tcpdump.waitForLine(/listening on/);
    return new Capture(path, tcpdump);
  }

  /** Ends the capture and returns how many frames the kernel could not give to tcpdump. */
  async stop(): Promise<number> {
    // A signal makes tcpdump forget what it has not read yet, and it may be far behind.
    const stoppedMs = Date.now();
    for (let size = -1, newestMs = 0; newestMs < stoppedMs;) {
      await sleep(200);
      const frames = await readCapture(this.path);
      if (frames.length === size) break;
      size = frames.length;
      newestMs = frames.at(-1)?.timeMs ?? 0;
    }
    await this.#tcpdump.stop("SIGINT");
    return Number(this.#tcpdump.text.match(/(\d+) packets? dropped by kernel/)?.[1] ?? 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** One frame of a capture. */
export interface CapturedFrame {
  /** Milliseconds since 1970, with a fraction. */
  readonly timeMs: number;
  /** The frame's length on the wire. */
  readonly length: number;
  /** What was kept of it. */
  readonly bytes: Uint8Array;
}

/** Reads a pcap file, little-endian: with microseconds as tcpdump's, or nanoseconds as ours. */
export async function readCapture(path: string): Promise<CapturedFrame[]> {
  const file = await Deno.readFile(path);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const magic = view.getUint32(0, true);
  const perMs = magic === 0xa1b2c3d4 ? 1000 : 1e6;
  if (magic !== 0xa1b2c3d4 && magic !== 0xa1b23c4d) throw new Error(`"${path}" is not a pcap file`);
  const frames: CapturedFrame[] = [];
  let at = 24;
  while (at + 16 <= file.length) {
    const kept = view.getUint32(at + 8, true);
    if (at + 16 + kept > file.length) break;
    frames.push({
      timeMs: view.getUint32(at, true) * 1000 + view.getUint32(at + 4, true) / perMs,
      length: view.getUint32(at + 12, true),
      bytes: file.subarray(at + 16, at + 16 + kept),
    });
    at += 16 + kept;
  }
  return frames;
}

/** An ATA request and what became of it. */
export interface AtaExchange {
  readonly tag: number;
  readonly requestedMs: number;
  readonly command: number;
  readonly sectors: number;
  readonly lba: number;
  /** The first answer, undefined when there was none. */
  answer: { readonly timeMs: number; readonly status: number; readonly error: number } | undefined;
}

/** Pairs the ATA requests of a capture with their answers, by address and tag; the first counts. */
export function ataExchanges(frames: readonly CapturedFrame[]): AtaExchange[] {
  const exchanges: AtaExchange[] = [];
  const open = new Map<string, AtaExchange>();
  for (const { bytes, timeMs } of frames) {
    if (bytes.length < 36 || bytes[19] !== 0) continue;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const tag = view.getUint32(20);
    const key = `${view.getUint16(16)}.${view.getUint8(18)} ${tag}`;
    if (((bytes[14] ?? 0) & 0x08) === 0) {
      // Sent again, it is still one request.
      if (open.has(key)) continue;
      const exchange: AtaExchange = {
        tag,
        requestedMs: timeMs,
        command: view.getUint8(27),
        sectors: view.getUint8(26),
        lba: view.getUint32(28, true) + view.getUint16(32, true) * 2 ** 32,
        answer: undefined,
      };
      exchanges.push(exchange);
      open.set(key, exchange);
    } else {
      const exchange = open.get(key);
      open.delete(key);
      if (exchange) {
        exchange.answer = { timeMs, status: view.getUint8(27), error: view.getUint8(25) };
      }
    }
  }
  return exchanges;
}

/** Copies a capture to where it outlives its testbed, and returns that path. */
export async function keepCapture(path: string): Promise<string> {
  const artifacts = new URL("../.artifacts", import.meta.url).pathname;
  await Deno.mkdir(artifacts, { recursive: true });
  const kept = `${artifacts}/${Date.now()}-${path.slice(path.lastIndexOf("/") + 1)}`;
  await Deno.copyFile(path, kept);
  return kept;
}
