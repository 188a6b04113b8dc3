"""The document around a report's body: style, the packed plotly.js, and the script that draws the charts.

plotly.js is 4.8 MB of text; packed with gzip and base64 it is 2.0 MB, and the browser unpacks it by itself
(`DecompressionStream`: Chrome 80, Safari 16.4, Firefox 113 and later). Without JavaScript, or in an older browser, the
sentences, figures and tables are all there and each chart says that it is not drawn.
"""

import base64
import gzip
from functools import cache
from html import escape
from string import Template

from plotly.offline import get_plotlyjs

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


class Colour:
    """One colour for one thing, in every report.

    The forecasters' colours differ by 26 or more in CIELAB also as seen with protanopia and deuteranopia (Machado,
    Oliveira, Fernandes 2009), and stand out from white by 3:1 or more; charts that mix them give each its own mark.
    """

    ink = "#1f2933"
    muted = "#5a6673"
    grid = "#e6e9ee"
    model = "#1d5fa8"
    model_band = "rgba(29, 95, 168, 0.16)"
    trailing = "#d07b00"
    ewma = "#b27aa8"
    har = "#00694f"
    linear = "#8a1c00"
    lightgbm = "#3b1f4f"
    random = "#6b7785"
    part = "#b9c4d0"
    part_of_model = "#7fa3cf"
    baseline_a = "#c9781f"
    baseline_b = "#7b6aa6"
    reference = "#8490a0"
    good = "#2b7a4b"
    bad = "#b3372f"


