// The C library's heap. Compiling a program leaves tens of megabytes in it that are free, and that it
// keeps: they are between what is still used.

import { openLibc } from "./libc.ts";

const libc = openLibc(
  {
    // size_t pad
    malloc_trim: { parameters: ["usize"], result: "i32" },
  } as const,
);

/** Gives the pages back that are free; takes some milliseconds, in which others may wait for memory. */
export function giveBackFreed(): void {
  libc.malloc_trim(0n);
}
