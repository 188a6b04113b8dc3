"""A self-contained HTML page: a title, a verdict, sections of text, tables, plotly figures. No network.

Example:
    page = Page("Backtest", "btcusdt, 2026-01-05 to 2026-01-06 (UTC)")
    page.verdict("The model does not beat its baselines.", tone="bad")
    page.section("Calibration")
    page.text("How often the price fell below each quantile.")
    page.table(Table(("symbol", "rows"), (("btcusdt", 1440),), caption="Rows per symbol"))
    page.figure(figure, "Observed share below each quantile", height=360)
    storage.write_bytes("reports/x.html", page.render().encode())

`Page.figure` gives a figure the typography of the page. Use the colours of `Colour`, so that one thing has
one colour in all reports. plotly.js is inlined once; a content security policy forbids any request.
"""

from dataclasses import dataclass, field
from html import escape
from string import Template
from typing import Literal

import plotly.graph_objects as go
import plotly.io as pio
from plotly.offline import get_plotlyjs

Tone = Literal["good", "bad", "neutral"]
Cell = str | int | float | None

_SHORT = 40
"""Characters of a text cell that is not broken over lines."""

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


class Colour:
    """One colour for one thing, in every report; told apart with common colour blindness."""

    ink = "#1f2933"
    muted = "#6b7785"
    grid = "#e6e9ee"
    model = "#1d5fa8"
    model_band = "rgba(29, 95, 168, 0.16)"
    baseline_a = "#c9781f"
    baseline_b = "#7b6aa6"
    reference = "#9aa5b1"
    good = "#2b7a4b"
    bad = "#b3372f"


@dataclass(frozen=True, slots=True)
class Table:
    """A table. Numbers are set right-aligned and shown with `digits` decimals; None is shown as a dash.

    `note` stands below the table. Cells are escaped: pass plain text.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    note: str = ""
    digits: int = 2


@dataclass(slots=True)
class Page:
    """Collects the parts of a page in order; `render` gives the whole HTML document as text."""

    title: str
    subtitle: str = ""
    _body: list[str] = field(default_factory=list)
    _contents: list[tuple[str, str]] = field(default_factory=list)
    _figures: int = 0

    def verdict(self, text: str, tone: Tone = "neutral") -> None:
        """A plain sentence that answers the page's question, set apart."""
        self._body.append(f'<p class="verdict {tone}">{escape(text)}</p>')

    def cards(self, cards: list[tuple[str, str, str]]) -> None:
        """Figures at a glance: (label, value, note) each."""
        cells = "".join(
            f'<div class="card"><div class="label">{escape(label)}</div>'
            f'<div class="value">{escape(value)}</div><div class="note">{escape(note)}</div></div>'
            for label, value, note in cards
        )
        self._body.append(f'<div class="cards">{cells}</div>')

    def section(self, heading: str) -> None:
        """Start a section; it is listed at the top of the page."""
        anchor = f"section-{len(self._contents) + 1}"
        self._contents.append((anchor, heading))
        self._body.append(f'<h2 id="{anchor}">{escape(heading)}</h2>')

    def text(self, paragraph: str) -> None:
        self._body.append(f"<p>{escape(paragraph)}</p>")

    def facts(self, facts: list[tuple[str, str]]) -> None:
        """Name and value pairs, such as how something was judged."""
        rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
        self._body.append(f"<dl>{rows}</dl>")

    def table(self, table: Table) -> None:
        """A table that scrolls inside its own frame where it is wider than the page."""
        head = "".join(
            f"<th{_numeric_class([row[i] for row in table.rows])}>{escape(name)}</th>"
            for i, name in enumerate(table.header)
        )
        rows = "".join("<tr>" + "".join(_cell(value, table.digits) for value in row) + "</tr>" for row in table.rows)
        caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
        note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
        self._body.append(
            f'<div class="scroll" tabindex="0"><table>{caption}<thead><tr>{head}</tr></thead>'
            f"<tbody>{rows}</tbody></table></div>{note}"
        )

    def figure(self, figure: go.Figure, caption: str, height: int = 380) -> None:
        """A plotly figure, themed, `height` px tall and as wide as the page, with a caption below it."""
        self._body.append(self._figure_html(figure, caption, height))

    def figure_row(self, figures: list[tuple[go.Figure, str]], height: int = 340) -> None:
        """Figures with captions side by side; below each other on a narrow screen."""
        cells = "".join(self._figure_html(figure, caption, height) for figure, caption in figures)
        self._body.append(f'<div class="row">{cells}</div>')

    def _figure_html(self, figure: go.Figure, caption: str, height: int) -> str:
        self._figures += 1
        theme(figure)
        figure.update_layout(height=height)
        html = pio.to_html(
            figure,
            config={"displaylogo": False, "responsive": True, "displayModeBar": False},
            include_plotlyjs=False,
            full_html=False,
            default_height=f"{height}px",
            div_id=f"figure-{self._figures}",
        )
        return f"<figure>{html}<figcaption>{escape(caption)}</figcaption></figure>"

    def render(self) -> str:
        """The whole document. plotly.js (4.8 MB) is inlined once, and only where there is a figure."""
        contents = " &middot; ".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name in self._contents)
        return _DOCUMENT.substitute(
            title=escape(self.title),
            subtitle=escape(self.subtitle),
            contents=f"<nav>{contents}</nav>" if contents else "",
            style=_STYLE,
            script=f"<script>{get_plotlyjs()}</script>" if self._figures else "",
            body="\n".join(self._body),
        )


