// The page that a browser shows of a daemon: one document, which loads nothing. Its script is in
// page_script.ts, its looks in page_style.ts.

import { PAGE_SCRIPT } from "./page_script.ts";
import { PAGE_STYLE } from "./page_style.ts";

/** @param nonce That the policy of this answer lets run. */
export function watchPage(nonce: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>aoe</title>
<style nonce="${nonce}">${PAGE_STYLE}</style>
</head>
<body>
<header>
<h1>aoe <span id="name"></span></h1>
<p id="about"></p>
<p id="state" role="status">Connecting</p>
</header>
<main>
<section aria-labelledby="busiest-title">
<h2 id="busiest-title">Who loads what</h2>
<p id="busiest">Nothing happens.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Who loads what, a table"><table id="loads"></table></div>
</section>
<section aria-labelledby="drawn-title">
<h2 id="drawn-title">The last ten minutes</h2>
<p><label for="subject">Of</label> <select id="subject"></select></p>
<div id="charts"></div>
</section>
<section aria-labelledby="filter-title">
<h2 id="filter-title" class="quiet">Filter</h2>
<p><label for="filter">Show only</label>
<input id="filter" type="search" placeholder="e1.1, a MAC, a path" autocomplete="off" spellcheck="false"></p>
</section>
<section id="exports-section" aria-labelledby="exports-title">
<h2 id="exports-title">Exports</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Exports, a table"><table id="exports"></table></div>
</section>
<section id="initiators-section" aria-labelledby="initiators-title">
<h2 id="initiators-title">Initiators</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Initiators, a table"><table id="initiators"></table></div>
</section>
<section id="disks-section" aria-labelledby="disks-title">
<h2 id="disks-title">Disks that are used here</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Disks, a table"><table id="disks"></table></div>
</section>
<section id="interfaces-section" aria-labelledby="interfaces-title">
<h2 id="interfaces-title">Interfaces</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Interfaces, a table"><table id="interfaces"></table></div>
</section>
<section aria-labelledby="faults-title">
<h2 id="faults-title">Drops and errors</h2>
<p id="no-faults">None since the start.</p>
<ul id="faults"></ul>
</section>
</main>
<footer><p>The same for Prometheus: <a href="/metrics">/metrics</a></p></footer>
<noscript><p>Without JavaScript there is <a href="/metrics">/metrics</a>.</p></noscript>
<script nonce="${nonce}">${PAGE_SCRIPT}</script>
</body>
</html>
`;
}
