// One table of a configuration, read key by key. What has not been asked for at the end is a key
// that nobody knows. A value that is wrong is told of with its line, and counts as absent.

import { isTable, isTableList } from "./toml.ts";
import type { Mistake, TomlEntry, TomlTable, TomlValue } from "./toml.ts";
import { nearest, parseBytes } from "./values.ts";

/** The keys of a kind of table, by what is asked for; and of the other kinds. */
export type KnownKeys = Map<string, Set<string>>;

/** What a number may be. */
export interface NumberLimits {
  readonly min: number;
  readonly max: number;
}

/** A table being read. */
export class Fields {
  /** As a header has it: `[defaults]`. */
  readonly title: string;
  readonly line: number;
  readonly #entries: ReadonlyMap<string, TomlEntry>;
  readonly #mistakes: Mistake[];
  readonly #known: Set<string>;

  /** @param table Undefined where the configuration has none: all keys are absent. */
  constructor(
    title: string,
    table: TomlTable | undefined,
    context: { readonly mistakes: Mistake[]; readonly known: KnownKeys },
  ) {
    this.title = title;
    this.line = table?.line ?? 0;
    this.#entries = table?.entries ?? new Map();
    this.#mistakes = context.mistakes;
    const known = context.known.get(title) ?? new Set();
    context.known.set(title, known);
    this.#known = known;
  }

  /** Whether the table has the key. */
  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** What stands behind a key, for who reads it himself. */
  entry(key: string): TomlEntry | undefined {
    this.#known.add(key);
    return this.#entries.get(key);
  }

  /** Tells what is wrong with a key, or with the table when it has no such key. */
  refuse(key: string | undefined, text: string): undefined {
    const line = key === undefined ? this.line : this.#entries.get(key)?.line ?? this.line;
    this.#mistakes.push({ line, text });
  }

  /** `true` or `false`. */
  flag(key: string): boolean | undefined {
    const given = this.#plain(key);
    if (given === undefined || typeof given === "boolean") return given;
    return this.refuse(key, `"${key}" is true or false, without quotation marks`);
  }

  /** A text; `right` says in the words of a sentence what it may be. */
  text<T>(key: string, right: string, read: (text: string) => T | undefined): T | undefined {
    const given = this.#plain(key);
    if (given === undefined) return undefined;
    if (typeof given !== "string") {
      return this.refuse(key, `"${key}" is ${right}, in quotation marks`);
    }
    return read(given) ??
      this.refuse(key, `"${key}" is ${right}, but "${given}" is not`);
  }

  /** A text, or `true` or `false`. */
  textOrFlag(key: string, right: string): string | boolean | undefined {
    const given = this.#plain(key);
    if (given === undefined || typeof given === "boolean") return given;
    if (typeof given === "string" && given.startsWith("/")) return given;
    return this.refuse(key, `"${key}" is ${right}, or true or false`);
  }

  /** One of some words. */
  choice<T extends string>(key: string, words: readonly T[]): T | undefined {
    const quoted = words.map((word) => `"${word}"`).join(" or ");
    return this.text(key, quoted, (text) => words.find((word) => word === text));
  }

  /** A number. */
  number(
    key: string,
    { min, max }: NumberLimits,
    whole: "whole" | "any" = "whole",
  ): number | undefined {
    const given = this.#plain(key);
    if (given === undefined) return undefined;
    if (
      typeof given === "number" && given >= min && given <= max &&
      (whole === "any" || Number.isInteger(given))
    ) return given;
    const what = whole === "whole" ? "a whole number" : "a number";
    return this.refuse(key, `"${key}" is ${what} from ${min} to ${max}`);
  }

  /**
   * A number of bytes: plain, or a text with K, M, G, T or P behind it.
   *
   * @param unit Bytes that a plain number counts.
   */
  bytes(
    key: string,
    { min, unit, multiple }: {
      readonly min: number;
      readonly unit: number;
      readonly multiple: number;
    },
  ): number | undefined {
    const given = this.#plain(key);
    if (given === undefined) return undefined;
    const digits = typeof given === "string" && /^\d+$/.test(given);
    const bytes = typeof given === "number" || digits
      ? Number(given) * unit
      : typeof given === "string"
      ? parseBytes(given)
      : undefined;
    if (
      bytes === undefined || !Number.isSafeInteger(bytes) || bytes < min || bytes % multiple !== 0
    ) {
      const plain = unit === 1 ? "bytes" : `sectors of ${unit} bytes`;
      const steps = multiple === 1 ? "" : `, in steps of ${multiple}`;
      return this.refuse(
        key,
        `"${key}" is a number of ${plain}, or of bytes as in "64M" or "1G": at least ${min}` +
          ` bytes${steps}`,
      );
    }
    return bytes;
  }

  /** A list of texts, or one of them alone; `right` says what one is. */
  list(key: string, right: string): readonly string[] | undefined {
    const given = this.#plain(key);
    if (given === undefined) return undefined;
    if (typeof given === "string") return [given];
    if (Array.isArray(given) && given.every((each) => typeof each === "string")) return given;
    return this.refuse(key, `"${key}" is a list of texts, each ${right}, as in ["…", "…"]`);
  }

  /** Tells what is wrong with one text of a list, in the line that it stands in. */
  refuseItem(key: string, item: string, text: string): void {
    const { line, source } = this.#entries.get(key)!;
    const at = [`"${item}"`, `'${item}'`].map((quoted) => source.indexOf(quoted))
      .find((place) => place >= 0);
    const before = at === undefined ? 0 : source.slice(0, at).split("\n").length - 1;
    this.#mistakes.push({ line: line + before, text });
  }

  /** Tells of every key that has not been asked for, once all tables have been read. */
  refuseStrangers(known: KnownKeys, synonyms: Readonly<Record<string, string>>): void {
    for (const [key, { line }] of this.#entries) {
      if (this.#known.has(key)) continue;
      const meant = this.#known.has(synonyms[key] ?? "")
        ? synonyms[key]
        : nearest(key, this.#known);
      const home = [...known].find(([, keys]) => keys.has(key))?.[0];
      const hint = home !== undefined
        ? `: it belongs in ${home}`
        : meant !== undefined
        ? `: did you mean "${meant}"?`
        : `: there are ${[...this.#known].sort().join(", ")}`;
      this.#mistakes.push({ line, text: `${this.title} has no key "${key}"${hint}` });
    }
  }

  /** What stands behind a key that has no tables. */
  #plain(key: string): unknown {
    const entry = this.entry(key);
    if (entry === undefined) return undefined;
    const { value } = entry;
    if (!isTable(value) && !isTableList(value)) return plainOf(value);
    return this.refuse(key, `"${key}" is no table: write ${key} = …`);
  }
}

function plainOf(value: Exclude<TomlValue, TomlTable | readonly TomlTable[]>): unknown {
  return value.plain;
}
