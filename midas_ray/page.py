"""A self-contained HTML page: a title, a verdict, sections of text, tables, plotly figures. No network.

Example:
    page = Page("Backtest", "btcusdt, 2026-01-05 to 2026-01-06 (UTC)")
    page.verdict("The model does not beat its baselines.", tone="bad")
    page.section("Calibration")
    page.text("How often the price fell below each quantile.")
    page.table(Table(("symbol", "rows"), (("btcusdt", 1440),), caption="Rows per symbol"))
    page.figure(figure, "Observed share below each quantile", height=360, title="79 % fell inside, 80 % is meant")
    storage.write_bytes("reports/x.html", page.render().encode())

`Page.figure` gives a figure the typography of the page. Use the colours of `Colour`, so that one thing has
one colour in all reports. plotly.js is inlined once; a content security policy forbids any request.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from typing import Literal

import plotly.graph_objects as go

from midas_ray.page_shell import FONT, Colour, document

__all__ = ["Cell", "Colour", "Interval", "Page", "Table", "Tone", "theme"]

Tone = Literal["good", "bad", "neutral"]

_SHORT = 40
"""Characters of a text cell that is not broken over lines."""
_STACKED_FROM = 5
"""Columns from which a table is set as a list of names and values on a narrow screen."""
_NO_SCRIPT = "The chart is drawn by JavaScript. The tables and sentences hold its figures."


@dataclass(frozen=True, slots=True)
class Interval:
    """A cell of two lines, set right-aligned: a figure, and below it, smaller, how sure it is (nothing where empty)."""

    value: str
    bounds: str


Cell = str | int | float | Interval | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table. Numbers are set right-aligned and shown with `digits` decimals; None is shown as a dash.

    `note` stands below the table. Cells are escaped: pass plain text. `strong` are rows set in bold.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    note: str = ""
    digits: int = 2
    strong: frozenset[int] = frozenset()


@dataclass(slots=True)
class Page:
    """Collects the parts of a page in order; `render` gives the whole HTML document as text."""

    title: str
    subtitle: str = ""
    _body: list[str] = field(default_factory=list)
    _contents: list[tuple[str, str]] = field(default_factory=list)
    _figures: int = 0
    _contents_at: int | None = None

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
        """Start a section; it is listed in the contents, which stand before the first section."""
        if self._contents_at is None:
            self._contents_at = len(self._body)
        anchor = f"section-{len(self._contents) + 1}"
        self._contents.append((anchor, heading))
        self._body.append(f'<h2 id="{anchor}">{escape(heading)}</h2>')

    def text(self, paragraph: str) -> None:
        self._body.append(f"<p>{escape(paragraph)}</p>")

    def note(self, paragraph: str) -> None:
        """A paragraph in small type."""
        self._body.append(f'<p class="note">{escape(paragraph)}</p>')

    def code(self, text: str) -> None:
        """Lines to copy, such as a command."""
        self._body.append(f"<pre>{escape(text)}</pre>")

    def facts(self, facts: list[tuple[str, str]]) -> None:
        """Name and value pairs, such as how something was judged."""
        rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
        self._body.append(f"<dl>{rows}</dl>")

    @contextmanager
    def folded(self, summary: str) -> Iterator[None]:
        """What is added inside is hidden behind `summary` until it is opened or printed."""
        self._body.append(f"<details><summary>{escape(summary)}</summary>")
        yield
        self._body.append("</details>")

    def table(self, table: Table) -> None:
        """A table as wide as it needs; on a narrow screen, one of many columns becomes a list of names and values."""
        head = "".join(
            f"<th{_numeric_class([row[i] for row in table.rows])}>{escape(_unbroken(name))}</th>"
            for i, name in enumerate(table.header)
        )
        rows = "".join(
            ('<tr class="strong">' if number in table.strong else "<tr>")
            + "".join(_cell(value, name, table.digits) for value, name in zip(row, table.header, strict=True))
            + "</tr>"
            for number, row in enumerate(table.rows)
        )
        caption = f"<caption>{escape(_unbroken(table.caption))}</caption>" if table.caption else ""
        note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
        kind = ' class="stacked"' if len(table.header) >= _STACKED_FROM else ""
        self._body.append(
            f'<div class="scroll" tabindex="0"><table{kind}>{caption}<thead><tr>{head}</tr></thead>'
            f"<tbody>{rows}</tbody></table></div>{note}"
        )

    def figure(self, figure: go.Figure, caption: str, height: int = 380, title: str = "") -> None:
        """A plotly figure, themed, `height` px tall and as wide as the page.

        `title` above it is the one sentence to take away; `caption` below it says what is drawn.
        """
        self._body.append(self._figure_html(figure, caption, height, title))

    def figure_row(self, figures: list[tuple[go.Figure, str, str]], height: int = 340) -> None:
        """Figures with (caption, title) side by side; below each other on a narrow screen."""
        cells = "".join(self._figure_html(figure, caption, height, title) for figure, caption, title in figures)
        self._body.append(f'<div class="row">{cells}</div>')

    def _figure_html(self, figure: go.Figure, caption: str, height: int, title: str) -> str:
        self._figures += 1
        theme(figure)
        figure.update_layout(height=height)
        name = f"figure-{self._figures}"
        # In a script element only "</" ends the data; as an escape it is the same JSON.
        data = str(figure.to_json()).replace("<", "\\u003c")
        heading = f"<h3>{escape(title)}</h3>" if title else ""
        return (
            f'<figure>{heading}<div class="chart" id="{name}" style="height:{height}px">{_NO_SCRIPT}</div>'
            f'<script type="application/json" id="{name}-data">{data}</script>'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )

    def render(self) -> str:
        """The whole document. plotly.js (2 MB, packed) is inlined once, and only where there is a figure."""
        split = len(self._body) if self._contents_at is None else self._contents_at
        return document(
            self.title,
            self.subtitle,
            opening="\n".join(self._body[:split]),
            contents=self._contents,
            body="\n".join(self._body[split:]),
            charts=self._figures > 0,
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


def _unbroken(name: str) -> str:
    """A heading whose units stay on the line of the word before them."""
    return name.replace(" %", "\N{NO-BREAK SPACE}%").replace(", bps", ",\N{NO-BREAK SPACE}bps")


def _numeric_class(values: list[Cell]) -> str:
    numbers = [value for value in values if value is not None]
    return ' class="n"' if numbers and all(isinstance(value, int | float | Interval) for value in numbers) else ""


def _cell(value: Cell, name: str, digits: int) -> str:
    label = f' data-label="{escape(name)}"'
    if value is None or value != value:  # NaN is the only value unequal to itself
        return f'<td class="n none"{label}>&ndash;</td>'
    if isinstance(value, Interval):
        bounds = f"<small>{escape(value.bounds)}</small>" if value.bounds else ""
        return f'<td class="n"{label}><span>{escape(value.value)}{bounds}</span></td>'
    if isinstance(value, bool | str):
        text = str(value)
        kind = ' class="short"' if len(text) <= _SHORT else ""
        return f"<td{kind}{label}>{escape(text)}</td>"
    text = f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"
    return f'<td class="n"{label}>{text.replace("-", "&minus;")}</td>'
