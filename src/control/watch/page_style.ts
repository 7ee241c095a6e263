// How the page looks, by day and by night, on a wide screen and on a phone.

/** A style sheet. */
export const PAGE_STYLE = `
:root {
  color-scheme: light dark;
  --ground: #fbfbfa; --card: #ffffff; --ink: #1c1f23; --faint: #5a6068; --line: #d9dce0;
  --read: #0b62a8; --write: #a4490a; --good: #1d6b33; --bad: #b3221c; --bar: #bcd6ee;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171a; --card: #1c2024; --ink: #e7e9ec; --faint: #a5adb6; --line: #363c43;
    --read: #7ab8f5; --write: #f0a46b; --good: #7fd197; --bad: #ff8f85; --bar: #24425f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1rem; max-width: 80rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.45 system-ui, sans-serif; overflow-wrap: anywhere;
}
header { display: flex; flex-wrap: wrap; gap: 0 1.25rem; align-items: baseline; }
h1 { margin: 0; font-size: 1.4rem; }
h2 { margin: 0 0 .5rem; font-size: 1.05rem; }
header p, footer p { margin: 0; color: var(--faint); }
#state { color: var(--good); font-weight: 600; }
#state.away { color: var(--bad); }
section {
  margin: 1rem 0; padding: .9rem 1rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .5rem;
}
section p { margin: .25rem 0 .5rem; }
#busiest { font-size: 1.1rem; }
.quiet { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .55rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child, th.left, td.left { text-align: left; }
td.left { overflow-wrap: normal; }
td.long { min-width: 11rem; white-space: normal; overflow-wrap: anywhere; }
thead th { border-bottom: 1px solid var(--line); font-weight: 600; }
tbody tr + tr td { border-top: 1px solid var(--line); }
tbody tr.drawn td { background: color-mix(in srgb, var(--bar) 45%, transparent); }
button, select, input {
  font: inherit; color: inherit; background: transparent; border: 1px solid var(--faint);
  border-radius: .3rem; padding: .15rem .45rem; max-width: 100%;
}
select, input { background: var(--card); }
th button, td button { border-color: transparent; padding: .1rem .2rem; text-align: inherit; }
td button { text-decoration: underline; text-decoration-color: var(--faint); user-select: text; }
button:hover { border-color: var(--faint); }
:focus-visible { outline: 3px solid var(--read); outline-offset: 1px; }
.share { position: relative; min-width: 6rem; }
.share svg { position: absolute; inset: .2rem .3rem; width: calc(100% - .6rem); height: calc(100% - .4rem); }
.share rect { fill: var(--bar); }
.share span { position: relative; }
#charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: .9rem; }
figure { margin: 0; }
figcaption { display: flex; justify-content: space-between; gap: .5rem; }
figcaption span { color: var(--faint); font-variant-numeric: tabular-nums; }
figure svg { display: block; width: 100%; height: 5.5rem; border-bottom: 1px solid var(--line); }
polyline { fill: none; stroke: var(--read); stroke-width: 1.6; vector-effect: non-scaling-stroke; }
polyline.second { stroke: var(--write); stroke-dasharray: 4 2; }
.bad { color: var(--bad); font-weight: 600; }
.good { color: var(--good); }
a { color: var(--read); }
#faults { margin: 0; padding-left: 1.2rem; }
@media (max-width: 40rem) {
  body { padding: .5rem; }
  section { padding: .7rem .6rem; }
  th, td { padding: .3rem .35rem; }
  td.long { min-width: 20rem; }
}
`;
