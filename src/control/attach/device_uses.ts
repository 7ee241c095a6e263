// Who uses the block device of an attached disk, for the sentence that refuses to take it away.

import { describeUses, hostUses } from "../host_uses.ts";

/**
 * ` (it is mounted on "/mnt")`, to stand at the end of a sentence; "" when nobody is found.
 *
 * @param node As in `/dev/etherd/e1.1`; its daemon has it open and is passed over.
 */
export function deviceUses(node: string): string {
  const uses = describeUses(hostUses(node, ({ ownCommand }) => ownCommand === "attach"));
  return uses === "" ? "" : ` (${uses})`;
}
