// The list of interfaces and the word of their changes, against interfaces made for it.

import { assert, assertEquals } from "@std/assert";
import { LinkMonitor, listInterfaces } from "../../ffi/netlink.ts";
import { interopTest } from "../harness/requirements.ts";
import { inOwnNetwork, ip } from "./own_network.ts";

Deno.test("netlink: the list is the kernel's", () => {
  const names = [...Deno.readDirSync("/sys/class/net")].map((entry) => entry.name)
    .filter((name) => name !== "bonding_masters");
  assertEquals(listInterfaces().map((link) => link.name).sort(), names.sort());
});

interopTest("netlink: every field of an interface, and what is not Ethernet", [], () => {
  inOwnNetwork(() => {
    ip("link add net0 address 02:00:00:00:00:01 mtu 9000 type veth peer name net1");
    ip("link set net0 up");
    ip("tuntap add dev tun0 mode tun");
    const found = new Map(listInterfaces().map((link) => [link.name, link]));
    const { index, ...loopback } = found.get("lo")!;
    assert(index > 0);
    assertEquals(loopback, {
      ...{ name: "lo", mac: new Uint8Array(6), mtu: 65536 },
      ...{ up: true, running: true, ethernet: true, loopback: true },
      ...{ altNames: [], master: 0 },
    });
    const net0 = found.get("net0")!;
    assertEquals(net0.mac.toHex(), "020000000001");
    // Up, but the other end of the wire is not.
    assertEquals([net0.mtu, net0.up, net0.running, net0.ethernet], [9000, true, false, true]);
    assertEquals([net0.loopback, found.get("net1")!.up], [false, false]);
    assertEquals(found.get("tun0")!.ethernet, false);
  });
  return Promise.resolve();
});

interopTest(
  "netlink: other names, and whose port an interface is, which a VRF's member is not",
  [],
  () => {
    inOwnNetwork(() => {
      ip("link add net0 type veth peer name net1");
      ip("link property add dev net0 altname enp9s0f0np0 altname enx020000000001");
      ip("link add bridge0 type bridge");
      const monitor = new LinkMonitor();
      const find = (name: string) => listInterfaces().find((link) => link.name === name)!;
      try {
        assertEquals(find("net0").altNames, ["enp9s0f0np0", "enx020000000001"]);
        assertEquals([find("net0").master, find("net1").altNames], [0, []]);
        ip("link set net0 master bridge0");
        assertEquals(find("net0").master, find("bridge0").index);
        const heard = () =>
          monitor.changes().filter(({ link }) => link?.name === "net0").at(-1)?.link;
        assertEquals(heard()?.master, find("bridge0").index);
        ip("link set net0 nomaster");
        assertEquals(heard()?.master, 0);
        // Not every kernel has VRFs.
        if (
          new Deno.Command("ip", { args: "link add vrf0 type vrf table 9".split(" ") }).outputSync()
            .success
        ) {
          ip("link set net0 master vrf0");
          assertEquals(find("net0").master, 0);
        }
      } finally {
        monitor.close();
      }
    });
    return Promise.resolve();
  },
);

interopTest("netlink: changes are heard in order, the end of an interface too", [], () => {
  inOwnNetwork(() => {
    const monitor = new LinkMonitor();
    try {
      assertEquals(monitor.changes(), []);
      ip("link add net0 type veth peer name net1");
      const made = monitor.changes().find(({ link }) => link?.name === "net0")!;
      ip("link set net0 mtu 4000 up");
      const mtus = monitor.changes().filter(({ index }) => index === made.index)
        .map(({ link }) => link?.mtu);
      assertEquals(mtus.at(-1), 4000);
      ip("link del net0");
      const last = monitor.changes().filter(({ index }) => index === made.index).at(-1);
      assertEquals(last, { index: made.index, link: undefined });
    } finally {
      monitor.close();
    }
  });
  return Promise.resolve();
});

interopTest("netlink: leaving a bridge is not the end of an interface", [], () => {
  inOwnNetwork(() => {
    ip("link add net0 type veth peer name net1");
    ip("link add bridge0 type bridge");
    const monitor = new LinkMonitor();
    try {
      const index = listInterfaces().find(({ name }) => name === "net0")!.index;
      ip("link set net0 master bridge0");
      ip("link set net0 nomaster");
      const heard = monitor.changes().filter((change) => change.index === index);
      assert(heard.length > 0);
      assert(heard.every(({ link }) => link?.mtu === 1500), JSON.stringify(heard));
    } finally {
      monitor.close();
    }
  });
  return Promise.resolve();
});

interopTest("netlink: changes too many to be kept are made up for", [], () => {
  inOwnNetwork(() => {
    ip("link add net0 type veth peer name net1");
    const index = listInterfaces().find(({ name }) => name === "net0")!.index;
    const monitor = new LinkMonitor();
    try {
      const batch = Deno.makeTempFileSync({ prefix: "aoe-netlink-" });
      Deno.writeTextFileSync(batch, "link set net1 up\nlink set net1 down\n".repeat(500));
      ip(`-batch ${batch}`);
      Deno.removeSync(batch);
      ip("link set net0 mtu 4000");
      ip("link del net0");
      const last = monitor.changes().filter((change) => change.index === index).at(-1);
      assertEquals(last, { index, link: undefined });
      ip("link add net2 type veth peer name net3");
      assert(monitor.changes().some(({ link }) => link?.name === "net2"));
    } finally {
      monitor.close();
    }
  });
  return Promise.resolve();
});
