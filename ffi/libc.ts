// How every group of libc functions is opened. Groups are small and open lazily: dlopen costs about
// 70 µs a symbol.
//
// Parameters that hold what fits 32 bits are declared i32/u32 even where C says size_t: a Number
// given to a 64-bit parameter leaves the compiled call path (48-94 ns instead of 3-5).

/** Address of memory that the caller keeps alive; `null` is NULL. */
export type Pointer = Deno.PointerValue;

/** Opens a group of functions of the C library of this process. */
export function openLibc<Symbols extends Deno.ForeignLibraryInterface>(
  symbols: Symbols,
): Deno.DynamicLibrary<Symbols>["symbols"] {
  return Deno.dlopen("libc.so.6", symbols).symbols;
}
