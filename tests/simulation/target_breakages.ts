// Rules of the target taken out one by one, to show that the simulation misses each.

import type { TargetExport } from "../../src/core/target/export.ts";
import type { DiskBreakages } from "./simulated_queue.ts";

/** What is broken of a target. */
export interface TargetBreakages extends DiskBreakages {
  /** Commands that overlap run as they come (rule 13). */
  readonly unordered: boolean;
  /** Of two that wait and overlap, the younger is started first. */
  readonly promoteYounger: boolean;
  /** A failed fdatasync is forgotten. */
  readonly forgetFailure: boolean;
}

/** Nothing broken. */
export const INTACT: TargetBreakages = {
  skipSync: false,
  earlySync: false,
  loseNeighbour: false,
  wholeStores: false,
  unordered: false,
  promoteYounger: false,
  forgetFailure: false,
};

/** Breaks what is to be broken of an export. */
export function breakRules(ex: TargetExport, breakages: TargetBreakages): void {
  const { order } = ex;
  if (breakages.unordered) {
    order.admit = () => true;
    order.finish = () => {};
  }
  if (breakages.forgetFailure) {
    Object.defineProperty(ex, "syncFailed", { get: () => false, set: () => {} });
  }
  if (breakages.promoteYounger) promoteYounger(order);
}

/** Lets a waiting command and a younger one that overlaps with it change places. */
function promoteYounger(order: TargetExport["order"]): void {
  const { admit, finish, promote } = {
    admit: order.admit.bind(order),
    finish: order.finish.bind(order),
    promote: order.promote.bind(order),
  };
  const waiting: { command: number; write: boolean; first: number; end: number }[] = [];
  /** Who stands in for whom, both ways. */
  const changed = new Map<number, number>();
  order.admit = (command, write, first, end) => {
    const admitted = admit(command, write, first, end);
    if (!admitted) waiting.push({ command, write, first, end });
    return admitted;
  };
  order.promote = () => {
    const command = promote();
    if (command < 0) return command;
    const at = waiting.findIndex((entry) => entry.command === command);
    const [elder] = waiting.splice(at, 1);
    const earlier = changed.get(command);
    if (earlier !== undefined || elder === undefined) return earlier ?? command;
    const younger = waiting.find((entry) =>
      !changed.has(entry.command) && entry.first < elder.end && elder.first < entry.end &&
      (entry.write || elder.write)
    );
    if (younger === undefined) return command;
    changed.set(command, younger.command);
    changed.set(younger.command, command);
    return younger.command;
  };
  order.finish = (command) => {
    const other = changed.get(command);
    if (other === undefined) {
      finish(command);
      return;
    }
    finish(other);
    changed.delete(other);
  };
}
