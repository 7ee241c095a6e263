// What the manual says of the program as a whole: aoe(8) without a command's name.

import type { ManualSection } from "./man_text.ts";

/** The sections of aoe(8). */
export const OVERVIEW: readonly ManualSection[] = [
  {
    title: "ADDRESSES AND INTERFACES",
    text: `
An address is written \`e1.1\` or \`1.1\`, or as its device \`/dev/etherd/e1.1\`: a shelf from 0 to 65534
and a slot from 0 to 254. The Linux driver refuses shelf 4095; \`serve\` warns of it. Every command
but \`serve\` finds its interfaces by itself: those that \`[initiator]\` in /etc/aoe.toml names (\`aoe
interfaces\` shows and sets them), else all Ethernet interfaces that are up. Name them with \`-i eth0\`, again for each or separated by commas. Alternative names (ip link property add) name an
interface wherever its name does. An interface is its index: renamed while it is used, everything goes
on. A port of a bridge, bond or team gets no frames, and is refused with the name of its master. Use
\`lo\` by name; it is asked by itself only when there is nothing else. A host never hears its own frames
on a wire, so a target on the same host is found on \`lo\` only.

AoE is not routed: one segment, frames as large as the smallest MTU of the path. All hosts of a
segment should have the same MTU, and flow control; \`aoe check\` tells.

Sizes are bytes, with K, M, G or T behind them if wanted; -o, -l, --offset and --seek take sectors of
512 bytes when there is no letter, as vblade does.`,
  },
  {
    title: "SECURITY",
    text: `
There is no security in AoE. Nothing is authenticated or encrypted. Whoever can send a frame on the
segment can read and write every disk on it. \`serve -m\`, the configuration's ACLs and \`aoe mask\` compare a MAC address
that the sender chose, and anybody may edit a mask list that admits him or is empty. They prevent
accidents, not attacks. Keep AoE on a network, or a VLAN, of its own.

AoE gives every host the same blocks. Only a cluster file system may be mounted twice, and nothing
may be mounted on the target that an initiator writes: neither side would notice the other.
\`aoe reserve\` can keep a second host out.

\`aoe\` needs CAP_NET_RAW, and permission to open the disks. As a service: AmbientCapabilities=CAP_NET_RAW
and User= in a systemd unit. By hand:

\`\`\`
setpriv --reuid 1000 --clear-groups --inh-caps +net_raw --ambient-caps +net_raw ./aoe ...
\`\`\`

A compiled \`./aoe\` takes \`setcap cap_net_raw+ep ./aoe\`. Capabilities do not work on scripts, so with
the self-extracting file they go to the runtime that it unpacked, which the error message names;
everything run by that copy of the runtime then has the capability, so keep the directory your own.
Without CAP_NET_ADMIN the socket's buffer cannot be larger than net.core.rmem_max allows: raise it if
the summary of \`serve\` tells of frames that the kernel dropped.`,
  },
  {
    title: "WHEN THE DISK IS USED HERE",
    text: `
What writes looks first. \`copy\` to a disk, \`bench\` that writes, \`nbd\` and \`attach\` without -r refuse
when different disks answer for one address, naming both; \`--target MAC\` chooses one. They refuse a
disk that is attached here and in use (mounted, or open), naming who uses it; --force goes on all the
same. \`serve\` refuses an image that is mounted by a loop device or open for writing in another
program, and an address that vblade serves on the same interface. Without privileges only one's own
programs are seen.`,
  },
  {
    title: "SIGNALS",
    text: `
\`serve\`, \`nbd\`, \`attach\`, \`copy\`, \`bench\` and \`ping\` end in good order at SIGINT, SIGTERM, SIGHUP
(unless nohup ignores it), SIGQUIT and whatever else would kill them and can be caught: what has been
received is answered, what has been written is flushed, devices are detached or said to be attached
still. A second one ends the process as it stands, when it comes 300 ms or more after the first.
SIGUSR1 prints the counters that the summary prints: \`serve\` and \`nbd\` to standard output, \`copy\` and
\`bench\` to standard error, \`attach\`'s daemon to the system's log.`,
  },
  {
    title: "CAPTURES AND LOST FRAMES",
    text: `
With --capture FILE, \`serve\`, \`copy\`, \`bench\`, \`nbd\`, \`attach\` of one disk and the commands that ask
(\`discover\`, \`stat\`, \`ping\`, \`check\`, \`identify\`, \`config\`, \`mask\`, \`reserve\`) write the frames that
they receive and send to a new file of mode 0600, a pcap with nanoseconds for tshark and Wireshark:

\`\`\`
aoe copy e1.1 backup.img --capture copy.pcap
tshark -r copy.pcap -Y aoe
\`\`\`

- It holds the frames of the thread that does the work, of all its interfaces. Where \`serve\` has
  several threads, each has a file: FILE.1, FILE.2. Not in it is what the main thread asks before
  the work begins, and answers while a disk hangs. A command that asks has its own questions in
  it, and the answers to them; other frames of these interfaces are not in any of them.
- Of data that \`serve\` sends straight from the page cache only the length is kept.
- It ends at --capture-size, 64 MiB without, and when the disk is full: with a sentence, and
  everything else goes on. It is written once a second, and at the end; a process that is killed
  leaves what was written, whole frames all of it.
- Do not write it to a disk that the same \`attach\` or \`nbd\` makes: it would wait for itself.
- Each frame is copied once more, so that a disk is slower meanwhile. Without --capture there is no
  cost.

--drop PERCENT, from 0.01 to 99, which \`ping\` and \`check\` take as well, loses that share of the frames on purpose, each received and each
sent one, as a bad wire would: to see how a system bears it. The same command loses the same numbers
of frames again. It is said at the start, and counted at the end; in JSON it is \`drop\`, and \`lost\` the
frames. A frame that is lost on its way in is in a capture, one lost on its way out is not, though
\`serve\` counts it as sent. The daemon of an attached disk has both until it ends; a keeper's goes
without.`,
  },
  {
    title: "OUTPUT AND EXIT CODES",
    text: `
Answers go to standard output, everything else to standard error. Errors are one sentence and begin
with \`aoe:\`. Colours appear on terminals only, and never with NO_COLOR. Control and format characters
of other hosts' strings are shown as \`\\u{...}\`, in JSON as \`\\uXXXX\`.

What serves never waits for a reader. Up to 256 KiB wait for each stream; lines that cannot be written
are counted, and told of once they can be again. A command that only prints and cannot fails with one
sentence; a closed pipe is no failure.

| code | meaning |
| ---- | ------- |
| 0 | It went well; for discover, stat and ping: somebody answered; for check: all is well |
| 1 | It failed, nobody answered, a test did not match, check found a problem, a last flush failed |
| 2 | It was called wrongly |
| 3 | copy, bench, nbd: the disk does not answer |
| 4 | copy, bench: the disk refused, failed or was lost |
| 5 | copy, bench: something else was read than had been written |
| 70 | A mistake of ours: please report it, with what AOE_DEBUG=1 adds |
| 130 | copy or bench was interrupted; anything at a second Ctrl-C |`,
  },
  {
    title: "THE SELF-EXTRACTING FILE",
    text: `
Where the build could not have deno compile's runtime, \`aoe\` unpacks 97 MB at its first start, into
the first of $XDG_CACHE_HOME/aoe, ~/.cache/aoe, /var/cache/aoe (root without HOME), /var/tmp/aoe-UID,
/tmp/aoe-UID and /dev/shm/aoe-UID that is its own, has room and is not mounted noexec. It needs glibc
2.27 or later, libgcc_s.so.1, /bin/sh, gzip and coreutils or busybox. Sizes are checked at each start,
checksums at the first of each boot; what is damaged is unpacked again. Removing the directory harms
nothing that runs, attached disks included. Files of older versions stay there until they are removed.`,
  },
];
