"""The backtest's HTML page: the verdict in one sentence, the figures that carry it, then the evidence."""

from midas_ray.evaluate.outcome import Outcome
from midas_ray.evaluate.report import calibration, data, fan, interpretation, procedure, robustness, skill, trading
from midas_ray.evaluate.report.style import NAMES, interval_text, number, time_text, typeset
from midas_ray.evaluate.verdict import reach, strongest
from midas_ray.page import Page

MOST_NAMED = 12
"""Symbols named in the page's subtitle; the table of the data has all."""


def render(outcome: Outcome) -> str:
    """The whole page as HTML text."""
    verdict = reach(outcome)
    page = Page("Backtest", _subtitle(outcome))
    page.verdict(typeset(verdict.sentence), verdict.tone)
    page.cards([(label, typeset(value), typeset(note)) for label, value, note in _cards(outcome)])
    skill.section(page, outcome)
    calibration.section(page, outcome)
    fan.section(page, outcome)
    robustness.section(page, outcome)
    interpretation.section(page, outcome)
    trading.section(page, outcome, verdict)
    procedure.final_section(page, outcome)
    data.section(page, outcome)
    procedure.folds_section(page, outcome)
    procedure.settings_section(page, outcome)
    return page.render()


def _subtitle(outcome: Outcome) -> str:
    symbols, ts_us = outcome.panel.symbols, outcome.forecasts.ts_us
    more = f" and {len(symbols) - MOST_NAMED} more" if len(symbols) > MOST_NAMED else ""
    return (
        f"{', '.join(symbols[:MOST_NAMED])}{more} on {outcome.panel.venue}; judged on {time_text(int(ts_us[0]))} to "
        f"{time_text(int(ts_us[-1]))} UTC"
    )


def _cards(outcome: Outcome) -> list[tuple[str, str, str]]:
    scores, cards = outcome.scores, []
    if outcome.forecasts.baselines:
        first, toughest = outcome.forecasts.baselines[0], strongest(outcome)
        for name in dict.fromkeys((first, toughest)):
            note = ", the strongest baseline" if name == toughest else ""
            cards.append(
                (f"Skill over {NAMES[name]}{note}", *_value_and_interval(interval_text(scores.skill[name].pooled)))
            )
    covered = scores.delivered(outcome.forecasts.judged).calibration.coverage
    value, interval = _value_and_interval(interval_text(covered, digits=1, sign=""))
    cards.append(("Outcomes between P10 and P90", value, f"80 % is meant; {interval}"))
    if outcome.trading is not None:
        found = outcome.trading.performance
        cards.append(
            (
                "Trading on it, after costs",
                number(found.net_pct, 2, unit=" %"),
                f"{len(outcome.trading.trades):,} round trips; buy and hold {number(found.hold_pct, 2, unit=' %')}",
            )
        )
    return cards


def _value_and_interval(text: str) -> tuple[str, str]:
    value, _, interval = text.partition(" (")
    return value, interval.removesuffix(")")
