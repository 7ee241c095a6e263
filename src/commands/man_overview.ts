// What the manual says of the program as a whole: aoe(8) without a command's name.

import type { ManualSection } from "./man_text.ts";

/** The sections of aoe(8). */
export const OVERVIEW: readonly ManualSection[] = [
  {
    title: "ADDRESSES AND INTERFACES",
    text: `
An address is written \`e1.1\` or \`1.1\`: a shelf from 0 to 65534 and a slot from 0 to 254. The Linux
driver refuses shelf 4095; \`serve\` warns of it. Every command but \`serve\` finds its interfaces by
itself: all Ethernet interfaces that are up. Name them with \`-i eth0\`, again for each or separated
by commas. Use \`lo\` by name; it is asked by itself only when there is nothing else. A host never hears its own
frames on a wire, so a target on the same host is found on \`lo\` only.

AoE is not routed: one segment, frames as large as the smallest MTU of the path. All hosts of a
segment should have the same MTU, and flow control; \`aoe check\` tells.`,
  },
  {
    title: "SECURITY",
    text: `
There is no security in AoE. Nothing is authenticated or encrypted. Whoever can send a frame on the
segment can read and write every disk on it. \`serve -m\` and \`aoe mask\` compare a MAC address that
the sender chose, and anybody may edit a mask list that admits him or is empty. They prevent
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
    title: "OUTPUT AND EXIT CODES",
    text: `
Answers go to standard output, everything else to standard error. Errors are one sentence and begin
with \`aoe:\`. Colours appear on terminals only, and never with NO_COLOR.

| code | meaning |
| ---- | ------- |
| 0 | It went well; for discover, stat and ping: somebody answered; for check: all is well |
| 1 | It failed, nobody answered, a test did not match, or check found a problem |
| 2 | It was called wrongly |
| 3 | copy, bench, nbd: the disk does not answer |
| 4 | copy, bench: the disk refused, failed or was lost |
| 5 | copy, bench: something else was read than had been written |
| 70 | A mistake of ours: please report it, with what AOE_DEBUG=1 adds |
| 130 | copy or bench was interrupted; serve and nbd at a second Ctrl-C |`,
  },
];
