// A client of NBD that does what real ones do not: half messages, wrong ones, and no reading.

import { readUint32Be, readUint64Be } from "../../../src/wire/endian.ts";
import {
  NBD_CLIENT_FLAGS_BYTES,
  NBD_GREETING_BYTES,
  NBD_OPT_GO,
  NBD_OPTION_HEADER_BYTES,
  NBD_OPTION_REPLY_HEADER_BYTES,
  NBD_REP_ACK,
  NBD_REQUEST_BYTES,
  NBD_SIMPLE_REPLY_BYTES,
  readOptionReply,
  REPLY_COOKIE,
  REPLY_ERROR,
  writeOption,
  writeRequest,
} from "../../../src/wire/nbd.ts";

/** A request; the data of a write follow in `data`. */
export interface NbdRequest {
  readonly command: number;
  readonly flags?: number;
  readonly cookie?: number;
  readonly offset: number;
  readonly bytes: number;
  readonly data?: Uint8Array;
}

/** One connection on a unix socket, simple replies only. */
export class NbdClient implements Disposable {
  readonly #connection: Deno.UnixConn;

  private constructor(connection: Deno.UnixConn) {
    this.#connection = connection;
  }

  /** Connects, without a word. */
  static async connect(path: string): Promise<NbdClient> {
    const client = new NbdClient(await Deno.connect({ transport: "unix", path }));
    await client.read(NBD_GREETING_BYTES);
    return client;
  }

  /** Connects, and is in transmission. */
  static async open(path: string): Promise<NbdClient> {
    const client = await NbdClient.connect(path);
    const hello = new Uint8Array(NBD_CLIENT_FLAGS_BYTES + NBD_OPTION_HEADER_BYTES + 6);
    hello[3] = 3;
    writeOption(hello, NBD_CLIENT_FLAGS_BYTES, NBD_OPT_GO, 6);
    await client.write(hello);
    for (;;) {
      const header = readOptionReply(await client.read(NBD_OPTION_REPLY_HEADER_BYTES), 0);
      if (header === undefined) throw new Error("No reply to NBD_OPT_GO");
      await client.read(header.bytes);
      if (header.type === NBD_REP_ACK) return client;
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) at += await this.#connection.write(bytes.subarray(at));
  }

  async send(request: NbdRequest): Promise<void> {
    const { command, flags = 0, cookie = 0, offset, bytes, data } = request;
    const message = new Uint8Array(NBD_REQUEST_BYTES + (data?.length ?? 0));
    writeRequest(message, 0, command, flags, cookie, offset, bytes);
    if (data !== undefined) message.set(data, NBD_REQUEST_BYTES);
    await this.write(message);
  }

  /** Exactly so many bytes. @throws when the server ends the connection before. */
  async read(bytes: number): Promise<Uint8Array> {
    const buffer = new Uint8Array(bytes);
    for (let at = 0; at < bytes;) {
      const read = await this.#connection.read(buffer.subarray(at));
      if (read === null) throw new Error("The server has ended the connection");
      at += read;
    }
    return buffer;
  }

  /** The next simple reply, without its data. */
  async reply(): Promise<{ readonly error: number; readonly cookie: number }> {
    const bytes = await this.read(NBD_SIMPLE_REPLY_BYTES);
    return { error: readUint32Be(bytes, REPLY_ERROR), cookie: readUint64Be(bytes, REPLY_COOKIE) };
  }

  /** Sends a request and returns the error of its reply. */
  async ask(request: NbdRequest): Promise<number> {
    await this.send(request);
    return (await this.reply()).error;
  }

  /** Says that nothing more will be sent. */
  async endWriting(): Promise<void> {
    await this.#connection.closeWrite();
  }

  /** Resolves when the server has ended the connection. */
  async ended(): Promise<void> {
    const buffer = new Uint8Array(65536);
    try {
      while (await this.#connection.read(buffer) !== null);
    } catch {
      // Reset: with what we had sent still unread.
    }
  }

  [Symbol.dispose](): void {
    this.#connection.close();
  }
}
