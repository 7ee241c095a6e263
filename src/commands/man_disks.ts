// What the manual says of the commands that make a remote disk usable here: attach, detach, nbd.

import type { ManualSection } from "./man_text.ts";

/** The sections of aoe-attach(8). */
export const ATTACH_MANUAL: readonly ManualSection[] = [
  {
    title: "BACK ENDS",
    text: `
A block device in user space needs an interface of the kernel. They are tried in this order, and
\`aoe attach\` says why it passed over one:

| back end | what it needs, and what happens when its daemon is killed |
| -------- | --------- |
| ublk | Linux 6.5 with ublk_drv; replaced, I/O goes on |
| nbd | the nbd module, in the initial network namespace; replaced, I/O goes on |
| fuse | FUSE and loop devices, no module; from Linux 6.9 on replaced, before that EIO at once |
| kernel | the aoe module, only when asked; there is no daemon. It never flushes |`,
  },
  {
    title: "FUSE OVER IO_URING",
    text: `
From Linux 6.14 on the kernel can hand the requests of a FUSE file system over by io_uring, without
a read and a write for each. It is switched off everywhere, and \`aoe attach -v\` says so:

\`\`\`
echo Y >/sys/module/fuse/parameters/enable_uring    # for all FUSE file systems from then on
aoe attach e1.1 --backend fuse --fuse-uring
\`\`\`

It is used only when asked for, since it costs the keeper: no kernel (up to 6.18) can send requests
that came this way to another process. A daemon that is killed is not replaced, and its disk fails
with EIO at once. Nor was it faster where we measured, on two cores that target, network and fio
share: at depth 32 about as many 4 KiB reads, in the best of the runs 11 to 16 % fewer, and a latency at
depth 1 that is not lower, since requests move in batches without it as well. Measure before you choose it.`,
  },
  {
    title: "THE DAEMON AND ITS KEEPER",
    text: `
A daemon stays, and logs to the system's log. What is written is in the write cache until it is
flushed, as with any disk: fsync reaches the target's disk, discards and zeroing reach it where it
offers TRIM (so fstrim works), and the device grows when the export does.

A daemon has a keeper, a shell of under a megabyte that holds its descriptors and becomes the next
daemon when it is killed. That one serves what it inherits at once, also while the target is away or
a link is gone; only a disk with several paths waits for five seconds, until no frame of the killed
daemon can arrive any more. Writes that a target has lost in a reboot are told of by the next fsync,
whichever daemon is there by then. By nbd the new daemon sends again what was in flight within 10 s,
the kernel's timer; what comes later goes on at once. Without a new daemon it fails after 60 s.

When both are killed, or nothing replaces the daemon, what is under way fails at once, what the page
cache had not written back is lost, and the name is free. \`attach\` needs sh for the keeper, and
\`detach\` needs dd for the flush, which a process of its own waits for; busybox has both.

The target may be stopped, killed and served again while a file system is mounted: readers and
writers wait.`,
  },
  {
    title: "SLOW AND SILENT DISKS",
    text: `
A target that answers IDENTIFY, and no command, has a slow disk, which is waited for as long as it
goes on; --dead-after counts from the disk's last answer. The log says once that the disk does not
answer though its target does, and once that it answers again. A target that answers nothing while its
disk works (vblade) looks like a lost path.`,
  },
  {
    title: "AT BOOT",
    text: `
\`aoe unit attach\` writes a systemd unit that attaches before remote file systems are mounted, and
detaches after they are unmounted and before the network goes. The file system's line in /etc/fstab
needs \`_netdev\`:

\`\`\`
aoe unit attach e1.1 -i eth0 > /etc/systemd/system/aoe-e1.1.service
systemctl enable --now aoe-e1.1
echo '/dev/etherd/e1.1 /srv ext4 _netdev 0 2' >> /etc/fstab
\`\`\`

Nothing else is to be installed: \`attach\` tells udev, and so systemd, of the disk and its partitions
by a rule in /run/udev/rules.d. Attaching what is attached already in the same way is success. A disk
that is mounted by hand is not ordered at shutdown. Modules that this kernel has are loaded.`,
  },
  {
    title: "NAMES",
    text: `
/dev/etherd/e1.1 is a node of the group disk, e1.1p1 and so on are links to the kernel's own nodes of
its partitions. No name outlives its device: when daemon and keeper are killed, a small watcher takes
the name away, and whatever of \`aoe\` runs next where that was killed, too.`,
  },
  {
    title: "RESERVATION",
    text: `
With --reserve the reservation is for the MACs of all the interfaces, and is taken again every ten
seconds, since a target that is restarted forgets it. Another initiator that looks for the same disk
is warned of in the log.`,
  },
  {
    title: "LIMITS",
    text: `
- Lost writes are told of once. The next flush fails, and a flush comes from one file system: with
  several partitions mounted, the others do not hear of it.
- By fuse the physical block size and optimal I/O size of a loop device are the loop driver's; by
  ublk they are the target's.
- Do not swap on an attached disk: the daemon needs memory to free memory. Its requests' memory is
  locked, and where it has CAP_SYS_RESOURCE its thread is a PR_SET_IO_FLUSHER; the log says when it
  cannot be.
- The root file system on an attached disk is not supported: at shutdown systemd ends the daemon
  before it unmounts the root.
- A disk that a program has open without having mounted it goes when that program closes it, and
  \`aoe detach\` says so.
- A ublk daemon that is killed (kill -9, under load) was followed by a crash of a guest's kernel 6.12
  once in about 25 tries; stopping and detaching never was. That kernel also crashes with nothing
  killed, once in some twenty boots of our tests' emulator. ublk was never run on real hardware;
  where that matters more than speed: --backend nbd or fuse.
- Two disks with one address are refused when it is attached, unless --target names one. What starts
  later is told apart by its serial number only: give every disk of a segment an address of its own.`,
  },
];

/** The sections of aoe-nbd(8). */
export const NBD_MANUAL: readonly ManualSection[] = [
  {
    title: "PROTOCOL",
    text: `
It speaks the fixed newstyle handshake, simple and structured replies, flush, FUA, trim, write-zeroes
(fast where the target promises that discards read as zeros), block status (all is data: AoE tells of
no holes), and several connections, where a flush on one covers the writes of all. Requests are of
whole sectors, with at most 32 MiB of data. A disk that has grown is seen by clients that connect
after it. NBD has no passwords.

\`\`\`
qemu-img convert -O qcow2 'nbd+unix:///?socket=/run/e1.1.nbd' backup.qcow2
nbdcopy disk.raw 'nbd+unix:///?socket=/run/e1.1.nbd'
nbd-client -unix /run/e1.1.nbd /dev/nbd0
\`\`\``,
  },
  {
    title: "LIMITS",
    text: `
There are 16 places for clients and 64 MiB for their data, of which one client gets half at most;
memory that a load never needs is never touched. Who comes later waits to be accepted. Who gets no
memory is not read from until there is some, and a client that takes none of its answers for 30 s
while others wait for memory is disconnected. So is one that sends what is no NBD, or does not say
within 10 s what it wants. Writes that a target has lost are told to each client with its own next
flush.`,
  },
];
