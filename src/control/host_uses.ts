// How this host uses a file or block device: mounted, swapped on, part of a larger device, behind a
// loop device, or open in a program. Two who write to one disk and do not know of each other
// destroy it, so that commands ask here before they do.

import { fileIdentity } from "../../ffi/files.ts";
import type { FileIdentity } from "../../ffi/files.ts";
import { kernelText, namesOf, openDescriptors, runningPrograms } from "./running_programs.ts";
import type { RunningProgram } from "./running_programs.ts";

/** One way in which something is used. */
export interface HostUse {
  /** For a sentence, as in `it is mounted on "/mnt"`. */
  readonly text: string;
  /** Whether that may write to it. */
  readonly writes: boolean;
  /** Whether another may write to it: to a program that reads, but not below a mount. */
  readonly bearsChanges: boolean;
  /** As in `vblade (pid 7)`, if it is a program. */
  readonly program?: string;
}

/** Uses that are told of; more are no news. */
const TOLD_MAX = 4;
const O_ACCMODE = 3;

/** A device and its partitions, as `8:16`. */
type Numbers = ReadonlySet<string>;

/**
 * Who uses a file or block device, or a partition of it.
 *
 * @param passOver Programs that may have it open.
 * @returns Nothing when nobody does, or it is not there.
 */
export function hostUses(
  path: string,
  passOver: (program: RunningProgram) => boolean = () => false,
): HostUse[] {
  const file = fileIdentity(path);
  if (file === undefined) return [];
  const { stands } = file;
  return [
    ...(stands === undefined ? [] : deviceUses(withPartitions(stands.join(":")))),
    ...swapUses(file),
    ...loopUses(file),
    ...programUses(file, passOver),
  ];
}

/** `it is mounted on "/mnt", and vblade (pid 7) has it open for writing`. */
export function describeUses(uses: readonly HostUse[]): string {
  const told = uses.slice(0, TOLD_MAX).map(({ text }) => text);
  if (uses.length > TOLD_MAX) told.push(`${uses.length - TOLD_MAX} more use it`);
  const last = told.pop() ?? "";
  return told.length === 0 ? last : `${told.join(", ")}, and ${last}`;
}

/** `vblade (pid 7)`. */
export function describeProgram({ name, pid }: RunningProgram): string {
  return `${name} (pid ${pid})`;
}

/** Mounts and larger devices, which take a device for themselves. */
function deviceUses(numbers: Numbers): HostUse[] {
  return [...mountUses(numbers), ...holderUses(numbers)];
}

function withPartitions(number: string): Numbers {
  const folder = `/sys/dev/block/${number}`;
  const partitions = namesOf(folder).map(({ name }) => `${folder}/${name}`)
    .filter((path) => kernelText(`${path}/partition`) !== "")
    .map((path) => kernelText(`${path}/dev`).trim());
  return new Set([number, ...partitions]);
}

/** In every mount namespace: what a container has mounted is in use as well. */
function mountUses(numbers: Numbers): HostUse[] {
  const points = new Map<string, string>();
  const seen = new Set<string | undefined>([undefined]);
  const look = (pid: number | "self", where: string) => {
    const namespace = namespaceOf(pid);
    if (seen.has(namespace)) return;
    seen.add(namespace);
    for (const point of mountPoints(`/proc/${pid}/mountinfo`, numbers)) {
      // A namespace that was copied has the same mounts, and they are one use.
      if (!points.has(point)) points.set(point, where);
    }
  };
  look("self", "");
  look(1, "");
  for (const program of runningPrograms()) {
    look(program.pid, ` in the mount namespace of ${describeProgram(program)}`);
  }
  return [...points].map(([point, where]) => ({
    text: `it is mounted on ${point}${where}`,
    writes: true,
    bearsChanges: false,
  }));
}

function namespaceOf(pid: number | "self"): string | undefined {
  try {
    return Deno.readLinkSync(`/proc/${pid}/ns/mnt`);
  } catch {
    return undefined;
  }
}

/** Quoted mount points (proc(5), mountinfo). */
function mountPoints(file: string, numbers: Numbers): string[] {
  return kernelText(file).split("\n").flatMap((line) => {
    const [mount = "", rest = ""] = line.split(" - ");
    const [, , number = "", , point = ""] = mount.split(" ");
    const [, source = ""] = rest.split(" ");
    // btrfs and others have a number of their own in place of the device's.
    const found = numbers.has(number) ||
      (number.startsWith("0:") && source.startsWith("/dev/") && standsFor(source, numbers));
    return found ? [`"${unescaped(point)}"`] : [];
  });
}

