// Changes the interfaces of [initiator] in the text of a configuration, and nothing else in it.

import { isTable, parseToml } from "./toml.ts";

/**
 * The text with other interfaces for initiators; without any where there are no names.
 *
 * @returns The text, or why it is left alone.
 */
export function withInitiatorInterfaces(
  text: string,
  names: readonly string[],
): { readonly text: string } | { readonly line: number; readonly why: string } {
  const { table, mistakes } = parseToml(text);
  const [first] = mistakes;
  // What cannot be read may be the very lines that are meant.
  if (first !== undefined) return { line: first.line, why: first.text };
  const statement = names.length === 0
    ? []
    : [`interfaces = [${names.map((name) => JSON.stringify(name)).join(", ")}]`];
  const lines = text.split("\n");
  const entry = table.entries.get("initiator");
  if (entry === undefined) {
    if (names.length === 0) return { text };
    const before = text.trimEnd();
    const gap = before === "" ? "" : `${before}\n\n`;
    return { text: `${gap}[initiator]\n${statement.join("")}\n` };
  }
  if (!isTable(entry.value) || !/^\[/.test(entry.source)) {
    return { line: entry.line, why: "write [initiator] above its keys" };
  }
  const present = entry.value.entries.get("interfaces");
  if (present === undefined) lines.splice(entry.value.line, 0, ...statement);
  else {
    const length = present.source.split("\n").length;
    lines.splice(present.line - 1, length, ...statement);
  }
  return { text: lines.join("\n") };
}
