// The programs that run on this host, as /proc tells of them: what they are called, which files
// they have open, and which of them are this program itself. Nothing here waits for a server or a
// disk, and what cannot be looked at is passed over: without privileges only one's own are seen.

/** A process. */
export interface RunningProgram {
  readonly pid: number;
  /** The words of its command line. */
  readonly words: readonly string[];
  /** As people call it: `vblade`, `aoe serve`. */
  readonly name: string;
  /** The sub-command when it is this program, of whatever version; undefined for others. */
  readonly ownCommand: string | undefined;
}

/** A descriptor of a process. */
export interface OpenDescriptor {
  readonly program: RunningProgram;
  /** What it stands for, as in `/root/disk.img` or `socket:[4711]`. */
  readonly target: string;
  /** Leads to the same file. */
  readonly path: string;
  /** Holds its flags and inode. */
  readonly infoPath: string;
}

/** Looking at every program takes milliseconds; a machine where it takes longer is not waited for. */
const LOOK_MS_MAX = 2000;

/** Every process but this one, until the time for looking is over. */
export function* runningPrograms(): Generator<RunningProgram> {
  const untilMs = performance.now() + LOOK_MS_MAX;
  for (const { name } of namesOf("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === Deno.pid) continue;
    if (performance.now() > untilMs) return;
    const program = runningProgram(pid);
    if (program !== undefined) yield program;
  }
}

/** The descriptors of a process. */
export function* openDescriptors(program: RunningProgram): Generator<OpenDescriptor> {
  const folder = `/proc/${program.pid}`;
  for (const { name } of namesOf(`${folder}/fd`)) {
    const path = `${folder}/fd/${name}`;
    const target = once(path, () => {
      try {
        return Deno.readLinkSync(path);
      } catch {
        return undefined;
      }
    });
    if (target === undefined) continue;
    yield { program, target, path, infoPath: `${folder}/fdinfo/${name}` };
  }
}

/** The text of a file of procfs or sysfs; "" when it cannot be read. */
export function kernelText(path: string): string {
  return once(path, () => {
    try {
      return Deno.readTextFileSync(path);
    } catch {
      return "";
    }
  });
}

/** The entries of a folder of procfs or sysfs; none when it is not there. */
export function namesOf(folder: string): Deno.DirEntry[] {
  return once(`${folder}/`, () => {
    try {
      return [...Deno.readDirSync(folder)];
    } catch {
      return [];
    }
  });
}

/**
 * What has been read since this thread last gave way: who looks for two hundred files in one go reads
 * once what all processes have open, and not two hundred times.
 */
const remembered = new Map<string, unknown>();

function once<T>(key: string, read: () => T): T {
  if (remembered.has(key)) return remembered.get(key) as T;
  if (remembered.size === 0) queueMicrotask(() => remembered.clear());
  const value = read();
  remembered.set(key, value);
  return value;
}

function runningProgram(pid: number): RunningProgram | undefined {
  const words = kernelText(`/proc/${pid}/cmdline`).split("\0").slice(0, -1);
  // A thread of the kernel, or a process that has just ended.
  if (words.length === 0) return undefined;
  const ownCommand = ownCommandIn(pid, words);
  const called = kernelText(`/proc/${pid}/comm`).trim() || words[0]!.split("/").at(-1)!;
  return { pid, words, ownCommand, name: ownCommand === undefined ? called : `aoe ${ownCommand}` };
}

/**
 * The word behind this program's own: an executable, a bundle (in a cache, or by a descriptor that
 * outlives it), or main.ts under deno; or its shells, which have a name of their own.
 */
function ownCommandIn(pid: number, words: readonly string[]): string | undefined {
  // sh -c SCRIPT NAME
  if (/^aoe-(keeper|watcher)$/.test(words[3] ?? "")) return "attach";
  const at = words.findIndex((word) =>
    /(^|\/)(aoe|aoe-[0-9a-f]+\.js|aoe\.js|main\.ts)$/.test(word) || isOwnBundle(pid, word)
  );
  const command = at < 0 ? undefined : words[at + 1];
  return command !== undefined && /^[a-z]+$/.test(command) ? command : undefined;
}

function isOwnBundle(pid: number, word: string): boolean {
  const fd = /^\/proc\/self\/fd\/(\d+)$/.exec(word)?.[1];
  if (fd === undefined) return false;
  try {
    return /[/:]aoe-[0-9a-f]+\.js( \(deleted\))?$/.test(Deno.readLinkSync(`/proc/${pid}/fd/${fd}`));
  } catch {
    // Another user's: nobody else names a script like this.
    return true;
  }
}
