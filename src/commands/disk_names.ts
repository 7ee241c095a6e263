// The names of disks that a shell completes.

/** Where attached disks have their devices. */
export const NODE_FOLDER = "/dev/etherd/";

let namesOfKnown: () => readonly string[] = () => [];

/** Says who knows disks: asking for them takes sockets, which nothing else does that reads arguments. */
export function completeDisksFrom(names: () => readonly string[]): void {
  namesOfKnown = names;
}

/** Disks that are attached or answer, as in `e1.1`; none where nobody completes anything. */
export function knownDisks(): readonly string[] {
  return namesOfKnown();
}

/** The names of disks as whoever types has begun to write them. */
export function diskNames(prefix: string, names: () => readonly string[]): string[] {
  if (prefix !== "" && NODE_FOLDER.startsWith(prefix) || prefix.startsWith(NODE_FOLDER)) {
    return names().map((name) => NODE_FOLDER + name);
  }
  if (/^[\d.]+$/.test(prefix)) return names().map((name) => name.slice(1));
  return /^e?[\d.]*$/.test(prefix) ? [...names()] : [];
}
