import { assertEquals } from "@std/assert";
import { nbdExport, nbdRefusal } from "../../../src/core/nbd_server/export.ts";
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_ENOSPC,
  NBD_ENOTSUP,
  NBD_EPERM,
} from "../../../src/wire/nbd.ts";

const traits = {
  bytes: 1 << 30,
  physicalBlockBytes: 512,
  discard: true,
  discardsAreZero: true,
  readOnly: false,
  rotational: false,
};
const plain = nbdExport(traits);
const readOnly = nbdExport({ ...traits, readOnly: true });
const noDiscard = nbdExport({ ...traits, discard: false, discardsAreZero: false });

Deno.test("nbd_export: flags and sizes follow the disk", () => {
  assertEquals(plain, {
    bytes: 1 << 30,
    flags: 1 | 4 | 8 | 32 | 64 | 256 | 2048,
    sizes: { min: 512, preferred: 4096, max: 32 << 20 },
  });
  assertEquals(readOnly.flags, 1 | 2 | 4 | 256);
  assertEquals(noDiscard.flags, 1 | 4 | 8 | 64 | 256);
  assertEquals(nbdExport({ ...traits, rotational: true }).flags & 16, 16);
  assertEquals(nbdExport({ ...traits, physicalBlockBytes: 65536 }).sizes.preferred, 65536);
});

const end = 1 << 30;
const max = 32 << 20;
for (
  const [what, disk, command, flags, offset, bytes, error] of [
    ["a read", plain, NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, 512, 0],
    ["the last sector", plain, NBD_CMD_READ, 0, end - 512, 512, 0],
    ["the largest read", plain, NBD_CMD_READ, 0, 0, max, 0],
    ["more than that", plain, NBD_CMD_READ, 0, 0, max + 512, NBD_EINVAL],
    ["a read past the end", plain, NBD_CMD_READ, 0, end - 512, 1024, NBD_EINVAL],
    ["a write past the end", plain, NBD_CMD_WRITE, 0, end, 512, NBD_ENOSPC],
    ["a write at 2^64 − 512", plain, NBD_CMD_WRITE, 0, 2 ** 64 - 512, 512, NBD_ENOSPC],
    ["zeros past the end", plain, NBD_CMD_WRITE_ZEROES, 0, end, 512, NBD_ENOSPC],
    ["a trim past the end", plain, NBD_CMD_TRIM, 0, end, 512, NBD_EINVAL],
    ["nothing", plain, NBD_CMD_READ, 0, 0, 0, NBD_EINVAL],
    ["half a sector", plain, NBD_CMD_WRITE, 0, 0, 256, NBD_EINVAL],
    ["an offset between sectors", plain, NBD_CMD_READ, 0, 100, 512, NBD_EINVAL],
    ["a stable write", plain, NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 0, 512, 0],
    ["a write with DF", plain, NBD_CMD_WRITE, NBD_CMD_FLAG_DF, 0, 512, NBD_EINVAL],
    ["flags of the future", plain, NBD_CMD_READ, 0x8000, 0, 512, NBD_EINVAL],
    ["a flush", plain, NBD_CMD_FLUSH, 0, 0, 0, 0],
    ["a flush of a part", plain, NBD_CMD_FLUSH, 0, 0, 512, NBD_EINVAL],
    ["a large trim", plain, NBD_CMD_TRIM, NBD_CMD_FLAG_FUA, 0, end, 0],
    ["a trim that the target lacks", noDiscard, NBD_CMD_TRIM, 0, 0, 512, NBD_ENOTSUP],
    ["large zeros", plain, NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_NO_HOLE, 0, end, 0],
    ["fast zeros", plain, NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FAST_ZERO, 0, 512, 0],
    ["fast zeros that are slow", noDiscard, NBD_CMD_WRITE_ZEROES, 16, 0, 512, NBD_ENOTSUP],
    ["fast zeros without holes", plain, NBD_CMD_WRITE_ZEROES, 16 | 2, 0, 512, NBD_ENOTSUP],
    ["a write to what is read-only", readOnly, NBD_CMD_WRITE, 0, 0, 512, NBD_EPERM],
    ["a trim of it", readOnly, NBD_CMD_TRIM, 0, 0, 512, NBD_EPERM],
    ["zeros for it", readOnly, NBD_CMD_WRITE_ZEROES, 0, 0, 512, NBD_EPERM],
    ["a read of it", readOnly, NBD_CMD_READ, 0, 0, 512, 0],
    ["block status", plain, NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_REQ_ONE, 0, end, 0],
    ["caching", plain, NBD_CMD_CACHE, 0, 0, 512, NBD_EINVAL],
    ["a command of the future", plain, 4711, 0, 0, 512, NBD_EINVAL],
  ] as const
) {
  Deno.test(`nbd_export: ${what} gets ${error === 0 ? "done" : `error ${error}`}`, () => {
    assertEquals(nbdRefusal(disk, command, flags, offset, bytes, true), error);
  });
}

Deno.test("nbd_export: block status is for those who have agreed on it", () => {
  assertEquals(nbdRefusal(plain, NBD_CMD_BLOCK_STATUS, 0, 0, 512, false), NBD_EINVAL);
});
