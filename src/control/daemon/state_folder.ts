// The folder in which a daemon keeps what frames have set of its targets: a file for each, put in
// place as a whole. A process that is killed leaves the old or the new one.

import { closeFile } from "../../../ffi/files.ts";
import { formatAddress } from "../../wire/aoe.ts";
import type { Address } from "../../wire/aoe.ts";
import { formatKeptFile, parseKeptFile } from "../../core/daemon/kept_file.ts";
import type { KeptSettings } from "../../core/target/kept_settings.ts";
import { lockOwnFile } from "../line_socket.ts";
import { ownFolder, putOwnFile, readOwnFile, takeBackFolder } from "../own_files.ts";

/** Where it is unless something else is said. */
const FOLDER_DEFAULT = "/var/lib/aoe";
/** What `putOwnFile` has not put in place when its process was killed. */
const UNFINISHED = /^e\d+\.\d+\.(json|lost)\.[0-9a-f]{8}-[0-9a-f]{4}$/;

/** Where states are kept at this place: what a service manager has made, or the customary folder. */
export function stateFolderPath(): string {
  const given = Deno.env.get("STATE_DIRECTORY")?.split(":")[0] ?? "";
  return given === "" ? FOLDER_DEFAULT : given;
}

/** An opened folder, which is this process's alone. */
export class StateFolder {
  /** Where it is. */
  readonly path: string;
  readonly #lock: number;
  readonly #writes = new Map<string, Promise<void>>();

  /**
   * @param folder Of all daemons.
   * @param name Of this one.
   * @throws {Error} One sentence: it is somebody else's, or cannot be made.
   */
  constructor(folder: string, name: string) {
    this.path = `${folder}/${name}`;
    this.#own();
    const lock = lockOwnFile(`${this.path}/lock`);
    if (lock === undefined) throw this.#inUse();
    this.#lock = lock;
    for (const { name, isFile } of Deno.readDirSync(this.path)) {
      if (isFile && UNFINISHED.test(name)) Deno.removeSync(`${this.path}/${name}`);
    }
  }

  #own(): void {
    // What `--user` has given to another user is root's again, once that one has ended.
    const used = Deno.uid() === 0 && takeBackFolder(this.path) === "used";
    if (used) throw this.#inUse();
    try {
      ownFolder(this.path);
    } catch (error) {
      if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
      const { uid } = Deno.statSync(this.path);
      throw new Deno.errors.PermissionDenied(
        `The state in "${this.path}" is another user's (uid ${uid}): start as that user, name ` +
          `another folder by --state, or go without by --no-state`,
      );
    }
  }

  #inUse(): Error {
    return new Deno.errors.AddrInUse(
      `Another aoe serve keeps its state in "${this.path}": give one of them a --name`,
    );
  }

  /**
   * What is kept of an export; undefined when nothing is.
   *
   * @throws {Error} One sentence: the file is damaged, a newer program's, or not to be read.
   */
  load(address: Address): KeptSettings | undefined {
    const name = formatAddress(address.shelf, address.slot);
    const path = this.#fileOf(address);
    const text = readOwnFile(path);
    if (text === undefined) return undefined;
    const { settings, refusal } = parseKeptFile(name, text);
    if (settings !== undefined) return settings;
    throw new Deno.errors.InvalidData(
      `"${path}" ${refusal}: mend or remove it (then ${name} has no config string, mask list and ` +
        `reservation any more)`,
    );
  }

  /** Resolves when all of it is on stable storage; rejects when it cannot be, and the old one stays. */
  keep(address: Address, settings: KeptSettings): Promise<void> {
    const path = this.#fileOf(address);
    const before = this.#writes.get(path) ?? Promise.resolve();
    const write = before.catch(() => {}).then(async () => {
      const text = formatKeptFile(formatAddress(address.shelf, address.slot), settings);
      (await putOwnFile(path, text)).close();
    });
    this.#writes.set(path, write);
    return write;
  }

  /**
   * The same; what cannot be kept is told of.
   *
   * @returns Whether it is kept.
   */
  async keepOrTell(
    address: Address,
    settings: KeptSettings,
    tell: (message: { readonly kind: "error"; readonly text: string }) => void,
  ): Promise<boolean> {
    try {
      await this.keep(address, settings);
      return true;
    } catch (error) {
      const name = formatAddress(address.shelf, address.slot);
      const reason = (error as Error).message.replace(/ \(os error \d+\)/, "");
      tell({
        kind: "error",
        text: `${name}: a change of its config string, mask list or reservation is refused, ` +
          `since it cannot be kept: ${reason}`,
      });
      return false;
    }
  }

  /** Another process may have it, once all writes are over. */
  close(): void {
    closeFile(this.#lock);
  }

  #fileOf({ shelf, slot }: Address): string {
    return `${this.path}/${formatAddress(shelf, slot)}.json`;
  }
}
