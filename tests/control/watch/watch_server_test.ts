// What a daemon shows of itself: to Prometheus, to a browser, and to those who behave badly.

import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { TargetMetrics } from "../../../src/core/target/metrics.ts";
import { readTarget } from "../../../src/core/watch/target_reading.ts";
import type { Snapshot } from "../../../src/core/watch/snapshot.ts";
import { askAt } from "../../../src/control/line_socket.ts";
import { askWatched } from "../../../src/control/watch/questions.ts";
import { openWatchSocket } from "../../../src/control/watch/watch_socket.ts";
import { openWatch } from "../../../src/control/watch/watch_server.ts";
import { parseListenAt } from "../../../src/control/watch/http_server.ts";
import { Watcher } from "../../../src/control/watch/watcher.ts";
import { findProgram, interopTest } from "../../harness/requirements.ts";

const HOSTILE = 'ev\x1b[31mil<script>alert(1)</script>"\u202e.img';

/** Runs a body with a server of a target that has one export, and where it is. */
async function withWatch(
  body: (at: { url: string; port: number; watcher: Watcher }) => Promise<void>,
  exports = 1,
): Promise<void> {
  const own = Array.from({ length: exports }, (_, slot) => ({ shelf: 1, slot }));
  const metrics = TargetMetrics.named(TargetMetrics.allocate(exports, 1), own, ["eth0"]);
  const watcher = new Watcher(() => ({
    ...{ version: "1", name: "test", pid: 1, startedMs: 0, atMs: Date.now(), disks: [] },
    ...readTarget([metrics], () => HOSTILE),
  }));
  const watch = openWatch("127.0.0.1:0", watcher);
  try {
    await body({ url: watch.at, port: Number(new URL(watch.at).port), watcher });
  } finally {
    watcher.close();
    await watch.close();
  }
}

/** Says something over a connection, and returns all that is answered. */
async function say(port: number, text: string): Promise<string> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  await connection.write(new TextEncoder().encode(text));
  return await new Response(connection.readable).text();
}

Deno.test("watch: where metrics are asked for", () => {
  const tcp = (hostname: string, port: number) => ({ kind: "tcp" as const, hostname, port });
  assertEquals(parseListenAt("9477"), tcp("127.0.0.1", 9477));
  assertEquals(parseListenAt(":9477"), tcp("127.0.0.1", 9477));
  assertEquals(parseListenAt("0.0.0.0:9477"), tcp("0.0.0.0", 9477));
  assertEquals(parseListenAt("[::1]:9477"), tcp("::1", 9477));
  assertEquals(parseListenAt("unix:/run/x"), { kind: "unix", path: "/run/x" });
  assertEquals(parseListenAt("/run/x"), { kind: "unix", path: "/run/x" });
  for (const wrong of ["", "host", "host:", "host:65536", "a b:1", "unix:", "::1"]) {
    assertEquals(parseListenAt(wrong), undefined, wrong);
  }
});