@cache
def packed_plotly() -> str:
    """plotly.js as gzip in base64; the same bytes each time."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()


def document(
    title: str, subtitle: str, *, opening: str, contents: list[tuple[str, str]], body: str, charts: bool
) -> str:
    """The whole HTML document; plotly.js is in it only where there are `charts`.

    `opening` stands before the links to the sections, `body` after them; `contents` are (anchor, heading).
    """
    links = " &middot; ".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name in contents)
    packed = f'<script type="text/plain" id="plotly">{packed_plotly()}</script>' if charts else ""
    return _DOCUMENT.substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        contents=f"<nav>{links}</nav>" if links else "",
        style=_STYLE,
        opening=opening,
        body=body,
        charts=f"{packed}\n<script>{_DRAW}</script>" if charts else "",
    )


_STYLE = f"""
:root {{ color-scheme: light; }}
* {{ box-sizing: border-box; }}
html {{ -webkit-text-size-adjust: 100%; }}
body {{ margin: 0; background: #fff; color: {Colour.ink}; font: 16px/1.55 {FONT}; }}
main {{ max-width: 1080px; margin: 0 auto; padding: 40px 24px 72px; }}
h1 {{ font-size: 1.7rem; line-height: 1.25; font-weight: 600; margin: 0 0 4px; letter-spacing: -0.01em; }}
h2 {{ font-size: 1.25rem; font-weight: 600; margin: 52px 0 8px; padding-top: 14px;
  border-top: 1px solid {Colour.grid}; }}
h3 {{ font-size: 1rem; line-height: 1.4; font-weight: 600; margin: 0; max-width: 46rem; }}
p {{ max-width: 46rem; margin: 8px 0; overflow-wrap: anywhere; }}
.subtitle, nav, figcaption, caption, .note, .label {{ color: {Colour.muted}; font-size: 0.875rem; }}
.subtitle {{ overflow-wrap: anywhere; }}
nav {{ margin-top: 20px; line-height: 1.9; }}
a {{ color: {Colour.model}; text-decoration: none; }}
a:hover {{ text-decoration: underline; }}
.verdict {{ max-width: none; font-size: 1.15rem; margin: 20px 0 0; padding: 14px 18px;
  border-left: 4px solid {Colour.reference}; background: #f6f7f9; }}
.verdict.good {{ border-color: {Colour.good}; }}
.verdict.bad {{ border-color: {Colour.bad}; }}
.cards {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr));
  gap: 12px; margin: 20px 0 0; }}
.card {{ border: 1px solid {Colour.grid}; border-radius: 6px; padding: 12px 14px; }}
.card .value {{ font-size: 1.35rem; font-weight: 600; overflow-wrap: anywhere; }}
.card .note {{ margin: 0; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 4px 24px; margin: 12px 0; }}
dt {{ color: {Colour.muted}; }}
dd {{ margin: 0; overflow-wrap: anywhere; }}
figure {{ margin: 24px 0 28px; overflow: hidden; }}
figure h3 {{ margin-bottom: 4px; }}
.chart {{ color: {Colour.muted}; font-size: 0.875rem; }}
.row {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 0 24px; }}
.row figure {{ min-width: 0; display: grid; grid-template-rows: subgrid; grid-row: span 3; row-gap: 0; }}
.row figure > * {{ min-width: 0; }}
figcaption {{ max-width: 46rem; margin-top: 2px; }}
.scroll {{ overflow-x: auto; margin: 16px 0 4px; }}
table {{ border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; min-width: 50%; }}
caption {{ text-align: left; padding-bottom: 6px; font-weight: 600; color: {Colour.ink}; }}
th {{ text-align: left; font-weight: 600; border-bottom: 1px solid {Colour.reference}; vertical-align: bottom; }}
th, td {{ padding: 5px 18px 5px 0; }}
td {{ border-bottom: 1px solid {Colour.grid}; vertical-align: top; }}
td.n, td.short {{ white-space: nowrap; }}
td small {{ display: block; font-weight: 400; color: {Colour.muted}; white-space: nowrap; }}
tr.strong td {{ font-weight: 600; }}
.n {{ text-align: right; }}
details {{ margin: 12px 0; }}
summary {{ cursor: pointer; color: {Colour.model}; }}
pre {{ background: #f6f7f9; padding: 12px 14px; margin: 12px 0; font-size: 0.875rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }}
@media (max-width: 640px) {{
  main {{ padding: 24px 14px 48px; }}
  dl {{ grid-template-columns: 1fr; gap: 0; }}
  dd {{ margin-bottom: 8px; }}
  .cards {{ grid-template-columns: 1fr 1fr; }}
  table {{ width: 100%; }}
  th, td {{ padding-right: 10px; }}
  td.n, td.short {{ white-space: normal; }}
  .stacked td.none {{ display: none; }}
  .stacked thead {{ display: none; }}
  .stacked tr {{ display: block; padding: 8px 0; border-bottom: 1px solid {Colour.grid}; }}
  .stacked td {{ display: flex; justify-content: space-between; gap: 16px; border: 0; padding: 1px 0;
    text-align: right; white-space: normal; overflow-wrap: anywhere; }}
  .stacked td::before {{ content: attr(data-label); color: {Colour.muted}; text-align: left; flex: 0 1 auto; }}
  .stacked td:first-child {{ font-weight: 600; }}
}}
@media print {{
  @page {{ margin: 16mm 14mm; }}
  body {{ font-size: 11pt; }}
  main {{ max-width: none; padding: 0; }}
  nav {{ display: none; }}
  h2 {{ break-after: avoid; margin-top: 28px; }}
  figure, tr, .card, .verdict {{ break-inside: avoid; }}
  .scroll {{ overflow: visible; }}
  .row {{ grid-template-columns: 1fr 1fr; }}
  table {{ font-size: 8.5pt; }}
  th, td {{ padding-right: 8px; }}
  td.n, td.short, td small {{ white-space: normal; }}
  details::details-content {{ content-visibility: visible; block-size: auto; }}
}}
"""

_DRAW = """
const narrow = 640, printed = 660;
const charts = () => [...document.querySelectorAll(".chart")];
const say = text => charts().forEach(chart => { chart.style.height = "auto"; chart.textContent = text; });
async function unpacked() {
  const bytes = Uint8Array.from(atob(document.getElementById("plotly").textContent), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}
async function draw() {
  if (!("DecompressionStream" in window)) {
    say("This chart needs a newer browser. The tables and sentences hold its figures.");
    return;
  }
  const script = document.createElement("script");
  script.textContent = await unpacked();
  document.head.append(script);
  for (const chart of charts()) {
    const figure = JSON.parse(document.getElementById(chart.id + "-data").textContent);
    chart.textContent = "";
    if (innerWidth <= narrow) figure.layout.margin = {...figure.layout.margin, l: 48, r: 8};
    await Plotly.newPlot(chart, figure.data, figure.layout, {responsive: true, displayModeBar: false});
  }
  document.documentElement.dataset.drawn = charts().length;
}
addEventListener("load", draw);
addEventListener("toggle", event => {
  for (const chart of event.target.querySelectorAll(".js-plotly-plot")) Plotly.Plots.resize(chart);
}, true);
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach(part => { part.open = true; });
  for (const chart of document.querySelectorAll(".js-plotly-plot")) {
    const width = chart.closest(".row") ? printed / 2 - 12 : printed;
    Plotly.relayout(chart, {width});
  }
});
addEventListener("afterprint", () => {
  for (const chart of document.querySelectorAll(".js-plotly-plot")) {
    Plotly.relayout(chart, {width: null, autosize: true});
  }
});
"""

_DOCUMENT = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; \
style-src 'unsafe-inline'; img-src data: blob:; font-src data:">
<title>$title</title>
<style>$style</style>
<noscript><style>.chart { height: auto !important; }</style></noscript>
</head>
<body>
<main>
<h1>$title</h1>
<div class="subtitle">$subtitle</div>
$opening
$contents
$body
</main>
$charts
</body>
</html>
""")
