// `aoe serve --user NAME`: before anything is opened, this process gives up every right but those to
// packet sockets and to the files that it is to serve, and executes itself: all threads of the second
// life are confined, those of Deno too, and what it cannot open is refused as any other file is.

import {
  becomeUser,
  copyBehindDescriptor,
  executeAgain,
  findUser,
  refuseNewRights,
  type UserEntry,
} from "../../ffi/credentials.ts";
import { SystemError } from "../../ffi/errno.ts";
import { lockFile, openFile } from "../../ffi/files.ts";
import { takeBackFolder } from "./own_files.ts";
import {
  type FileRule,
  LANDLOCK_VERSION_WHOLE,
  landlockVersion,
  restrictFiles,
} from "../../ffi/landlock.ts";

/** The process number of who has confined itself, for its second life. */
const CONFINED = "AOE_CONFINED";
/** What the runtime and the C library read; who may read what there is decided by modes, as ever. */
const READABLE = ["/usr", "/lib", "/lib64", "/etc", "/proc", "/sys", "/dev/urandom", "/dev/random"];
const WRITABLE = ["/dev/null", "/dev/zero"];
/** Folders that would allow everything: there a file is allowed by itself. */
const TOO_WIDE = ["/", "/dev"];
/** Where one's folder lies in one that is everybody's. */
const FOLDER_MODE = 0o700;

/** Who a process is to be, and what it needs from then on. */
export interface Confinement {
  readonly user: string;
  /** Files and devices that are served. Others in a file's folder may be added later. */
  readonly images: readonly string[];
  /** Files that are read, with their folders: a configuration is replaced by a rename. */
  readonly readable: readonly string[];
  /** Files that are written, with their folders. */
  readonly writable: readonly string[];
  /** Folders that are the user's alone; root makes them. */
  readonly owned: readonly string[];
}

/** Why a process cannot be confined, in one sentence. */
export class ConfinementRefusal extends Error {
  override name = "ConfinementRefusal";
}

/** In the second life: whose it is, and what it may open; undefined where all is allowed. */
let confined: { readonly user: string; readonly within: readonly string[] | undefined } | undefined;

/**
 * Confines this process, by executing it again: returns in its second life only, at once. To be
 * called before anything is opened.
 *
 * @param warn Told, before the second life, what this kernel cannot do.
 * @param look Called before the second life, where root looks for what its user could not see.
 * @throws {ConfinementRefusal} When it cannot be.
 */
export function confine(
  confinement: Confinement,
  warn: (text: string) => void,
  look: () => void = () => {},
): void {
  const version = landlockVersion();
  const within = version === 0 ? undefined : filesOf(confinement).map(({ path }) => path);
  if (Deno.env.get(CONFINED) === String(Deno.pid)) {
    Deno.env.delete(CONFINED);
    confined = { user: confinement.user, within };
    return;
  }
  const user = findUser(confinement.user);
  if (user === undefined) {
    throw new ConfinementRefusal(`There is no user "${confinement.user}" (--user)`);
  }
  if (Deno.uid() !== 0 && Deno.uid() !== user.uid) {
    throw new ConfinementRefusal(
      `Only root can become "${confinement.user}": start as root, or leave --user out`,
    );
  }
  if (user.uid === 0) {
    throw new ConfinementRefusal(
      `--user ${confinement.user} is root: name a user with less rights`,
    );
  }
  if (Deno.uid() === 0) look();
  const lacking = whatLandlockLacks(version);
  if (lacking !== undefined) warn(lacking);
  try {
    secondLife(confinement, user, version);
  } catch (error) {
    if (!(error instanceof SystemError) && !(error instanceof Deno.errors.PermissionDenied)) {
      throw error;
    }
    throw new ConfinementRefusal(
      `This process cannot go on as "${confinement.user}": ${error.message}`,
    );
  }
}

/** Whose rights a process that was confined has, to stand in a sentence: `as aoe`. */
export function confinedAs(): string {
  return confined === undefined ? "" : ` as ${confined.user}`;
}

/**
 * Why a confined process cannot open a file whatever its permissions are.
 *
 * @returns Undefined when that is not why.
 */
export function whyOutOfBounds(path: string): string | undefined {
  if (confined?.within === undefined) return undefined;
  const name = realPath(path);
  const inside = confined.within.some((allowed) =>
    name === allowed || name.startsWith(allowed === "/" ? "/" : `${allowed}/`)
  );
  return inside
    ? undefined
    : `it lies outside of the folders that this process had from its start ` +
      `(--user ${confined.user}): start it again`;
}

