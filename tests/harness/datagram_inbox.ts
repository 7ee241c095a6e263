// A datagram socket that others send to, as a service manager has one; Deno's own is unstable.

const AF_UNIX = 1;
const SOCK_DGRAM_NONBLOCK = 2 | 0o4000;
const BYTES_MAX = 4096;

/** What has been sent to a path, or to an abstract name that begins with "@". */
export class DatagramInbox implements Disposable {
  readonly #libc = Deno.dlopen(
    "libc.so.6",
    {
      socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
      bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
      recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
      close: { parameters: ["i32"], result: "i32" },
    } as const,
  );
  readonly #fd: number;

  constructor(path: string) {
    const name = new TextEncoder().encode(path.startsWith("@") ? `\0${path.slice(1)}` : path);
    const address = new Uint8Array(2 + name.length);
    address[0] = AF_UNIX;
    address.set(name, 2);
    this.#fd = this.#libc.symbols.socket(AF_UNIX, SOCK_DGRAM_NONBLOCK, 0);
    if (this.#libc.symbols.bind(this.#fd, address, address.length) !== 0) {
      throw new Error(`Cannot listen at ${path}`);
    }
  }

  /** Takes what has come. */
  take(): string[] {
    const texts: string[] = [];
    for (;;) {
      const bytes = new Uint8Array(BYTES_MAX);
      const count = Number(this.#libc.symbols.recv(this.#fd, bytes, BigInt(BYTES_MAX), 0));
      if (count < 0) return texts;
      texts.push(new TextDecoder().decode(bytes.subarray(0, count)));
    }
  }

  [Symbol.dispose](): void {
    this.#libc.symbols.close(this.#fd);
    this.#libc.close();
  }
}
