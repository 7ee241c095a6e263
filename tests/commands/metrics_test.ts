// The dashboard and the rules: they name what there is, and Prometheus understands them.

import { assertEquals } from "@std/assert";
import { TargetMetrics } from "../../src/core/target/metrics.ts";
import { ALERT_RULES } from "../../src/core/watch/alert_rules.ts";
import { TIME_WORDS } from "../../src/core/time_buckets.ts";
import { exposeSnapshot } from "../../src/core/watch/families.ts";
import { grafanaDashboard } from "../../src/core/watch/grafana_dashboard.ts";
import { readTarget } from "../../src/core/watch/target_reading.ts";
import { findProgram, interopTest } from "../harness/requirements.ts";

interface Dashboard {
  readonly panels: readonly { readonly targets: readonly { readonly expr: string }[] }[];
}

const expressions = (grafanaDashboard() as Dashboard).panels.flatMap(({ targets }) =>
  targets.map(({ expr }) => expr)
);

/** Names of all series that a process has, as a target and as an initiator. */
function seriesNames(): Set<string> {
  const own = [{ shelf: 1, slot: 1 }];
  const metrics = TargetMetrics.named(TargetMetrics.allocate(1, 1), own, ["eth0"]);
  const path = { interface: "eth0", mac: "02:00:00:00:00:01", up: true, window: 1 };
  const text = exposeSnapshot({
    ...{ version: "1", name: "", pid: 1, startedMs: 0, atMs: 0 },
    ...readTarget([metrics], () => ""),
    disks: [{
      ...{ address: "e1.1", node: "", up: true, reads: 0, writes: 0, readBytes: 0 },
      ...{ writtenBytes: 0, commands: 0, retransmissions: 0, overflows: 0 },
      paths: [{
        ...path,
        roundTripMs: 0,
        timeoutMs: 0,
        frameBytes: 0,
        trips: new Float64Array(TIME_WORDS),
      }],
    }],
  }, false);
  const families = [...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)];
  return new Set(
    families.flatMap(([, name, type]) =>
      type === "histogram" ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name!]
    ),
  );
}

Deno.test("metrics: dashboard and rules name series that there are", () => {
  const known = seriesNames();
  const named = [ALERT_RULES, ...expressions, JSON.stringify(grafanaDashboard())]
    .flatMap((text) => [...text.matchAll(/\baoe_\w+/g)].map(([name]) => name));
  assertEquals(named.filter((name) => !known.has(name)), []);
});

interopTest("metrics: promtool understands the rules and the dashboard", ["promtool"], async () => {
  const asRules = `groups:\n  - name: dashboard\n    rules:\n` + expressions.map((expr, i) => {
    const plain = expr.replaceAll("$__rate_interval", "5m").replace(/\$\w+/g, ".*");
    return `      - record: panel_${i}\n        expr: ${JSON.stringify(plain)}\n`;
  }).join("");
  for (const [rules, count] of [[ALERT_RULES, 9], [asRules, expressions.length]] as const) {
    const file = Deno.makeTempFileSync({ suffix: ".yml" });
    try {
      Deno.writeTextFileSync(file, rules);
      const { code, stdout, stderr } = await new Deno.Command(findProgram("promtool")!, {
        args: ["check", "rules", file],
      }).output();
      const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
      assertEquals([code, /SUCCESS: (\d+) rules found/.exec(said)?.[1]], [0, `${count}`], said);
    } finally {
      Deno.removeSync(file);
    }
  }
});
