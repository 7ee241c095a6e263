// Placeholder until the target exists.

import { Failure } from "./output.ts";
import type { ServeOptions } from "./serve_arguments.ts";

/** Serves until it is told to stop. */
export function runServe(options: ServeOptions): Promise<number> {
  return Promise.reject(new Failure(`Not written yet: ${JSON.stringify(options)}`));
}
