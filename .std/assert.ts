// `@std/assert` for machines that reach npm but not JSR: the same code, republished on npm without
// its types, which stand in assert.d.ts. deno.json maps the name, so moving to
// `jsr:@std/assert` is one line there.
// @ts-types="./assert.d.ts"
export * from "npm:deno-std@1.4.0/assert/mod.js";
