// What `deno task package` makes: a package of which Debian's own check finds nothing to say, that has
// a manual page for every command, and is the same again from the same sources. What `aoe unit
// install` puts in place runs from there.

import { assert, assertEquals, assertMatch } from "@std/assert";
import configuration from "../../deno.json" with { type: "json" };
import { makePackage } from "../harness/package.ts";
import { run, runChecked } from "../harness/process.ts";
import { findProgram, interopTest } from "../harness/requirements.ts";
import { aoeExecutable } from "../harness/target.ts";
import { Testbed } from "../harness/testbed.ts";

const LONG_MS = 300_000;

interopTest("package: whole, by Debian's rules, and the same again", ["dpkg-deb"], async () => {
  const path = await makePackage();
  const first = await Deno.readFile(path);
  const { stdout: listing } = await runChecked(["dpkg-deb", "--contents", path]);
  const entries = listing.trimEnd().split("\n").map((line) => line.split(/\s+/));
  assertEquals(entries.filter(([, owner]) => owner !== "root/root"), []);
  const modes = new Map(entries.map(([mode, , , , , name]) => [name, mode]));
  const programs = ["./usr/bin/aoe", "./usr/lib/aoe/runtime"];
  for (const program of programs) assertEquals(modes.get(program), "-rwxr-xr-x", program);
  const { stdout: help } = await runChecked([await aoeExecutable(), "--help"]);
  const commands = [...help.matchAll(/^ {2}([a-z][\w-]*) {2,}/gm)].map(([, name]) => `-${name}`);
  assert(commands.length > 10, help);
  const texts = [
    "./etc/aoe.toml",
    "./usr/lib/aoe/aoe.js",
    ...["aoe.service", "aoe-attach@.service"].map((name) => `./usr/lib/systemd/system/${name}`),
    "./usr/lib/udev/rules.d/60-aoe.rules",
    "./usr/lib/sysusers.d/aoe.conf",
    "./usr/share/bash-completion/completions/aoe",
    "./usr/share/zsh/vendor-completions/_aoe",
    "./usr/share/fish/vendor_completions.d/aoe.fish",
    "./usr/share/doc/aoe/copyright",
    ...["", ...commands].map((name) => `./usr/share/man/man8/aoe${name}.8.gz`),
  ];
  for (const text of texts) assertEquals(modes.get(text), "-rw-r--r--", text);
  const { stdout: conffiles } = await runChecked(["dpkg-deb", "--info", path, "conffiles"]);
  assertEquals(conffiles, "/etc/aoe.toml\n");
  if (findProgram("lintian") !== undefined) {
    const lintian = await run(["lintian", "--allow-root", "--fail-on", "error,warning", path], {
      timeoutMs: LONG_MS,
    });
    assertEquals([lintian.code, lintian.stdout], [0, ""], lintian.stderr);
  }
  const second = await Deno.readFile(await makePackage());
  assert(first.length === second.length && first.every((byte, at) => byte === second[at]));
});

interopTest(
  "unit install: what is in place runs there, with a capability of its own, and goes again",
  [
    ...["setcap", "setpriv"] as const,
  ],
  async () => {
    await using testbed = await Testbed.create();
    const { target } = await testbed.pair(1500);
    const aoe = await aoeExecutable();
    // As if it were installed: a link has the prefix lead into the root.
    const root = testbed.path("root");
    const prefix = testbed.path("prefix");
    await Deno.mkdir(root + testbed.directory, { recursive: true });
    await Deno.symlink(root + prefix, prefix);
    const place = ["--root", root, "--prefix", prefix];
    await runChecked([aoe, "unit", "install", ...place]);
    const installed = `${prefix}/bin/aoe`;
    const asNobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", installed];
    const cache = { XDG_CACHE_HOME: testbed.path("cache") };
    assertEquals((await run([...asNobody, "--version"])).stdout, `${configuration.version}\n`);
    const without = await target.run([...asNobody, "discover", "-i", "net0"]);
    assertMatch(without.stderr, /CAP_NET_RAW/);
    await runChecked(["setcap", "cap_net_raw+ep", `${prefix}/lib/aoe/runtime`]);
    const withIt = await target.run([...asNobody, "discover", "-i", "net0"]);

    assertMatch(withIt.stderr, /No target answered/);

    const unit = await Deno.readTextFile(`${root}/etc/systemd/system/aoe-attach@.service`);
    assertMatch(unit, new RegExp(`^ExecStart=${prefix}/bin/aoe attach %i --timeout 60 `, "m"));
    assertEquals(
      (await run([installed, "unit", "attach", "e1.1"])).stdout.includes(installed),
      true,
    );
    // A second time over the first; what was written into the configuration stays.
    await Deno.writeTextFile(`${root}/etc/aoe.toml`, "# mine\n");
    await runChecked([installed, "unit", "install", ...place], { env: cache });
    assertEquals(await Deno.readTextFile(`${root}/etc/aoe.toml`), "# mine\n");
    await runChecked([aoe, "unit", "remove", ...place]);
    const left = await runChecked(["find", root, "-type", "f"]);
    assertEquals(left.stdout, `${root}/etc/aoe.toml\n`);
    const again = await run([aoe, "unit", "remove", ...place]);
    assertEquals(again.code, 1);
    assertMatch(again.stderr, /^aoe: Nothing that aoe unit install has put there/);
  },
);
