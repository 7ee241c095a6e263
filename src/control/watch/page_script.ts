// The page's script. Strings of others become text nodes, never markup; what is drawn, it draws itself.

/** JavaScript of the page. */
export const PAGE_SCRIPT = String.raw`
"use strict";
const by = (id) => document.getElementById(id);
const sorts = { loads: ["commands", -1], exports: ["address", 1], initiators: ["requests", -1],
  interfaces: ["name", 1], disks: ["address", 1] };
let now, drawn = "all", past, pastOf;

const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
const visible = (text) => String(text).replace(UNSEEN, (c) => "\\u{" + c.codePointAt(0).toString(16) + "}");
function make(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = visible(text);
  if (className) node.className = className;
  return node;
}
function number(value) {
  if (value === 0) return "0";
  const [unit, size] = [["G", 1e9], ["M", 1e6], ["k", 1e4]].find(([, s]) => value >= s) ?? ["", 1];
  const scaled = value / (unit === "k" ? 1e3 : size);
  const whole = scaled >= 100 || unit === "" && (scaled >= 10 || Number.isInteger(scaled));
  return scaled.toFixed(whole ? 0 : 1) + unit;
}
function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  for (; value >= 1024 && at < units.length - 1; at++) value /= 1024;
  return (at === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)) + " " + units[at];
}
function time(ms) {
  if (ms === 0) return "–";
  if (ms < 1) return (ms * 1000).toFixed(0) + " µs";
  return (ms < 10 ? ms.toFixed(2) : ms < 1000 ? ms.toFixed(0) : (ms / 1000).toFixed(1)) + (ms < 1000 ? " ms" : " s");
}
const rate = (value) => number(value) + "/s";
const byteRate = (value) => bytes(value) + "/s";
const requests = (row) => row.reads + row.writes + row.others;
const faults = (row) => row.total.errors + row.total.drops;

const work = [
  ["requests", "requests", (r) => requests(r), rate],
  ["reads", "read", (r) => r.readBytes, byteRate],
  ["writes", "written", (r) => r.writtenBytes, byteRate],
  ["p50", "p50", (r) => r.p50Ms, time],
  ["p99", "p99", (r) => r.p99Ms, time],
  ["disk", "disk", (r) => r.diskMs, time],
  ["depth", "depth", (r) => Math.max(r.depth, r.inHand), number],
  ["again", "again", (r) => r.total.retransmissions, number],
  ["faults", "faults", (r) => faults(r), number, (r) => faults(r) > 0 ? "bad" : ""],
  ["total", "in all", (r) => r.total.commands, number],
];
const TITLES = { requests: "Requests a second", reads: "Bytes read a second", writes: "Bytes written a second",
  p50: "Half of the answers took no longer", p99: "99 of 100 answers took no longer", disk: "Mean time at the disk",
  depth: "Commands in hand", again: "Retransmissions since the start", faults: "Errors and drops since the start",
  total: "Commands since the start", batch: "Frames that one look brought", overflows: "Frames lost by the kernel" };
const TABLES = {
  loads: [
    ["mac", "initiator", (r) => r.mac, undefined, "left", (r) => r.mac],
    ["address", "export", (r) => r.address, undefined, "left", (r) => r.address],
    ["commands", "requests", (r) => r.commands, rate, "share"],
    ["reads", "read", (r) => r.readBytes, byteRate],
    ["writes", "written", (r) => r.writtenBytes, byteRate],
    ["mean", "mean time", (r) => r.meanMs, time],
    ["depth", "in hand", (r) => r.inHand, number],
  ],
  exports: [["address", "export", (r) => r.address, undefined, "left", (r) => r.address],
    ...work, ["path", "of", (r) => r.path, undefined, "long left"]],
  initiators: [["mac", "initiator", (r) => r.mac, undefined, "left", (r) => r.mac],
    ["most", "most of", (r) => r.most, undefined, "left"], ...work],
  interfaces: [["name", "interface", (r) => r.name, undefined, "left", (r) => "interface " + r.name], ...work,
    ["batch", "batch", (r) => r.batch, number], ["overflows", "overflows", (r) => r.overflows, number,
      (r) => r.overflows > 0 ? "bad" : ""]],
  disks: [["address", "disk", (r) => r.address, undefined, "left", (r) => "disk " + r.address],
    ["up", "", (r) => r.up ? "up" : "down", undefined, (r) => r.up ? "good" : "bad"],
    ["requests", "requests", (r) => r.reads + r.writes, rate],
    ["reads", "read", (r) => r.readBytes, byteRate],
    ["writes", "written", (r) => r.writtenBytes, byteRate],
    ["p50", "p50", (r) => r.p50Ms, time],
    ["p99", "p99", (r) => r.p99Ms, time],
    ["again", "again", (r) => r.total.retransmissions, number],
    ["node", "as", (r) => r.node, undefined, "long left"],
    ["paths", "paths", (r) => r.paths.map((p) => p.interface + " " + p.mac + (p.up ? " " + time(p.roundTripMs) +
      ", window " + number(p.window) : " lost")).join("; "), undefined, "long left"]],
};
const keyOf = (row) => [row.mac, row.address, row.name].filter((part) => part !== undefined).join(" ");

function sortBy(name, key) {
  const [old, way] = sorts[name];
  sorts[name] = [key, old === key ? -way : typeof now?.[name]?.[0]?.[key] === "string" ? 1 : -1];
  show();
}
function headOf(name, columns) {
  const row = make("tr");
  for (const [key, title, , , style] of columns) {
    const cell = make("th", undefined, /left$/.test(style) ? "left" : "");
    cell.scope = "col";
    const button = make("button", title || "state");
    button.type = "button";
    button.title = "Sort by " + (TITLES[key] ?? (title || "state"));
    button.addEventListener("click", () => sortBy(name, key));
    cell.append(button);
    row.append(cell);
  }
  const head = make("thead");
  head.append(row);
  return head;
}
function setShare(cell, text, share) {
  let svg = cell.querySelector("svg");
  if (svg === null) {
    cell.textContent = "";
    svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 100 10");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    svg.append(document.createElementNS("http://www.w3.org/2000/svg", "rect"));
    svg.firstChild.setAttribute("height", "10");
    cell.append(svg, make("span"));
  }
  svg.firstChild.setAttribute("width", String(Math.max(0, Math.min(100, share * 100))));
  cell.lastChild.textContent = text;
}
function setText(node, text) {
  const shown = visible(text);
  if (node.textContent !== shown) node.textContent = shown;
}
function rowFor(table, key, columns) {
  const row = make("tr");
  row.dataset.key = key;
  for (const [, , , , style, link] of columns) {
    const cell = make("td");
    if (typeof style === "string") cell.className = style;
    if (link !== undefined) {
      const button = make("button");
      button.type = "button";
      button.addEventListener("click", () => choose(button.dataset.subject));
      cell.append(button);
    }
    row.append(cell);
  }
  table.tBodies[0].append(row);
  return row;
}
function fill(name, rows) {
  const table = by(name), columns = TABLES[name];
  if (table.tHead === null) table.append(headOf(name, columns), make("tbody"));
  const [key, way] = sorts[name];
  [...table.tHead.rows[0].cells].forEach((cell, i) => {
    if (columns[i][0] === key) cell.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
    else cell.removeAttribute("aria-sort");
  });
  const value = (columns.find(([own]) => own === key) ?? columns[0])[2];
  const compare = (a, b) => typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  const wanted = by("filter").value.trim().toLowerCase();
  const shown = rows.filter((row) => wanted === "" || JSON.stringify([row.mac, row.address, row.path, row.name, row.most,
    row.node]).toLowerCase().includes(wanted)).sort((a, b) => way * compare(value(a), value(b)) ||
    compare(keyOf(a), keyOf(b)));
  const all = rows.reduce((sum, row) => sum + (row.commands ?? 0), 0);
  const old = new Map([...table.tBodies[0].rows].map((row) => [row.dataset.key, row]));
  shown.forEach((row, place) => {
    const node = old.get(keyOf(row)) ?? rowFor(table, keyOf(row), columns);
    old.delete(keyOf(row));
    columns.forEach(([, , of, format, style, link], i) => {
      const cell = node.cells[i], text = format === undefined ? of(row) : format(of(row));
      if (style === "share") setShare(cell, text, all === 0 ? 0 : of(row) / all);
      else if (link !== undefined) {
        cell.firstChild.dataset.subject = link(row);
        setText(cell.firstChild, text);
        cell.firstChild.title = "Draw it";
      } else setText(cell, text);
      if (typeof style === "function") cell.className = style(row);
    });
    node.className = TABLES[name][0][5](row) === drawn ? "drawn" : "";
    if (table.tBodies[0].rows[place] !== node) table.tBodies[0].insertBefore(node, table.tBodies[0].rows[place] ?? null);
  });
  for (const gone of old.values()) gone.remove();
}
function showSubjects() {
  const select = by("subject");
  const names = [["all", "everything"], ...now.exports.map((r) => [r.address, r.address]),
    ...now.initiators.map((r) => [r.mac, r.mac]), ...now.interfaces.map((r) => ["interface " + r.name, r.name]),
    ...now.disks.map((r) => ["disk " + r.address, r.address])];
  const key = JSON.stringify(names.map(([name]) => name));
  if (select.dataset.key === key) return;
  select.dataset.key = key;
  select.replaceChildren(...names.map(([value, text]) => {
    const option = make("option", text);
    option.value = value;
    return option;
  }));
  if (!names.some(([name]) => name === drawn)) choose("all");
  select.value = drawn;
}
const CHARTS = [
  ["Requests a second", ["commands"], rate],
  ["Bytes a second", ["bytes"], byteRate],
  ["Time to answer: p50, p99 (dashed)", ["p50Ms", "p99Ms"], time],
  ["Commands in hand", ["depth"], number],
  ["Errors, drops and retransmissions a second", ["faults"], rate],
];
function draw() {
  const box = by("charts");
  if (box.childElementCount === 0) {
    for (const [title] of CHARTS) {
      const figure = make("figure"), caption = make("figcaption", title);
      caption.append(" ", make("span"));
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("viewBox", "0 0 600 100");
      svg.setAttribute("preserveAspectRatio", "none");
      svg.setAttribute("role", "img");
      figure.append(caption, svg);
      box.append(figure);
    }
  }
  CHARTS.forEach(([title, keys, format], i) => {
    const figure = box.children[i], svg = figure.lastChild;
    const lines = keys.map((key) => pastOf === drawn && past ? past.series[key] : []);
    const top = Math.max(1e-9, ...lines.flat());
    const last = lines.map((line) => format(line.at(-1) ?? 0)).join(", ");
    setText(figure.firstChild.lastChild, last + "  (most " + format(top === 1e-9 ? 0 : top) + ")");
    svg.setAttribute("aria-label", title + " of " + (drawn === "all" ? "everything" : drawn) + ": " + last + " now, at most " +
      format(top === 1e-9 ? 0 : top) + " in the last ten minutes");
    svg.replaceChildren(...lines.map((line, k) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
      node.setAttribute("points", line.map((value, x) => (600 - line.length + x + 1) + "," +
        (98 - value / top * 94).toFixed(1)).join(" "));
      if (k > 0) node.setAttribute("class", "second");
      return node;
    }));
  });
}
async function choose(name) {
  drawn = name;
  by("subject").value = name;
  past = undefined;
  show();
  try {
    const answer = await fetch("/past?of=" + encodeURIComponent(name));
    if (answer.ok && drawn === name) {
      past = await answer.json();
      pastOf = name;
    }
  } catch { /* The stream says that the daemon is away. */ }
  draw();
}
function drawnRates() {
  if (drawn === "all") return now.all;
  return now.exports.find((r) => r.address === drawn) ?? now.initiators.find((r) => r.mac === drawn) ??
    now.interfaces.find((r) => "interface " + r.name === drawn);
}
function extend() {
  if (past === undefined || pastOf !== drawn) return;
  const r = drawnRates(), disk = now.disks.find((d) => "disk " + d.address === drawn);
  const up = disk?.paths.filter((p) => p.up) ?? [];
  const values = r !== undefined
    ? [requests(r), r.readBytes + r.writtenBytes, r.p50Ms, r.p99Ms, Math.max(r.depth, r.inHand),
      r.errors + r.drops + r.retransmissions]
    : disk !== undefined
    ? [disk.reads + disk.writes, disk.readBytes + disk.writtenBytes, disk.p50Ms, disk.p99Ms,
      up.reduce((sum, p) => sum + p.window, 0), disk.retransmissions]
    : undefined;
  if (values === undefined) return;
  Object.keys(past.series).forEach((key, i) => {
    past.series[key].push(Number.isFinite(values[i]) ? values[i] : 0);
    if (past.series[key].length > 600) past.series[key].shift();
  });
}
function showBusiest() {
  const all = now.loads.reduce((sum, load) => sum + load.commands, 0), first = now.loads[0];
  setText(by("busiest"), first === undefined || all === 0 ? "Nothing happens." : first.mac + " loads " + first.address +
    ": " + (first.commands / all * 100).toFixed(0) + " % of all requests, " + rate(first.commands) + ", " +
    byteRate(first.readBytes + first.writtenBytes));
}
function showFaults() {
  const lines = now.drops.map((drop) => number(drop.total) + " frames dropped " + drop.reason +
    (drop.rate > 0 ? ", " + rate(drop.rate) + " now" : ""));
  for (const ex of now.exports) {
    if (ex.total.errors > 0) lines.push(number(ex.total.errors) + " errors of " + ex.address +
      (ex.errors > 0 ? ", " + rate(ex.errors) + " now" : ""));
  }
  for (const disk of now.disks) {
    if (disk.total.overflows > 0) lines.push(number(disk.total.overflows) + " frames of " + disk.address +
      " lost by the kernel, too fast to be taken");
    if (!disk.up) lines.push(disk.address + " does not answer");
  }
  by("no-faults").hidden = lines.length > 0;
  const list = by("faults");
  lines.forEach((line, i) => setText(list.children[i] ?? list.appendChild(make("li")), line));
  while (list.childElementCount > lines.length) list.lastChild.remove();
}
function show() {
  if (now === undefined) return;
  setText(by("name"), now.name);
  document.title = "aoe " + visible(now.name);
  const hours = (now.atMs - now.startedMs) / 3600000;
  setText(by("about"), "version " + now.version + ", process " + now.pid + ", for " + (hours < 1 / 60
    ? Math.floor(hours * 3600) + " s" : hours < 1 ? Math.floor(hours * 60) + " min" : hours.toFixed(1) + " h"));
  showSubjects();
  showBusiest();
  for (const name of Object.keys(TABLES)) {
    fill(name, now[name]);
    const section = by(name + "-section");
    if (section !== null) section.hidden = now[name].length === 0;
  }
  by("busiest").parentElement.hidden = now.exports.length === 0;
  showFaults();
  draw();
}
const events = new EventSource("/events");
events.addEventListener("now", (event) => {
  const first = now === undefined;
  now = JSON.parse(event.data);
  extend();
  if (first) choose(drawn);
  show();
});
events.addEventListener("open", () => { setText(by("state"), "Live"); by("state").className = ""; });
events.addEventListener("error", () => { setText(by("state"), "The daemon does not answer"); by("state").className = "away"; });
by("subject").addEventListener("change", () => choose(by("subject").value));
by("filter").addEventListener("input", show);
`;