function standsFor(path: string, numbers: Numbers): boolean {
  const stands = fileIdentity(path)?.stands;
  return stands !== undefined && numbers.has(stands.join(":"));
}

/** Blanks and such are octal in files of procfs. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits) => String.fromCharCode(parseInt(digits, 8)));
}

function holderUses(numbers: Numbers): HostUse[] {
  return [...numbers].flatMap((number) =>
    namesOf(`/sys/dev/block/${number}/holders`).map(({ name }) => {
      const mapped = kernelText(`/sys/block/${name}/dm/name`).trim();
      return {
        text: `it is part of /dev/${mapped === "" ? name : `mapper/${mapped}`}`,
        writes: true,
        bearsChanges: false,
      };
    })
  );
}

function swapUses(file: FileIdentity): HostUse[] {
  const numbers = file.stands === undefined ? undefined : withPartitions(file.stands.join(":"));
  return kernelText("/proc/swaps").split("\n").slice(1).flatMap((line) => {
    const path = unescaped(line.split(/\s/, 1)[0]!);
    if (path === "") return [];
    const used = numbers === undefined ? isSame(path, file) : standsFor(path, numbers);
    return used ? [{ text: "this host swaps on it", writes: true, bearsChanges: false }] : [];
  });
}

/** Loop devices on a file, or on a device, and what those are used for in turn. */
function loopUses(file: FileIdentity): HostUse[] {
  return namesOf("/sys/block").flatMap(({ name }): HostUse[] => {
    if (!name.startsWith("loop")) return [];
    const backing = kernelText(`/sys/block/${name}/loop/backing_file`).replace(/\n$/, "");
    if (backing === "" || !isSame(backing, file)) return [];
    const further = deviceUses(withPartitions(kernelText(`/sys/block/${name}/dev`).trim()))
      .map(({ text }) => text.replace(/^it /, ""));
    const writes = kernelText(`/sys/block/${name}/ro`).trim() !== "1";
    const kind = writes ? "" : " (read-only)";
    return [{
      text: [`/dev/${name}${kind} stands on it`, ...further].join(" and "),
      writes,
      bearsChanges: false,
    }];
  });
}

/** Whether a path leads to the file, or to the same device by another name. */
function isSame(path: string, { device, inode, stands }: FileIdentity): boolean {
  const other = fileIdentity(path);
  if (other === undefined) return false;
  if (stands !== undefined) return other.stands?.join() === stands.join();
  return other.inode === inode && other.device.join() === device.join();
}

function programUses(
  file: FileIdentity,
  passOver: (program: RunningProgram) => boolean,
): HostUse[] {
  const uses: HostUse[] = [];
  for (const program of runningPrograms()) {
    if (passOver(program)) continue;
    const access = accessOf(program, file);
    if (access === undefined) continue;
    const writes = access === "writes";
    const how = writes ? "has it open for writing" : "has it open";
    const name = describeProgram(program);
    uses.push({ text: `${name} ${how}`, writes, bearsChanges: true, program: name });
  }
  return uses;
}

function accessOf(program: RunningProgram, file: FileIdentity): "reads" | "writes" | undefined {
  let access: "reads" | "writes" | undefined;
  for (const { target, path, infoPath } of openDescriptors(program)) {
    // The kernel's own files, pipes and sockets have no path.
    if (!target.startsWith(file.stands === undefined ? "/" : "/dev/")) continue;
    // A look at the file itself could wait for a server: what the kernel knows of it comes first.
    const info = file.stands === undefined ? kernelText(infoPath) : undefined;
    const inode = info === undefined ? undefined : /^ino:\s*(\d+)$/m.exec(info)?.[1];
    if (inode !== undefined && BigInt(inode) !== file.inode) continue;
    if (!isSame(path, file)) continue;
    const flags = /^flags:\s*([0-7]+)$/m.exec(info ?? kernelText(infoPath))?.[1] ?? "0";
    if ((parseInt(flags, 8) & O_ACCMODE) !== 0) return "writes";
    access = "reads";
  }
  return file.stands === undefined && mapsForWriting(program, file) ? "writes" : access;
}

/** Whether a program has a file in its memory, writable and shared, whatever it has closed since. */
function mapsForWriting({ pid }: RunningProgram, { device, inode }: FileIdentity): boolean {
  const maps = kernelText(`/proc/${pid}/maps`);
  if (!maps.includes(` ${inode} `)) return false;
  const [major, minor] = device.map((number) => number.toString(16).padStart(2, "0"));
  return new RegExp(`^\\S+ .w.s \\S+ ${major}:${minor} ${inode} `, "m").test(maps);
}
