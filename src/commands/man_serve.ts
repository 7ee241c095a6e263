// What the manual says of `aoe serve` beyond its options.

import type { ManualSection } from "./man_text.ts";

/** The sections of aoe-serve(8). */
export const SERVE_MANUAL: readonly ManualSection[] = [
  {
    title: "COMING FROM VBLADE",
    text: `
The options -b, -d, -s, -r, -m, -o and -l are vblade's. Only the order of the rest differs: first the
interfaces, then address and path, as often as you like. Options may stand anywhere. -b below 16 is
announced as asked, with a warning; the Linux driver never comes up with 0 or 1, so 1 announces 2.`,
  },
  {
    title: "WHAT IS REFUSED",
    text: `
\`serve\` refuses to start, in one sentence, when an address already answers on that segment or is
served by another program of this host on the same interface; when an image is open for writing
elsewhere, or stands behind a loop device; when a block device is mounted or part of something.
--force serves all the same. With -r such uses are a warning. All paths that cannot be opened are named
at once.

An image of another format (qcow2, VMDK, VDI, VHD, VHDX, QED, Parallels, DMG, gzip, xz, zstd, bzip2,
lz4, zip, 7z) is recognized by its content and refused, with the qemu-nbd line that serves what is in
it; --format raw serves it as it is. A unit for a disk whose first bytes belong to a guest should say
--format raw. 128 PiB and more is more than AoE can say.

It warns of what will bite later: shelf 4095, a size that is no multiple of 512, an MTU under 1060, an
interface that is down, a device or file system that is read-only (so is the disk then).`,
  },
  {
    title: "WHILE IT RUNS",
    text: `
An interface that goes down and comes back is served again, also under another name. A file or device
that grows is seen within a second, and initiators are told. A file that shrinks, or a disk that fails,
gives ATA errors for those sectors and a line in the log. A file that was replaced, deleted or moved
away is told of once: what clients write goes with the old one.

A disk that does not answer for two seconds is told of once, and once when it answers again. While it
hangs the target still answers query config and IDENTIFY, so that initiators can tell a slow disk from
a dead host. Files of one file system that share a thread may wait together; with --no-uring all
disks of one thread wait for the one that hangs. A command that an initiator sends again while the
disk has it in hand is not done twice, but answered with it; the summary counts those.

An initiator may switch the write cache off (SET FEATURES), after which each write of all initiators
is stable before its answer: the log says who has. --write-cache fixed refuses that.

At the end what has been received is answered, what has been written is flushed, and a summary says
what there was. When the last flush fails it says what may be lost, and exits with 1. The next
\`aoe serve\` of that name tells initiators that know how to ask (aoe attach and nbd): the next flush
of what they had written fails.

Few files may be open here (ulimit -n)? The limit is raised to the hard one, and what is needed is
looked at before anything starts.`,
  },
  {
    title: "WHAT SURVIVES",
    text: `
Config strings, mask lists and reservations of a serve by arguments live in the process and end with it,
unless --state names a folder. With a configuration they are kept: in $STATE_DIRECTORY or /var/lib/aoe,
unless it or --state names another, or --no-state or \`state = false\` says none. Each change is written,
synced and put in place before its answer leaves, a file an export (DIR/NAME/e1.1.json, of the daemon's
--name, \`serve\` without one), and the next start begins with it.
A process that is killed leaves the old or the new one. What cannot be written is refused with AoE
error 3, and the log says why; other commands go on meanwhile. A file that is damaged, or a newer
version's, is named and nothing starts: mend it, or remove it and with it what it kept. What a daemon
with --user has left root takes over, in a folder where only root could put it.`,
  },
  {
    title: "ASKED WHILE IT RUNS",
    text: `
\`aoe ctl\` asks and changes a running \`serve\` by a socket of its user alone, in $RUNTIME_DIRECTORY or
in /run/aoe/NAME. Several on one host need a --name each; one without a name is called \`serve\`, and
goes without a socket where another has that name. Exports are added, removed and drained while the
others are served on; the last flush of one that goes is said. One whose disk hangs takes no more
commands, and is listed as draining until the disk has finished those that it has: everything else goes
on, but what is to be served by its address, which waits.

With a configuration, SIGHUP or \`aoe ctl reload\` reads it again. What is the same is not touched, not
by a frame; an ACL, interfaces, length and read-only change while the export is served; another path,
offset, direct, sync or write-cache takes it away and serves it anew. A configuration with a mistake
changes nothing, and every mistake is said with its line. What [daemon] says is read at the start only.
Exports added by hand stay as they are unless the configuration gets one of that address.

With a configuration, or with --wait, a file, interface or NBD server that is missing at the start is
no end: the rest is served, the missing is said once and listed with its reason by \`aoe ctl list\`, and
looked for every second, an NBD server less and less often up to every 30 seconds.`,
  },
  {
    title: "LEAST PRIVILEGE",
    text: `
What \`serve\` needs is CAP_NET_RAW, and files that it may open. Under systemd \`aoe unit serve\` writes a
unit that has no more. Without, as root, --user NAME gives everything else up before a file or socket is
opened: the process executes itself as that user, in all its threads, with the user's groups (disk, for
block devices), CAP_NET_RAW alone and no_new_privs. What NAME cannot open is refused, as ever.

Where the kernel has Landlock, files can be opened only in the folders of what is exported, captured or
configured; in /dev and / only what was named, so that a device that is plugged in again needs a new
start. What an older kernel lacks is said once. Which programs of others have an image open is looked
for as root, before; afterwards NAME sees only its own. Socket buffers are at most net.core.wmem_max and
rmem_max.`,
  },
  {
    title: "UNDER A SERVICE MANAGER",
    text: `
By sd_notify(3) it says when it is ready, reloads and stops, how many exports wait, and, where
WATCHDOG_USEC asks for it, that it is alive: as long as each thread works, sleeps or waits for a disk. A
disk that hangs is no reason for a new start, which would hang as well, and take the others with it.
Lines for systemd's journal have their severity: errors <3>, warnings <4>, the rest <6>. Of one kind of
event that others can cause ten a minute are told, and then a count.`,
  },
  {
    title: "DURABILITY",
    text: `
FLUSH is an fdatasync behind every write answered so far. With -s a write is answered once it is on
stable storage; many writes in flight share one fdatasync. Without -s, a crash of the target's kernel
or a power cut loses what initiators believe to be safe unless they flush. Killing or restarting
\`aoe serve\` loses nothing.

The Linux driver never flushes, and tells its file systems that there is no cache to flush. A journal
on such a disk is only as durable as each write: use -s with it.

When an fdatasync fails, or an NBD server's flush, written data may be lost, and the kernel would
report success the next time. So the failure sticks: every flush, and every write that must be stable,
fails from then on, until \`aoe serve\` is started again. The log says so.`,
  },
  {
    title: "MEMORY",
    text: `
Reads from the page cache are sent from a mapping of the file. Mapped pages are the cache's, which
gives them up when somebody needs memory, but top counts them as resident (RES); what is the
program's own is RssAnon in /proc/PID/status, under 80 MB for one export. So much of the images is
mapped as --map says, by default half of the machine's memory and at most 32 GiB, for which the
kernel's page tables take up to 64 MiB. What is not mapped is read in place where the page cache has
it, and through io_uring where the disk has.

Where one thread serves all, what is mapped is mapped for writing, too: a page that has been written of
late is written again without the file system, and the file's time of change follows within a second.`,
  },
  {
    title: "NBD EXPORTS",
    text: `
In place of a path stands the URI of an NBD export: \`nbd://HOST[:PORT]/NAME\`,
\`nbd+unix:///NAME?socket=PATH\`, or \`nbd+unix:///PATH\` for the default export of a socket. qemu-nbd and
nbdkit speak NBD for qcow2, VMDK, S3, Ceph RBD and much else. Files and NBD exports may stand side by
side.

\`\`\`
qemu-img create -q -f qcow2 disk.qcow2 10G
qemu-nbd --fork --persistent -f qcow2 -k /run/disk.sock disk.qcow2
aoe serve -s eth0 e1.1 nbd+unix:///run/disk.sock
\`\`\`

While a server is away, commands wait, and what it had not answered is sent again; other exports go
on. A server that is not there at the start is refused. --json tells of it as source events.

- What the server says of itself is passed on: an export that is read-only, its size, whether it
  knows a flush, and zeroes for TRIM. -r, -o and -l work as for files; -d and --size are refused.
- FLUSH is NBD's flush. With -s a write is answered when it is stable: with NBD's FUA, or behind a
  flush that many writes share.
- What was answered, and not flushed, may be lost with the server. When the connection breaks while
  there are such writes, the log says so, the next flush fails, and the incarnation that our
  initiators compare changes. With -s there never are any.
- A server without flush gets a warning: what it answers is taken for stable, and no write cache is
  claimed. A server that only takes blocks of more than 512 bytes is refused; nbdkit's blocksize
  filter helps.
- Whether a server was restarted while \`aoe serve\` was not running cannot be known, so without -s each
  start counts as a new incarnation: a flush of our initiators that covers writes from before it
  fails. Other initiators hear of a loss from the first flush after it alone, whoever sends it.
- The name of a TCP server is looked up once, at the start. TLS is not spoken.

Two hosts may serve one export, as two paths of one disk: give both the same address and the same URI,
-s, and the second --force, since the address answers already. It is safe with read-only exports. To
write, three things must hold. Each host serves with -s: a flush sent to one does not cover what the
other has answered, and without -s the two differ in their incarnation, so that flushes of our
initiator fail rather than promise too much. The server, or the store behind two servers, shows on
one connection what was answered on another (NBD_FLAG_CAN_MULTI_CONN, which qemu-nbd --shared=2 has;
--force warns where it is missing). And commands that overlap are ordered within one target only: a
write that was sent again by way of the second host may land after a newer one that went the first
way. Our initiator prevents that by itself, since it holds a write back while a copy of an
overlapping one may be under way. The Linux driver does not: with it, use one host at a time.`,
  },
  {
    title: "JSON",
    text: `
With --json each line is an event. \`export\`, \`interface\` and \`serving\` come first; then \`resized\`,
\`link\`, \`renamed\`, \`source\`, \`silence\`, \`write-cache\`, \`error\` and \`lost\` (lines that could not be
written) as they happen, each with its time; \`counters\` at SIGUSR1; \`stopped\` is the summary. In it, \`gathered\` counts reads that
were sent straight from the page cache, \`syncs\` the fdatasync calls that writes and flushes shared,
\`overlaps\` commands that waited for an older one, \`abandoned\` commands that a disk had not finished
ten seconds after the word to stop.`,
  },
];
