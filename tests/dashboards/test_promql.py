"""The tokenizer that the other tests rely on."""

import pytest

from tests.dashboards.promql import Grouping, Matcher, Selector, groupings, selectors, tokens


def test_metrics_and_labels() -> None:
    expr = 'sum by (a, b) (rate(x_total{c=~"$c",d!="or (y)"}[5m])) / on (a) group_left sum(z offset 5m) or vector(0)'
    matchers = (Matcher("c", "=~", "$c"), Matcher("d", "!=", "or (y)"))
    assert selectors(expr) == [Selector("x_total", matchers), Selector("z")]
    assert selectors(expr)[0].labels == {"c", "d"}
    assert selectors('{__name__=~"x|y",c="d"}') == [Selector(name, (Matcher("c", "=", "d"),)) for name in "xy"]
    assert groupings(expr) == [Grouping(frozenset({"a", "b"}), frozenset({"x_total"}))]


def test_what_is_no_metric() -> None:
    assert selectors("time() - 26 * 3600 > bool 1e9") == []
    assert selectors("absent(up == 1) unless on () (count by (i) (w))") == [Selector("up"), Selector("w")]
    assert groupings("max by (t) (a - max by (t, s) (b))") == [
        Grouping(frozenset({"t"}), frozenset({"a", "b"})),
        Grouping(frozenset({"t", "s"}), frozenset({"b"})),
    ]


@pytest.mark.parametrize("expr", ["a # b", "sum(a", "a{b='c'}"])
def test_what_is_not_the_language(expr: str) -> None:
    with pytest.raises(ValueError, match=r"expected PromQL|not closed"):
        groupings(f"sum by (a) ({expr})")


def test_tokens() -> None:
    assert tokens("a+b==1e3") == ["a", "+", "b", "=", "=", "1e3"]
