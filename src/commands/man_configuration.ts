// What the manual says of the configuration file. Its examples are read by the tests.

import type { ManualSection } from "./man_text.ts";

/** The sections of aoe-serve(8) about `--config`. */
export const CONFIGURATION_MANUAL: readonly ManualSection[] = [
  {
    title: "THE CONFIGURATION",
    text: `
\`aoe serve --config FILE\` serves what a file in TOML says; without any arguments \`aoe serve\` takes
/etc/aoe.toml, or the file that $AOE_CONFIG names. Every mistake is said with its line and what would be
right, all of them at once, before anything starts. \`--check\` only looks, and warns of files and
interfaces that are not there now: exit code 0, or 2 when there is a mistake. A file whose images,
interfaces and rules fit a home lab:

\`\`\`toml
[defaults]
interfaces = ["eth0"]

[[export]]
address = "e1.1"
path = "/srv/aoe/nas.img"
size = "200G"                     # made, sparse, when it is not there

[[export]]
address = "e1.2"
path = "/dev/vg0/vm"
sync = true                       # the Linux driver never flushes

[[export]]
address = "e1.9"
path = "/srv/aoe/debian-12.iso"
read-only = true
\`\`\`

And a classroom's: one disk that the teacher's machine writes and all others read, and one for each
pupil, which nobody else sees:

\`\`\`toml
[daemon]
name = "class"
workers = 4

[defaults]
interfaces = ["san*"]
direct = true

[acl.lesson]
accept = ["52:54:00:00:00:01"]    # the teacher
read-only = ["52:54:00:*"]        # the room

[acl.anna]
accept = ["52:54:00:00:00:21"]

[acl.ben]
accept = ["52:54:00:00:00:22", "52:54:00:00:00:23"]

[[export]]
address = "e10.0"
path = "/dev/vg0/lesson"
acl = "lesson"

[[export]]
address = "e10.1"
path = "/dev/vg0/anna"
acl = "anna"

[[export]]
address = "e10.2"
path = "/dev/vg0/ben"
acl = "ben"

[initiator]
interfaces = ["san*"]
\`\`\`

- \`[[export]]\`, as often as there are disks: \`address\` and \`path\`, and each option of the command
  line under its long name: \`direct\`, \`sync\`, \`read-only\`, \`force\` (true or false), \`write-cache\`,
  \`offset\`, \`length\`, \`size\`, \`format\`, \`mac\`. A path that does not begin with / begins in the
  file's folder. \`interfaces\` are names, or patterns with * and ?, which never mean the loopback
  interface; it is named.
- \`[defaults]\`: what exports have that do not say it themselves.
- \`[acl.NAME]\`: who may use the exports that say \`acl = "NAME"\`, or several in a list: \`accept\`,
  \`reject\` and \`read-only\` are lists of MAC addresses, of how they begin (\`52:54:00:*\`, \`*\`), or of
  names in /etc/ethers. The entry that says most of an address counts, of equal ones first the one that
  rejects, then the one for reading. Where \`accept\` is there, nobody else is answered. To who may only
  read, the disk is read-only, and its config string, mask list and reservation are not to be set.
- \`[daemon]\`: \`name\`, \`workers\`, \`buffers\`, \`poll\`, \`map\`, \`no-uring\`, \`no-ring\`, \`capture\`,
  \`capture-size\` and \`drop\`, as on the command line; \`state\` (a folder, or false for none),
  \`control\` (false: no socket for aoe ctl), \`metrics\` (HOST:PORT, PORT or unix:PATH) and \`user\`.
- \`[initiator]\`: the \`interfaces\` that discover, stat, attach and all the others ask on when they get
  no -i. Those that are not there or down are left out.

--name, --state, --no-state, --metrics, --user, --capture, --capture-size, --drop, --json, -q and -v may
stand beside --config. Whatever else stands in the file is not said twice.`,
  },
];
