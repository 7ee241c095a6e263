// What the bench program prints and writes: medians with their spread, the ratio of our column to
// each other one, and whether a goal is reached. Ratios are taken round by round, because the
// machine's own speed drifts from minute to minute, and what two peers did within one round drifts
// together.

/** A bound on our figure, or on its ratio to another column's. */
export interface Goal {
  /** The column that ours is divided by; our figure itself is bounded without it. */
  readonly against?: string;
  readonly bound: "at least" | "at most";
  readonly value: number;
}

/** One thing that was measured, in every column and round. */
export interface Line {
  readonly label: string;
  readonly unit: string;
  /** Per column, one figure a round; a column may be missing. The table's first column is ours. */
  readonly figures: Readonly<Record<string, readonly number[]>>;
  readonly goals: readonly Goal[];
  /** False where a ratio would say nothing. */
  readonly compared: boolean;
}

/** What one row of the bench found. */
export interface Table {
  readonly name: string;
  readonly title: string;
  readonly columns: readonly string[];
  readonly lines: readonly Line[];
}

/** Median, minimum and maximum of some figures. */
export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

const LABEL_WIDTH = 22;
const COLUMN_WIDTH = 19;

/** Sums figures up; NaN everywhere when there are none. */
export function summarize(figures: readonly number[]): Summary {
  const sorted = figures.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const low = sorted[Math.floor(middle)] ?? NaN;
  const high = sorted[Math.ceil(middle)] ?? NaN;
  return { median: (low + high) / 2, min: sorted[0] ?? NaN, max: sorted.at(-1) ?? NaN };
}

/** Our figures divided by another column's, round by round. */
export function ratios(line: Line, ours: string, other: string): number[] {
  const theirs = line.figures[other] ?? [];
  return (line.figures[ours] ?? []).slice(0, theirs.length).map((figure, round) =>
    figure / (theirs[round] ?? NaN)
  );
}

/** Whether a goal is reached; undefined when a column that it needs was not measured. */
function isReached(goal: Goal, line: Line, ours: string): boolean | undefined {
  const figures = goal.against === undefined
    ? line.figures[ours] ?? []
    : ratios(line, ours, goal.against);
  if (figures.length === 0) return undefined;
  const { median } = summarize(figures);
  return goal.bound === "at least" ? median >= goal.value : median <= goal.value;
}

/** A table as lines of text of at most 80 columns. */
export function formatTable(table: Table): string[] {
  const columns = knownColumns(table);
  const [ours = ""] = table.columns;
  const text = ["", table.title, formatCells("", columns, (column) => column)];
  for (const line of table.lines) {
    const verdicts = (against?: string) =>
      line.goals.filter((goal) => goal.against === against)
        .map((goal) => ` ${formatVerdict(goal, line, ours)}`).join("");
    text.push(formatCells(`${line.label} ${line.unit}`, columns, (column) => {
      const figures = line.figures[column] ?? [];
      if (figures.length === 0) return "-";
      return formatSummary(summarize(figures)) + (column === ours ? verdicts() : "");
    }));
    if (!line.compared || !columns.includes(ours) || columns.length < 2) continue;
    text.push(formatCells(`  ${ours} / this`, columns, (column) => {
      if (column === ours || !line.figures[column]) return "";
      return formatFigure(summarize(ratios(line, ours, column)).median) + verdicts(column);
    }));
  }
  return text;
}

/** A table as Markdown: medians, and our figure divided by each other one's. */
export function markdownTable(table: Table): string[] {
  const columns = knownColumns(table);
  const [ours = ""] = table.columns;
  const row = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [
    ...["", `**${table.title}**`, ""],
    row(["work", ...columns]),
    row(["---", ...columns.map(() => "---")]),
    ...table.lines.map((line) =>
      row([
        `${line.label.trim()}, ${line.unit}`,
        ...columns.map((column) => {
          const figures = line.figures[column] ?? [];
          if (figures.length === 0) return "";
          const median = formatFigure(summarize(figures).median);
          if (!line.compared || column === ours) return median;
          return `${median} (${formatFigure(summarize(ratios(line, ours, column)).median)}×)`;
        }),
      ])
    ),
  ];
}

/** Columns that have a figure. */
function knownColumns({ columns, lines }: Table): string[] {
  return columns.filter((column) =>
    lines.some(({ figures }) => (figures[column]?.length ?? 0) > 0)
  );
}

/** One sentence on all goals of all tables. */
export function formatGoals(tables: readonly Table[]): string[] {
  const missed: string[] = [];
  let reached = 0;
  for (const { name, columns: [ours = ""], lines } of tables) {
    for (const line of lines) {
      for (const goal of line.goals) {
        const verdict = isReached(goal, line, ours);
        if (verdict === true) reached++;
        if (verdict === false) missed.push(describeGoal(name, line, goal, ours));
      }
    }
  }
  if (reached + missed.length === 0) return [];
  return ["", `${reached} of ${reached + missed.length} goals reached.`, ...missed];
}

/** A table for the JSON file: every sample, and what was concluded from them. */
export function tableToJson(table: Table): unknown {
  const [ours = ""] = table.columns;
  return {
    name: table.name,
    title: table.title,
    lines: table.lines.map((line) => ({
      label: line.label,
      unit: line.unit,
      columns: mapRecord(line.figures, (samples) => ({ ...summarize(samples), samples })),
      ratios: line.compared
        ? mapRecord(line.figures, (_, other) => summarize(ratios(line, ours, other)))
        : {},
      goals: line.goals.map((goal) => ({ ...goal, reached: isReached(goal, line, ours) ?? null })),
    })),
  };
}

/** Writes a figure with three significant digits or all before the point. */
function formatFigure(figure: number): string {
  return figure.toFixed(Math.abs(figure) >= 99.95 ? 0 : Math.abs(figure) >= 9.995 ? 1 : 2);
}

function formatSummary({ median, min, max }: Summary): string {
  return min === max
    ? formatFigure(median)
    : `${formatFigure(median)} (${formatFigure(min)}-${formatFigure(max)})`;
}

function formatCells(
  label: string,
  columns: readonly string[],
  cell: (column: string) => string,
): string {
  const cells = columns.map((column) => cell(column).padEnd(COLUMN_WIDTH));
  return [label.padEnd(LABEL_WIDTH), ...cells].join("").trimEnd();
}

function formatVerdict(goal: Goal, line: Line, ours: string): string {
  const verdict = isReached(goal, line, ours);
  const sign = goal.bound === "at least" ? "≥" : "≤";
  const word = verdict === undefined ? "" : verdict ? " ok" : " MISSED";
  return `${sign} ${goal.value}${word}`;
}

function describeGoal(name: string, line: Line, goal: Goal, ours: string): string {
  const figures = goal.against === undefined
    ? line.figures[ours] ?? []
    : ratios(line, ours, goal.against);
  const what = goal.against === undefined ? line.unit : `× ${goal.against}`;
  const got = formatFigure(summarize(figures).median);
  return `  Missed in ${name}: ${line.label} ${got} ${what}, wanted ${goal.bound} ${goal.value}`;
}

function mapRecord<From, To>(
  record: Readonly<Record<string, From>>,
  change: (value: From, key: string) => To,
): Record<string, To> {
  return Object.fromEntries(
    Object.entries(record).map(([key, value]) => [key, change(value, key)]),
  );
}
