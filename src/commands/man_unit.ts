// What the manual says of `aoe unit` beyond its options.

import type { ManualSection } from "./man_text.ts";

/** The sections of aoe-unit(8). */
export const UNIT_MANUAL: readonly ManualSection[] = [
  {
    title: "A UNIT THAT SERVES",
    text: `
\`aoe unit serve\` writes a unit for what a configuration says (/etc/aoe.toml unless --config names
another file). systemd knows when it is ready, watches it, and has it read the configuration again:
systemctl reload aoe. It runs as a user that systemd makes for it, or as --user NAME, with the group disk,
CAP_NET_RAW and no other capability, no way to gain rights, and a file system that it can only read but
for its own /var/lib/aoe, the folders of the images that the configuration has when the unit is written,
/srv, /mnt and /media. Another folder is a line more: systemctl edit aoe, then [Service] and
ReadWritePaths=/folder; without it what lies there is served read-only, with a warning. An image file
must be the user's, or writable by the group disk. Which programs of other users have an image open
it cannot see: mounts, swap and devices built on devices it does.

systemd-analyze security --offline=true gives it 2.2, of 10 at worst. What it lacks is what it needs:
devices, packet sockets, the host's network, and for V8, which compiles, memory that is written and then
executed (MemoryDenyWriteExecute= is not set). Of system calls it has @system-service, with io_uring, but
not @privileged.

Where this host attaches disks that it serves itself, --before-remote-fs orders it before them: it is
there when they are mounted, and stays until they are unmounted.`,
  },
  {
    title: "ALL OF IT",
    text: `
\`aoe unit install\` puts in place what the Debian package has: the program unpacked beside its runtime in
PREFIX/lib/aoe, where it needs no cache and setcap cap_net_raw+ep PREFIX/lib/aoe/runtime works (for
whoever may run it: with that file any program in JavaScript has the capability), PREFIX/bin/aoe, manual
pages, completions, the units aoe and aoe-attach@, a user aoe, a udev rule, and an example of
/etc/aoe.toml where there is none. Nothing is enabled or started.

\`\`\`console
aoe unit install
systemctl enable --now aoe                # serves /etc/aoe.toml
systemctl enable --now aoe-attach@e1.1    # attaches a disk; AOE_ATTACH_OPTIONS="-i eth0" may stand
                                          # in /etc/default/aoe-attach
\`\`\`

\`aoe unit remove\` takes it away again, but for the configuration, /var/lib/aoe and the user.`,
  },
];
