// What a service manager is told, by sd_notify(3)'s protocol: that the daemon is ready, reloads,
// stops, how it fares, and, where it wants to hear so, that it is alive. Without one nothing happens.

import { sendDatagram } from "../../../ffi/datagram.ts";
import { monotonicMicroseconds } from "../../../ffi/threads.ts";

/** The service manager of this process, if it has one. */
export class ServiceManager {
  readonly #socket: string;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor() {
    this.#socket = Deno.env.get("NOTIFY_SOCKET") ?? "";
  }

  /** Everything is served that can be. */
  ready(status: string): void {
    this.#tell(`READY=1\nSTATUS=${oneLine(status)}`);
  }

  /** A reload begins; `ready` ends it. */
  reloading(): void {
    this.#tell(`RELOADING=1\nMONOTONIC_USEC=${monotonicMicroseconds()}`);
  }

  /** How it fares, for `systemctl status`. */
  status(text: string): void {
    this.#tell(`STATUS=${oneLine(text)}`);
  }

  /** The end has begun. */
  stopping(): void {
    this.#tell("STOPPING=1");
  }

  /**
   * Says again and again that the daemon is alive, if that is wanted, until `close`.
   *
   * @param isWell Asked each time; when it is not, nothing is said, and the service manager ends us.
   */
  keepAlive(isWell: () => boolean): void {
    const everyMs = watchdogMs();
    if (everyMs === undefined || this.#socket === "") return;
    // Twice in the time: one may come late.
    this.#timer = setInterval(() => {
      if (isWell()) this.#tell("WATCHDOG=1");
    }, everyMs / 2);
    Deno.unrefTimer(this.#timer);
  }

  /** Nothing more is said by itself. */
  close(): void {
    clearInterval(this.#timer);
  }

  #tell(text: string): void {
    if (this.#socket !== "") sendDatagram(this.#socket, new TextEncoder().encode(text));
  }
}

/** Within which time this process has to say that it is alive; undefined where nobody asks. */
function watchdogMs(): number | undefined {
  const microseconds = Number(Deno.env.get("WATCHDOG_USEC") ?? NaN);
  const pid = Deno.env.get("WATCHDOG_PID") ?? "";
  if (!(microseconds > 0) || pid !== "" && pid !== `${Deno.pid}`) return undefined;
  return microseconds / 1000;
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ");
}
