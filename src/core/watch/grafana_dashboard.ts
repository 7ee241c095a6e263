// A dashboard that Grafana imports: the same as the page, for as long as Prometheus keeps it.

/** One drawing: its title, the unit of its numbers, and its lines, each with its legend. */
interface Drawing {
  readonly title: string;
  readonly unit: string;
  readonly lines: readonly (readonly [expression: string, legend: string])[];
}

const ON = 'instance=~"$instance"';
const OF = `${ON},export=~"$export"`;

const DRAWINGS: readonly Drawing[] = [
  {
    title: "Who loads what",
    unit: "reqps",
    lines: [[
      `topk(10, sum by (initiator, export) (rate(aoe_target_load_commands_total{${OF}}[$__rate_interval])))`,
      "{{initiator}} on {{export}}",
    ]],
  },
  {
    title: "Requests by export",
    unit: "reqps",
    lines: [[
      `sum by (export) (rate(aoe_target_commands_total{${OF}}[$__rate_interval]))`,
      "{{export}}",
    ]],
  },
  {
    title: "Bytes by export",
    unit: "Bps",
    lines: [
      [
        `sum by (export) (rate(aoe_target_read_bytes_total{${OF}}[$__rate_interval]))`,
        "{{export}} read",
      ],
      [
        `sum by (export) (rate(aoe_target_written_bytes_total{${OF}}[$__rate_interval]))`,
        "{{export}} written",
      ],
    ],
  },
  {
    title: "Time to answer, 50 and 99 of 100",
    unit: "s",
    lines: [
      quantile(0.5, "aoe_target_answer_seconds"),
      quantile(0.99, "aoe_target_answer_seconds"),
    ],
  },
  {
    title: "The disk's share of it",
    unit: "s",
    lines: [quantile(0.5, "aoe_target_disk_seconds"), quantile(0.99, "aoe_target_disk_seconds")],
  },
  {
    title: "Commands in hand",
    unit: "short",
    lines: [[`aoe_target_commands_in_hand{${OF}}`, "{{export}}"]],
  },
  {
    title: "Errors and retransmissions",
    unit: "reqps",
    lines: [
      [
        `sum by (export, kind) (rate(aoe_target_errors_total{${OF}}[$__rate_interval]))`,
        "{{export}} {{kind}} errors",
      ],
      [
        `sum by (export) (rate(aoe_target_retransmissions_total{${OF}}[$__rate_interval]))`,
        "{{export}} again",
      ],
    ],
  },
  {
    title: "Frames dropped",
    unit: "pps",
    lines: [
      [
        `sum by (interface, reason) (rate(aoe_target_interface_dropped_frames_total{${ON}}[$__rate_interval]))`,
        "{{interface}} {{reason}}",
      ],
      [
        `sum by (interface) (rate(aoe_target_interface_ring_overflows_total{${ON}}[$__rate_interval]))`,
        "{{interface}} too fast",
      ],
    ],
  },
  {
    title: "Disks that are used: round trips, 50 and 99 of 100",
    unit: "s",
    lines: [roundTrip(0.5), roundTrip(0.99)],
  },
  {
    title: "Disks that are used: windows and retransmissions",
    unit: "short",
    lines: [
      [`aoe_initiator_path_window_commands{${ON}}`, "{{disk}} by {{interface}} window"],
      [
        `rate(aoe_initiator_retransmissions_total{${ON}}[$__rate_interval])`,
        "{{disk}} again a second",
      ],
    ],
  },
];

/** The dashboard, as a value of JSON. */
export function grafanaDashboard(): unknown {
  const datasource = { type: "prometheus", uid: "${datasource}" };
  const variable = (name: string, query: string) => ({
    ...{ name, type: "query", datasource, query, refresh: 2, includeAll: true, multi: true },
    ...{ current: { text: "All", value: "$__all" }, sort: 1 },
  });
  return {
    title: "ATA over Ethernet",
    uid: "aoe-overview",
    tags: ["aoe"],
    schemaVersion: 39,
    editable: true,
    refresh: "10s",
    time: { from: "now-1h", to: "now" },
    templating: {
      list: [
        { name: "datasource", type: "datasource", query: "prometheus" },
        variable("instance", "label_values(aoe_info, instance)"),
        variable("export", `label_values(aoe_target_export_info{${ON}}, export)`),
      ],
    },
    panels: DRAWINGS.map(({ title, unit, lines }, i) => ({
      id: i + 1,
      type: "timeseries",
      ...{ title, datasource },
      gridPos: { x: i % 2 * 12, y: Math.floor(i / 2) * 8, w: 12, h: 8 },
      fieldConfig: { defaults: { unit, min: 0 }, overrides: [] },
      options: { legend: { displayMode: "list", placement: "bottom" }, tooltip: { mode: "multi" } },
      targets: lines.map(([expr, legendFormat], k) => ({
        ...{ refId: String.fromCharCode(65 + k), datasource, expr, legendFormat },
      })),
    })),
  };
}

function quantile(part: number, name: string): readonly [string, string] {
  return [quantileBy("export", part, name, OF), `{{export}} ${part * 100} of 100`];
}

function roundTrip(part: number): readonly [string, string] {
  return [
    quantileBy("disk, interface, target", part, "aoe_initiator_path_answer_seconds", ON),
    `{{disk}} by {{interface}} to {{target}} ${part * 100} of 100`,
  ];
}

function quantileBy(labels: string, part: number, name: string, of: string): string {
  return `histogram_quantile(${part}, ` +
    `sum by (${labels}, le) (rate(${name}_bucket{${of}}[$__rate_interval])))`;
}
