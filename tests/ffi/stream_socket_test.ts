import { assert, assertEquals, assertThrows } from "@std/assert";
import { Arena } from "../../ffi/arena.ts";
import { SystemError } from "../../ffi/errno.ts";
import {
  acceptStream,
  closeStream,
  connectStream,
  listenStream,
  localPort,
  resolveTcp,
  type SocketAddress,
  streamError,
  streamPair,
  StreamPieces,
  unixAddress,
} from "../../ffi/stream_socket.ts";
import { openEvent, POLLIN, POLLOUT, PollSet } from "../../ffi/poll.ts";
import { EAGAIN, ECONNREFUSED, EPIPE } from "../../ffi/errno_numbers.ts";

Deno.test("stream_socket: pieces of an arena cross in order, as many as fit", () => {
  const [a, b] = streamPair();
  const arena = new Arena(1 << 20);
  const out = new StreamPieces(arena, 4);
  const into = new StreamPieces(arena, 4);
  arena.bytes.set([1, 2, 3, 4, 5, 6, 7], 100_000);
  out.add(100_000, 3);
  out.add(100_004, 2);
  assertEquals([out.bytes, out.room], [5, 2]);
  assertEquals(out.send(a), 5);
  assertEquals([out.bytes, out.room], [0, 4]);

  arena.bytes.fill(0xa5, 200_000, 200_020);
  into.add(200_000, 4);
  into.add(200_010, 4);
  assertEquals(into.receive(b), 5);
  assertEquals([into.bytes, into.room], [3, 3]);
  assertEquals([...arena.bytes.subarray(200_000, 200_005)], [1, 2, 3, 5, 0xa5]);
  assertEquals([...arena.bytes.subarray(200_010, 200_012)], [6, 0xa5]);
  assertEquals(into.receive(b), -EAGAIN);
  arena.bytes[100_000] = 9;
  out.add(100_000, 1);
  out.send(a);
  assertEquals([into.receive(b), into.bytes], [1, 2]);
  assertEquals([...arena.bytes.subarray(200_010, 200_013)], [6, 9, 0xa5]);

  closeStream(a);
  assertEquals(into.receive(b), 0);
  out.add(100_000, 1);
  assertEquals(out.send(b), -EPIPE);
  closeStream(b);
});

Deno.test("stream_socket: a full socket takes a part, and the list goes on behind it", () => {
  const [a, b] = streamPair();
  const arena = new Arena(4 << 20);
  const bytes = 1 << 20;
  const from = arena.allocate(bytes);
  const to = arena.allocate(bytes);
  for (let i = 0; i < bytes; i++) arena.bytes[from + i] = i * 7 + (i >> 9);
  const out = new StreamPieces(arena, 3);
  const into = new StreamPieces(arena, 2);
  // Ever more pieces in a list of three: it has to move down.
  let added = 0;
  let received = 0;
  const piece = 40_961;
  while (received < bytes) {
    while (out.room > 0 && added < bytes) {
      const size = Math.min(piece, bytes - added);
      out.add(from + added, size);
      added += size;
    }
    if (out.bytes > 0) out.send(a);
    into.clear();
    into.add(to + received, Math.min(30_000, bytes - received));
    received += Math.max(0, into.receive(b));
  }
  assertEquals(
    arena.bytes.subarray(to, to + bytes),
    arena.bytes.subarray(from, from + bytes),
  );
  assertThrows(() => {
    for (let i = 0; i < 4; i++) out.add(from, 1);
  }, RangeError);
  closeStream(a);
  closeStream(b);
});

Deno.test("stream_socket: unix sockets listen, connect and refuse", () => {
  const directory = Deno.makeTempDirSync();
  const address = unixAddress(`${directory}/socket`);
  const listener = listenStream(address);
  assertEquals(acceptStream(listener), -EAGAIN);
  exchange(listener, address);
  // The mask of the process has no say, in neither direction.
  assertEquals(Deno.lstatSync(`${directory}/socket`).mode! & 0o777, 0o600);
  const open = listenStream(unixAddress(`${directory}/open`), 0o666);
  assertEquals(Deno.lstatSync(`${directory}/open`).mode! & 0o777, 0o666);
  closeStream(open);
  assertThrows(() => listenStream(address), SystemError, "address already in use (EADDRINUSE)");
  closeStream(listener);
  const refused = assertThrows(() => connectStream(address), SystemError);
  assertEquals(refused.code, ECONNREFUSED);
  assertThrows(() => unixAddress("x".repeat(108)), SystemError, "ENAMETOOLONG");
  Deno.removeSync(directory, { recursive: true });
});

Deno.test("stream_socket: TCP listens on a port of the kernel's choice, and resolves names", () => {
  const [any] = resolveTcp("127.0.0.1", 0);
  const listener = listenStream(any!);
  const port = localPort(listener);
  assert(port > 0);
  exchange(listener, resolveTcp("127.0.0.1", port)[0]!);
  closeStream(listener);
  assertEquals(resolveTcp("no.such.host.invalid", 1), []);
  assertEquals(resolveTcp("::1", 0x1234)[0]?.subarray(0, 4), new Uint8Array([10, 0, 0x12, 0x34]));
});

function exchange(listener: number, address: SocketAddress): void {
  const client = connectStream(address);
  const server = acceptStream(listener);
  assert(server >= 0);
  const arena = new Arena(8192);
  const poll = new PollSet(arena, 2);
  poll.add(client, POLLOUT);
  poll.add(openEvent(), POLLIN);
  poll.wait(1_000_000);
  assertEquals([poll.found(0) & POLLOUT, streamError(client)], [POLLOUT, 0]);
  const pieces = new StreamPieces(arena, 1);
  const at = arena.allocate(8);
  arena.bytes[at] = 77;
  pieces.add(at, 1);
  pieces.send(client);
  pieces.add(at + 1, 1);
  assertEquals([pieces.receive(server), arena.bytes[at + 1]], [1, 77]);
  closeStream(client);
  closeStream(server);
}
