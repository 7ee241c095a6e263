// An export as `aoe ctl add` asks for it: JSON from a socket, which may be anything.

import { SHELF_BROADCAST, SLOT_BROADCAST } from "../../wire/aoe.ts";
import type { ExportPlan } from "./plan.ts";

/** The plan of an export in such a question; undefined when there is none. */
export function askedPlan(value: unknown): ExportPlan | undefined {
  const asked = fieldsOf(value);
  const { shelf, slot } = fieldsOf(asked.address);
  const { path, interfaces, format } = asked;
  const acl = asked.acl === undefined ? undefined : fieldsOf(asked.acl);
  if (
    !isCount(shelf) || shelf >= SHELF_BROADCAST || !isCount(slot) || slot >= SLOT_BROADCAST ||
    typeof path !== "string" || path === "" || !isTexts(interfaces) ||
    !FLAGS.every((flag) => typeof asked[flag] === "boolean") ||
    !isCount(asked.offsetBytes) || format !== undefined && format !== "raw" ||
    !["lengthBytes", "createBytes"].every((key) =>
      asked[key] === undefined || isCount(asked[key])
    ) ||
    acl !== undefined && !["accept", "reject", "readOnly"].every((key) => isTexts(acl[key]))
  ) return undefined;
  return { ...asked as unknown as ExportPlan, address: { shelf, slot }, line: 0 };
}

const FLAGS = ["direct", "sync", "readOnly", "cacheFixed", "force"];

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}
