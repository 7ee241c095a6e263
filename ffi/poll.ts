// ppoll(2) and eventfd(2): where a worker waits, and the way to wake it.

import type { Arena } from "./arena.ts";
import { check } from "./errno.ts";
import type { Pointer } from "./libc.ts";
import { openLibc } from "./libc.ts";

// poll.h
export const POLLIN = 0x001;
export const POLLOUT = 0x004;

/** struct pollfd: int fd, short events, short revents. */
const POLLFD_BYTES = 8;
const TIMESPEC_BYTES = 16;
// sys/eventfd.h
const EFD_CLOEXEC_NONBLOCK = 0o2004000;

const libc = openLibc(
  {
    // struct pollfd *fds, nfds_t nfds, const struct timespec *timeout, const sigset_t *sigmask
    ppoll: { parameters: ["pointer", "u32", "pointer", "pointer"], result: "i32" },
    // unsigned int initval, int flags
    eventfd: { parameters: ["u32", "i32"], result: "i32" },
    // int fd, uint64_t value
    eventfd_write: { parameters: ["i32", "u64"], result: "i32" },
    // int fd, uint64_t *value
    eventfd_read: { parameters: ["i32", "buffer"], result: "i32" },
    // int fd
    close: { parameters: ["i32"], result: "i32" },
    // clockid_t id, struct timespec *tp
    clock_gettime: { parameters: ["i32", "pointer"], result: "i32" },
  } as const,
);

const CLOCK_REALTIME = 0;
const CLOCK_MONOTONIC = 1;

/** A set of file descriptors to wait for, its structures in an arena. */
export class PollSet {
  readonly #arena: Arena;
  readonly #at: number;
  readonly #fds: Pointer;
  readonly #timeoutAt: number;
  readonly #timeout: Pointer;
  readonly #capacity: number;
  #count = 0;

  /** @param capacity Most descriptors. */
  constructor(arena: Arena, capacity: number) {
    this.#arena = arena;
    this.#capacity = capacity;
    this.#at = arena.allocate(capacity * POLLFD_BYTES);
    this.#fds = arena.pointer(this.#at);
    this.#timeoutAt = arena.allocate(TIMESPEC_BYTES);
    this.#timeout = arena.pointer(this.#timeoutAt);
  }

  /** Adds a descriptor, −1 for an entry that is empty for now; returns its number. */
  add(fd: number, events: number): number {
    if (this.#count === this.#capacity) throw new RangeError("Poll set is full");
    this.replace(this.#count, fd);
    this.want(this.#count, events);
    return this.#count++;
  }

  /** Puts another descriptor in an entry. */
  replace(entry: number, fd: number): void {
    this.#arena.i32[(this.#at + entry * POLLFD_BYTES) >>> 2] = fd;
  }

  /** Changes what is waited for in an entry. */
  want(entry: number, events: number): void {
    this.#arena.u16[(this.#at + entry * POLLFD_BYTES + 4) >>> 1] = events;
  }

  /** What the last wait found in an entry: POLLIN and the like; 0 for nothing. */
  found(entry: number): number {
    return this.#arena.u16[(this.#at + entry * POLLFD_BYTES + 6) >>> 1]!;
  }

  /** The same, told once: a second call before the next wait finds nothing. */
  take(entry: number): number {
    const at = (this.#at + entry * POLLFD_BYTES + 6) >>> 1;
    const found = this.#arena.u16[at]!;
    this.#arena.u16[at] = 0;
    return found;
  }

  /**
   * Waits until a descriptor is ready. A signal ends the wait early, as if nothing were ready.
   *
   * @param timeoutUs Microseconds; 0 looks only, negative waits without end.
   * @returns Number of descriptors that are ready.
   */
  wait(timeoutUs: number): number {
    if (timeoutUs >= 0) {
      const seconds = Math.floor(timeoutUs / 1e6);
      const at = this.#timeoutAt >>> 2;
      this.#arena.i32[at] = seconds;
      this.#arena.i32[at + 1] = 0;
      this.#arena.i32[at + 2] = Math.round((timeoutUs - seconds * 1e6) * 1000);
      this.#arena.i32[at + 3] = 0;
    }
    const ready = libc.ppoll(this.#fds, this.#count, timeoutUs < 0 ? null : this.#timeout, null);
    if (ready > 0) return ready;
    // On an error revents are not written: what they held before must not be taken for news.
    for (let i = 0; i < this.#count; i++) {
      this.#arena.u16[(this.#at + i * POLLFD_BYTES + 6) >>> 1] = 0;
    }
    return 0;
  }
}

/** A clock of the kernel's, read without allocating: how long something takes, or the time of day. */
export class Clock {
  readonly #arena: Arena;
  readonly #at: number;
  readonly #pointer: Pointer;
  readonly #number: number;

  constructor(arena: Arena, of: "monotonic" | "realtime" = "monotonic") {
    this.#arena = arena;
    this.#at = arena.allocate(TIMESPEC_BYTES);
    this.#pointer = arena.pointer(this.#at);
    this.#number = of === "monotonic" ? CLOCK_MONOTONIC : CLOCK_REALTIME;
  }

  /** Milliseconds since some fixed moment, or since 1970, with fractions. */
  nowMs(): number {
    this.read();
    const at = this.#at >>> 2;
    return this.#arena.u32[at]! * 1000 + this.#arena.u32[at + 2]! / 1e6;
  }

  /** Takes the time that `seconds` and `nanoseconds` tell until the next call. */
  read(): void {
    libc.clock_gettime(this.#number, this.#pointer);
  }

  /** Since some fixed moment; of the time of day since 1970, up to the year 2106. */
  get seconds(): number {
    return this.#arena.u32[this.#at >>> 2]!;
  }

  get nanoseconds(): number {
    return this.#arena.u32[(this.#at >>> 2) + 2]!;
  }
}

/** Makes an eventfd, 0 at first. */
export function openEvent(): number {
  return check(libc.eventfd(0, EFD_CLOEXEC_NONBLOCK), "eventfd");
}

/** Closes an eventfd that nobody waits for. */
export function closeEvent(fd: number): void {
  libc.close(fd);
}

/** Wakes whoever waits for an eventfd; any thread may. */
export function signalEvent(fd: number): void {
  libc.eventfd_write(fd, 1n);
}

const scratch = new BigUint64Array(1);

/** Takes what has been signalled, so that the next wait sleeps. */
export function clearEvent(fd: number): void {
  libc.eventfd_read(fd, scratch);
}
