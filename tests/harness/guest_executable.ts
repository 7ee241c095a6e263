// A guest that runs ./aoe itself: the executable stands in a directory of the host's, since a guest
// would take long to unpack it.

import {
  bootGuest,
  buildInitramfs,
  type GuestRoot,
  type Kernel,
  librariesOf,
  programPath,
} from "./guest.ts";
import { run, type RunningProcess } from "./process.ts";
import type { Tool } from "./requirements.ts";
import { aoeExecutable } from "./target.ts";
import type { Namespace, Testbed } from "./testbed.ts";

/** What such a guest has, and does. */
export interface ExecutableGuest {
  readonly kernel: Kernel;
  readonly mtu: number;
  readonly memoryMiB: number;
  /** As in `bootGuest`. */
  readonly processors?: number;
  /** Kernel modules beside those of the network card, the shared directory and ext4. */
  readonly modules: readonly string[];
  /** Programs of the host, in /host. */
  readonly programs: readonly Tool[];
  /** One with many libraries: /share/host/NAME, with LD_LIBRARY_PATH=/share/lib. */
  readonly largeProgram?: Tool;
  readonly directories?: GuestRoot["directories"];
  /**
   * The script, which has `$disk` (/dev/etherd/e1.1), `aoe`, `daemon` (prints the process that
   * serves the only attached disk) and `within SECONDS CONDITION`.
   */
  readonly script: string;
}

const beginning = `
mkdir -p /share /run /mnt/disk
must mount -t 9p -o trans=virtio,version=9p2000.L,cache=loose,ro share /share
# Compiled code is kept as on any machine, for which the shared directory cannot be written.
mkdir -p /tmp/cache/aoe
for entry in /share/cache/aoe/*; do [ -d $entry ] || ln -s $entry /tmp/cache/aoe; done
# Summing up what was found whole outside would take minutes under emulation.
rm -f /tmp/cache/aoe/*.intact
for program in /tmp/cache/aoe/aoe-*.js; do
  printf '#!/bin/sh\necho %s\n' "$(cat /proc/sys/kernel/random/boot_id)" > $program.intact
  chmod 700 $program.intact
done
[ ! -d /share/cache/aoe/state ] || cp -r /share/cache/aoe/state /tmp/cache/aoe
export HOME=/tmp XDG_CACHE_HOME=/tmp/cache NO_COLOR=1
disk=/dev/etherd/e1.1
aoe() { /share/aoe "$@"; }
# The keeper, which is younger, has the same words. Asking \`aoe stat\` would take seconds.
daemon() { grep -l -e '-[-]foreground' /proc/[0-9]*/cmdline 2>/dev/null | tr -dc '0-9\\n' | sort -n | head -n 1; }
within() { n=0; until eval "$2"; do n=$((n+1)); [ $n -lt $(($1*10)) ] || fail "$2"; sleep 0.1; done; }
`;

/** Boots it on the network of `guestNetwork`, where targets are served already. */
export async function bootWithExecutable(
  testbed: Testbed,
  host: Namespace,
  options: ExecutableGuest,
): Promise<RunningProcess> {
  const { kernel, mtu, memoryMiB, processors, modules, programs, largeProgram } = options;
  const share = testbed.path("share");
  const libraryUsers = await shareExecutable(share);
  if (largeProgram !== undefined) await shareProgram(largeProgram, share);
  const card = ["virtio_pci", "virtio_net"];
  const initramfs = await buildInitramfs(testbed.directory, kernel, {
    modules: [...card, "9pnet_virtio", "9p", "crc32c_generic", "ext4", ...modules],
    programs,
    libraryUsers,
    directories: options.directories ?? [],
    script: `${beginning}must ip link set eth0 mtu ${mtu} up\n${options.script}`,
  });
  return bootGuest(host, {
    ...{ kernel, initramfs, tap: "tap0", mtu, memoryMiB, share },
    ...(processors === undefined ? {} : { processors }),
  });
}

/** @returns What the guest's root needs libraries for. */
async function shareExecutable(share: string): Promise<string[]> {
  await Deno.mkdir(`${share}/cache`, { recursive: true });
  await Deno.copyFile(await aoeExecutable(), `${share}/aoe`);
  await run([`${share}/aoe`, "--version"], { env: { XDG_CACHE_HOME: `${share}/cache` } });
  const programs = [`${share}/aoe`];
  for await (const path of filesIn(`${share}/cache`)) programs.push(path);
  const dynamic: string[] = [];
  for (const path of programs) if ((await run(["ldd", path])).code === 0) dynamic.push(path);
  return dynamic;
}

async function shareProgram(name: Tool, share: string): Promise<void> {
  for (const folder of ["host", "lib"]) await Deno.mkdir(`${share}/${folder}`, { recursive: true });
  const path = programPath(name);
  await Deno.copyFile(path, `${share}/host/${name}`);
  for (const file of await librariesOf(path)) {
    await Deno.copyFile(file, `${share}/lib/${file.slice(file.lastIndexOf("/") + 1)}`);
  }
}

async function* filesIn(folder: string): AsyncGenerator<string> {
  for await (const entry of Deno.readDir(folder)) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) yield* filesIn(path);
    else yield path;
  }
}
