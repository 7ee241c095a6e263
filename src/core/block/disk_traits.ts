// What a block device shows of the disk behind it.

/** What the offer is made of. */
export interface DiskTraits {
  readonly bytes: number;
  readonly physicalBlockBytes: number;
  readonly discard: boolean;
  /** Zeros cost no data: a discard does it. */
  readonly discardsAreZero: boolean;
  readonly readOnly: boolean;
  readonly rotational: boolean;
}
