// The socket by which commands reach a daemon: private, and nobody holds anybody up.

import { assert, assertEquals, assertRejects } from "@std/assert";
import { askAt, LineServer, lockOwnFile } from "../../src/control/line_socket.ts";
import { closeFile } from "../../ffi/files.ts";

Deno.test("line socket: this user's alone from the first moment, whatever the mask", async () => {
  await withServer(async ({ path }) => {
    assertEquals(Deno.statSync(path).mode! & 0o777, 0o600);
    assertEquals(await askAt(path, { ask: "echo", said: "ä\u2028" }, 5000), {
      ask: "echo",
      said: "ä\u2028",
    });
  }, 0);
});

Deno.test("line socket: a refusal is the sentence that the daemon says", async () => {
  await withServer(async ({ path }) => {
    await assertRejects(() => askAt(path, { ask: "refuse" }, 5000), Error, "Not today");
  });
});

Deno.test("line socket: who asks nothing holds nobody up, and rubbish gets a sentence", async () => {
  await withServer(async ({ path }) => {
    const silent: Deno.UnixConn[] = [];
    // More than are held at a time: those that have asked nothing make room.
    for (let i = 0; i < 100; i++) silent.push(await connect(path));
    assertEquals(await askAt(path, 1, 5000), 1);
    for (
      const rubbish of ["\n", "GET / HTTP/1.1\r\n\r\n", "\xff\0\n", `"${"x".repeat(70_000)}"\n`]
    ) {
      const reply = JSON.parse(await talk(path, rubbish)) as { error?: string };
      assert(reply.error?.startsWith("That was no question"), JSON.stringify(reply));
    }
    for (const connection of silent) connection.close();
  });
});

Deno.test("line socket: who does not take an answer holds nobody up", async () => {
  await withServer(async ({ path }) => {
    const deaf = await connect(path);
    await write(deaf, JSON.stringify({ long: "x".repeat(30_000), times: 400 }) + "\n");
    assertEquals(await askAt(path, 2, 5000), 2);
    deaf.close();
  });
});

Deno.test("line socket: without a daemon there is no answer, and what one has left is no daemon", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/a.socket`;
    assertEquals(await askAt(path, 1, 1000), undefined);
    const left = Deno.listen({ transport: "unix", path });
    left.close();
    assertEquals(await askAt(path, 1, 1000), undefined);
    const server = new LineServer(path, (question) => Promise.resolve(question));
    assertEquals(await askAt(path, 1, 1000), 1);
    await server.close();
    await server.close();
    assertEquals([...Deno.readDirSync(folder)].length, 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("line socket: a name is one process's, and is free when that has ended", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const first = lockOwnFile(`${folder}/serve.lock`);
    assert(first !== undefined);
    assertEquals(lockOwnFile(`${folder}/serve.lock`), undefined);
    closeFile(first);
    const second = lockOwnFile(`${folder}/serve.lock`);
    assert(second !== undefined);
    closeFile(second);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** A server that says what it was asked; `{ask: "refuse"}` is refused. */
async function withServer(
  body: (server: { path: string }) => Promise<void>,
  mask = 0o022,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/test.socket`;
  const before = Deno.umask(mask);
  const server = new LineServer(path, (question) => {
    const { ask, long, times } = question as { ask?: string; long?: string; times?: number };
    if (ask === "refuse") return Promise.reject(new Error("Not today"));
    return Promise.resolve(long === undefined ? question : Array(times).fill(long));
  });
  Deno.umask(before);
  try {
    await body({ path });
  } finally {
    await server.close();
    await Deno.remove(folder, { recursive: true });
  }
}

function connect(path: string): Promise<Deno.UnixConn> {
  return Deno.connect({ transport: "unix", path });
}

async function write(connection: Deno.UnixConn, text: string): Promise<void> {
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

async function talk(path: string, text: string): Promise<string> {
  const connection = await connect(path);
  await write(connection, text);
  await connection.closeWrite();
  const reply = await new Response(connection.readable).text();
  return reply;
}

Deno.test("line socket: a daemon that is killed before it answers is no daemon", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/socket`;
    // Listens, and never takes a connection; closing resets those that wait, as the kernel does for
    // a process that is killed.
    const listener = Deno.listen({ transport: "unix", path });
    const asked = askAt(path, { what: "stat" }, 10_000);
    await new Promise((resolve) => setTimeout(resolve, 50));
    listener.close();
    assertEquals(await asked, undefined);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
