// `aoe top`: which initiator loads which disk, and how long it takes, again each second.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map, optional, withDefault } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { choice, string } from "@optique/core/valueparser";
import { askWatched } from "../control/watch/questions.ts";
import {
  onlyWanted,
  TOP_PASTS,
  TOP_SORTS,
  TOP_VIEWS,
  type TopChoice,
  topScreen,
  type TopSort,
  topText,
  type TopView,
} from "../core/watch/top_screen.ts";
import type { WatchAnswer } from "../control/watch/watcher.ts";
import { daemonName, jsonFlag, shortUsage } from "./arguments.ts";
import { Failure, hasColors, printJson, printLine } from "./output.ts";
import { listenToSignals } from "./stop_signals.ts";
import { TopKeys } from "./top_keys.ts";
import { TopScreen } from "./top_terminal.ts";
import { SUMMARIES } from "./summaries.ts";

const REDRAW_MS = 1000;
/** Of what is no terminal. */
const TEXT_COLUMNS = 160;

/** What `aoe top` was asked to do. */
export interface TopOptions {
  readonly filter: string;
  readonly name: string | undefined;
  /** What is shown first; of plain text, all that is shown. */
  readonly view: TopView | undefined;
  readonly sort: TopSort;
  readonly once: boolean;
  readonly json: boolean;
}

/** `aoe top [FILTER]` */
export const topParser = command(
  "top",
  map(
    object({
      filter: optional(argument(string({ metavar: "FILTER" }), {
        description: message`Show only what has this in its address, MAC, interface or path.`,
      })),
      name: optional(option("--name", daemonName(), {
        description: message`Which aoe serve, where there are several (default serve).`,
      })),
      view: optional(
        option("--view", choice([...TOP_VIEWS]), {
          description:
            message`What is shown first: loads (who loads what, the default), exports, initiators, interfaces or disks; with --once, that alone.`,
        }),
      ),
      sort: withDefault(
        option("--sort", choice([...TOP_SORTS]), {
          description:
            message`What rows are sorted by: requests (the default), bytes, time, depth, faults or name.`,
        }),
        "requests" as const,
      ),
      once: option("--once", { description: message`Show it once, as plain text.` }),
      json: jsonFlag(),
    }),
    ({ filter, ...rest }): TopOptions => ({ filter: filter ?? "", ...rest }),
  ),
  {
    brief: SUMMARIES.top,
    description:
      message`Shows what a running aoe serve of this host does, and the disks of others that aoe attach and aoe nbd use here: requests, times and faults of the last second, and who causes them.`,
    usageLine: shortUsage,
    footer:
      message`Examples:${lineBreak()}  aoe top${lineBreak()}  aoe top e1.1${lineBreak()}  aoe top --once --json`,
  },
);

/** Shows it until `q`, or once. */
export async function runTop(options: TopOptions): Promise<number> {
  const terminal = Deno.stdout.isTerminal() && Deno.stdin.isTerminal();
  try {
    if (options.once || options.json || !terminal) return await runPlain(options, terminal);
    return await runScreen(options);
  } catch (error) {
    // A daemon's refusal is a sentence for the user.
    throw error instanceof Error ? new Failure(error.message) : error;
  }
}

function choiceOf({ view, sort, filter }: TopOptions): TopChoice {
  return { view: view ?? "loads", sort, filter, typing: false, skipped: 0, notice: "" };
}

/** Lines that scripts and people read: once, or with --json again each second. */
async function runPlain(options: TopOptions, terminal: boolean): Promise<number> {
  const columns = terminal ? Deno.consoleSize().columns : TEXT_COLUMNS;
  const look = { columns, rows: Infinity, colours: false, ascii: !knowsUnicode() };
  for (;;) {
    const beganMs = performance.now();
    const { overview } = await askWatched(options.name, []);
    if (options.json) {
      if (!printJson(onlyWanted(overview, options.filter, look))) return 0;
    } else {
      const lines = topText(overview, choiceOf(options), options.view, look);
      for (const line of lines) printLine(line);
    }
    if (options.once || !options.json) return 0;
    const restMs = REDRAW_MS - (performance.now() - beganMs);
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, restMs)));
  }
}

/** The whole screen, until `q`, Ctrl-C or a signal; the terminal is as it was behind it. */
async function runScreen(options: TopOptions): Promise<number> {
  // Before the screen is taken: what is wrong is said in its place.
  let answer: WatchAnswer = await askWatched(options.name, TOP_PASTS);
  const stopped = Promise.withResolvers<void>();
  const forget = listenToSignals({ stop: () => stopped.resolve() });
  const screen = new TopScreen();
  const keys = new TopKeys(choiceOf(options));
  let notice = "";
  const draw = () => {
    const { columns, rows } = screen.size();
    const look = { columns, rows, colours: hasColors(Deno.stdout), ascii: !knowsUnicode() };
    screen.show(topScreen(answer.overview, answer.pasts, { ...keys.choice, notice }, look));
  };
  let asking = false;
  const timer = setInterval(async () => {
    // Those that take their time are not asked twice.
    if (asking) return;
    asking = true;
    try {
      answer = await askWatched(options.name, TOP_PASTS);
      notice = "";
    } catch (error) {
      notice = error instanceof Error ? error.message : String(error);
    }
    asking = false;
    draw();
  }, REDRAW_MS);
  Deno.addSignalListener("SIGWINCH", draw);
  try {
    draw();
    const pressed = (async () => {
      for await (const key of screen.keys()) {
        if (!keys.press(key)) return;
        draw();
      }
    })();
    await Promise.race([pressed, stopped.promise]);
    return 0;
  } finally {
    clearInterval(timer);
    Deno.removeSignalListener("SIGWINCH", draw);
    screen.close();
    forget();
  }
}

/** Whether the terminal was said to know more than ASCII. */
function knowsUnicode(): boolean {
  const locale = Deno.env.get("LC_ALL") || Deno.env.get("LC_CTYPE") || Deno.env.get("LANG") || "";
  return /utf-?8/i.test(locale);
}
