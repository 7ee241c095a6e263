// What every command exits with, in one place: scripts and units read these numbers.

/** The machine or the network refused. */
export const EXIT_FAILED = 1;
/** Called wrongly. */
export const EXIT_USAGE = 2;
/** Nobody answered. */
export const EXIT_SILENT = 3;
/** A disk refused, or failed. */
export const EXIT_REFUSED = 4;
/** What was read is not what had been written. */
export const EXIT_MISMATCH = 5;
/** A mistake of our own (EX_SOFTWARE of sysexits.h). */
export const EXIT_INTERNAL = 70;
/** A signal ended it before it was done, as a shell says it of SIGINT. */
export const EXIT_INTERRUPTED = 130;
