"""What an import of the archive says when it is done."""

from collections.abc import Iterable

from midas_ray.importers.units import utc_text
from midas_ray.importers.vision.notes import BookDay, Days, TradeDay
from midas_ray.importers.vision.plan import TablePlan
from midas_ray.importers.vision.source import CHECKSUM_SUFFIX, Source

_MOST_NAMED = 5


def table_summary(plan: TablePlan, made: Days, units: set[str]) -> str:
    """One line for a table of a symbol."""
    parts = [_made(plan.table, made, units)] if made else []
    if plan.fresh:
        parts.append(f"{plan.fresh} days already imported from the same files")
    if plan.kept:
        better = sorted(set(plan.kept.values()))
        parts.append(f"{len(plan.kept)} days left as they are, made from {named(better)}")
    return f"{plan.symbol}: clean/{plan.table}: " + ("; ".join(parts) or "nothing to do")


def _made(table: str, made: Days, units: set[str]) -> str:
    notes = list(made.values())
    kinds = "/".join(dict.fromkeys(note.kind for note in notes))
    rows, hours = sum(note.rows for note in notes), sum(len(note.hours) for note in notes)
    first_us, last_us = _span_us(notes[0])[0], _span_us(notes[-1])[1]
    parts = [
        f"{rows:,} rows of {kinds}, {utc_text(first_us * 1000)} to {utc_text(last_us * 1000)} UTC",
        f"times in {'/'.join(sorted(units))}",
        f"{len({note.file for note in notes})} files, {hours} hours",
    ]
    if table == "trades":
        lost = [gap for note in notes if isinstance(note, TradeDay) for gap in note.lost]
        ids = sum(gap.found_id - gap.expected_id for gap in lost)
        parts.append(
            f"{ids:,} ids missing in {len(lost):,} places, in clean/gaps" if lost else "no id missing in a day"
        )
    else:
        quiet_us = max(note.longest_quiet_us for note in notes if isinstance(note, BookDay))
        parts.append(
            f"best levels only; longest time without a quote {quiet_us / 1e6:,.1f} s (quotes have no "
            "chain: whether one is missing cannot be told)"
        )
    return "; ".join(parts)


def _span_us(note: object) -> tuple[int, int]:
    if isinstance(note, TradeDay):
        return note.first.us, note.last.us
    assert isinstance(note, BookDay)
    return note.opening[0].ms * 1000, note.last.ms * 1000


def unverified_sentence(sources: list[Source]) -> Iterable[str]:
    """Names the files that no checksum vouches for."""
    without = [source.file for source in sources if not source.verified]
    checked = len(sources) - len(without)
    if without:
        yield (
            f"{checked} of {len(sources)} files agree with their {CHECKSUM_SUFFIX}; without one beside them, so "
            f"taken as they are: {named(without)}"
        )
    else:
        yield f"all {len(sources)} files agree with their {CHECKSUM_SUFFIX}"


def lacking_sentence(sources: list[Source]) -> Iterable[str]:
    """Names what these files do not have: it is null in the features unless it comes from elsewhere."""
    kinds: dict[str, set[str]] = {}
    for source in sources:
        kinds.setdefault(source.name.symbol, set()).add(source.name.kind)
    lacking: dict[str, list[str]] = {}
    for symbol, found in sorted(kinds.items()):
        lacking.setdefault("; ".join(_lacking(found)), []).append(symbol)
    for what, symbols in lacking.items():
        yield f"{', '.join(symbols)}: not in these files, so null in the features: {what}"


def _lacking(kinds: set[str]) -> Iterable[str]:
    if "bookTicker" in kinds:
        yield "levels 2 to 10 of the book"
    else:
        yield "the order book (top of book, liquidity, imbalance, book shape, order flow)"
    if kinds.isdisjoint({"trades", "aggTrades"}):
        if "klines" in kinds:
            yield "single trades (sign autocorrelation, whales, VPIN, Roll's and the effective spread)"
        else:
            yield "trades (bars, trade flow, VPIN, Kyle's lambda)"
    yield "mark price, funding rate and liquidations"


def named(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
