// The file that keeps a target's settings: read back as it was written, and never taken for a true
// one when it is not.

import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { formatKeptFile, parseKeptFile } from "../../../src/core/daemon/kept_file.ts";

const macs = (most: number) =>
  fc.array(fc.uint8Array({ minLength: 6, maxLength: 6 }), { maxLength: most })
    .map((list) => Uint8Array.from(list.flatMap((mac) => [...mac])));
const settings = fc.record({
  configString: fc.uint8Array({ maxLength: 1024 }),
  mask: macs(255),
  reservation: macs(255),
});

Deno.test("kept file: what was written is read back", () => {
  fc.assert(fc.property(settings, (kept) => {
    assertEquals(parseKeptFile("e1.1", formatKeptFile("e1.1", kept)), { settings: kept });
  }));
});

Deno.test("kept file: one character that is not as it was is noticed, and said", () => {
  fc.assert(
    fc.property(settings, fc.nat(), fc.constantFrom("0", "f", '"', " ", "é"), (kept, n, c) => {
      const text = formatKeptFile("e1.1", kept);
      const at = n % text.length;
      if (text[at] === c) return;
      const read = parseKeptFile("e1.1", text.slice(0, at) + c + text.slice(at + 1));
      // White space between the fields says nothing.
      if (read.refusal === undefined) assertEquals(read.settings, kept);
      else assertMatch(read.refusal, /^is /);
    }),
  );
});

Deno.test("kept file: half a file, another's, a newer one and rubbish are refused", () => {
  const none = {
    configString: new Uint8Array(),
    mask: new Uint8Array(),
    reservation: new Uint8Array(),
  };
  const text = formatKeptFile("e1.1", none);
  const refusal = (given: string, address = "e1.1") => parseKeptFile(address, given).refusal;
  for (let length = 0; length < text.length - 1; length++) {
    assertEquals(refusal(text.slice(0, length)), "is damaged (it is no JSON)");
  }
  assertEquals(refusal(text, "e1.2"), "is not that of e1.2");
  assertEquals(
    refusal(text.replace('"schema": 1', '"schema": 2')),
    "is a newer aoe's (schema 2; this one knows 1)",
  );
  for (const rubbish of ["null", "[]", "1", '"x"', "{}", '{"schema":1}', '{"schema":"2"}']) {
    assert(refusal(rubbish) !== undefined, rubbish);
  }
  fc.assert(fc.property(fc.string(), fc.json(), (string, json) => {
    assert(refusal(string) !== undefined && refusal(json) !== undefined);
  }));
});
