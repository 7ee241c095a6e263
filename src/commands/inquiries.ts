// What the commands that ask one disk something have in common (identify, config, mask, reserve):
// their options, the way to the disk, and the way out when it refuses.

import { message } from "@optique/core/message";
import { type Conversation, converse, explainRefusal, type Reply } from "../control/ask/inquiry.ts";
import type { Address } from "../wire/aoe.ts";
import {
  type CaptureArguments,
  captureOptions,
  interfaceOptions,
  jsonFlag,
  timeoutOption,
} from "./arguments.ts";
import { Failure, warn } from "./output.ts";

/** What every question to one disk is given: `config`, `mask`, `reserve`. */
export interface InquiryArguments extends CaptureArguments {
  readonly address: Address;
  /** All that are up when empty. */
  readonly interfaces: readonly string[];
  readonly timeoutMs: number;
  readonly json: boolean;
}

/** The options of such a question; its address comes before its other arguments. */
export function inquiryOptions(
  timeoutHelp = message`How long to ask before giving up (default 1).`,
) {
  return {
    interfaces: interfaceOptions(),
    timeoutMs: timeoutOption(timeoutHelp, 1000),
    ...captureOptions(),
    json: jsonFlag(),
  };
}

/**
 * Finds the disk and has a talk with it. What it says of two disks at one address is told.
 *
 * @param how See `converse`.
 */
export function inquire<T>(
  options: InquiryArguments,
  how: { readonly changes?: boolean; readonly everywhere?: boolean },
  talk: (disk: Conversation) => Promise<T>,
): Promise<T> {
  return converse({ ...options, ...how, wish: { ...options, warn } }, (disk) => {
    if (disk.contest !== undefined) warn(disk.contest);
    return talk(disk);
  });
}

/** What a target answered to one exchange; its refusal is an error. */
export function contentOf<T>(address: Address, { error, content }: Reply<T>): T {
  if (error !== 0 || content === undefined) throw refusal(address, error);
  return content;
}

/** A target's refusal, by its AoE error. */
export function refusal(address: Address, error: number): Failure {
  return new Failure(explainRefusal(address, error));
}
