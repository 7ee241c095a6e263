// Who answers while a disk holds its thread up: the same exports on the same interfaces.

import { assertEquals } from "@std/assert";
import { listInterfaces } from "../../../ffi/netlink.ts";
import { ProbeSockets } from "../../../src/control/ask/probe_sockets.ts";
import { StandIn } from "../../../src/control/target/stand_in.ts";
import { CONTROL_PULSE, CONTROL_WORDS } from "../../../src/core/target/loop.ts";
import type { ExportConfig } from "../../../src/loops/target/export_config.ts";
import { AOE_SLOT, COMMAND_CONFIG, writeAoeHeader } from "../../../src/wire/aoe.ts";
import { CONFIG_READ, writeConfigRequest } from "../../../src/wire/config.ts";
import { ETHERNET_FRAME_BYTES_MIN, MAC_BROADCAST } from "../../../src/wire/ethernet.ts";
import { inOwnNetwork, ip } from "../../ffi/own_network.ts";
import { eventually } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";

const NETWORKS = ["a", "b"];
const STATE = {
  ...{ configString: new Uint8Array(), mask: new Uint8Array(), reservation: new Uint8Array() },
  ...{ sectors: 8, incarnation: 1, cacheOn: true },
};

function exportOf(slot: number, interfaces?: readonly string[]): ExportConfig {
  return {
    ...{ shelf: 1, slot, path: "disk", fd: -1, directFd: -1, directAlignment: 512, interfaces },
    ...{ offsetBytes: 0, lengthBytes: undefined, remote: false, readOnly: false, sync: false },
    ...{ trim: false, physicalSectorBytes: 512, rotational: false, serial: "1", incarnation: 1 },
  };
}

interopTest("stand-in: every export answers, each on its own interfaces", [], async () => {
  const control = new Int32Array(CONTROL_WORDS);
  let standIn: StandIn | undefined;
  let asker: ProbeSockets | undefined;
  try {
    // A socket stays in the namespace that it was made in.
    inOwnNetwork(() => {
      for (const name of NETWORKS) {
        ip(`link add ${name}0 type veth peer name ${name}1`);
        for (const end of [0, 1]) ip(`link set ${name}${end} up`);
      }
      standIn = new StandIn({
        ...{ control, buffers: 16, interfaces: ["a0", "b0"], tell: () => {} },
        exports: () => [exportOf(1, ["a0"]), exportOf(2), exportOf(3, ["b0"])],
      });
      for (const slot of [1, 2, 3]) standIn.learn(1, slot, STATE);
      // In a turn, and still there.
      control[CONTROL_PULSE] = 1;
      for (let look = 0; look < 3; look++) standIn.look();
      asker = new ProbeSockets(
        NETWORKS.map((name) => listInterfaces().find((link) => link.name === `${name}1`)!),
      );
    });
    const heard: string[] = [];
    // Often enough that nobody's answers to the first one are still on their way.
    const often = (name: string) => heard.filter((other) => other === name).length > 2;
    await eventually("every interface answers", () => {
      for (const link of NETWORKS.keys()) askAll(asker!, link);
      asker!.receive((view, at, _length, link) =>
        heard.push(`${NETWORKS[link]} ${view[at + AOE_SLOT]}`)
      );
      return often("a 2") && often("b 3");
    });
    assertEquals([...new Set(heard)].toSorted(), ["a 1", "a 2", "b 2", "b 3"]);
  } finally {
    standIn?.close();
    asker?.close();
  }
});

function askAll(sockets: ProbeSockets, link: number): void {
  sockets.send(link, (view, at, source) => {
    view.fill(0, at, at + ETHERNET_FRAME_BYTES_MIN);
    const all = { flags: 0, shelf: 0xffff, slot: 0xff, command: COMMAND_CONFIG, tag: 1 };
    writeAoeHeader(view, at, MAC_BROADCAST, source, all);
    writeConfigRequest(view, at, CONFIG_READ, new Uint8Array());
    return ETHERNET_FRAME_BYTES_MIN;
  });
}
