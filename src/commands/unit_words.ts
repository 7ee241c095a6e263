// How words stand in a unit so that systemd reads them as they are.

import { Failure } from "./output.ts";

/** An argument of a command line, as systemd.service(5) has it: `$` begins a variable. */
export function quoted(word: string): string {
  return quotedProgram(word.replaceAll("$", "$$$$"));
}

/** The program's own path, in which there are no variables; or a path among others in a list. */
export function quotedProgram(word: string): string {
  refuseControls(word);
  const literal = specifierFree(word);
  return /^[\w/.%$+:@-]+$/.test(literal) ? literal : `"${literal.replace(/["\\]/g, "\\$&")}"`;
}

/** A text in which `%` begins nothing, systemd.unit(5). */
export function specifierFree(text: string): string {
  refuseControls(text);
  return text.replaceAll("%", "%%");
}

/** A new line in a unit would be a line of its own, and nothing that is meant has such characters. */
export function refuseControls(text: string): void {
  // deno-lint-ignore no-control-regex
  if (/[\x00-\x1f\x7f-\x9f\u2028\u2029]/.test(text)) {
    throw new Failure(
      `${JSON.stringify(text)} cannot stand in a unit: it has control characters`,
      2,
    );
  }
}
