// A program that looks at a page with headless Chromium, by its DevTools protocol, and writes what it
// has found as one line of JSON. Arguments: URL, a folder for screenshots, milliseconds to wait, light or
// dark or both joined by a comma, and perhaps the file of axe-core, which then looks for what bars
// people from using the page.

/** What was found at one size, by day or by night. */
export interface Looked {
  readonly width: number;
  readonly scheme: "light" | "dark";
  /** Text of the page. */
  readonly text: string;
  /** Errors and warnings of the console, and of the page's policy. */
  readonly complaints: readonly string[];
  /** Controls that have no name. */
  readonly nameless: readonly string[];
  /** Whether the page is wider than the window. */
  readonly overflows: boolean;
  /** Names of its parts that are wider than there is room for, so that they are scrolled. */
  readonly scrolled: readonly string[];
  /** Faults that axe-core has found, moderate ones, too; undefined without it. */
  readonly faults: readonly string[] | undefined;
}

const CONTROLS = ["button", "link", "searchbox", "textbox", "combobox", "img", "region"];

type Answer = Record<string, unknown>;

/** A connection to a browser. */
class DevTools {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  readonly #complaints: string[] = [];
  #last = 0;
  session = "";

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener("message", (event) => this.#take(JSON.parse(event.data)));
  }

  ask(method: string, params: Answer = {}): Promise<Answer> {
    const id = ++this.#last;
    const session = this.session === "" ? {} : { sessionId: this.session };
    this.#socket.send(JSON.stringify({ id, method, params, ...session }));
    return new Promise((resolve) => this.#waiting.set(id, resolve));
  }

  async evaluate(expression: string): Promise<unknown> {
    const answer = await this.ask("Runtime.evaluate", {
      ...{ expression, returnByValue: true, awaitPromise: true },
    });
    return (answer.result as Answer | undefined)?.value;
  }

  /** What the console has said since it was asked last. */
  complaints(): string[] {
    return this.#complaints.splice(0);
  }

  #take(message: Answer): void {
    if (typeof message.id === "number") {
      this.#waiting.get(message.id)?.((message.result ?? { error: message.error }) as Answer);
      this.#waiting.delete(message.id);
      return;
    }
    const about = message.params as Answer;
    if (message.method === "Runtime.exceptionThrown") {
      this.#complaints.push(JSON.stringify(about.exceptionDetails));
    } else if (message.method === "Log.entryAdded") {
      const { level, text } = about.entry as { level: string; text: string };
      if (level !== "info" && level !== "verbose") this.#complaints.push(text);
    } else if (message.method === "Runtime.consoleAPICalled") {
      this.#complaints.push(JSON.stringify(about.args));
    }
  }
}

async function look(
  tools: DevTools,
  [url, folder, waitMs, , axe]: readonly string[],
  width: number,
  scheme: "light" | "dark",
): Promise<Looked> {
  await tools.ask("Emulation.setDeviceMetricsOverride", {
    ...{ width, height: 900, deviceScaleFactor: 1, mobile: width < 600 },
  });
  await tools.ask("Emulation.setEmulatedMedia", {
    features: [{ name: "prefers-color-scheme", value: scheme }],
  });
  await tools.ask("Page.navigate", { url });
  await new Promise((resolve) => setTimeout(resolve, Number(waitMs)));
  const text = String(await tools.evaluate("document.body.innerText"));
  const overflows = await tools.evaluate(
    "document.documentElement.scrollWidth > document.documentElement.clientWidth",
  ) === true;
  const scrolled = await tools.evaluate(
    `[...document.querySelectorAll("[role=region]")].filter((e) => e.scrollWidth > e.clientWidth)` +
      `.map((e) => e.getAttribute("aria-label"))`,
  ) as string[];
  const tree = await tools.ask("Accessibility.getFullAXTree");
  const nameless = (tree.nodes as Answer[]).filter((node) =>
    node.ignored !== true && CONTROLS.includes(String((node.role as Answer).value)) &&
    String((node.name as Answer | undefined)?.value ?? "").trim() === ""
  ).map((node) => JSON.stringify(node.role));
  const complaints = tools.complaints();
  const shot = await tools.ask("Page.captureScreenshot", { captureBeyondViewport: true });
  const file = `${folder}/page-${scheme}-${width}.png`;
  await Deno.writeFile(file, Uint8Array.fromBase64(String(shot.data)));
  let faults: string[] | undefined;
  if (axe !== undefined) {
    await tools.evaluate(await Deno.readTextFile(axe));
    const found = await tools.evaluate("axe.run().then((r) => JSON.stringify(r.violations))");
    faults = (JSON.parse(String(found)) as { impact: string; id: string; nodes: Answer[] }[])
      .filter(({ impact }) => impact !== "minor")
      .map(({ id, nodes }) => `${id}: ${JSON.stringify(nodes[0])}`);
    // What is said of axe-core is not said of the page.
    tools.complaints();
  }
  return { width, scheme, text, complaints, nameless, overflows, scrolled, faults };
}

if (import.meta.main) {
  const profile = await Deno.makeTempDir({ prefix: "aoe-browser-" });
  const browser = new Deno.Command("chromium", {
    args: [
      ...["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"],
      ...["--remote-allow-origins=*", `--user-data-dir=${profile}`, "about:blank"],
    ],
    ...{ stdout: "null", stderr: "piped" },
  }).spawn();
  try {
    const reader = browser.stderr.pipeThrough(new TextDecoderStream()).getReader();
    let said = "";
    let address: string | undefined;
    while (address === undefined) {
      const { value, done } = await reader.read();
      if (done) throw new Error(`Chromium does not start: ${said}`);
      said += value;
      address = /DevTools listening on (ws:\S+)/.exec(said)?.[1];
    }
    const socket = new WebSocket(address);
    await new Promise((resolve) => socket.addEventListener("open", resolve));
    const tools = new DevTools(socket);
    const { targetId } = await tools.ask("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await tools.ask("Target.attachToTarget", { targetId, flatten: true });
    tools.session = String(sessionId);
    for (const domain of ["Page", "Runtime", "Log"]) await tools.ask(`${domain}.enable`);
    const found: Looked[] = [];
    for (const scheme of Deno.args[3]!.split(",") as Looked["scheme"][]) {
      for (const width of [1280, 390]) found.push(await look(tools, Deno.args, width, scheme));
    }
    console.log(JSON.stringify(found));
    socket.close();
  } finally {
    browser.kill("SIGKILL");
    await browser.status;
    await Deno.remove(profile, { recursive: true }).catch(() => {});
    Deno.exit(0);
  }
}
