// What a daemon shows of itself over HTTP (`--metrics`): numbers for Prometheus, and a page that a
// browser draws them on. It changes nothing.

import { OPENMETRICS_TYPE, TEXT_TYPE, wantsOpenMetrics } from "../../core/watch/exposition.ts";
import { HttpServer, isLoopback, parseListenAt, plain } from "./http_server.ts";
import type { HttpAnswer, HttpRequest } from "./http_server.ts";
import { watchPage } from "./page.ts";
import type { Watcher } from "./watcher.ts";

/** An open address. */
export interface Watch {
  /** Where it is, for people: a URL, or the path of a socket. */
  readonly at: string;
  /** What the user should know. */
  readonly warning: string | undefined;
  close(): Promise<void>;
}

/**
 * Opens what `--metrics` asks for.
 *
 * @param text HOST:PORT, PORT, or `unix:` and a path.
 * @throws {Error} One sentence that says why it cannot be had.
 */
export function openWatch(text: string, watcher: Watcher): Watch {
  const at = parseListenAt(text);
  if (at === undefined) {
    throw new Deno.errors.InvalidData(
      `"${text}" is no address for metrics: give HOST:PORT, PORT or unix:PATH`,
    );
  }
  let server: HttpServer;
  try {
    server = new HttpServer(at, (request) => answer(request, watcher));
    watcher.keep();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Deno.errors.AddrNotAvailable(`Metrics cannot be had at ${text}: ${reason}`);
  }
  const close = () => server.close();
  if (at.kind === "unix") return { at: `unix:${at.path}`, warning: undefined, close };
  const host = at.hostname.includes(":") ? `[${at.hostname}]` : at.hostname;
  const url = `http://${host}:${server.port}/`;
  const warning = isLoopback(at.hostname)
    ? undefined
    : `Whoever reaches ${url} sees who uses which disk: only trusted networks should`;
  return { at: url, warning, close };
}

function answer(request: HttpRequest, watcher: Watcher): HttpAnswer {
  switch (request.path) {
    case "/":
      return page();
    case "/metrics": {
      const openMetrics = wantsOpenMetrics(request.header("accept"));
      return told(openMetrics ? OPENMETRICS_TYPE : TEXT_TYPE, watcher.metrics(openMetrics));
    }
    case "/healthz":
      return plain(200, "ok");
    case "/past": {
      const past = watcher.past(request.query.get("of") ?? "");
      return past === undefined ? plain(404) : told("application/json", JSON.stringify(past));
    }
    case "/events":
      return { ...told("text/event-stream", ""), more: (write) => tellOn(watcher, write) };
    default:
      return plain(404);
  }
}

/** An answer that is true for this moment only. */
function told(type: string, body: string): HttpAnswer {
  return { status: 200, headers: { "content-type": type, "cache-control": "no-store" }, body };
}

/** The page, which loads nothing, is framed by nobody, and runs its own script alone. */
function page(): HttpAnswer {
  const nonce = crypto.randomUUID();
  return {
    status: 200,
    headers: {
      "content-type": "text/html; charset=utf-8",
      "cache-control": "no-store",
      "content-security-policy": `default-src 'none'; script-src 'nonce-${nonce}'; ` +
        `style-src 'nonce-${nonce}'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; ` +
        `frame-ancestors 'none'`,
      "referrer-policy": "no-referrer",
    },
    body: watchPage(nonce),
  };
}

/** Tells a browser what happens each second. One that reads slowly misses some, and none is kept. */
async function tellOn(watcher: Watcher, write: (text: string) => Promise<void>): Promise<void> {
  for (
    let overview = watcher.overview ?? await watcher.next();
    overview !== undefined;
    overview = await watcher.next()
  ) {
    await write(`event: now\ndata: ${JSON.stringify(overview)}\n\n`);
  }
}
