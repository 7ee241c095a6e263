// Folders and files of ours in places that others may write to, too. A folder is used only when it
// is this user's alone.

/** Nobody else may write to what is ours. */
const OTHERS_WRITE = 0o022;

/**
 * Makes a folder for this user alone, or takes the one that is there.
 *
 * @throws {Deno.errors.PermissionDenied} One sentence: what stands there is somebody else's.
 */
export function ownFolder(path: string): void {
  Deno.mkdirSync(path, { recursive: true, mode: 0o700 });
  // Through a link only when the link is ours, too.
  const [name, there] = [Deno.lstatSync(path), Deno.statSync(path)];
  const stranger = [name, there].find(({ uid }) => uid !== Deno.uid());
  if (stranger !== undefined) {
    throw new Deno.errors.PermissionDenied(
      `"${path}" belongs to another user (uid ${stranger.uid}), and is not used: remove it`,
    );
  }
  if (((there.mode ?? 0) & OTHERS_WRITE) !== 0) Deno.chmodSync(path, 0o700);
}
