// Keeps one number after the other as a config string, and tells of each that is kept: a program for
// state_folder_test.ts to kill.

import { StateFolder } from "../../../src/control/daemon/state_folder.ts";

const folder = new StateFolder(Deno.args[0]!, "test");
const mask = new Uint8Array();
for (let number = Number(Deno.args[1]);; number++) {
  const configString = new TextEncoder().encode(String(number));
  await folder.keep({ shelf: 1, slot: 1 }, { configString, mask, reservation: mask });
  Deno.stdout.writeSync(new TextEncoder().encode(`${number}\n`));
}
