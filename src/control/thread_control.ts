// How the main thread speaks to one that blocks in a system call: words in shared memory, and an
// eventfd that wakes it to look at them.

import { openEvent, signalEvent } from "../../ffi/poll.ts";

/** The first word: not 0 once the thread is to come to an end. */
const STOP = 0;

/** The words and the eventfd of one thread. */
export class ThreadControl {
  /** For the thread's config. */
  readonly control: SharedArrayBuffer;
  readonly controlEvent = openEvent();
  readonly words: Int32Array;

  /** @param words Number of words of 32 bits; the first is the word to stop. */
  constructor(words: number) {
    this.control = new SharedArrayBuffer(4 * words);
    this.words = new Int32Array(this.control);
  }

  /** Tells the thread to come to an end. */
  stop(): void {
    this.tell(STOP, 1);
  }

  /** Sets a word, and wakes the thread. */
  tell(word: number, value: number): void {
    Atomics.store(this.words, word, value);
    this.wake();
  }

  /** Wakes the thread, which looks what there is. */
  wake(): void {
    signalEvent(this.controlEvent);
  }
}
