"""Trading on the forecast: what is left after costs, beside doing nothing clever and beside chance."""

import numpy as np
import plotly.graph_objects as go

from midas_ray.evaluate.outcome import Outcome
from midas_ray.evaluate.report.style import (
    interval_text,
    moments,
    number,
    thinned,
    typeset,
)
from midas_ray.evaluate.trading import TradingResult
from midas_ray.evaluate.verdict import Verdict, sharpe_sentence
from midas_ray.page import Colour, Page, Table
from midas_ray.settings import TradingSettings

MOST_POINTS = 2000


def section(page: Page, outcome: Outcome, verdict: Verdict) -> None:
    """The rule in words, its equity, the cost curve, the table."""
    page.section("Trading on the forecast, after costs")
    page.text(typeset(verdict.edge_sentence))
    result = outcome.trading
    if result is None:
        return
    page.text(typeset(_rule(outcome, result)))
    page.figure(
        equity(result),
        "Sum of returns on a constant stake, split equally between symbols and sleeves; open positions are marked at "
        "the "
        f"reference price. Before costs: there, without spread, fees and funding.{_control_note(result)}",
        height=400,
        title=_equity_title(result),
    )
    if np.isfinite(result.break_even.net_bps).sum() > 1:
        page.figure(
            break_even(result),
            "The same forecasts and the same rule at other all-in costs of a round trip: it trades less often where "
            "they "
            "are "
            "higher. Filled at the reference price; the line marks the fees charged above, without the spread.",
            height=320,
            title=_break_even_title(result),
        )
    else:
        page.text(f"{_break_even_title(result)}.")
    page.table(_table(result))
    page.text(typeset(sharpe_sentence(result, outcome.conditions.trials)))


def _control_note(result: TradingResult) -> str:
    return "" if result.random_entries is None else " The bar at the end holds 95 % of as many random entries."


def _rule(outcome: Outcome, result: TradingResult) -> str:
    settings: TradingSettings = outcome.conditions.trading
    book = outcome.panel.price_source != "close"
    hurdle = f"the cost of a round trip{f' and {settings.threshold_bps:g} bps' if settings.threshold_bps else ''}"
    if settings.rule == "median":
        opening = f"It trades when the median forecast {result.horizon} buckets ahead exceeds {hurdle}."
    else:
        opening = (
            f"It trades when the mean of the forecast distribution {result.horizon} buckets ahead exceeds {hurdle} "
            "and the "
            f"probability of earning more than that is at least {100 * settings.min_probability:g} %; the larger the "
            "edge "
            "beside the width of the band, the larger the position."
        )
    fill = "the opposite quote (buy at the ask, sell at the bid)" if book else "the close, as there is no book"
    funding = " Funding is assumed, for the data hold no rate." if result.funding_is_assumed else ""
    return (
        f"{opening} Orders arrive {settings.latency_ms:g} ms after the bucket and fill {result.delay} "
        f"bucket{'s' if result.delay > 1 else ''} later at {fill}, leave {result.horizon} buckets after the decision "
        "likewise, "
        f"and pay {result.fees.taker_bps:g} bps a side ({result.fees.tier}). {result.horizon} sleeves a symbol take "
        "turns, so "
        "that overlapping forecasts are all traded; trading stops for the day after a loss of "
        f"{settings.daily_loss_limit_pct:g} %.{funding}"
    )


def _equity_title(result: TradingResult) -> str:
    found = result.performance
    title = (
        f"After costs {number(found.net_pct, 2, unit=' %')}, before costs {number(found.gross_pct, 2, unit=' %')}, "
        "buy and "
        f"hold {number(found.hold_pct, 2, unit=' %')}"
    )
    if result.random_entries is None:
        return title
    return f"{title}, random entries {number(result.random_entries.mean_pct, 2, unit=' %')}"


