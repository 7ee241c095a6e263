import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { MacList } from "../../../src/core/target/mac_list.ts";
import { formatMac } from "../../../src/wire/ethernet.ts";
import { bytesOf } from "../../wire/encoding.ts";

const FIRST = bytesOf("02 00 00 00 00 01");
const SECOND = bytesOf("02 00 00 00 00 02");

function namesOf(list: MacList): string[] {
  const bytes = list.bytes();
  assertEquals(bytes.length, 6 * list.size);
  return Array.from({ length: list.size }, (_, i) => formatMac(bytes, 6 * i));
}

Deno.test("mac list: an empty one admits everybody and holds nobody", () => {
  const list = new MacList(2);
  assertEquals([list.size, list.admits(FIRST, 0), list.has(FIRST, 0)], [0, true, false]);
  list.add(FIRST, 0);
  assertEquals([list.admits(FIRST, 0), list.admits(SECOND, 0)], [true, false]);
  list.clear();
  assertEquals([list.size, list.admits(SECOND, 0)], [0, true]);
});

Deno.test("mac list: a full one refuses newcomers, and still knows who is there", () => {
  const list = new MacList(1);
  assertEquals([list.add(FIRST, 0), list.add(SECOND, 0), list.add(FIRST, 0)], [true, false, true]);
  assertEquals(namesOf(list), ["02:00:00:00:00:01"]);
});

Deno.test("mac list: a clone goes its own way", () => {
  const list = new MacList(2);
  list.add(FIRST, 0);
  const clone = list.clone();
  clone.add(SECOND, 0);
  list.remove(FIRST, 0);
  assertEquals([namesOf(list), namesOf(clone)], [[], ["02:00:00:00:00:01", "02:00:00:00:00:02"]]);
});

Deno.test("mac list: whatever is added and removed, it is an ordered set", () => {
  const step = fc.record({ add: fc.boolean(), mac: fc.nat(11) });
  fc.assert(fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
    const list = new MacList(8);
    const model: number[] = [];
    for (const { add, mac } of steps) {
      // Addresses that differ in one byte only, each time another one; read from an odd offset.
      const view = new Uint8Array(9);
      view[3 + mac % 6] = 1 + Math.floor(mac / 6);
      const there = model.indexOf(mac);
      assertEquals(list.has(view, 3), there >= 0);
      if (add) {
        const fits = there >= 0 || model.length < 8;
        assertEquals(list.add(view, 3), fits);
        if (there < 0 && fits) model.push(mac);
      } else {
        list.remove(view, 3);
        if (there >= 0) model.splice(there, 1);
      }
      assertEquals(
        namesOf(list),
        model.map((number) => {
          const bytes = new Uint8Array(6);
          bytes[number % 6] = 1 + Math.floor(number / 6);
          return formatMac(bytes);
        }),
      );
    }
  }));
});
