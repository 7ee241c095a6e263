// As much of HTTP/1.1 as a reader of metrics and a browser need: GET and HEAD, one request a
// connection, and answers that go on for as long as somebody reads. Whoever connects and asks nothing,
// or does not take the answer, holds nobody up: there are only so many connections, each write is
// given so long, and one that is waited for longest makes room.

/** Connections at a time. */
const CONNECTIONS_MAX = 64;
const REQUEST_BYTES_MAX = 16_384;
const REQUEST_MS_MAX = 5_000;
/** Megabytes to a slow reader take a while; a dead one takes nothing. */
const WRITE_MS_MAX = 10_000;
/** A write is cut into such pieces, each of which has its time. */
const PIECE_BYTES = 65_536;

/** Where to listen. */
export type ListenAt =
  | { readonly kind: "tcp"; readonly hostname: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** What was asked. */
export interface HttpRequest {
  readonly path: string;
  readonly query: URLSearchParams;
  /** Of a header, by its name in lower case. */
  header(name: string): string | null;
}

/** What is answered. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Goes on after the body: told how to write more, resolves when there is no more. */
  readonly more?: (write: (text: string) => Promise<void>) => Promise<void>;
}

interface Client {
  readonly connection: Deno.Conn;
  /** When it was last seen to read or write something. */
  movedMs: number;
}

const REASONS: Readonly<Record<number, string>> = {
  200: "OK",
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  421: "Misdirected Request",
  500: "Internal Server Error",
  503: "Service Unavailable",
};

/** Answers requests at one address. */
export class HttpServer {
  readonly #listener: Deno.Listener;
  readonly #at: ListenAt;
  readonly #answer: (request: HttpRequest) => HttpAnswer;
  readonly #clients = new Map<Client, Promise<void>>();
  #closed = false;

  /**
   * @throws {Error} When the address cannot be listened at.
   */
  constructor(at: ListenAt, answer: (request: HttpRequest) => HttpAnswer) {
    this.#at = at;
    this.#answer = answer;
    this.#listener = at.kind === "unix"
      ? listenAtPath(at.path)
      : Deno.listen({ hostname: at.hostname, port: at.port });
    this.#serve();
  }

  /** The port that it listens at; undefined at a path. */
  get port(): number | undefined {
    const { addr } = this.#listener;
    return addr.transport === "tcp" ? addr.port : undefined;
  }

  /** Nobody is answered any more. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#listener.close();
    if (this.#at.kind === "unix") removeFile(this.#at.path);
    for (const { connection } of this.#clients.keys()) closeQuietly(connection);
    await Promise.all(this.#clients.values());
  }

  async #serve(): Promise<void> {
    while (!this.#closed) {
      let connection: Deno.Conn;
      try {
        connection = await this.#listener.accept();
      } catch {
        if (this.#closed) return;
        // Gone before it was accepted, or there are too few descriptors: not the end of serving.
        await new Promise((resolve) => setTimeout(resolve, 100));
        continue;
      }
      this.#makeRoom();
      const client: Client = { connection, movedMs: performance.now() };
      const done = this.#hold(client).catch(() => {}).finally(() => {
        closeQuietly(connection);
        this.#clients.delete(client);
      });
      this.#clients.set(client, done);
    }
  }

  /** Ends the connection that has not moved for longest when there are too many. */
  #makeRoom(): void {
    if (this.#clients.size < CONNECTIONS_MAX) return;
    let idlest: Client | undefined;
    for (const client of this.#clients.keys()) {
      if (idlest === undefined || client.movedMs < idlest.movedMs) idlest = client;
    }
    if (idlest === undefined) return;
    closeQuietly(idlest.connection);
    this.#clients.delete(idlest);
  }