function secondLife(confinement: Confinement, user: UserEntry, version: number): never {
  const root = Deno.uid() === 0;
  if (root) {
    for (const folder of confinement.owned) handOver(folder, user);
    copyProgram();
    becomeUser(user);
  }
  refuseNewRights();
  if (version > 0) restrictFiles([...ownRules(), ...filesOf(confinement)], version);
  executeAgain({
    // Where root has its files is of no use to another user.
    ...Object.fromEntries(
      Object.entries(Deno.env.toObject())
        .filter(([name]) => !root || !/^(HOME|XDG_.*)$/.test(name)),
    ),
    // Deno does without a cache where it cannot make one.
    DENO_DIR: "/dev/null/aoe",
    USER: confinement.user,
    LOGNAME: confinement.user,
    [CONFINED]: String(Deno.pid),
  });
}

/** The second life reads the program again, which may lie where only root reads: by its descriptor. */
function copyProgram(): void {
  const fd = /^file:\/\/\/proc\/self\/fd\/(\d+)$/.exec(Deno.mainModule)?.[1];
  if (fd === undefined) return;
  const name = Deno.readLinkSync(`/proc/self/fd/${fd}`).replace(/ \(deleted\)$/, "");
  copyBehindDescriptor(Number(fd), name.slice(name.lastIndexOf("/") + 1));
}

/**
 * Makes a folder of the user's, or gives it root's that is there, with its files, if no process has
 * one of them locked. What is another user's stays so: whoever opens it says it.
 */
function handOver(folder: string, user: UserEntry): void {
  Deno.mkdirSync(parentOf(folder), { recursive: true, mode: 0o755 });
  try {
    Deno.mkdirSync(folder, { mode: FOLDER_MODE });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
  if (Deno.lstatSync(folder).uid !== user.uid) takeBackFolder(folder);
  const { uid, isDirectory } = Deno.lstatSync(folder);
  if (uid !== 0 || !isDirectory) return;
  const files = [...Deno.readDirSync(folder)].filter(({ isFile }) => isFile)
    .map(({ name }) => `${folder}/${name}`);
  // They stay locked until this process is executed again.
  if (!files.every((path) => lockFile(openFile(path, { readOnly: true }), false))) return;
  for (const path of [...files, folder]) Deno.chownSync(path, user.uid, user.gid);
}

/** What the second life itself is made of: its executable, libraries, and the program. */
function ownRules(): FileRule[] {
  const mapped = Deno.readTextFileSync("/proc/self/maps").split("\n")
    .flatMap((line) => /^\S+ ..x. \S+ \S+ \S+ +(\/.*?)(?: \(deleted\))?$/.exec(line)?.[1] ?? []);
  const module = Deno.mainModule.startsWith("file://")
    ? [parentOf(decodeURIComponent(new URL(Deno.mainModule).pathname))]
    : [];
  return [
    ...["/proc/self/exe", ...new Set(mapped)].map((path) => ({ path, access: "execute" } as const)),
    ...[...READABLE, ...module, ...mapped.map(parentOf)]
      .map((path) => ({ path, access: "read" } as const)),
    ...WRITABLE.map((path) => ({ path, access: "write" } as const)),
  ];
}

/** What is served, read and written. */
function filesOf({ images, readable, writable, owned }: Confinement): FileRule[] {
  return [
    ...[...images, ...writable].map((path) => ({ path: placeOf(path), access: "write" } as const)),
    ...owned.map((path) => ({ path, access: "write" } as const)),
    ...readable.map((path) => ({ path: placeOf(path), access: "read" } as const)),
  ];
}

/** What has to be allowed for a file: its folder, unless a whole machine would be allowed with it. */
function placeOf(path: string): string {
  const name = realPath(path);
  const folder = parentOf(name);
  return TOO_WIDE.includes(folder) && exists(name) ? name : folder;
}

/** A path without links; of what is not there, that of its folder with the name behind it. */
function realPath(path: string): string {
  try {
    return Deno.realPathSync(path);
  } catch {
    const slash = path.lastIndexOf("/");
    const name = path.slice(slash + 1);
    try {
      return `${Deno.realPathSync(slash < 0 ? "." : path.slice(0, slash + 1))}/${name}`
        .replace(/^\/\//, "/");
    } catch {
      return path;
    }
  }
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

function whatLandlockLacks(version: number): string | undefined {
  if (version === 0) {
    return "This kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, lsm=): which files can be " +
      "opened is decided by their permissions alone";
  }
  if (version >= LANDLOCK_VERSION_WHOLE) return undefined;
  return `This kernel's Landlock (version ${version}) cannot keep files from ` +
    (version < 3 ? "being truncated, nor devices from ioctl" : "ioctl on devices") +
    `: permissions alone decide`;
}
