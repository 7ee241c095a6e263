// `aoe check`: measures interfaces and the paths on them. Nothing is written: the questions are
// query config, IDENTIFY and READs of the first sectors.
//
// 1. Everybody on the interfaces is found and identified.
// 2. Single requests, all paths side by side, one after the other on each: what is lost here is
//    lost without a crowd.
// 3. Frame sizes, all paths side by side: IDENTIFY padded to ever other sizes tells what reaches
//    the target, READs of ever other counts tell what comes back.
// 4. Bursts of the largest READs, path after path: as many at once as the target takes.

import type { ProbeWish } from "./probe_aids.ts";
import { readFlowControl } from "../../../ffi/flow_control.ts";
import { findProblems, usableBytes, usableSectors } from "../../core/ask/advice.ts";
import type { CheckedInterface, CheckedPath, Problem, Tally } from "../../core/ask/advice.ts";
import { isContested } from "../../core/ask/discovery.ts";
import type { FoundPath } from "../../core/ask/discovery.ts";
import { configQuestion, identifyQuestion, readQuestion } from "../../core/ask/questions.ts";
import type { Answer, Question } from "../../core/ask/questions.ts";
import { RoundTrips } from "../../core/ask/round_trips.ts";
import type { RoundTripSummary } from "../../core/ask/round_trips.ts";
import { SizeSearch } from "../../core/ask/size_search.ts";
import { aoeErrorName, formatAddress } from "../../wire/aoe.ts";
import { ATA_DATA, SECTOR_BYTES, sectorsPerFrame } from "../../wire/ata.ts";
import { CONFIG_READ } from "../../wire/config.ts";
import { ETHERNET_FRAME_BYTES_MIN, ETHERNET_HEADER_BYTES, formatMac } from "../../wire/ethernet.ts";
import { Inquirer } from "./inquirer.ts";
import { ataRefusal } from "./inquiry.ts";
import { findInterfaces } from "../network_interfaces.ts";
import { explainContest } from "./scan.ts";

/** What the Linux driver has in flight at most. */
const BURST_MAX = 64;
const BURSTS = 4;
/** When a single request is given up for the next one; its answer may still come. */
const PATIENCE_MS = 100;
/** What devices with the customary MTUs pass, with a VLAN tag and without, and the byte beyond. */
const USUAL_FRAME_BYTES = [1518, 1519, 1514, 1515, 9018, 9019, 9014, 9015];
/** Sectors that those carry. */
const USUAL_SECTORS = [2, 3, 17, 18];
const NO_STRING = new Uint8Array(0);

/** What to check. */
export interface CheckOptions {
  /** Names; all that are up when empty. */
  readonly interfaces: readonly string[];
  /** For each look around, and how long an answer may take. */
  readonly timeoutMs: number;
  /** Single requests to each path. */
  readonly count: number;
  /** What is wanted to look for a fault. */
  readonly wish?: ProbeWish | undefined;
}

/** One path, measured. */
export interface PathReport extends CheckedPath {
  /** Bytes of the largest frame, and sectors in one frame, that pass both ways. */
  readonly usableBytes: number;
  readonly usableSectors: number;
  readonly roundTrips: RoundTripSummary | undefined;
}

/** What was measured, and what is wrong. */
export interface CheckReport {
  readonly interfaces: readonly CheckedInterface[];
  readonly paths: readonly PathReport[];
  readonly problems: readonly Problem[];
  /** What else the user should know, one sentence each. */
  readonly warnings: readonly string[];
}

/** Measures, and judges. */
export async function checkNetwork(options: CheckOptions): Promise<CheckReport> {
  const links = findInterfaces(options.interfaces);
  const inquirer = new Inquirer(links, options.wish);
  try {
    const targets = await inquirer.find(undefined, {
      timeoutMs: options.timeoutMs,
      everywhere: true,
    });
    const paths = await new Check(inquirer, targets.flatMap((target) => target.paths), options)
      .run();
    const answered = new Set(paths.map((path) => path.interface));
    const interfaces = links.map(({ name, mtu, loopback, running }) => ({
      ...{ name, mtu, loopback, running, answered: answered.has(name) },
      flowControl: readFlowControl(name),
      named: options.interfaces.length > 0,
    }));
    const contests = targets.filter(isContested).map((target) => explainContest(target, links));
    const problems = findProblems(interfaces, paths, contests);
    return { interfaces, paths, problems, warnings: inquirer.warnings() };
  } finally {
    inquirer.close();
  }
}

