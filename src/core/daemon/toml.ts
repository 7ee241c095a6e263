// TOML with the line of everything. `@std/toml` reads what a statement says; where one begins and
// ends is found here, so that each mistake has its line, and one does not hide the next. What the
// library would merge without a word (a key twice, a table twice) is a mistake.

import { parse } from "@std/toml";

/** What is wrong with a configuration, and what would be right. */
export interface Mistake {
  /** From 1 on. */
  readonly line: number;
  /** One sentence without its period. */
  readonly text: string;
}

/** What stands behind a key. */
export interface TomlEntry {
  readonly line: number;
  readonly value: TomlValue;
  /** The statement that says so: what is in a list can be looked for in it. */
  readonly source: string;
}

/** Tables and lists of tables have the lines of their keys; the rest is as the library gives it. */
export type TomlValue = TomlTable | readonly TomlTable[] | { readonly plain: unknown };

/** Keys and what stands behind them. */
export interface TomlTable {
  readonly line: number;
  readonly entries: Map<string, TomlEntry>;
  /** Whether it may not get any more keys: `{ … }`, or its header has been there. */
  closed: boolean;
}

interface Statement {
  readonly line: number;
  readonly source: string;
  /** Its brackets or its quotation marks end nowhere. */
  readonly unclosed: boolean;
}

