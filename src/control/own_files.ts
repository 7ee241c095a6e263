// Folders and files of ours in places that others may write to, too: /var/tmp, a home, the folder of
// somebody's image. A folder is used only when it is this user's alone; a file is made under a name
// that nobody can have foreseen (O_EXCL, which follows no symbolic link), and then put in place by a
// rename, which replaces a link and does not follow it.

import { closeFile, lockFile, openFile } from "../../ffi/files.ts";

/** Nobody else may write to what is ours. */
const OTHERS_WRITE = 0o022;
/** What is put behind a name while a file is written. */
const UNFINISHED = /^\.[0-9a-f]{8}-[0-9a-f]{4}$/;

/**
 * Makes a folder that only this user may write to, or takes the one that is there.
 *
 * @param mode Without it others may not even look.
 * @throws {Deno.errors.PermissionDenied} One sentence: what stands there is somebody else's.
 */
export function ownFolder(path: string, mode = 0o700): void {
  Deno.mkdirSync(path, { recursive: true, mode });
  // Through a link only when the link is ours, too.
  const [name, there] = [Deno.lstatSync(path), Deno.statSync(path)];
  const stranger = [name, there].find(({ uid }) => uid !== Deno.uid());
  if (stranger !== undefined) {
    throw new Deno.errors.PermissionDenied(
      `"${path}" belongs to another user (uid ${stranger.uid}), and is not used: remove it`,
    );
  }
  const now = (there.mode ?? 0) & 0o777;
  if ((now & OTHERS_WRITE) !== 0 || (now & mode) !== mode) Deno.chmodSync(path, mode);
}

/**
 * Makes root's again a folder that root had given to another user, with its files, where nobody but
 * root can have put it there. To be called by root.
 *
 * @returns `kept`: it is not another user's, or not one that root can take; `used`: a process has one
 * of its files locked.
 */
export function takeBackFolder(folder: string): "taken" | "kept" | "used" {
  let uid: number | null;
  let gid: number | null;
  let isDirectory: boolean;
  try {
    ({ uid, gid, isDirectory } = Deno.lstatSync(folder));
  } catch {
    return "kept";
  }
  if (!isDirectory || uid === null || uid === 0) return "kept";
  const above = Deno.statSync(folder.slice(0, folder.lastIndexOf("/")) || "/");
  // Where others may rename it, it is refused as any other stranger's folder is.
  if (above.uid !== 0 || ((above.mode ?? 0) & OTHERS_WRITE) !== 0) return "kept";
  // From here on its owner can put nothing in the place of what is looked at.
  try {
    Deno.chownSync(folder, 0, 0);
  } catch {
    // A root without CAP_CHOWN, as in a container: it is refused as a stranger's.
    return "kept";
  }
  // No links, and nothing that has another name elsewhere.
  const files = [...Deno.readDirSync(folder)].filter(({ isFile }) => isFile)
    .map(({ name }) => `${folder}/${name}`).filter((path) => Deno.lstatSync(path).nlink === 1);
  if (files.some(isLocked)) {
    Deno.chownSync(folder, uid, gid);
    return "used";
  }
  for (const path of files) Deno.chownSync(path, 0, 0);
  return "taken";
}

function isLocked(path: string): boolean {
  const fd = openFile(path, { readOnly: true });
  const free = lockFile(fd, false);
  closeFile(fd);
  return !free;
}

/**
 * Reads a file that only this user can have written.
 *
 * @returns Undefined when there is none.
 * @throws {Deno.errors.PermissionDenied} One sentence: it is somebody else's, or no plain file.
 */
export function readOwnFile(path: string): string | undefined {
  let named: Deno.FileInfo;
  try {
    named = Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  const refuse = (why: string) => new Deno.errors.PermissionDenied(`"${path}" is not read: ${why}`);
  if (!named.isFile) throw refuse("it is no plain file");
  using file = Deno.openSync(path);
  const opened = file.statSync();
  if (opened.ino !== named.ino || opened.dev !== named.dev) {
    throw refuse("it was replaced just now");
  }
  if (opened.uid !== Deno.uid()) throw refuse(`it belongs to another user (uid ${opened.uid})`);
  if (((opened.mode ?? 0) & OTHERS_WRITE) !== 0) throw refuse("others may write to it");
  const bytes = new Uint8Array(opened.size);
  const count = file.readSync(bytes) ?? 0;
  return new TextDecoder().decode(bytes.subarray(0, count));
}

/**
 * Puts a file of this user alone in place, as a whole or not at all: written, on stable storage,
 * renamed, and the folder on stable storage.
 *
 * @returns The file, still open for writing.
 */
export async function putOwnFile(path: string, text: string): Promise<Deno.FsFile> {
  const unfinished = `${path}.${crypto.randomUUID().slice(0, 13)}`;
  const file = await Deno.open(unfinished, { createNew: true, write: true, mode: 0o600 });
  try {
    await writeText(file, text);
    await Deno.rename(unfinished, path);
    await syncFolderOf(path);
    return file;
  } catch (error) {
    file.close();
    await Deno.remove(unfinished).catch(() => {});
    throw error;
  }
}

/**
 * Makes a file of this user alone under a name that nobody has yet, not through a link either.
 *
 * @returns Its descriptor.
 * @throws {SystemError} EEXIST, or another of open(2)'s reasons.
 */
export function makeOwnFile(path: string): number {
  return openFile(path, { readOnly: false, create: true, mode: 0o600 });
}

/** Removes what a killed process has left of \`putOwnFile\` for a path. */
export async function sweepUnfinished(path: string): Promise<void> {
  const slash = path.lastIndexOf("/");
  const [folder, name] = [path.slice(0, slash) || "/", path.slice(slash + 1)];
  try {
    for await (const entry of Deno.readDir(folder)) {
      if (!entry.isFile || !entry.name.startsWith(`${name}.`)) continue;
      if (UNFINISHED.test(entry.name.slice(name.length))) {
        await Deno.remove(`${folder}/${entry.name}`);
      }
    }
  } catch {
    // It is not ours to remove, or has gone by itself.
  }
}

/**
 * Writes a text of the same length over a file from `putOwnFile`: for a file system that has no room
 * left for a second one.
 */
export async function rewriteOwnFile(file: Deno.FsFile, text: string): Promise<void> {
  await file.seek(0, Deno.SeekMode.Start);
  await writeText(file, text);
}

/** Puts the names in a path's folder onto stable storage. */
export async function syncFolderOf(path: string): Promise<void> {
  using folder = await Deno.open(path.slice(0, path.lastIndexOf("/")) || "/");
  // A file system that cannot do this does it by itself.
  await folder.sync().catch(() => {});
}

async function writeText(file: Deno.FsFile, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
  await file.sync();
}