  async #hold(client: Client): Promise<void> {
    const head = await within(REQUEST_MS_MAX, client.connection, readHead(client));
    const parsed = parseHead(head);
    const answer = typeof parsed === "number" ? plain(parsed) : this.#answerOf(parsed.request);
    const bytes = new TextEncoder().encode(answer.body);
    const lines = [
      `HTTP/1.1 ${answer.status} ${REASONS[answer.status] ?? ""}`,
      ...Object.entries(answer.headers).map(([name, value]) => `${name}: ${value}`),
      "connection: close",
      "x-content-type-options: nosniff",
      ...(answer.more === undefined ? [`content-length: ${bytes.length}`] : []),
    ];
    await write(client, new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`));
    if (typeof parsed !== "number" && parsed.headOnly) return;
    await write(client, bytes);
    await answer.more?.((text) => write(client, new TextEncoder().encode(text)));
  }

  #answerOf(request: HttpRequest): HttpAnswer {
    // A page elsewhere must not make a browser ask here under a name of its own.
    if (this.#at.kind === "tcp" && isLoopback(this.#at.hostname) && !isOwnName(request)) {
      return plain(421);
    }
    try {
      return this.#answer(request);
    } catch (error) {
      return plain(500, error instanceof Error ? error.message : String(error));
    }
  }
}

/**
 * Where `--metrics` asks to listen: HOST:PORT, a port alone on loopback, or the path of a socket, with
 * or without `unix:` before it.
 *
 * @returns Undefined when it is none of them.
 */
export function parseListenAt(text: string): ListenAt | undefined {
  if (/^(unix:|\/)./.test(text)) return { kind: "unix", path: text.replace(/^unix:/, "") };
  const [, bracketed, host, digits] = /^(?:\[([\da-fA-F:.]+)\]:|([^:[\]\s/]*):)?(\d{1,5})$/
    .exec(text) ?? [];
  if (digits === undefined || Number(digits) > 65_535) return undefined;
  return { kind: "tcp", hostname: bracketed ?? (host || "127.0.0.1"), port: Number(digits) };
}

/** Whether only this machine reaches what listens there. */
export function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "::1" || hostname.startsWith("127.");
}

/** An answer of one line. */
export function plain(status: number, text = REASONS[status] ?? ""): HttpAnswer {
  return { status, headers: { "content-type": "text/plain; charset=utf-8" }, body: `${text}\n` };
}

/** Whether a browser that was told this name did not have to ask a name server of somebody else. */
function isOwnName(request: HttpRequest): boolean {
  const host = request.header("host");
  return host === null || /^(localhost|[\d.]+|\[[\da-fA-F:.]+\])(:\d+)?$/.test(host);
}

/** Reads up to the empty line. */
async function readHead(client: Client): Promise<string> {
  const bytes = new Uint8Array(4096);
  let text = "";
  while (!text.includes("\r\n\r\n") && !text.includes("\n\n")) {
    const count = await client.connection.read(bytes);
    client.movedMs = performance.now();
    if (count === null || text.length > REQUEST_BYTES_MAX) break;
    for (let i = 0; i < count; i++) text += String.fromCharCode(bytes[i]!);
  }
  return text;
}

/** What the head of a request asks, or the status that refuses it. */
function parseHead(head: string): { request: HttpRequest; headOnly: boolean } | number {
  const [first = "", ...lines] = head.split(/\r?\n/);
  const [, method, target] = /^([A-Z]+) (\/[!-~]*) HTTP\/1\.[01]$/.exec(first) ?? [];
  if (method === undefined || target === undefined) return 400;
  if (method !== "GET" && method !== "HEAD") return 405;
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon > 0) headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  const query = target.indexOf("?");
  const request: HttpRequest = {
    path: query < 0 ? target : target.slice(0, query),
    query: new URLSearchParams(query < 0 ? "" : target.slice(query)),
    header: (name) => headers.get(name) ?? null,
  };
  return { request, headOnly: method === "HEAD" };
}

async function write(client: Client, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const piece = bytes.subarray(at, at + PIECE_BYTES);
    at += await within(WRITE_MS_MAX, client.connection, client.connection.write(piece));
    client.movedMs = performance.now();
  }
}

/** Closes the connection when it takes too long, which ends what waits for it. */
async function within<Result>(
  ms: number,
  connection: Deno.Conn,
  work: Promise<Result>,
): Promise<Result> {
  const timer = setTimeout(() => closeQuietly(connection), ms);
  try {
    return await work;
  } finally {
    clearTimeout(timer);
  }
}

/** Of this user alone, from the first moment on. */
function listenAtPath(path: string): Deno.Listener {
  // What a killed process has left; a file that is none of ours stays, and is told of.
  try {
    if (Deno.lstatSync(path).isSocket) Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const mask = Deno.umask(0o177);
  try {
    return Deno.listen({ transport: "unix", path });
  } finally {
    Deno.umask(mask);
  }
}

function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // Somebody else has, or we may not any more.
  }
}

function closeQuietly(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch {
    // It is closed.
  }
}
