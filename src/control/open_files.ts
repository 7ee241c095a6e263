// How many files this process may still open. Deno has raised the limit as far as it goes when it
// started, and ends in a panic when there are too few: so it is looked before anything begins.

/** What stands in the way of opening so many more files; undefined when nothing does. */
export function openFilesObstacle(wanted: number): string | undefined {
  const limits = Deno.readTextFileSync("/proc/self/limits");
  const limit = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Infinity);
  // One of them is the directory itself.
  const open = [...Deno.readDirSync("/proc/self/fd")].length - 1;
  if (open + wanted <= limit) return undefined;
  return `Only ${limit} files may be open here, and ${open + wanted} are needed: ` +
    `raise the hard limit (ulimit -Hn, or LimitNOFILE= of a unit)`;
}
