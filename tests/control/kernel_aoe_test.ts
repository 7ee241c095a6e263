// The kernel driver's files, played by a folder; the real driver is in
// tests/interop/initiator/kernel_devices_test.ts.

import { assertEquals, assertThrows } from "@std/assert";
import {
  flushKernelDevices,
  kernelDevices,
  kernelDriverLoaded,
  kernelDriverVersion,
  kernelInterfaces,
  requestKernelDiscovery,
  revalidateKernelDevice,
  setKernelInterfaces,
} from "../../src/control/kernel_aoe.ts";

async function withFolder(body: (folder: string) => void): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "aoe-ffi-" });
  try {
    body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("kernel aoe: devices and their attributes; neither partitions nor other disks", () =>
  withFolder((folder) => {
    const device = (name: string, attributes: Record<string, string>) => {
      Deno.mkdirSync(`${folder}/${name}`);
      for (const [attribute, text] of Object.entries(attributes)) {
        Deno.writeTextFileSync(`${folder}/${name}/${attribute}`, `${text}\n`);
      }
    };
    device("etherd!e10.2", {
      ...{ size: "65536", netif: "eth0,eth1", payload: "8704", state: "up" },
    });
    device("etherd!e1.15", { size: "0", netif: "none", state: "down,closewait" });
    device("etherd!e1.15p1", { size: "1" });
    device("sda", { size: "1" });
    const found = kernelDevices(folder).sort((a, b) => a.shelf - b.shelf);
    assertEquals(found, [
      {
        ...{ shelf: 1, slot: 15, sectors: 0, interfaces: [], payloadBytes: undefined },
        state: "down,closewait",
      },
      {
        ...{ shelf: 10, slot: 2, sectors: 65536, interfaces: ["eth0", "eth1"] },
        ...{ payloadBytes: 8704, state: "up" },
      },
    ]);
    assertEquals(kernelDevices(`${folder}/missing`), []);
  }));

Deno.test("kernel aoe: the driver is loaded when /proc/devices has it", () =>
  withFolder((folder) => {
    const loaded = (text: string) => {
      Deno.writeTextFileSync(`${folder}/devices`, text);
      return kernelDriverLoaded(`${folder}/devices`);
    };
    assertEquals(
      loaded("Character devices:\n  1 mem\n152 aoechr\n\nBlock devices:\n152 aoe\n"),
      true,
    );
    assertEquals(loaded("Character devices:\n152 video\n\nBlock devices:\n253 aoe\n"), false);
    assertEquals(kernelDriverLoaded(`${folder}/missing`), false);
  }));

Deno.test("kernel aoe: only a character device is told to discover", () =>
  withFolder((folder) => {
    requestKernelDiscovery("/dev/null");
    Deno.writeTextFileSync(`${folder}/discover`, "");
    for (const path of [`${folder}/discover`, `${folder}/missing`]) {
      assertThrows(() => requestKernelDiscovery(path), Deno.errors.NotFound);
    }
    assertEquals(Deno.readTextFileSync(`${folder}/discover`), "");
  }));

Deno.test("kernel aoe: the list of interfaces, which is empty for all; the version", () =>
  withFolder((folder) => {
    assertEquals(kernelInterfaces(folder), undefined);
    assertEquals(kernelDriverVersion(folder), undefined);
    // What is not there is not made: it would be a plain file, and nobody's.
    assertThrows(() => setKernelInterfaces(["eth0"], folder), Deno.errors.NotFound);
    Deno.mkdirSync(`${folder}/parameters`);
    Deno.writeTextFileSync(`${folder}/parameters/aoe_iflist`, "\n");
    Deno.writeTextFileSync(`${folder}/version`, "85\n");
    assertEquals([kernelInterfaces(folder), kernelDriverVersion(folder)], [[], "85"]);
    setKernelInterfaces(["eth0", "eth1"], folder);
    assertEquals(Deno.readTextFileSync(`${folder}/parameters/aoe_iflist`), "eth0,eth1\0");
    assertEquals(kernelInterfaces(folder), ["eth0", "eth1"]);
    setKernelInterfaces([], folder);
    assertEquals(kernelInterfaces(folder), []);
  }));

Deno.test("kernel aoe: revalidate and flush are told in the driver's words, by its files alone", () =>
  withFolder((folder) => {
    assertThrows(() => revalidateKernelDevice("e1.1", folder), Deno.errors.NotFound, "udev");
    assertThrows(() => flushKernelDevices(false, folder), Deno.errors.NotFound);
    for (const name of ["revalidate", "flush"]) Deno.writeTextFileSync(`${folder}/${name}`, "");
    const told = (name: string) => Deno.readTextFileSync(`${folder}/${name}`);
    revalidateKernelDevice("e1.1", folder);
    assertEquals(told("revalidate"), "e1.1\0");
    flushKernelDevices(false, folder);
    assertEquals(told("flush"), "\n");
    flushKernelDevices(true, folder);
    assertEquals(told("flush"), "all\0");
  }));