const LONG_QUOTES = ['"""', "'''"];
const UNCLOSED = "What is opened here is not closed";
const HEADER = /^[ \t]*\[/;
const WHOLE_HEADER = /^[ \t]*\[{1,2}[\w."'-]+\]{1,2}[ \t]*(#.*)?$/;
const NEW_KEY = /^[ \t]*[\w.-]+[ \t]*=/;

/**
 * Reads a text as far as it can be read.
 *
 * @returns The tables without what is wrong, and everything that is.
 */
export function parseToml(text: string): { table: TomlTable; mistakes: Mistake[] } {
  const root = emptyTable(1);
  const mistakes: Mistake[] = [];
  let current: TomlTable | undefined = root;
  for (const { line, source, unclosed } of statementsOf(text)) {
    const refuse = (text: string): undefined => void mistakes.push({ line, text });
    if (source.startsWith("[")) current = openTable(root, line, source, refuse);
    else {
      const read = unclosed ? UNCLOSED : parseStatement(source);
      setKey(current ?? emptyTable(line), read, { line, source }, refuse);
    }
  }
  return { table: root, mistakes };
}

/** Whether it is a table. */
export function isTable(value: TomlValue): value is TomlTable {
  return !Array.isArray(value) && "entries" in value;
}

/** Whether it is a list of tables. */
export function isTableList(value: TomlValue): value is readonly TomlTable[] {
  return Array.isArray(value);
}

/**
 * Divides a text into headers and `key = value`, each as long as its brackets are open. One that is
 * never closed ends where the next begins: no list of ours has lists in it.
 */
function statementsOf(text: string): Statement[] {
  const statements: Statement[] = [];
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  for (let first = 0; first < lines.length; first++) {
    const line = lines[first]!;
    if (/^[ \t]*(#|$)/.test(line)) continue;
    let last = first;
    const scan = new BracketScan();
    if (!HEADER.test(line)) scan.take(line);
    while (scan.open && last + 1 < lines.length && !scan.endsBefore(lines[last + 1]!)) {
      scan.take(lines[++last]!);
    }
    const source = lines.slice(first, last + 1).join("\n").trim();
    statements.push({ line: first + 1, source, unclosed: scan.open });
    first = last;
  }
  return statements;
}

/** Goes through lines and knows whether the value goes on in the next. */
class BracketScan {
  #depth = 0;
  #quote: string | undefined;

  /** Whether a line begins something new, though the value at hand is open. */
  endsBefore(line: string): boolean {
    return this.#quote === undefined && (WHOLE_HEADER.test(line) || NEW_KEY.test(line));
  }

  get open(): boolean {
    return this.#depth > 0 || this.#quote !== undefined;
  }

  take(line: string): void {
    for (let i = 0; i < line.length; i++) {
      const char = line[i]!;
      if (this.#quote !== undefined) i = this.#inQuote(line, i);
      else if (char === "#") return;
      else if (char === '"' || char === "'") {
        const long = LONG_QUOTES.find((quote) => line.startsWith(quote, i));
        this.#quote = long ?? char;
        i += this.#quote.length - 1;
      } else if (char === "[" || char === "{") this.#depth++;
      else if (char === "]" || char === "}") this.#depth--;
    }
    // A short string ends with its line, whether it is closed or not.
    if (this.#quote?.length === 1) this.#quote = undefined;
  }

  /** Place of the last character that belongs to the string at hand. */
  #inQuote(line: string, i: number): number {
    const quote = this.#quote!;
    if (line[i] === "\\" && quote[0] === '"') return i + 1;
    if (!line.startsWith(quote, i)) return i;
    this.#quote = undefined;
    // A long string may end with one or two quotes of its own.
    let end = i + quote.length - 1;
    while (quote.length === 3 && line[end + 1] === quote[0] && end - i < 4) end++;
    return end;
  }
}

/** Takes a header; undefined when what follows it belongs nowhere. */
function openTable(
  root: TomlTable,
  line: number,
  text: string,
  refuse: (text: string) => undefined,
): TomlTable | undefined {
  const list = text.startsWith("[[");
  // As a key, the library takes it apart.
  const [, inner, rest] = (list ? /^\[\[(.*?)\]\](.*)$/s : /^\[(.*?)\](.*)$/s).exec(text) ?? [];
  const path = inner === undefined ? undefined : pathOf(inner);
  if (path === undefined || !/^[ \t]*(#.*)?$/.test(rest ?? "")) {
    return refuse(`"${text}" is no header: write [name], or [[name]] for one of several`);
  }
  const last = path.pop()!;
  let parent: TomlTable = root;
  for (const name of path) {
    const found = parent.entries.get(name)?.value;
    const next = found === undefined
      ? emptyTable(line)
      : isTableList(found)
      ? found.at(-1)!
      : found;
    if (!isTable(next)) return refuse(`"${name}" is no table here: it has a value already`);
    if (found === undefined) parent.entries.set(name, { line, value: next, source: text });
    parent = next;
  }
  const present = parent.entries.get(last);
  const table = emptyTable(line);
  table.closed = true;
  if (list) {
    if (present === undefined) {
      parent.entries.set(last, { line, value: [table], source: text });
      return table;
    }
    if (isTableList(present.value)) {
      (present.value as TomlTable[]).push(table);
      return table;
    }
    return refuse(`[[${last}]] is not a list: line ${present.line} says what it is`);
  }
  if (present === undefined) {
    parent.entries.set(last, { line, value: table, source: text });
    return table;
  }
  if (isTable(present.value) && !present.value.closed) {
    present.value.closed = true;
    return present.value;
  }
  return isTableList(present.value)
    ? refuse(`[${last}] is one of several: write [[${last}]], as in line ${present.line}`)
    : refuse(`[${last}] is there already, in line ${present.line}: put both together`);
}

/** Takes `key = value`, as it was read, or why it could not be. */
function setKey(
  table: TomlTable,
  read: Record<string, unknown> | string,
  at: { readonly line: number; readonly source: string },
  refuse: (text: string) => undefined,
): void {
  if (typeof read !== "string") return insert(table, read, at, refuse);
  const [key] = /^[\w-]+(?=[ \t]*=)/.exec(at.source) ?? [];
  // What cannot be read is not missing.
  if (key !== undefined && !table.entries.has(key)) {
    table.entries.set(key, { ...at, value: { plain: undefined } });
  }
  refuse(read);
}

/** Puts what a statement says where it belongs: `a.b = 1` is a table with one key. */
function insert(
  table: TomlTable,
  values: Record<string, unknown>,
  at: { readonly line: number; readonly source: string },
  refuse: (text: string) => undefined,
): void {
  for (const [key, given] of Object.entries(values)) {
    const present = table.entries.get(key);
    const dotted = isRecord(given) && !isInline(at.source);
    if (present === undefined) {
      const value = valueOf(given, at, refuse, !dotted);
      table.entries.set(key, { ...at, value });
    } else if (dotted && isTable(present.value) && !present.value.closed) {
      insert(present.value, given, at, refuse);
    } else refuse(`"${key}" is given twice: line ${present.line} has it already`);
  }
}

function valueOf(
  given: unknown,
  at: { readonly line: number; readonly source: string },
  refuse: (text: string) => undefined,
  closed: boolean,
): TomlValue {
  if (Array.isArray(given) && given.length > 0 && given.every(isRecord)) {
    return given.map((each) => valueOf(each, at, refuse, true) as TomlTable);
  }
  if (!isRecord(given)) return { plain: given };
  const table = emptyTable(at.line);
  table.closed = closed;
  insert(table, given, at, refuse);
  return table;
}

/** What a statement says, or why it says nothing. */
function parseStatement(text: string): Record<string, unknown> | string {
  try {
    return parse(text);
  } catch (error) {
    const [, key, rest = ""] = /^([\w."'-]+)[ \t]*=[ \t]*(.*)$/s.exec(text) ?? [];
    const value = rest.replace(/[ \t]+#.*$/, "");
    if (key === undefined) return `"${firstLine(text)}" is no statement: write name = value`;
    if (value === "") return `"${key}" has no value: write ${key} = …`;
    if (/^(yes|no|on|off|True|False|TRUE|FALSE)$/.test(value)) {
      return `"${value}" is no value: write ${key} = ${/^(yes|on|t)/i.test(value)}`;
    }
    // Behind a library's place there is only its own statement.
    const why = error instanceof Error ? error.message.replace(/^Parse error on [^:]*: /, "") : "";
    return /^[^"'[\]{}]*$/.test(value)
      ? `"${firstLine(value)}" needs quotation marks: write ${key} = "${firstLine(value)}"`
      : `The value of "${key}" cannot be read: ${firstLine(why)}`;
  }
}

/** The names of a header, or undefined. */
function pathOf(inner: string): string[] | undefined {
  try {
    const names: string[] = [];
    let at: unknown = parse(`${inner} = 1`);
    while (isRecord(at)) {
      const [name] = Object.keys(at);
      // A comment, and no name.
      if (name === undefined) return undefined;
      names.push(name);
      at = at[name];
    }
    return names.length === 0 ? undefined : names;
  } catch {
    return undefined;
  }
}

/** Whether the value of a statement is a table in braces, and not one by the dots of its key. */
function isInline(source: string): boolean {
  return /^[^=]*=\s*\{/.test(source);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) &&
    Object.prototype.toString.call(value) === "[object Object]";
}

function emptyTable(line: number): TomlTable {
  return { line, entries: new Map(), closed: false };
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0]!.trim();
}
