"""What the model looks at: importance of its inputs, and attention over the past."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from midas_ray.evaluate.outcome import FoldRecord, Outcome
from midas_ray.evaluate.report.style import Float, duration_name, plain, time_unit, typeset
from midas_ray.forecast.interpretation import Interpretation
from midas_ray.page import Colour, Page, Table

MOST_BARS = 15
OTHERS = " others together"


def ranked(importance: Mapping[str, float]) -> list[tuple[str, float]]:
    """Inputs by importance, the largest first; those beyond MOST_BARS summed as one."""
    order = sorted(importance.items(), key=lambda item: (-item[1], item[0]))
    if len(order) <= MOST_BARS:
        return order
    rest = order[MOST_BARS - 1 :]
    return [*order[: MOST_BARS - 1], (f"{len(rest)}{OTHERS}", sum(share for _, share in rest))]


def importance_title(importance: Mapping[str, float], where: str) -> str:
    """The sentence above the bars."""
    order = sorted(importance.items(), key=lambda item: (-item[1], item[0]))
    total = sum(importance.values())
    even = 1 / len(order)
    name, share = order[0][0], order[0][1] / total
    three = sum(value for _, value in order[:3]) / total
    if len(order) <= 3:
        return f"Of {len(order)} {where}, {name} weighs most: {100 * share:.0f} %"
    return (
        f"{name} weighs most of {len(order)} {where}: {100 * share:.0f} %, where even weights would be "
        f"{100 * even:.0f} %; "
        f"the first three hold {100 * three:.0f} %"
    )


def bars(importance: Mapping[str, float]) -> go.Figure:
    """Share of each input, the largest on top."""
    shown = ranked(importance)[::-1]
    total = sum(importance.values())
    colours = [Colour.reference if name.endswith(OTHERS) else Colour.model for name, _ in shown]
    figure = go.Figure()
    figure.add_bar(
        x=[100 * share / total for _, share in shown], y=[plain(name) for name, _ in shown], orientation="h",
        marker={"color": colours}, hovertemplate="%{x:.1f} %<extra>%{y}</extra>", showlegend=False,
    )  # fmt: skip
    figure.update_xaxes(title_text="share of the selection weights, %", rangemode="tozero")
    figure.update_yaxes(type="category")
    return figure


def attention_title(attention_L: Float, bucket_ms: int) -> str:
    """The sentence above the curve; the last entry is the newest bucket."""
    share = attention_L / attention_L.sum()
    recent = max(1, round(len(share) / 6))
    newest = float(share[-recent:].sum())
    return typeset(
        f"The newest {duration_name(bucket_ms, recent)} of {duration_name(bucket_ms, len(share))} hold "
        f"{100 * newest:.0f} % "
        f"of the attention (spread evenly they would hold {100 * recent / len(share):.0f} %)"
    )


def attention(attention_L: Float, bucket_ms: int) -> go.Figure:
    """Mean attention of the forecasts on each bucket of the past."""
    unit, length = time_unit(bucket_ms)
    lag = -np.arange(len(attention_L))[::-1] * length
    figure = go.Figure()
    figure.add_scatter(
        x=lag, y=100 * attention_L / attention_L.sum(), mode="lines", line={"color": Colour.model, "width": 2},
        fill="tozeroy", fillcolor=Colour.model_band, showlegend=False, hovertemplate="%{y:.2f} %<extra></extra>",
    )  # fmt: skip
    figure.add_hline(y=100 / len(attention_L), line={"color": Colour.ink, "width": 1, "dash": "dash"})
    figure.update_xaxes(title_text=f"{unit} before the forecast")
    figure.update_yaxes(title_text="share of the attention, %", rangemode="tozero")
    return figure


def together(folds: Sequence[FoldRecord]) -> Interpretation | None:
    """The mean of the folds' weights; an input that a fold does not have weighs nothing there. None without any."""
    found = [fold.interpretation for fold in folds if fold.interpretation is not None]
    if not found:
        return None

    def mean(group: str) -> dict[str, float]:
        names = dict.fromkeys(name for one in found for name in getattr(one, group))
        means = {name: float(np.mean([getattr(one, group).get(name, 0.0) for one in found])) for name in names}
        return dict(sorted(means.items(), key=lambda item: -item[1]))

    return Interpretation(
        windows=sum(one.windows for one in found),
        encoder=mean("encoder"),
        decoder=mean("decoder"),
        static=mean("static"),
        attention=tuple(float(x) for x in np.mean([one.attention for one in found], axis=0)),
    )


def section(page: Page, outcome: Outcome) -> None:
    """Importance of the inputs and attention by lag, the mean of the folds; nothing where no network was judged."""
    found = together(outcome.folds)
    if found is None:
        return
    page.section("What the model looks at")
    page.text(
        f"Averaged over {found.windows:,} windows of the test parts. A weight says how much of an input the network "
        "let "
        "through, not that the forecast would be worse without it."
    )
    page.figure(
        bars(found.encoder),
        "Selection weights of the inputs of the past.",
        height=110 + 24 * len(ranked(found.encoder)),
        title=importance_title(found.encoder, "inputs of the past"),
    )
    attention_L = np.array(found.attention)
    page.figure(
        attention(attention_L, outcome.panel.bucket_ms),
        "Attention of the forecasts to each bucket of the past, averaged over heads and horizons; dashed: evenly "
        "spread.",
        height=280,
        title=attention_title(attention_L, outcome.panel.bucket_ms),
    )
    known = {**found.decoder, **found.static}
    if len(known) > 1:
        page.table(
            Table(
                ("input", "kind", "weight, %"),
                tuple(
                    (name, kind, 100 * weight)
                    for kind, group in (("known ahead", found.decoder), ("of the symbol", found.static))
                    for name, weight in group.items()
                ),
                caption="Inputs known ahead and of the symbol (each kind sums to 100 %)",
                digits=1,
            )
        )
