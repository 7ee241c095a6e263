// What people type who know other programs: short options with their value in one word, names of
// commands that others have, and vblade's order of arguments.

import type { Usage, UsageTerm } from "@optique/core/usage";

/** What stands for a command of ours elsewhere, and what to say of it. */
const HINTS: Readonly<Record<string, string>> = {
  ...hints("aoe stat lists disks, aoe discover the paths to them", ["ls", "list", "show", "lsblk"]),
  ...hints("aoe stat shows disks and their state", ["status", "state", "ps"]),
  ...hints("aoe discover asks who is there", ["find", "scan", "search", "probe", "lookup"]),
  ...hints("aoe identify e1.1 shows what a disk says of itself", ["info", "id", "inspect"]),
  ...hints(
    "aoe attach e1.1 makes /dev/etherd/e1.1, which mount takes",
    ["mount", "connect", "login", "add", "map", "open", "import"],
  ),
  ...hints(
    "umount takes the file system away, then aoe detach e1.1 the disk",
    ["umount", "unmount", "disconnect", "logout", "remove", "rm", "delete", "unmap"],
  ),
  ...hints(
    "aoe serve eth0 1.1 disk.img serves a disk until Ctrl-C",
    ["start", "export", "run", "up", "vblade", "target", "daemon", "share", "create"],
  ),
  ...hints("Ctrl-C or SIGTERM ends aoe serve, aoe detach a disk", ["stop", "down", "kill", "halt"]),
  ...hints("aoe copy e1.1 disk.img copies a disk", ["cp", "dd", "backup", "clone", "restore"]),
  ...hints("aoe bench e1.1 measures a disk, aoe check the network", ["test", "perf", "fio"]),
  ...hints("aoe man shows the manual, aoe --help the commands", ["manual", "doc", "docs"]),
  ...hints("aoe completions bash writes them", ["completion", "complete"]),
};

/** The sentence for the name of a command that is not ours; undefined for one nobody has. */
export function hintFor(name: string): string | undefined {
  const known = name.toLowerCase().replace(/^aoe-/, "");
  return Object.hasOwn(HINTS, known) ? HINTS[known] : undefined;
}

function hints(sentence: string, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, sentence]));
}

/** The options of a command: whether each of their names, as in `-b`, wants a value. */
export type OptionNames = ReadonlyMap<string, boolean>;

/** Reads them from what Optique knows of a command. */
export function optionNames(usage: Usage): OptionNames {
  const names = new Map<string, boolean>();
  const collect = (term: UsageTerm): void => {
    if (term.type === "option") {
      for (const name of term.names) names.set(name, term.metavar !== undefined);
    } else if (term.type === "optional" || term.type === "multiple") term.terms.forEach(collect);
    else if (term.type === "exclusive") term.terms.flat().forEach(collect);
  };
  usage.forEach(collect);
  return names;
}

/** Takes short options from their values: `-b32` and `-dsieth0` are `-b 32` and `-ds -i eth0`. */
export function splitShortOptions(args: readonly string[], options: OptionNames): string[] {
  const split: string[] = [];
  let isValue = false;
  for (const [position, word] of args.entries()) {
    if (word === "--" && !isValue) return [...split, ...args.slice(position)];
    split.push(...(isValue ? [word] : splitWord(word, options)));
    isValue = options.get(split.at(-1)!) === true;
  }
  return split;
}

function splitWord(word: string, options: OptionNames): string[] {
  if (!/^-[^-=]/.test(word)) return [word];
  for (let end = 2; end <= word.length; end++) {
    const wantsValue = options.get(`-${word[end - 1]}`);
    if (wantsValue === undefined) return [word];
    if (!wantsValue) continue;
    const before = end > 2 ? [word.slice(0, end - 1)] : [];
    const value = word.slice(end);
    return [...before, `-${word[end - 1]}`, ...value === "" ? [] : [value]];
  }
  return [word];
}

/**
 * The words behind `aoe` in the order that `aoe serve` wants; undefined when they stand in no order
 * that is known from elsewhere: `1 1 eth0 disk.img` (vblade), `eth0 1 1 disk.img`,
 * `1.1 eth0 disk.img`.
 *
 * @param args Options in words of their own, as `splitShortOptions` returns them.
 */
export function serveInOrder(
  args: readonly string[],
  options: OptionNames,
): string[] | undefined {
  const positions: number[] = [];
  let isValue = false;
  for (let position = 1; position < args.length; position++) {
    const word = args[position]!;
    if (!isValue && !/^-./.test(word)) positions.push(position);
    isValue = !isValue && options.get(word) === true;
  }
  const words = positions.map((position) => args[position]!);
  const ordered = orderOf(words);
  if (ordered === undefined) return undefined;
  const others = args.filter((_, position) => !positions.includes(position));
  return [...others, ...ordered];
}

function orderOf(words: readonly string[]): string[] | undefined {
  const isNumber = (word: string | undefined) => /^\d{1,5}$/.test(word ?? "");
  const isInterface = (word: string | undefined) => /^[a-z][^/.]*$/i.test(word ?? "");
  const [first, second, third, fourth] = words;
  if (words.length === 4 && isNumber(first) && isNumber(second) && isInterface(third)) {
    return [third!, `${first}.${second}`, fourth!];
  }
  if (words.length === 4 && isInterface(first) && isNumber(second) && isNumber(third)) {
    return [first!, `${second}.${third}`, fourth!];
  }
  const isAddress = /^e?\d{1,5}\.\d{1,3}$/.test(first ?? "");
  return words.length === 3 && isAddress && isInterface(second)
    ? [second!, first!, third!]
    : undefined;
}

/** Words as a shell takes them. */
export function quoteWords(words: readonly string[]): string {
  return words.map((word) =>
    /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
  ).join(" ");
}
