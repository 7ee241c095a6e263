// A link of a target thread whose socket the kernel refuses something, over a loopback interface.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Arena } from "../../../ffi/arena.ts";
import { SystemError } from "../../../ffi/errno.ts";
import { listInterfaces } from "../../../ffi/netlink.ts";
import { TargetCommands } from "../../../src/core/target/commands.ts";
import { FramePool } from "../../../src/core/target/frames.ts";
import { TargetLink } from "../../../src/loops/target/link.ts";
import { inOwnNetwork } from "../../ffi/own_network.ts";
import { interopTest } from "../../harness/requirements.ts";

const FRAMES = 8;
/** An instruction that no kernel knows. */
const NO_FILTER = new Uint8Array(8).fill(255);

interopTest("link: a ring that cannot be made larger leaves no socket behind", [], () => {
  inOwnNetwork(() => {
    const arena = new Arena(64 * 2 ** 20);
    const pool = new FramePool(arena, FRAMES, 9000, 512);
    const link = new TargetLink("lo", {
      ...{ arena, pool, commands: new TargetCommands(FRAMES), batch: FRAMES, bufferBytes: 2 ** 20 },
      ring: { bytesMax: 8 * 2 ** 20, slots: 16 },
    });
    try {
      link.update(listInterfaces().find(({ name }) => name === "lo")!);
      assert(link.byRing);
      const { fd } = link;
      assertThrows(() => link.filter = NO_FILTER, SystemError);
      const before = openSockets();
      for (let i = 0; i < 3; i++) link.growTo(64);
      assertEquals([openSockets(), link.fd], [before, fd]);
    } finally {
      link.close();
    }
  });
});

/** Descriptors of this process that are sockets. */
function openSockets(): number {
  return [...Deno.readDirSync("/proc/self/fd")].filter(({ name }) => {
    try {
      return Deno.readLinkSync(`/proc/self/fd/${name}`).startsWith("socket:");
    } catch {
      return false;
    }
  }).length;
}
