// `aoe metrics`: what goes with the numbers of --metrics, as files.

import { lineBreak, message } from "@optique/core/message";
import { object } from "@optique/core/constructs";
import { argument, command } from "@optique/core/primitives";
import { choice } from "@optique/core/valueparser";
import { ALERT_RULES } from "../core/watch/alert_rules.ts";
import { grafanaDashboard } from "../core/watch/grafana_dashboard.ts";
import { shortUsage } from "./arguments.ts";
import { printLine } from "./output.ts";
import { SUMMARIES } from "./summaries.ts";

/** `aoe metrics FILE` */
export const metricsParser = command(
  "metrics",
  object({
    file: argument(choice(["dashboard", "alerts"], { metavar: "FILE" }), {
      description: message`dashboard: for Grafana, to be imported; alerts: rules for Prometheus.`,
    }),
  }),
  {
    brief: SUMMARIES.metrics,
    description:
      message`Writes a dashboard for Grafana or rules for Prometheus to standard output; they read what a daemon shows with --metrics.`,
    usageLine: shortUsage,
    footer:
      message`Examples:${lineBreak()}  aoe metrics dashboard > aoe.json${lineBreak()}  aoe metrics alerts > /etc/prometheus/aoe.rules.yml`,
  },
);

/** Writes the file. */
export function runMetrics(options: { readonly file: "dashboard" | "alerts" }): Promise<number> {
  printLine(
    options.file === "dashboard"
      ? JSON.stringify(grafanaDashboard(), undefined, 2)
      : ALERT_RULES.trimEnd(),
  );
  return Promise.resolve(0);
}
