// What a daemon shows of itself over HTTP (`--metrics`): numbers for Prometheus. It changes nothing.

import { exposeSnapshot } from "../../core/watch/families.ts";
import { OPENMETRICS_TYPE, TEXT_TYPE, wantsOpenMetrics } from "../../core/watch/exposition.ts";
import type { Snapshot } from "../../core/watch/snapshot.ts";
import { HttpServer, isLoopback, parseListenAt, plain } from "./http_server.ts";
import type { HttpAnswer, HttpRequest } from "./http_server.ts";

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
export function openWatch(text: string, snapshot: () => Snapshot): Watch {
  const at = parseListenAt(text);
  if (at === undefined) {
    throw new Deno.errors.InvalidData(
      `"${text}" is no address for metrics: give HOST:PORT, PORT or unix:PATH`,
    );
  }
  let server: HttpServer;
  try {
    server = new HttpServer(at, (request) => answer(request, snapshot));
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

function answer(request: HttpRequest, snapshot: () => Snapshot): HttpAnswer {
  switch (request.path) {
    case "/metrics": {
      const openMetrics = wantsOpenMetrics(request.header("accept"));
      return {
        status: 200,
        headers: {
          "content-type": openMetrics ? OPENMETRICS_TYPE : TEXT_TYPE,
          "cache-control": "no-store",
        },
        body: exposeSnapshot(snapshot(), openMetrics),
      };
    }
    case "/healthz":
      return plain(200, "ok");
    default:
      return plain(404);
  }
}
