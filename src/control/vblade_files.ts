// The files by which vblade is started at boot, wherever they are.

import {
  isVbladeFragment,
  readVbladeFragment,
  readVbladeLines,
  readVbladePersist,
} from "../core/daemon/vblade.ts";
import type { VbladeReading } from "../core/daemon/vblade.ts";

/** Where they are by habit: vblade's old init script, its persistence, and vblade-persist. */
const VBLADE_PLACES = ["/etc/vblade.conf", "/etc/vblade.conf.d", "/var/lib/vblade-persist/vblades"];

/** What a folder of vblade-persist and of runit has beside what we read. */
const RUNIT_NAMES = ["env", "macs", "down", "run", "finish", "log", "supervise", "check"];

/**
 * Reads files and folders, or those that are there by habit.
 *
 * @throws {Deno.errors.NotFound} One sentence: there is none.
 */
export function readVbladeFiles(paths: readonly string[]): VbladeReading {
  const places = paths.length > 0 ? paths : VBLADE_PLACES.filter(exists);
  const missing = places.find((path) => !exists(path));
  if (missing !== undefined) throw new Deno.errors.NotFound(`"${missing}" is not there`);
  if (places.length === 0) {
    throw new Deno.errors.NotFound(
      `There is nothing of vblade here: no ${VBLADE_PLACES.join(", no ")}`,
    );
  }
  const readings = places.map((path) => isFolder(path) ? readFolder(path) : readFile(path));
  return {
    exports: readings.flatMap(({ exports }) => exports),
    strangers: readings.flatMap(({ strangers }) => strangers),
  };
}

function readFile(path: string): VbladeReading {
  const text = Deno.readTextFileSync(path);
  return isVbladeFragment(text) ? readVbladeFragment(text, path) : readVbladeLines(text, path);
}

function readFolder(path: string): VbladeReading {
  if (isFolder(`${path}/env`)) return readPersist(path);
  const readings = namesIn(path).map((name): VbladeReading => {
    const whole = `${path}/${name}`;
    if (isFolder(whole)) return readFolder(whole);
    if (name.endsWith(".conf")) return readFile(whole);
    const why = "vblade reads files that end in .conf only";
    return { exports: [], strangers: [{ from: whole, text: name, why }] };
  });
  return {
    exports: readings.flatMap(({ exports }) => exports),
    strangers: readings.flatMap(({ strangers }) => strangers),
  };
}

function readPersist(path: string): VbladeReading {
  const env = new Map(
    namesIn(`${path}/env`).map((name) => [name, Deno.readTextFileSync(`${path}/env/${name}`)]),
  );
  const macs = exists(`${path}/macs`) ? namesIn(`${path}/macs`) : [];
  const reading = readVbladePersist(path, env, macs, exists(`${path}/down`));
  const others = namesIn(path).filter((name) => !RUNIT_NAMES.includes(name));
  const why = "vblade-persist has no such file";
  return {
    exports: reading.exports,
    strangers: [
      ...reading.strangers,
      ...others.map((name) => ({ from: `${path}/${name}`, text: name, why })),
    ],
  };
}

function namesIn(path: string): string[] {
  return [...Deno.readDirSync(path)].map(({ name }) => name).sort();
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function isFolder(path: string): boolean {
  return exists(path) && Deno.statSync(path).isDirectory;
}
