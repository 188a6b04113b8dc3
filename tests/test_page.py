"""The shared report page: self-contained, escaped, one plotly.js."""

import base64
import gzip
import json
import re

import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from midas_ray.page import Interval, Page, Table

EVIL = '</script><script>alert("x")</script>'


def _page() -> Page:
    page = Page("Title <b>", "sub & title")
    page.verdict('says "<script>"', tone="bad")
    page.cards([("label", "<i>", "note")])
    page.section("First <section>")
    page.text("a < b")
    page.facts([("name", "x & y")])
    page.code("midas backtest --symbols '<x>'")
    page.table(Table(("symbol", "rows", "share"), (("<td>", 1440, -0.5), ("b", None, float("nan"))), "cap", "note"))
    return page


def test_text_from_the_data_is_escaped_everywhere() -> None:
    html = _page().render()
    assert html.count("<script") == 0
    assert "Title &lt;b&gt;" in html
    assert "a &lt; b" in html
    assert "--symbols &#x27;&lt;x&gt;&#x27;" in html
    assert '<td class="short" data-label="symbol">&lt;td&gt;</td>' in html
    assert "&lt;i&gt;" in html


def test_numbers_are_grouped_and_nulls_are_dashes() -> None:
    html = _page().render()
    assert '<td class="n" data-label="rows">1,440</td><td class="n" data-label="share">&minus;0.50</td>' in html
    assert html.count(">&ndash;</td>") == 2


def test_plotly_is_inlined_once_packed_and_nothing_is_fetched() -> None:
    page = _page()
    figure = go.Figure(go.Scatter(x=[1, 2], y=[3, 4]))
    page.figure(figure, "first")
    page.figure(go.Figure(figure), "second", title="What it says")
    html = page.render()
    (packed,) = re.findall(r'<script type="text/plain" id="plotly">([^<]*)</script>', html)
    assert gzip.decompress(base64.b64decode(packed)).decode() == get_plotlyjs()
    assert len(html) < 2_200_000
    assert 'id="figure-2"' in html
    assert "<h3>What it says</h3>" in html
    assert not re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)=", html)
    assert "default-src 'none'" in html


def test_a_figure_cannot_end_its_own_script() -> None:
    page = Page("x")
    page.figure(go.Figure(go.Scatter(x=[1], y=[2], name=EVIL)), EVIL, title=EVIL)
    html = page.render()
    assert "alert(" in html
    assert EVIL not in html
    (data,) = re.findall(r'<script type="application/json" id="figure-1-data">(.*?)</script>', html, re.DOTALL)
    assert json.loads(data)["data"][0]["name"] == EVIL


def test_no_figure_no_plotly() -> None:
    assert len(_page().render()) < 12_000


def test_sections_are_linked_after_what_opens_the_page() -> None:
    html = _page().render()
    link = html.index('<a href="#section-1">First &lt;section&gt;</a>')
    assert html.index('<p class="verdict bad">') < link < html.index('<h2 id="section-1">')


def test_a_wide_table_names_its_cells_for_a_narrow_screen() -> None:
    page = Page("x")
    columns = ("a", "b & c", "d", "e", "f")
    page.table(Table(columns, ((1, 2.0, "x", None, Interval("+1 %", "0 to +3 %")),), strong=frozenset({0})))
    page.table(Table(columns[:3], ((1, 2, 3),)))
    html = page.render()
    assert html.count('class="stacked"') == 1
    assert 'data-label="b &amp; c">2.00</td>' in html
    assert '<tr class="strong">' in html
    assert '<td class="n" data-label="f"><span>+1 %<small>0 to +3 %</small></span></td>' in html


def test_a_folded_part_is_in_the_page_and_closed() -> None:
    page = Page("x")
    with page.folded("All <horizons>"):
        page.text("inside")
    assert "<details><summary>All &lt;horizons&gt;</summary>\n<p>inside</p>\n</details>" in page.render()


def test_arrays_are_packed_as_numbers() -> None:
    def size(points: int) -> int:
        page = Page("x")
        page.figure(go.Figure(go.Scatter(x=np.arange(points), y=np.random.default_rng(0).random(points))), "y")
        return len(page.render())

    assert size(20_000) - size(10) < 20 * 20_000
