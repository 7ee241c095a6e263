// Watches whether the paths that are served still lead to the files that are served. A file that was
// replaced (mv, rsync) or deleted is written to as before, and what is written goes with it: nobody
// would notice before the next start.

import { formatAddress } from "../../wire/aoe.ts";
import type { ExportFile } from "./open_file.ts";

const LOOK_EVERY_MS = 1000;

/** What has become of a path. */
type Fate = "same" | "replaced" | "deleted" | "moved";

/** A served file, and what was told of it last. */
interface Watched {
  readonly file: ExportFile;
  /** Leads to the open file, whatever its name is. */
  readonly openPath: string;
  readonly opened: Deno.FileInfo;
  fate: Fate;
  /** A look at a server that hangs lasts; one is enough. */
  looking: boolean;
}

/**
 * Looks every second, and tells once of each file that lost its name.
 *
 * @param tell Gets one sentence, without a final period.
 * @returns Ends it.
 */
export function watchNames(
  files: () => readonly ExportFile[],
  tell: (text: string) => void,
): () => void {
  let watched = watchedOf(files(), []);
  const timer = setInterval(() => {
    watched = watchedOf(files(), watched);
    for (const one of watched) {
      if (!one.looking) look(one, tell);
    }
  }, LOOK_EVERY_MS);
  return () => clearInterval(timer);
}

/** Those of `before` that there still are, and new ones. */
function watchedOf(files: readonly ExportFile[], before: readonly Watched[]): Watched[] {
  const known = new Map(before.map((one) => [keyOf(one.file), one]));
  return files.filter(({ kind }) => kind === "file").flatMap((file): Watched | Watched[] => {
    const one = known.get(keyOf(file));
    if (one !== undefined) return one;
    const openPath = `/proc/self/fd/${file.config.fd}`;
    try {
      return { file, openPath, opened: Deno.statSync(openPath), fate: "same", looking: false };
    } catch {
      // It is served no more.
      return [];
    }
  });
}

function keyOf({ config: { fd, path } }: ExportFile): string {
  return `${fd} ${path}`;
}

async function look(watched: Watched, tell: (text: string) => void): Promise<void> {
  watched.looking = true;
  try {
    const fate = await fateOf(watched);
    if (fate !== watched.fate && fate !== "same") tell(describeFate(watched, fate));
    watched.fate = fate;
  } catch {
    // It cannot be looked at now, which says nothing of its name.
  } finally {
    watched.looking = false;
  }
}

async function fateOf({ file, openPath, opened }: Watched): Promise<Fate> {
  try {
    const { dev, ino } = await Deno.stat(file.config.path);
    return dev === opened.dev && ino === opened.ino ? "same" : "replaced";
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return (await Deno.stat(openPath)).nlink === 0 ? "deleted" : "moved";
}

function describeFate({ file }: Watched, fate: Exclude<Fate, "same">): string {
  const { shelf, slot, path, fd } = file.config;
  const what = `${formatAddress(shelf, slot)}: "${path}"`;
  switch (fate) {
    case "replaced":
      return `${what} was replaced by another file: the old one is served on, ` +
        `with all that is written to it, until aoe serve is started anew`;
    case "deleted":
      return `${what} was deleted: it is served on, and lost when aoe serve ends; ` +
        `until then /proc/${Deno.pid}/fd/${fd} can be copied`;
    case "moved":
      return `${what} was moved away: it is served on under its new name, ` +
        `which the next start will not find`;
  }
}
