"""The shared report page: self-contained, escaped, one plotly.js."""

import re

import plotly.graph_objects as go

from midas_ray.page import Page, Table


def _page() -> Page:
    page = Page("Title <b>", "sub & title")
    page.verdict('says "<script>"', tone="bad")
    page.cards([("label", "<i>", "note")])
    page.section("First <section>")
    page.text("a < b")
    page.facts([("name", "x & y")])
    page.table(Table(("symbol", "rows", "share"), (("<td>", 1440, -0.5), ("b", None, float("nan"))), "cap", "note"))
    return page


def test_text_from_the_data_is_escaped_everywhere() -> None:
    html = _page().render()
    assert html.count("<script>") == 1  # the page's own
    assert "Title &lt;b&gt;" in html
    assert "a &lt; b" in html
    assert '<td class="short">&lt;td&gt;</td>' in html
    assert "&lt;i&gt;" in html


def test_numbers_are_grouped_and_nulls_are_dashes() -> None:
    html = _page().render()
    assert '<td class="n">1,440</td><td class="n">&minus;0.50</td>' in html
    assert html.count('<td class="n">&ndash;</td>') == 2


def test_plotly_is_inlined_once_and_nothing_is_fetched() -> None:
    page = _page()
    figure = go.Figure(go.Scatter(x=[1, 2], y=[3, 4]))
    page.figure(figure, "first")
    page.figure(go.Figure(figure), "second")
    html = page.render()
    assert html.count("* plotly.js v") == 1
    assert html.count("Plotly.newPlot(") >= 2
    assert 'id="figure-2"' in html
    assert not re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)=", html)
    assert "default-src 'none'" in html


def test_no_figure_no_plotly() -> None:
    assert len(_page().render()) < 10_000


def test_sections_are_linked_at_the_top() -> None:
    html = _page().render()
    assert '<a href="#section-1">First &lt;section&gt;</a>' in html
    assert '<h2 id="section-1">' in html
