// The folder of a daemon's socket: whose it was before does not matter to root.

import { assertEquals } from "@std/assert";
import { closeFile, lockFile, openFile } from "../../../ffi/files.ts";
import { askServing, openDaemonSocket } from "../../../src/control/daemon/requests.ts";

const NOBODY = 65534;

Deno.test({
  name: "control socket: root takes the folder back that serve --user has left",
  ignore: Deno.uid() !== 0,
  fn: async () => {
    await inFolder(async (folder) => {
      // What a daemon that became nobody leaves behind, and a link that nobody could have put there.
      Deno.mkdirSync(`${folder}/rack`, { mode: 0o700 });
      Deno.symlinkSync(`${folder}/elsewhere`, `${folder}/rack/rack.lock`);
      Deno.writeTextFileSync(`${folder}/rack/rack.socket`, "");
      Deno.chownSync(`${folder}/rack`, NOBODY, NOBODY);

      const socket = openDaemonSocket("rack", (question) => Promise.resolve(question));
      assertEquals(await askServing("rack", { ask: "list" }), { ask: "list" });
      await socket?.close();
      assertEquals(Deno.statSync(`${folder}/rack`).uid, 0);
      assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["rack"]);
    });
  },
});

Deno.test({
  name: "control socket: a name that another user's daemon has stays that daemon's",
  ignore: Deno.uid() !== 0,
  fn: async () => {
    await inFolder((folder) => {
      Deno.mkdirSync(`${folder}/rack`, { mode: 0o700 });
      Deno.writeTextFileSync(`${folder}/rack/rack.lock`, "");
      for (const path of ["rack", "rack/rack.lock"]) {
        Deno.chownSync(`${folder}/${path}`, NOBODY, NOBODY);
      }
      const daemon = openFile(`${folder}/rack/rack.lock`, { readOnly: true });
      lockFile(daemon, false);
      try {
        const socket = openDaemonSocket("rack", (question) => Promise.resolve(question));
        assertEquals(socket, undefined);
        assertEquals(Deno.statSync(`${folder}/rack`).uid, NOBODY);
      } finally {
        closeFile(daemon);
      }
      return Promise.resolve();
    });
  },
});

/** Runs a test where a service manager wants the socket of the daemon "rack". */
async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync();
  const before = Deno.env.get("RUNTIME_DIRECTORY");
  Deno.env.set("RUNTIME_DIRECTORY", `${folder}/rack`);
  try {
    await test(folder);
  } finally {
    if (before === undefined) Deno.env.delete("RUNTIME_DIRECTORY");
    else Deno.env.set("RUNTIME_DIRECTORY", before);
    Deno.removeSync(folder, { recursive: true });
  }
}
