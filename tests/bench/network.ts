// The networks of the bench: one target with its disks, and as many initiators as there are disks.

import type { Namespace, Testbed } from "../harness/testbed.ts";
import type { Station } from "./load.ts";
import { IFACE } from "./peers.ts";

/** What a network is to have. */
export interface Plan {
  readonly disks: number;
  readonly mtu: number;
  readonly bytes: number;
  /** Writes one image. */
  readonly write: (path: string, bytes: number) => Promise<void>;
}

/** Makes the images and the network: disk e1.1 for the first station, e1.2 for the second, … */
export async function build(
  testbed: Testbed,
  { disks, mtu, bytes, write }: Plan,
): Promise<{ target: Namespace; stations: readonly Station[] }> {
  const { target, initiators } = await connect(testbed, disks, mtu);
  const stations: Station[] = [];
  for (const [i, namespace] of initiators.entries()) {
    const path = testbed.path(`disk${i + 1}.img`);
    await write(path, bytes);
    stations.push({ namespace, export: { shelf: 1, slot: i + 1, path, bytes } });
  }
  return { target, stations };
}

/**
 * Joins a target and its initiators: one by a wire, several by a switch, so that each generator
 * sees the frames that are meant for it and no others.
 */
async function connect(
  testbed: Testbed,
  count: number,
  mtu: number,
): Promise<{ target: Namespace; initiators: readonly Namespace[] }> {
  if (count === 1) {
    const { target, initiator } = await testbed.pair(mtu);
    return { target, initiators: [initiator] };
  }
  const target = await testbed.namespace("target");
  const middle = await testbed.namespace("switch");
  await testbed.wire([target, IFACE], [middle, "target"], mtu);
  const initiators: Namespace[] = [];
  for (let i = 1; i <= count; i++) {
    const initiator = await testbed.namespace(`initiator${i}`);
    await testbed.wire([initiator, IFACE], [middle, `initiator${i}`], mtu);
    initiators.push(initiator);
  }
  await middle.bridge("switch", ["target", ...initiators.map((_, i) => `initiator${i + 1}`)], mtu);
  return { target, initiators };
}
