// What the runtime needs of the system that it is to run on.

/** What must be there for it to start: its ELF interpreter, and the version of glibc. */
export function runtimeNeeds(bytes: Uint8Array): { interpreter: string; glibc: string } {
  const text = new TextDecoder("latin1").decode(bytes);
  const interpreter = text.slice(0, 4096).match(/\/lib[\w/.-]*\/ld-[\w.-]+/)?.[0];
  if (interpreter === undefined) throw new Error("The runtime names no ELF interpreter");
  const minors = [...text.matchAll(/\0GLIBC_2\.(\d+)(?=\0)/g)].map((match) => Number(match[1]));
  return { interpreter, glibc: `2.${Math.max(...minors)}` };
}
