// What has to be done so that a daemon that serves one plan serves another; what is the same in both
// is not touched.

import type { ExportPlan } from "./plan.ts";

/** What can be changed of an export while it is served. */
export type PlannedChanges = Partial<
  Pick<ExportPlan, "acl" | "interfaces" | "lengthBytes" | "readOnly">
>;

/** What becomes of one export. */
export type PlanChange =
  | { readonly kind: "add" | "remove" | "replace"; readonly plan: ExportPlan }
  | { readonly kind: "change"; readonly plan: ExportPlan; readonly changes: PlannedChanges };

const LIVE = ["acl", "interfaces", "lengthBytes", "readOnly"] as const;
/** What a file was opened with. */
const FIXED = ["path", "direct", "sync", "cacheFixed", "offsetBytes"] as const;
// The rest says how to begin (a size to make, a format, force), or where it is written.

/**
 * The changes from one plan to another, in the order in which they can be made: what one gives up,
 * another may want.
 */
export function planChanges(
  before: readonly ExportPlan[],
  after: readonly ExportPlan[],
): PlanChange[] {
  const old = new Map(before.map((plan) => [keyOf(plan), plan]));
  const wanted = new Set(after.map(keyOf));
  const removed = before.filter((plan) => !wanted.has(keyOf(plan)));
  const added = after.filter((plan) => !old.has(keyOf(plan)));
  const kept = after.flatMap((plan): PlanChange[] => {
    const was = old.get(keyOf(plan));
    if (was === undefined) return [];
    if (FIXED.some((key) => was[key] !== plan[key])) return [{ kind: "replace", plan }];
    const differing = LIVE.filter((key) => !same(was[key], plan[key]));
    if (differing.length === 0) return [];
    const changes = Object.fromEntries(differing.map((key) => [key, plan[key]]));
    return [{ kind: "change", plan, changes }];
  });
  return [
    ...removed.map((plan) => ({ kind: "remove", plan }) as const),
    ...kept,
    ...added.map((plan) => ({ kind: "add", plan }) as const),
  ];
}

function keyOf({ address: { shelf, slot } }: ExportPlan): number {
  return shelf * 256 + slot;
}

/** Plain data, whose keys stand in one order. */
function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