def equity(result: TradingResult) -> go.Figure:
    """Equity after and before costs beside buy-and-hold; at the end what random entries would have given."""
    curve = result.curve
    keep = thinned(len(curve.ts_us), MOST_POINTS)
    x = moments(curve.ts_us[keep])
    figure = go.Figure()
    for name, values, line in (
        ("buy and hold, no costs", curve.hold_pct, {"color": Colour.ink, "width": 1.3}),
        ("before costs", curve.gross_pct, {"color": Colour.model, "width": 1.6, "dash": "dot"}),
        ("after costs", curve.net_pct, {"color": Colour.model, "width": 2.4}),
    ):
        figure.add_scatter(x=x, y=values[keep], mode="lines", name=name, line=line)
    control = result.random_entries
    if control is not None:
        figure.add_scatter(
            x=x[-1:], y=[control.mean_pct], mode="markers", name="random entries, after costs",
            marker={"color": Colour.random, "symbol": "diamond", "size": 10},
            error_y={
                "type": "data", "symmetric": False, "array": [control.upper_pct - control.mean_pct],
                "arrayminus": [control.mean_pct - control.lower_pct], "thickness": 2, "width": 6,
            },
            hovertemplate="%{y:.2f} %<extra>random entries</extra>",
        )  # fmt: skip
    figure.add_hline(y=0, line={"color": Colour.reference, "width": 1})
    figure.update_xaxes(title_text="time (UTC)")
    figure.update_yaxes(title_text="return on the stake, %")
    return figure


def _break_even_title(result: TradingResult) -> str:
    """What the round trips could have paid, and whether the rule earns at any cost that it would have been told."""
    found, charged = result.break_even, 2 * result.fees.taker_bps
    if len(result.trades):
        gross = result.trades.mean(result.trades.gross_bps)
        opening = f"Before costs a round trip earned {number(gross, 2, unit=' bps')}: more it could not pay"
        return f"{opening}, and the fees alone were {charged:g} bps"
    if found.break_even_bps is None:
        return "The rule would not have earned even at no cost"
    at = int(np.searchsorted(found.cost_bps, found.break_even_bps))
    return (
        f"It would have earned at a cost of {found.cost_bps[at]:g} bps a round trip or less at best, with "
        f"{int(found.trades[at]):,} round trips there; the fees alone are {charged:g} bps"
    )


def break_even(result: TradingResult) -> go.Figure:
    """Mean net result of a round trip at other costs; the line marks the fees charged."""
    found = result.break_even
    reach = max(2 * result.fees.taker_bps, float(found.cost_bps[np.isfinite(found.net_bps)].max()))
    figure = go.Figure()
    figure.add_scatter(
        x=found.cost_bps, y=found.net_bps, mode="lines+markers", line={"color": Colour.model, "width": 2.2},
        marker={"size": 5}, showlegend=False, customdata=found.trades,
        hovertemplate="%{y:.2f} bps net at %{x:g} bps, %{customdata:,} round trips<extra></extra>",
    )  # fmt: skip
    figure.add_hline(y=0, line={"color": Colour.ink, "width": 1})
    figure.add_vline(
        x=2 * result.fees.taker_bps, line={"color": Colour.ink, "width": 1, "dash": "dash"},
        annotation_text="fees charged", annotation_position="top right",
    )  # fmt: skip
    figure.update_xaxes(title_text="cost of a round trip, bps", range=[0, 1.15 * reach])
    figure.update_yaxes(title_text="net a round trip, bps")
    return figure


def _table(result: TradingResult) -> Table:
    trades, found = result.trades, result.performance
    rows: list[tuple[str, str]] = [
        ("round trips", f"{len(trades):,} of {result.signals:,} signals ({result.unfilled:,} without a quote)"),
        ("largest drawdown after costs", f"{found.max_drawdown_pct:.2f} % of the stake"),
        ("turnover", f"{found.turnover_a_day:.2f} stakes a day"),
        ("mean exposure", f"{100 * found.mean_exposure:.1f} % of the stake"),
        ("days stopped by the loss limit", f"{result.stopped_days:,} of {found.days:,}"),
    ]
    if result.per_trade is not None:
        long = int((trades.side > 0).sum())
        rows[1:1] = [
            ("net of a round trip, weighted by size", interval_text(result.per_trade, scale=1, unit=" bps")),
            ("before costs", f"{trades.mean(trades.gross_bps):+.2f} bps"),
            ("of it funding paid", f"{trades.mean(trades.funding_bps):+.3f} bps"),
            ("winning round trips", f"{100 * (found.hit_rate or 0.0):.0f} %"),
            ("long and short", f"{long:,} and {len(trades) - long:,}"),
        ]
    control = result.random_entries
    if control is not None:
        rows.append(
            (
                "random entries, as many, after costs",
                f"{control.mean_pct:+.2f} % (95 % of the draws {control.lower_pct:+.2f} to {control.upper_pct:+.2f} "
                "%); "
                f"{100 * control.better_share:.0f} % of the draws earned at least as much",
            )
        )
    return Table(("strategy", "result"), tuple((name, typeset(value)) for name, value in rows))
