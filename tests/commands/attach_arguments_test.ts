// The arguments by which `aoe attach` starts its daemon: what was asked for arrives, and what is done
// once stays out of those that start a daemon in the place of one that was killed.

import { assert, assertEquals } from "@std/assert";
import { parse } from "@optique/core/parser";
import {
  type AttachCommandOptions,
  attachParser,
  foregroundArguments,
  wireArguments,
} from "../../src/commands/attach_arguments.ts";

function options(...words: string[]): AttachCommandOptions {
  const parsed = parse(attachParser, words);
  assert(parsed.success, words.join(" "));
  return parsed.value;
}

Deno.test("attach: a daemon hears of a capture and lost frames, its successor does not", () => {
  const words = ["-i", "eth0", "--capture", "x.pcap", "--capture-size", "1M", "--drop", "2.5"];
  const asked = options("attach", "e1.1", ...words);
  const address = asked.addresses[0]!;
  const successor = options(...foregroundArguments(address, asked));
  const none = { capture: undefined, captureBytes: undefined, dropPercent: undefined };
  assertEquals(successor, { ...asked, ...none, foreground: true });
  const daemon = options(...foregroundArguments(address, asked), ...wireArguments(asked));
  // Its folder is another one.
  const capture = `${Deno.cwd()}/x.pcap`;
  assertEquals(daemon, { ...asked, capture, foreground: true });
  assertEquals([daemon.captureBytes, daemon.dropPercent], [2 ** 20, 2.5]);
});
