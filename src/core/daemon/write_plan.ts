// A configuration as text: of what another program was told, with where each part comes from.

import type { VbladeExport, VbladeStranger } from "./vblade.ts";

/** The configuration of what vblade served, and of what was not understood as remarks. */
export function writeConfiguration(
  exports: readonly VbladeExport[],
  strangers: readonly VbladeStranger[],
): string {
  const lines = ["# Made by aoe import-vblade. aoe serve --config FILE --check looks at it.", ""];
  for (const { from, text, why } of strangers) {
    lines.push(...remark(`${from} is not here, since ${why}: ${text}`));
  }
  if (strangers.length > 0) lines.push("");
  const running = exports.filter(({ down }) => !down);
  const buffers = running.flatMap(({ options }) => options.buffers ?? []);
  if (buffers.length > 0) {
    const most = Math.max(...buffers);
    if (buffers.length < running.length || buffers.some((count) => count !== most)) {
      lines.push(...remark("Each vblade had buffers of its own (-b); these are the most of them."));
    }
    lines.push("[daemon]", `buffers = ${Math.max(1, most)}`, "");
  }
  const shared = interfacesOfAll(running);
  if (shared !== undefined) lines.push("[defaults]", `interfaces = ${list(shared)}`, "");
  for (const ex of exports) {
    const of = exportLines(ex, shared);
    lines.push(
      ...remark(ex.down ? `${ex.from}, which was not started at boot` : ex.from),
      ...(ex.down ? of.map((line) => `# ${line}`) : of),
      "",
    );
  }
  return lines.join("\n").trimEnd() + "\n";
}

/** Those interfaces that all exports have, and no others. */
function interfacesOfAll(exports: readonly VbladeExport[]): readonly string[] | undefined {
  const [first] = exports;
  const same = exports.every(({ interfaces }) => list(interfaces) === list(first!.interfaces));
  return first !== undefined && same ? first.interfaces : undefined;
}

function exportLines(ex: VbladeExport, shared: readonly string[] | undefined): string[] {
  const { direct, sync, readOnly, offset, length, macs } = ex.options;
  const ownInterfaces = shared === undefined || list(ex.interfaces) !== list(shared);
  return [
    "[[export]]",
    `address = ${quote(ex.address)}`,
    `path = ${quote(ex.path)}`,
    ...(ownInterfaces ? [`interfaces = ${list(ex.interfaces)}`] : []),
    ...(direct ? ["direct = true"] : []),
    ...(sync ? ["sync = true"] : []),
    ...(readOnly ? ["read-only = true"] : []),
    ...(offset === undefined ? [] : [`offset = ${offset}`]),
    ...(length === undefined ? [] : [`length = ${length}`]),
    ...(macs.length === 0 ? [] : [`mac = ${list(macs)}`]),
  ];
}

function list(items: readonly string[]): string {
  return `[${items.map(quote).join(", ")}]`;
}

/** A text as TOML has it: JSON's escapes are TOML's, too. */
function quote(text: string): string {
  return JSON.stringify(text).replaceAll("\x7f", "\\u007f");
}

/** A remark, whatever is in it: TOML allows no control characters there. */
function remark(text: string): string[] {
  // deno-lint-ignore no-control-regex
  return text.split("\n").map((line) => `# ${line.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, "?")}`);
}
