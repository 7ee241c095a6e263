// The types of @std/toml 1.0.11, as its documentation gives them.

export interface FormatOptions {
  keyAlignment?: boolean;
}

export declare function parse(tomlString: string): Record<string, unknown>;
export declare function stringify(
  obj: Record<string, unknown>,
  options?: FormatOptions,
): string;
