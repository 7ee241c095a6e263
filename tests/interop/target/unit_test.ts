// From a machine without any package of ours to a served disk that survives a reboot, as the README
// has it, under systemd itself: what `aoe unit install` puts in place is ready when it says so, has the
// rights that the unit gives it, is started again when it dies, and is there at the next boot.

import { assertEquals, assertMatch } from "@std/assert";
import { eventually } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { SystemdMachine, systemdTools } from "../../harness/systemd.ts";
import { aoeExecutable } from "../../harness/target.ts";
import { Testbed } from "../../harness/testbed.ts";

const CAP_NET_RAW = (1 << 13).toString(16).padStart(16, "0");
const CONFIGURATION = `[defaults]
interfaces = ["net0"]

[[export]]
address = "e1.1"
path = "/var/lib/aoe/first.img"
size = "8M"
`;

interopTest("unit: five commands to a disk that survives a reboot, under systemd", [
  ...systemdTools,
], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await testbed.pair(1500);
  const aoe = await aoeExecutable();
  await using machine = await SystemdMachine.create(testbed, target);
  await machine.boot();
  const property = async (name: string) =>
    (await machine.runChecked(["systemctl", "show", "-P", name, "aoe.service"])).stdout.trim();

  await machine.runChecked([aoe, "unit", "install"]);
  await machine.runChecked(["sh", "-c", `printf %s '${CONFIGURATION}' >/etc/aoe.toml`]);
  await machine.runChecked(["aoe", "serve", "--check"]);
  await machine.runChecked(["systemctl", "enable", "--now", "aoe"], { timeoutMs: 60_000 });
  // Type=notify: when that command has ended, the disk answers.
  const found = await initiator.runChecked([aoe, "discover", "-i", "net0"]);
  assertMatch(found.stdout, /^e1\.1 /m);
  assertEquals(await property("ActiveState"), "active");
  assertMatch(await property("StatusText"), /one export/);

  const pid = await property("MainPID");
  const { stdout: aoeUser } = await machine.runChecked(["id", "-u", "aoe"]);
  const { stdout: statuses } = await machine.runChecked([
    "sh",
    "-c",
    `cat /proc/${pid}/task/*/status`,
  ]);
  const values = (field: string) => [
    ...new Set(
      [...statuses.matchAll(new RegExp(`^${field}:\\s*(\\S+)`, "gm"))].map(([, value]) => value),
    ),
  ];
  assertEquals(values("Uid"), [aoeUser.trim()]);
  for (const field of ["CapPrm", "CapEff", "CapBnd"]) assertEquals(values(field), [CAP_NET_RAW]);
  assertEquals([values("NoNewPrivs"), values("Seccomp")], [["1"], ["2"]]);
  // The filter of system calls leaves io_uring, and the file system what is ours.
  const fds = await machine.runChecked(["sh", "-c", `ls -l /proc/${pid}/fd`]);
  assertMatch(fds.stdout, /\[io_uring\]/);
  const inside = (words: string) => machine.run(["nsenter", "-t", pid, "-m", "sh", "-c", words]);
  assertEquals((await inside(": >/etc/written")).code, 2);
  assertEquals((await inside(": >/var/lib/aoe/written")).code, 0);

  const data = testbed.path("data.img");
  await Deno.writeTextFile(data, "survives a reboot");
  await Deno.truncate(data, 8 << 20);
  await initiator.runChecked([aoe, "copy", "-q", data, "e1.1", "-i", "net0"]);
  // root asks it, by the socket in its own folder.
  assertMatch((await machine.runChecked(["aoe", "ctl", "list"])).stdout, /^e1\.1 +serving/m);
  // What is added to the configuration is served without a new start.
  const more = `[[export]]\naddress = "e1.2"\npath = "/var/lib/aoe/second.img"\nsize = "8M"\n`;
  await machine.runChecked(["sh", "-c", `printf %s '${more}' >>/etc/aoe.toml`]);
  await machine.runChecked(["systemctl", "reload", "aoe"]);
  await eventually(
    "the new disk is served",
    async () =>
      /^e1\.2 /m.test((await initiator.runChecked([aoe, "discover", "-i", "net0"])).stdout),
  );
  assertEquals(await property("MainPID"), pid);
  // The watchdog hears of it, and what is killed is started again.
  assertEquals(await property("WatchdogUSec"), "30s");
  const startedAgain = async (before: string) => {
    let pid = "0";
    await eventually("systemd has started it again", async () => {
      pid = await property("MainPID");
      // 0, while there is none: kill(1) would take it for everybody here.
      return pid !== "0" && pid !== before && await property("ActiveState") === "active";
    }, { timeoutMs: 60_000, pauseMs: 500 });
    return pid;
  };
  // Not to wait for half a minute; until the next boot.
  const dropIn = "/run/systemd/system/aoe.service.d";
  const shorter = `mkdir -p ${dropIn} && printf '[Service]\nWatchdogSec=4\n' >${dropIn}/w.conf`;
  await machine.runChecked(["sh", "-c", shorter]);
  await machine.runChecked(["systemctl", "daemon-reload"]);
  await machine.runChecked(["kill", "-9", pid]);
  const second = await startedAgain(pid);
  // One that says nothing any more, though it is there, is ended and started again, too.
  await machine.runChecked(["kill", "-STOP", second]);
  await startedAgain(second);
  assertMatch(machine.log, /aoe\.service: Watchdog timeout/);
  assertMatch((await initiator.runChecked([aoe, "discover", "-i", "net0"])).stdout, /^e1\.1 /m);

  await machine.shutDown();
  assertMatch(machine.log, /Stopped aoe\.service/);
  await machine.boot();
  assertEquals(await property("ActiveState"), "active", machine.log);
  const copy = testbed.path("copy.img");
  await initiator.runChecked([aoe, "copy", "-q", "e1.1", copy, "-i", "net0"]);
  assertMatch(await Deno.readTextFile(copy), /^survives a reboot\0/);

  await machine.runChecked(["aoe", "unit", "remove"]);
  assertEquals((await machine.run(["systemctl", "is-active", "aoe"])).stdout.trim(), "inactive");
  assertEquals((await machine.run(["systemctl", "cat", "aoe"])).code, 1);
  await machine.shutDown();
});
