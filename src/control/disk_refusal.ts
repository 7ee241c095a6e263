// What is thrown where a disk is not used. In a file of its own, since the command line knows it and
// nothing else of what looks at disks.

/** Why a disk is not used, in one sentence. */
export class DiskRefusal extends Error {
  override name = "DiskRefusal";
  /** Nobody answers for it. */
  readonly silent: boolean;

  constructor(text: string, silent = false) {
    super(text);
    this.silent = silent;
  }
}
