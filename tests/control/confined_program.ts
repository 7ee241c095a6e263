// A program that confines itself, and says what became of it: for confinement_test.ts, which gives it
// a user, a folder that it may use, and files to try.

import { confine, whyOutOfBounds } from "../../src/control/confinement.ts";

const [user, image, ...tried] = Deno.args;
confine({
  user: user!,
  images: [image!],
  readable: [new URL("../../deno.json", import.meta.url).pathname],
  writable: [],
  owned: [`${image}.owned/state`],
}, (warning) => console.log(JSON.stringify({ warning })));

// A thread that is started later, by a pool that is not ours.
await Deno.stat("/");
const threads = [...Deno.readDirSync("/proc/self/task")].map(({ name }) => {
  const status = Deno.readTextFileSync(`/proc/self/task/${name}/status`);
  return ["Uid", "Gid", "Groups", "CapPrm", "CapEff", "CapInh", "CapBnd", "CapAmb", "NoNewPrivs"]
    .map((field) => new RegExp(`^${field}:\\s*(.*?)\\s*$`, "m").exec(status)?.[1]);
});
const outcomes = tried.map((path) => {
  try {
    Deno.openSync(path, { read: true, write: true, create: true }).close();
    return "opened";
  } catch (error) {
    return (error as Error).name;
  }
});
console.log(
  JSON.stringify({ threads, outcomes, reasons: tried.map((path) => whyOutOfBounds(path)) }),
);
