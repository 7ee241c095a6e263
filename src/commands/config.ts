// `aoe config SHELF.SLOT [read|test|prefix|set|force-set] [STRING]`: the config string of a target,
// by which clusters mark who uses a disk (wire/README.md, 'Query config').

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map, optional, withDefault } from "@optique/core/modifiers";
import { argument, command } from "@optique/core/primitives";
import { choice, string } from "@optique/core/valueparser";
import { ERROR_CONFIG_PRESENT, formatAddress } from "../wire/aoe.ts";
import {
  CONFIG_FORCE_SET,
  CONFIG_READ,
  CONFIG_SET,
  CONFIG_STRING_BYTES_MAX,
  CONFIG_TEST,
  CONFIG_TEST_PREFIX,
} from "../wire/config.ts";
import type { Conversation } from "../control/ask/inquiry.ts";
import { address, shortUsage } from "./arguments.ts";
import { inquire, type InquiryArguments, inquiryOptions, refusal } from "./inquiries.ts";
import { decodeText, Failure, printJson, printLine, quoteConfig } from "./output.ts";
import { SUMMARIES } from "./summaries.ts";

const COMMANDS = {
  read: CONFIG_READ,
  test: CONFIG_TEST,
  prefix: CONFIG_TEST_PREFIX,
  set: CONFIG_SET,
  "force-set": CONFIG_FORCE_SET,
} as const;

type Action = keyof typeof COMMANDS;

/** What `aoe config` was asked to do. */
export interface ConfigOptions extends InquiryArguments {
  readonly action: Action;
  readonly string: string | undefined;
}

/** `aoe config SHELF.SLOT [ACTION] [STRING]` */
export const configParser = command(
  "config",
  map(
    object({
      address: argument(address(), { description: message`Which disk.` }),
      action: withDefault(
        argument(choice(["read", "test", "prefix", "set", "force-set"], { metavar: "ACTION" }), {
          description:
            message`read (the default) shows the string; test and prefix ask whether it is, or begins with, STRING; set sets an empty one; force-set replaces it.`,
        }),
        "read",
      ),
      string: optional(
        argument(string({ metavar: "STRING" }), {
          description: message`At most 1024 bytes of UTF-8; an empty one clears.`,
        }),
      ),
      ...inquiryOptions(
        message`How long to ask before giving up (default 1); a test that does not match takes as long.`,
      ),
    }),
    (options): ConfigOptions => options,
  ),
  {
    brief: SUMMARIES.config,
    description:
      message`Shows the config string of a disk, tests it, or sets it. Exits with 1 when the test does not match, set finds another string, or nobody answers.`,
    usageLine: shortUsage,
    footer:
      message`Examples:${lineBreak()}  aoe config e1.1${lineBreak()}  aoe config e1.1 set node7${lineBreak()}  aoe config e1.1 test node7 && echo mine`,
  },
);

/** Shows the string once it is what was wanted; 1 when it is not. */
export async function runConfig(options: ConfigOptions): Promise<number> {
  const { action, address: { shelf, slot } } = options;
  const wanted = new TextEncoder().encode(options.string ?? "");
  if (action === "read" && options.string !== undefined) {
    throw new Failure("Reading a config string takes no STRING", 2);
  }
  if (action !== "read" && options.string === undefined) {
    throw new Failure(`Missing the STRING to ${action}, as in aoe config e1.1 ${action} node7`, 2);
  }
  if (wanted.length > CONFIG_STRING_BYTES_MAX) {
    throw new Failure(`A config string has at most ${CONFIG_STRING_BYTES_MAX} bytes`, 2);
  }
  const changes = action === "set" || action === "force-set";
  const found = await inquire(options, { changes }, (disk) => ask(disk, options, wanted));
  if (options.json) {
    const config = decodeText(found) ?? null;
    printJson({ address: formatAddress(shelf, slot), config, configHex: found.toHex() });
  } else printLine(quoteConfig(found));
  return 0;
}

/** The string, as the target confirms it. */
async function ask(
  disk: Conversation,
  options: ConfigOptions,
  wanted: Uint8Array,
): Promise<Uint8Array> {
  const { action, address, timeoutMs } = options;
  const name = formatAddress(address.shelf, address.slot);
  const reply = await disk.config(COMMANDS[action], wanted);
  if (reply === undefined) {
    // A test that fails is not answered; what was read when the disk was found tells it from loss.
    const present = disk.configString;
    const matches = action === "test"
      ? equals(present, wanted)
      : action === "prefix" && equals(present.subarray(0, wanted.length), wanted);
    if ((action === "test" || action === "prefix") && !matches) {
      const denial = action === "test" ? "not" : "and does not begin with";
      throw new Failure(
        `The config string of ${name} is ${quote(present)}, ${denial} ${quote(wanted)}`,
      );
    }
    throw new Failure(`${name} was there, but did not answer within ${timeoutMs / 1000} s`);
  }
  const { error, content } = reply;
  const string = content?.string ?? disk.configString;
  if (error === ERROR_CONFIG_PRESENT) {
    throw new Failure(
      `${name} has the config string ${quote(string)} already, which only force-set replaces`,
    );
  }
  if (error !== 0) throw refusal(address, error);
  if ((action === "set" || action === "force-set") && !equals(string, wanted)) {
    throw new Failure(`${name} kept the config string ${quote(string)}`);
  }
  return string;
}

function quote(string: Uint8Array): string {
  const quoted = quoteConfig(string);
  return quoted.startsWith('"') ? quoted : `"${quoted}"`;
}

function equals(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
