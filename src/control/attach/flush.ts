// A block device flushed by a process of its own. A process that waits for a disk in the kernel cannot be
// killed, and the daemon, which serves that disk, must always be: with one of its threads waiting its
// descriptors would stay open, and the device would never hear of its end.

/**
 * Writes what the page cache holds of a block device, and flushes the device.
 *
 * @returns Why it could not be done.
 */
export async function flushDevice(path: string, timeoutMs: number): Promise<string | undefined> {
  let child: Deno.ChildProcess;
  try {
    // dd(1) without data is the only fsync(2) of one file that busybox has, too.
    child = new Deno.Command("dd", {
      args: ["if=/dev/null", `of=${path}`, "conv=notrunc,fsync"],
      env: { LC_ALL: "C" },
      cwd: "/",
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
  } catch (error) {
    return `dd cannot be run (${(error as Error).message})`;
  }
  child.unref();
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => late.resolve(undefined), timeoutMs);
  const ended = await Promise.race([child.output(), late.promise]);
  clearTimeout(timer);
  if (ended === undefined) {
    // As soon as the kernel lets it.
    child.kill("SIGKILL");
    return "it does not answer";
  }
  if (ended.success) return undefined;
  const [line = ""] = new TextDecoder().decode(ended.stderr).split("\n");
  return line.slice(line.lastIndexOf(": ") + 2);
}