def theme(figure: go.Figure) -> None:
    """The page's typography on a figure: dark text on white, thin grid, legend in a row above the plot."""
    figure.update_layout(
        template="none",
        font={"family": FONT, "size": 13, "color": Colour.ink},
        paper_bgcolor="white",
        plot_bgcolor="white",
        margin={"l": 64, "r": 20, "t": 36, "b": 56},
        legend={
            "orientation": "h",
            "yanchor": "bottom",
            "y": 1.02,
            "xanchor": "left",
            "x": 0,
            "font": {"size": 12},
        },
        hoverlabel={"font": {"family": FONT, "size": 12}},
    )
    axis = {
        "gridcolor": Colour.grid,
        "zerolinecolor": Colour.reference,
        "linecolor": Colour.reference,
        "showline": True,
        "ticks": "outside",
        "tickcolor": Colour.reference,
        "automargin": True,
        "tickangle": 0,
        "title": {"standoff": 10, "font": {"size": 12, "color": Colour.muted}},
    }
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    figure.update_annotations(font={"size": 13, "color": Colour.ink})


def _numeric_class(values: list[Cell]) -> str:
    numbers = [value for value in values if value is not None]
    return ' class="n"' if numbers and all(isinstance(value, int | float) for value in numbers) else ""


def _cell(value: Cell, digits: int) -> str:
    if value is None or value != value:  # NaN is the only value unequal to itself
        return '<td class="n">&ndash;</td>'
    if isinstance(value, bool | str):
        text = str(value)
        kind = ' class="short"' if len(text) <= _SHORT else ""
        return f"<td{kind}>{escape(text)}</td>"
    text = f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"
    return f'<td class="n">{text.replace("-", "&minus;")}</td>'


_STYLE = f"""
:root {{ color-scheme: light; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: #fff; color: {Colour.ink}; font: 16px/1.55 {FONT}; }}
main {{ max-width: 1080px; margin: 0 auto; padding: 40px 24px 72px; }}
h1 {{ font-size: 1.7rem; line-height: 1.25; font-weight: 600; margin: 0 0 4px; letter-spacing: -0.01em; }}
h2 {{ font-size: 1.2rem; font-weight: 600; margin: 48px 0 8px; padding-top: 12px;
  border-top: 1px solid {Colour.grid}; }}
p {{ max-width: 46rem; margin: 8px 0; overflow-wrap: anywhere; }}
.subtitle, nav, figcaption, caption, .note, .label {{ color: {Colour.muted}; font-size: 0.875rem; }}
nav {{ margin-top: 12px; }}
a {{ color: {Colour.model}; text-decoration: none; }}
a:hover {{ text-decoration: underline; }}
.verdict {{ max-width: none; font-size: 1.1rem; margin: 20px 0 0; padding: 14px 18px;
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
figure {{ margin: 20px 0 28px; overflow: hidden; }}
.row {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 0 24px; }}
.row figure {{ min-width: 0; }}
figcaption {{ max-width: 46rem; margin-top: 2px; }}
.scroll {{ overflow-x: auto; margin: 16px 0 4px; }}
table {{ border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; min-width: 50%; }}
caption {{ text-align: left; padding-bottom: 6px; }}
th {{ text-align: left; font-weight: 600; border-bottom: 1px solid {Colour.reference}; vertical-align: bottom; }}
th, td {{ padding: 5px 18px 5px 0; }}
td {{ border-bottom: 1px solid {Colour.grid}; vertical-align: top; }}
td.n, td.short {{ white-space: nowrap; }}
.n {{ text-align: right; }}
@media (max-width: 640px) {{
  main {{ padding: 24px 14px 48px; }}
  dl {{ grid-template-columns: 1fr; gap: 0; }}
  dd {{ margin-bottom: 8px; }}
  .cards {{ grid-template-columns: 1fr 1fr; }}
}}
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
$script
</head>
<body>
<main>
<h1>$title</h1>
<div class="subtitle">$subtitle</div>
$contents
$body
</main>
<script>addEventListener("load", () => dispatchEvent(new Event("resize")));</script>
</body>
</html>
""")
