// What stands in places that others can write to: folders and files of other users are not used, and
// no link is followed.

import { assertEquals, assertThrows } from "@std/assert";
import {
  ownFolder,
  putOwnFile,
  readOwnFile,
  sweepUnfinished,
} from "../../src/control/own_files.ts";

const NOBODY = 65534;

function modeOf(path: string): number {
  return Deno.lstatSync(path).mode! & 0o777;
}

Deno.test("own_files: a folder is this user's alone, or refused", () => {
  const top = Deno.makeTempDirSync();
  try {
    ownFolder(`${top}/a/b`);
    assertEquals(modeOf(`${top}/a/b`), 0o700);
    Deno.chmodSync(`${top}/a/b`, 0o777);
    ownFolder(`${top}/a/b`);
    assertEquals(modeOf(`${top}/a/b`), 0o700);
    if (Deno.uid() !== 0) return;
    Deno.mkdirSync(`${top}/theirs`);
    Deno.chownSync(`${top}/theirs`, NOBODY, NOBODY);
    const refused = /belongs to another user \(uid 65534\), and is not used/;
    assertThrowsMatching(() => ownFolder(`${top}/theirs`), refused);
    Deno.symlinkSync(`${top}/theirs`, `${top}/link`);
    assertThrowsMatching(() => ownFolder(`${top}/link`), refused);
  } finally {
    Deno.removeSync(top, { recursive: true });
  }
});

Deno.test("own_files: a file is put in the place of a link, and never through it", async () => {
  const top = Deno.makeTempDirSync();
  try {
    Deno.writeTextFileSync(`${top}/victim`, "theirs");
    Deno.symlinkSync(`${top}/victim`, `${top}/state`);
    assertThrowsMatching(() => readOwnFile(`${top}/state`), /is no plain file/);
    (await putOwnFile(`${top}/state`, "ours")).close();
    assertEquals(Deno.readTextFileSync(`${top}/victim`), "theirs");
    assertEquals([readOwnFile(`${top}/state`), modeOf(`${top}/state`)], ["ours", 0o600]);
    assertEquals([...Deno.readDirSync(top)].length, 2, "nothing unfinished is left");
    // A killed process leaves one; a file of another name is none of it.
    for (const name of ["state.0123abcd-4567", "state.bak", "state.0123abcd-4567.x"]) {
      Deno.writeTextFileSync(`${top}/${name}`, "");
    }
    await sweepUnfinished(`${top}/state`);
    const left = [...Deno.readDirSync(top)].map(({ name }) => name).sort();
    assertEquals(left, ["state", "state.0123abcd-4567.x", "state.bak", "victim"]);
    Deno.chmodSync(`${top}/state`, 0o666);
    assertThrowsMatching(() => readOwnFile(`${top}/state`), /others may write to it/);
    assertEquals(readOwnFile(`${top}/none`), undefined);
  } finally {
    Deno.removeSync(top, { recursive: true });
  }
});

function assertThrowsMatching(call: () => unknown, pattern: RegExp): void {
  const error = assertThrows(call, Deno.errors.PermissionDenied);
  assertEquals(pattern.test(error.message), true, error.message);
}
