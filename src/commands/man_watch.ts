// What the manual says of seeing what a daemon does: `--metrics`, `aoe top`, `aoe metrics`.

import type { ManualSection } from "./man_text.ts";

/** Of `aoe serve`, `aoe attach` and `aoe nbd`. */
export const METRICS_MANUAL: readonly ManualSection[] = [
  {
    title: "METRICS",
    text: `
--metrics HOST:PORT, PORT or unix:PATH lets others see what the daemon does, and change nothing. A port
alone is on loopback; another address comes with a warning, since whoever reaches it sees who uses which
disk. What is counted is counted always; --metrics only lets it be read.

- \`/\` is a page for browsers: who loads what, rates, times and faults, with the last ten minutes.
- \`/metrics\` is for Prometheus, in its own text format or in OpenMetrics, as it asks.
- \`/healthz\` says ok.

A serving daemon tells of commands, bytes, errors, drops by their reason, retransmissions that it has
seen (the same initiator, tag and sectors again) and times, by export, by interface and by initiator.
\`aoe_target_answer_seconds\` is the time from taking a frame to handing its answer to the kernel, and
\`aoe_target_disk_seconds\` the disk's share of it: what an initiator waits beyond it is the wire's. The
first 1,023 initiators of a thread have numbers of their own; those of the rest are added up as
\`other\`. A daemon that uses a disk tells of its paths: round trips, windows, retransmissions;
\`aoe_initiator_path_answer_seconds\` is the time from sending a command until the disk's answer.`,
  },
];

/** Of `aoe top`. */
export const TOP_MANUAL: readonly ManualSection[] = [
  {
    title: "WHAT IT SHOWS",
    text: `
First who loads what: each initiator and an export that it uses, with its share of all requests, the
busiest on top. Then the exports. On a host that serves nothing, the disks that it uses.

Of what is served here:

| column | what it says |
| --- | --- |
| REQ/S, READ/S, WRIT/S | requests, bytes read and bytes written in a second |
| SHARE | of all requests, how many are this initiator's for this export |
| MEAN | mean time from taking a frame to handing its answer to the kernel |
| HAND | commands in hand: taken, and not answered at this moment |
| P50, P99 | within this, 50 and 99 of 100 answers were handed to the kernel |
| DISK | mean time at the disk of what went there; what the page cache answers does not |
| DEPTH | commands in hand, on the average of the second or now, whichever is more |
| FAULTS | errors and dropped frames since the start |
| MOST OF | the export that this initiator asks most of |
| BATCH | frames that one look at the interface brought, on the average |
| LOST | frames that the kernel dropped: they came faster than they could be taken |

Of disks that are used here:

| column | what it says |
| --- | --- |
| UP | how many of its paths answer, of all; DOWN where none does |
| TRIP | the smoothed round trip, by the quickest path |
| P99 | within this, 99 of 100 answers of the last second came back |
| WINDOW | commands that may be on their way at once, by all paths |
| AGAIN | commands that were sent again since the start |
| AS | the block device, or where NBD clients find it |
| PATHS | our interface and the MAC that answers there; "lost" where it does not |

It asks aoe serve, aoe attach and aoe nbd of this host by their control sockets: nothing has to be
configured, and with none of them it exits with 1. What another user runs is seen as that user.`,
  },
  {
    title: "KEYS",
    text: `
| key | what it does |
| --- | --- |
| q | ends it |
| Tab, 1 to 5 | show loads, exports, initiators, interfaces, disks |
| s, S | sort by the next, or the one before: requests, bytes, time, depth, faults, name |
| / | takes a part of an address, MAC or path: only that is shown; Escape shows all |
| arrows, space | scroll |`,
  },
];

/** Of `aoe metrics`. */
export const METRICS_FILES_MANUAL: readonly ManualSection[] = [
  {
    title: "USE",
    text: `
In Grafana, import what \`aoe metrics dashboard\` writes, and choose the Prometheus that reads the
daemons' /metrics. Prometheus takes the rules as a file of its \`rule_files\`:

\`\`\`
aoe metrics alerts > /etc/prometheus/aoe.rules.yml
promtool check rules /etc/prometheus/aoe.rules.yml
\`\`\``,
  },
];
