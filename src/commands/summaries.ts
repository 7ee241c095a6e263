// What every command is for, in a line: for the list of `aoe --help`, which is shown without reading
// how any of them is used, and for each one's own help and manual.

import { message } from "@optique/core/message";

/** By the command's name, in the order of the list. */
export const SUMMARIES = {
  serve: message`Export image files, block devices and NBD exports.`,
  ctl: message`Ask or change a running aoe serve.`,
  discover: message`List the targets that answer.`,
  stat: message`Show size, interfaces and state of disks.`,
  top: message`Show who loads which disk, live.`,
  metrics: message`Write a dashboard for Grafana, or alerts for Prometheus.`,
  identify: message`Show what a disk says of itself.`,
  ping: message`Measure round trips on every path.`,
  check: message`Look for what is wrong with the network.`,
  config: message`Show, test or set a config string.`,
  mask: message`Show or edit who is answered.`,
  reserve: message`Show, take or release a reservation.`,
  copy: message`Copy a disk to or from a file, a device or a pipe.`,
  attach: message`Make a block device of a disk on the network.`,
  detach: message`Take an attached disk away.`,
  revalidate: message`Have an attached disk's size looked at again.`,
  flush: message`Forget attached disks that are gone.`,
  nbd: message`Serve a disk of the network to NBD clients.`,
  interfaces: message`Show and set which interfaces are asked on.`,
  unit: message`Write systemd units, or install all of it.`,
  "import-vblade": message`Make a configuration of what vblade serves.`,
  bench: message`Measure how fast a disk is.`,
  version: message`Show versions: ours, the kernel driver's.`,
  man: message`Write a manual page.`,
  completions: message`Write completions for a shell.`,
} as const;
