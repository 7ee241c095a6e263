// `@std/toml` for machines that reach npm but not JSR, as assert.ts is `@std/assert`.
// @ts-types="./toml.d.ts"
export * from "npm:deno-std@1.4.0/toml/mod.js";