/** One path while it is measured. */
interface Subject {
  readonly path: FoundPath;
  readonly roundTrips: RoundTrips;
  /** Payload bytes of our interface. */
  readonly mtu: number;
  single: Tally;
  burst: Tally;
  requestBytes: number | undefined;
  readSectors: number | undefined;
  refusal: string | undefined;
}

class Check {
  readonly #inquirer: Inquirer;
  readonly #options: CheckOptions;
  readonly #subjects: readonly Subject[];

  constructor(inquirer: Inquirer, paths: readonly FoundPath[], options: CheckOptions) {
    const tally = { sent: 0, lost: 0, again: 0 };
    this.#inquirer = inquirer;
    this.#options = options;
    this.#subjects = paths.map((path) => ({
      path,
      mtu: inquirer.interfaces[path.link]!.mtu,
      roundTrips: new RoundTrips(),
      single: tally,
      burst: tally,
      requestBytes: undefined,
      readSectors: undefined,
      refusal: path.identity === undefined
        ? path.refusal ?? "IDENTIFY is not answered"
        : path.identity.sectors === 0
        ? "it has no sectors"
        : undefined,
    }));
  }

  async run(): Promise<PathReport[]> {
    await this.#sendSingly();
    await this.#searchRequestBytes();
    await this.#searchReadSectors();
    for (const subject of this.#subjects) await this.#sendBursts(subject);
    return this.#subjects.map((subject) => this.#report(subject));
  }

  async #sendSingly(): Promise<void> {
    const { count, timeoutMs } = this.#options;
    // One question a path, sent again and again: answers are told apart by their tags.
    const questions = this.#subjects.map(({ path }) =>
      configQuestion(path, CONFIG_READ, NO_STRING)
    );
    const tallies = questions.map(() => ({ answered: 0, again: 0 }));
    let answered = 0;
    let slowestMs = 0;
    const take = ({ question, roundTripMs, again }: Answer) => {
      const i = questions.indexOf(question);
      const tally = tallies[i];
      if (tally === undefined) return;
      if (again) {
        tally.again++;
        return;
      }
      answered++;
      tally.answered++;
      slowestMs = Math.max(slowestMs, roundTripMs);
      this.#subjects[i]!.roundTrips.add(roundTripMs);
    };
    for (let round = 1; round <= count; round++) {
      const enough = answered + questions.length;
      for (const question of questions) this.#inquirer.send(question);
      // What comes late is not lost: there is no need to wait long for what probably is.
      const patienceMs = slowestMs === 0 ? PATIENCE_MS : Math.max(PATIENCE_MS / 10, 4 * slowestMs);
      await this.#listen(Math.min(PATIENCE_MS, patienceMs), take, () => answered >= enough);
    }
    await this.#listen(timeoutMs, take, () => answered === count * questions.length);
    this.#subjects.forEach((subject, i) => {
      const { answered, again } = tallies[i]!;
      subject.single = { sent: count, lost: count - answered, again };
    });
  }

  /** Takes answers until there are enough, or the time is over. */
  async #listen(
    timeoutMs: number,
    take: (answer: Answer) => void,
    isEnough: () => boolean,
  ): Promise<void> {
    const end = performance.now() + timeoutMs;
    while (!isEnough() && performance.now() < end) await this.#inquirer.listen(end, take);
  }

  async #searchRequestBytes(): Promise<void> {
    const searches = this.#subjects.map(({ mtu }) =>
      new SizeSearch(ETHERNET_FRAME_BYTES_MIN, mtu + ETHERNET_HEADER_BYTES, USUAL_FRAME_BYTES)
    );
    await this.#search(
      searches,
      (subject, bytes) => identifyQuestion(subject.path, bytes),
      // That there is an answer tells that the request arrived, whatever it says.
      () => true,
    );
    this.#subjects.forEach((subject, i) => subject.requestBytes = searches[i]!.result());
  }

  async #searchReadSectors(): Promise<void> {
    const searches = this.#subjects.map(({ path, mtu }) => {
      const diskSectors = path.identity?.sectors ?? 0;
      const most = Math.min(path.config.sectors, sectorsPerFrame(mtu), diskSectors);
      return new SizeSearch(1, most, USUAL_SECTORS);
    });
    await this.#search(
      searches,
      (subject, sectors) =>
        subject.refusal === undefined
          ? readQuestion(subject.path, sectors, subject.path.lba48)
          : undefined,
      (subject, sectors, { error, frame }) => {
        subject.refusal = error === 0 ? ataRefusal(frame) : aoeErrorName(error);
        return subject.refusal === undefined && frame.length >= ATA_DATA + sectors * SECTOR_BYTES;
      },
    );
    this.#subjects.forEach((subject, i) => {
      if (subject.refusal === undefined) subject.readSectors = searches[i]!.result() ?? 0;
    });
  }

  /** Takes all searches to their ends side by side, one size each at a time. */
  async #search(
    searches: readonly SizeSearch[],
    ask: (subject: Subject, size: number) => Question | undefined,
    isPassed: (subject: Subject, size: number, answer: Answer) => boolean,
  ): Promise<void> {
    for (;;) {
      const asked = new Map<Question, { search: SizeSearch; subject: Subject; size: number }>();
      searches.forEach((search, i) => {
        const subject = this.#subjects[i]!;
        const size = search.next();
        const question = size === undefined ? undefined : ask(subject, size);
        if (size !== undefined && question !== undefined) {
          asked.set(question, { search, subject, size });
        }
      });
      if (asked.size === 0) return;
      const questions = [...asked.keys()];
      const answers = await this.#inquirer.ask(questions, this.#options.timeoutMs, (answer) => {
        const { subject, size } = asked.get(answer.question)!;
        return isPassed(subject, size, answer);
      });
      for (const [question, { search, size }] of asked) {
        search.report(size, answers.get(question) === true);
      }
    }
  }

  async #sendBursts(subject: Subject): Promise<void> {
    const { path, readSectors } = subject;
    const size = Math.min(Math.max(1, path.config.buffers), BURST_MAX);
    const missing = new Set<Question>();
    let again = 0;
    const take = (answer: Answer) => {
      if (!missing.delete(answer.question) && answer.again) again++;
    };
    for (let burst = 0; burst < BURSTS; burst++) {
      const lostSoFar = missing.size;
      for (let i = 0; i < size; i++) {
        const question = readSectors === undefined || readSectors === 0
          ? configQuestion(path, CONFIG_READ, NO_STRING)
          : readQuestion(path, readSectors, path.lba48);
        missing.add(question);
        this.#inquirer.send(question);
      }
      await this.#listen(PATIENCE_MS, take, () => missing.size <= lostSoFar);
    }
    await this.#listen(this.#options.timeoutMs, take, () => missing.size === 0);
    subject.burst = { sent: BURSTS * size, lost: missing.size, again };
  }

  #report({ path, mtu, roundTrips, ...measured }: Subject): PathReport {
    const checked: CheckedPath = {
      address: formatAddress(path.address.shelf, path.address.slot),
      interface: this.#inquirer.interfaces[path.link]!.name,
      mac: formatMac(path.mac),
      contradictory: path.contradictory,
      mtu,
      buffers: path.config.buffers,
      sectors: path.config.sectors,
      ...measured,
    };
    return {
      ...checked,
      usableBytes: usableBytes(checked),
      usableSectors: usableSectors(checked),
      roundTrips: roundTrips.summary(),
    };
  }
}
