// A network namespace for one synchronous test body: system calls see the namespace of the thread
// that makes them, so the test's thread moves into a new, empty one and back again. Nothing of the
// machine's network is touched, and nothing has to be cleared away.

const CLONE_NEWNET = 0x40000000;
const O_RDONLY_CLOEXEC = 0o2000000;

/**
 * Runs a body on a thread that sees only a loopback interface, which is up.
 *
 * @param body Must not await anything: other tests' code would run in the same namespace.
 */
export function inOwnNetwork(body: () => void): void {
  const libc = Deno.dlopen("libc.so.6", {
    unshare: { parameters: ["i32"], result: "i32" },
    setns: { parameters: ["i32", "i32"], result: "i32" },
    open: { parameters: ["buffer", "i32"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
  });
  const { unshare, setns, open, close } = libc.symbols;
  const path = new TextEncoder().encode("/proc/thread-self/ns/net\0");
  const home = open(path, O_RDONLY_CLOEXEC);
  if (home < 0 || unshare(CLONE_NEWNET) !== 0) throw new Error("Cannot make a network namespace");
  let isBack = false;
  try {
    ip("link set lo up");
    body();
  } finally {
    isBack = setns(home, CLONE_NEWNET) === 0;
    close(home);
    libc.close();
  }
  if (!isBack) throw new Error("Cannot leave the network namespace");
}

/** `ip …` in the namespace of this thread, words separated by spaces. */
export function ip(words: string): void {
  const { success, stderr } = new Deno.Command("ip", { args: words.split(" ") }).outputSync();
  if (!success) throw new Error(`ip ${words}: ${new TextDecoder().decode(stderr)}`);
}