Deno.test("watch: metrics in both formats, health, and nothing else", async () => {
  await withWatch(async ({ url, port }) => {
    const text = await fetch(`${url}metrics`);
    assertEquals(text.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assertStringIncludes(
      await text.text(),
      'aoe_target_commands_total{export="e1.0",kind="read"} 0',
    );
    const accept = { headers: { accept: "application/openmetrics-text; version=1.0.0" } };
    assertMatch(await (await fetch(`${url}metrics`, accept)).text(), /# EOF\n$/);
    assertEquals(await (await fetch(`${url}healthz`)).text(), "ok\n");
    assertEquals((await say(port, "HEAD /metrics HTTP/1.1\r\n\r\n")).split("\r\n\r\n")[1], "");
    assertMatch(await say(port, "GET /nothing HTTP/1.1\r\n\r\n"), /^HTTP\/1.1 404 /);
    assertMatch(await say(port, "POST /metrics HTTP/1.1\r\n\r\n"), /^HTTP\/1.1 405 /);
    assertMatch(await say(port, "rubbish\r\n\r\n"), /^HTTP\/1.1 400 /);
    assertMatch(await say(port, `GET /${"x".repeat(40_000)}\r\n\r\n`), /^HTTP\/1.1 400 /);
    // A page elsewhere whose name leads to loopback.
    assertMatch(await say(port, "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"), /^HTTP\/1.1 421 /);
    assertMatch(await say(port, "GET / HTTP/1.1\r\nHost: [::1]:1\r\n\r\n"), /^HTTP\/1.1 200 /);
  });
});

Deno.test("watch: the page loads nothing, and its policy lets nothing else run", async () => {
  await withWatch(async ({ url }) => {
    const answer = await fetch(url);
    const policy = answer.headers.get("content-security-policy") ?? "";
    const nonce = /script-src 'nonce-([\w-]+)'/.exec(policy)?.[1];
    assertMatch(policy, /^default-src 'none'; /);
    assert(!policy.includes("unsafe"));
    const page = await answer.text();
    assertEquals(page.match(/<(script|style) nonce="[^"]+">/g)?.length, 2);
    assertStringIncludes(page, `<script nonce="${nonce}">`);
    assertEquals(page.match(/\b(src|href)="(?!\/metrics"|data:,")[^"]*"/g), null);
    assert(!/\bhttps?:\/\/(?!www\.w3\.org\/2000\/svg)/.test(page));
    assert(!/innerHTML|insertAdjacentHTML|document\.write|\bstyle="|\bon\w+="/.test(page));
    const again = await (await fetch(url)).text();
    assert(!again.includes(nonce!), "a policy of its own for each answer");
  });
});

Deno.test("watch: a browser is told each second, and of the past", async () => {
  await withWatch(async ({ url }) => {
    const answer = await fetch(`${url}events`);
    assertEquals(answer.headers.get("content-type"), "text/event-stream");
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    while (!text.includes("\n\n")) text += (await reader.read()).value;
    await reader.cancel();
    const overview = JSON.parse(/^event: now\ndata: (.*)\n\n/.exec(text)![1]!);
    assertEquals([overview.name, overview.exports[0].address], ["test", "e1.0"]);
    const past = await (await fetch(`${url}past?of=all`)).json();
    assertEquals(past.stepMs, 1000);
    assert(past.series.commands.length >= 1);
    const unknown = await fetch(`${url}past?of=e9.9`);
    assertEquals(unknown.status, 404);
    await unknown.body?.cancel();
  });
});

Deno.test("watch: many who ask nothing, and one who does not read, hold nobody up", async () => {
  await withWatch(async ({ url, port }) => {
    const silent = await Promise.all(
      Array.from({ length: 200 }, () => Deno.connect({ hostname: "127.0.0.1", port })),
    );
    // It asks for more than sockets hold, and reads none of it.
    const deaf = await Deno.connect({ hostname: "127.0.0.1", port });
    await deaf.write(new TextEncoder().encode("GET /metrics HTTP/1.1\r\n\r\n"));
    for (let i = 0; i < 20; i++) {
      assertStringIncludes(await (await fetch(`${url}metrics`)).text(), "e1.0");
    }
    for (const connection of [...silent, deaf]) connection.close();
    assertEquals(await (await fetch(`${url}healthz`)).text(), "ok\n");
  }, 200);
});

Deno.test("watch: a socket of this user alone, taken away at the end", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "aoe-watch-" });
  try {
    const watcher = new Watcher(() => {
      throw new Error("nobody looks");
    });
    const path = `${folder}/metrics.socket`;
    const open = () => openWatch(`unix:${path}`, { ...watcher, keep() {} } as unknown as Watcher);
    Deno.writeTextFileSync(path, "a file of somebody");
    assertThrows(open, Error, `Metrics cannot be had at unix:${path}`);
    Deno.removeSync(path);
    const watch = open();
    assertEquals(Deno.statSync(path).mode! & 0o777, 0o600);
    await watch.close();
    assertThrows(() => Deno.statSync(path), Deno.errors.NotFound);
    watcher.close();
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("watch: an address that is not loopback comes with a warning", async () => {
  const watcher = new Watcher(() => {
    throw new Error("nobody looks");
  });
  const quiet = { keep() {} } as unknown as Watcher;
  const watch = openWatch("0.0.0.0:0", quiet);
  assertMatch(watch.warning ?? "", /^Whoever reaches http:\/\/0\.0\.0\.0:\d+\/ sees /);
  await watch.close();
  watcher.close();
});

interopTest("watch: promtool finds nothing to say", ["promtool"], async () => {
  await withWatch(async ({ url }) => {
    const text = await (await fetch(`${url}metrics`)).text();
    const promtool = new Deno.Command(findProgram("promtool")!, {
      args: ["check", "metrics"],
      ...{ stdin: "piped", stdout: "piped", stderr: "piped" },
    }).spawn();
    const writer = promtool.stdin.getWriter();
    await writer.write(new TextEncoder().encode(text));
    await writer.close();
    const { code, stdout, stderr } = await promtool.output();
    const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assertEquals([code, said], [0, ""]);
  });
});

interopTest(
  "watch: aoe top finds a process without a daemon's socket, and what is left of none",
  [],
  async () => {
    const snapshot = (): Snapshot => ({
      ...{ version: "1", name: "e250.7", pid: Deno.pid, startedMs: 0, atMs: Date.now() },
      ...{ exports: [], interfaces: [], initiators: [], loads: [] },
      disks: [{
        ...{ address: "e250.7", node: HOSTILE, up: true, reads: 0, writes: 0, readBytes: 0 },
        ...{ writtenBytes: 0, commands: 0, retransmissions: 0, overflows: 0, paths: [] },
      }],
    });
    const watcher = new Watcher(snapshot);
    // Of a process that was killed: no process has such a number.
    const left = "/run/aoe/nbd.99999999.socket";
    Deno.mkdirSync("/run/aoe", { recursive: true });
    Deno.listen({ transport: "unix", path: left }).close();
    const socket = await openWatchSocket(watcher);
    try {
      assertThrows(() => Deno.lstatSync(left), Deno.errors.NotFound);
      const own = `/run/aoe/nbd.${Deno.pid}.socket`;
      assertEquals(Deno.lstatSync(own).mode! & 0o777, 0o600);
      const { overview } = await askWatched(undefined, ["all"]);
      assertEquals(overview.disks.find(({ address }) => address === "e250.7")?.node, HOSTILE);
      const refused = await assertRejects(() => askAt(own, { ask: "detach" }, 5000), Error);
      assertEquals(refused.message, "This aoe nbd only tells what it does");
    } finally {
      watcher.close();
      await socket.close();
    }
    assertThrows(() => Deno.lstatSync(`/run/aoe/nbd.${Deno.pid}.socket`), Deno.errors.NotFound);
  },
);
