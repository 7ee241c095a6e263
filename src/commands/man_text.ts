// The explanations of the manual, which are longer than `--help` can be: one source for `aoe man`
// and for the reference page. They are written in a little Markdown: paragraphs, `- ` lists, tables
// of two columns, fenced examples, `code` and **bold**. This file turns it into man(7)'s macros.

/** One section of a manual page. */
export interface ManualSection {
  /** In capitals, as man pages have it. */
  readonly title: string;
  /** Markdown, as above. */
  readonly text: string;
}

/** A section's text in man(7)'s macros, a line each. */
export function roffLines(text: string): string[] {
  const lines: string[] = [];
  let example = false;
  let begun = false;
  for (const line of text.trim().split("\n")) {
    if (line.startsWith("```")) {
      lines.push(example ? ".fi" : ".PP\n.nf");
      example = !example;
      begun = false;
    } else if (example) {
      lines.push(roff(line));
    } else if (line === "") {
      begun = false;
    } else if (line.startsWith("- ")) {
      lines.push(".IP \\(bu 2", inline(line.slice(2)));
      begun = true;
    } else if (line.startsWith("| ")) {
      const [term = "", ...rest] = line.split("|").slice(1, -1).map((cell) => cell.trim());
      if (!/^-+$/.test(term)) lines.push(".TP", inline(`**${term}**`), inline(rest.join("; ")));
    } else {
      if (!begun) lines.push(".PP");
      lines.push(inline(line.trim()));
      begun = true;
    }
  }
  return lines;
}

/** Escapes what troff would take for its own: backslashes, hyphens and dots that begin a line. */
export function roff(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replace(/^([.'])/gm, "\\&$1");
}

function inline(text: string): string {
  return roff(text).replace(/\*\*([^*]+)\*\*/g, "\\fB$1\\fR").replace(/`([^`]+)`/g, "\\fB$1\\fR");
}
