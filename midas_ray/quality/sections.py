"""Sections of the data-quality page: coverage, gaps, prices, latency, klines, nulls."""

import numpy as np

from midas_ray.console import share_text
from midas_ray.features.registry import FEATURE_NAMES, FEATURES
from midas_ray.page import Cell, Page, Table
from midas_ray.quality import plots
from midas_ray.quality.findings import utc_text
from midas_ray.quality.latency import PERCENTILES
from midas_ray.quality.scan import SymbolQuality
from midas_ray.quality.soft import not_collected

MAX_PRICE_FIGURES = 12
MAX_GAPS_SHOWN = 30
MAX_DIFFERENCES_SHOWN = 40
MIN_NULL_SHARE_SHOWN = 0.005


def coverage(page: Page, qualities: list[SymbolQuality]) -> None:
    page.section("Coverage")
    with_book = [quality for quality in qualities if quality.book.rows]
    if not with_book:
        page.text("There is no book in these data.")
        return
    figure, cell = plots.coverage_strip(with_book)
    page.figure(
        figure,
        f"Live share of the book's grid rows, by {cell}. "
        "Green: all; pale: 99 %; orange: 90 %; red: none; blank: no collector ran. Only live rows hold numbers.",
        height=130 + 30 * len(with_book),
    )
    rows: list[tuple[Cell, ...]] = []
    for quality in with_book:
        book = quality.book
        without = 0 if quality.coverage_of_span is None else book.live_rows / max(quality.coverage_of_span, 1e-12)
        rows.append(
            (
                quality.symbol,
                book.step_us // 1000,
                book.rows,
                book.live_rows,
                share_text(quality.coverage or 0.0),
                share_text(quality.coverage_of_span or 0.0),
                max(0, round(without) - book.rows),
                "" if quality.tick is None else f"{quality.tick:g}",
            )
        )
    page.table(
        Table(
            (
                "symbol", "grid, ms", "rows", "live rows", "live share", "live share of the span",
                "grid steps without a row", "tick seen",
            ),
            tuple(rows),
            note="Live share is what the check looks at; the span also counts the time in which no collector ran. "
            "The tick is the step that nearly all prices of the last day share.",
        )
    )  # fmt: skip


def gaps(page: Page, qualities: list[SymbolQuality]) -> None:
    page.section("Gaps")
    gaps = [(quality.symbol, gap) for quality in qualities for gap in quality.ledger.gaps]
    if not gaps:
        page.text("The ledger is empty: no depth event and no trade is known to be lost.")
        return
    page.figure(
        plots.gap_timeline(qualities),
        "Gaps of the ledger, from the last message before to the first after, by cause.",
        height=190 + 30 * len({(symbol, gap.stream) for symbol, gap in gaps}),
    )
    groups = sorted({(symbol, gap.stream, gap.cause, gap.fault) for symbol, gap in gaps})
    rows: list[tuple[Cell, ...]] = []
    for key in groups:
        lengths = [gap.length_s for symbol, gap in gaps if (symbol, gap.stream, gap.cause, gap.fault) == key]
        rows.append((*key, len(lengths), sum(lengths), max(lengths)))
    page.table(
        Table(("symbol", "stream", "cause", "fault", "gaps", "seconds", "longest, s"), tuple(rows), caption="By cause")
    )
    longest = sorted(gaps, key=lambda item: -item[1].length_s)[:MAX_GAPS_SHOWN]
    page.table(
        Table(
            (
                "symbol", "stream", "cause", "fault", "start, UTC", "end, UTC", "seconds", "expected id", "found id",
                "recovered",
            ),
            tuple(
                (
                    symbol, gap.stream, gap.cause, gap.fault,
                    utc_text(gap.start_us), utc_text(gap.end_us), gap.length_s,
                    None if gap.expected_id is None else str(gap.expected_id),
                    None if gap.found_id is None else str(gap.found_id), "yes" if gap.recovered else "no",
                )
                for symbol, gap in longest
            ),
            caption="Longest gaps" if len(gaps) > len(longest) else "All gaps, longest first",
            digits=3,
        )
    )  # fmt: skip


def prices(page: Page, qualities: list[SymbolQuality]) -> None:
    page.section("Price and spread")
    shown = [quality for quality in qualities if len(quality.price_line().ts_us)]
    if not shown:
        page.text("There is no price in these data.")
    for quality in shown[:MAX_PRICE_FIGURES]:
        with_book = quality.book.live_rows > 0
        what = "midprice, and mean spread over the live rows" if with_book else "close of each minute"
        page.figure(plots.price_and_spread(quality), f"{quality.symbol}: {what}.", height=360 if with_book else 260)
    if len(shown) > MAX_PRICE_FIGURES:
        names = ", ".join(quality.symbol for quality in shown[MAX_PRICE_FIGURES:])
        page.text(f"Not drawn, to keep the page small: {names}. Choose with --symbols.")


def latency(page: Page, qualities: list[SymbolQuality]) -> None:
    page.section("Latency of trades")
    sketches = {q.symbol: q.trades.latency for q in qualities if q.trades.latency.n}
    if not sketches:
        page.text("There are no trades with a receive time in these data.")
        return
    page.text("Receive time by the local clock, minus the exchange's time of the trade.")
    behind = [symbol for symbol, sketch in sketches.items() if sketch.n_negative]
    if behind:
        page.text(
            f"Some latencies are negative ({', '.join(behind)}): a message cannot arrive before it is sent, so the "
            "local clock was behind the exchange's. Differences between latencies still hold; their level does not."
        )
    page.figure(
        plots.latency_histogram(sketches),
        "Share of trades by latency, over the middle 99 % of all; the table has the extremes.",
        height=320,
    )
    page.table(
        Table(
            ("symbol", "trades", "source", "min, ms", *(f"p{p}, ms" for p in PERCENTILES), "max, ms", "negative"),
            tuple(
                (
                    q.symbol, q.trades.latency.n, " and ".join(sorted(q.trades.sources)), q.trades.latency.min_us / 1e3,
                    *(q.trades.latency.percentile_us(p) / 1e3 for p in PERCENTILES), q.trades.latency.max_us / 1e3,
                    share_text(q.trades.latency.n_negative / q.trades.latency.n),
                )
                for q in qualities
                if q.trades.latency.n
            ),
            digits=1,
        )
    )  # fmt: skip


def klines(page: Page, qualities: list[SymbolQuality]) -> None:
    page.section("The exchange's klines")
    compared = [(q.symbol, comparison) for q in qualities for comparison in q.comparisons]
    if not compared:
        page.text("Not compared: there are no klines, or no trades beside them.")
        return
    sources = {q.symbol: " and ".join(sorted(q.trades.sources)) for q in qualities}
    page.text(
        "Open, high, low, close, volume and count must be equal to the last bit in every minute whose trades were "
        "collected throughout, quote volume to 9 digits. From aggTrade they can differ: it leaves out some prints."
    )
    page.table(
        Table(
            ("symbol", "ours from", "trade stream", "klines", "minutes compared", "differences"),
            tuple(
                (symbol, c.origin, sources[symbol], c.klines, c.compared, len(c.differences)) for symbol, c in compared
            ),
        )
    )
    differences = [(symbol, each) for symbol, c in compared for each in c.differences]
    if differences:
        page.table(
            Table(
                ("symbol", "minute ending, UTC", "column", "from", "ours", "kline"),
                tuple(
                    (symbol, utc_text(d.ts_us), d.column, d.origin, repr(d.ours), repr(d.kline))
                    for symbol, d in differences[:MAX_DIFFERENCES_SHOWN]
                ),
                caption="Differences",
                note=f"and {len(differences) - MAX_DIFFERENCES_SHOWN:,} more, in the JSON"
                if len(differences) > MAX_DIFFERENCES_SHOWN
                else "",
            )
        )


def features(page: Page, qualities: list[SymbolQuality]) -> None:
    """Nulls by kind, and values out of bounds."""
    with_features = [quality for quality in qualities if quality.features.rows]
    if not with_features:
        return
    page.section("Nulls and bounds of the features")
    page.text(
        "gap: an input was not covered; warm-up: too few covered buckets so far; undefined: 0/0, no prints or too few "
        "levels while covered."
    )
    absent: dict[tuple[str, ...], list[str]] = {}
    for quality in with_features:
        absent.setdefault(not_collected(quality), []).append(quality.symbol)
    for names, symbols in absent.items():
        if names:
            page.text(f"{', '.join(symbols)}: a gap throughout, for want of a stream: {', '.join(names)}.")
    _null_figures(page, with_features, set.intersection(*(set(not_collected(quality)) for quality in with_features)))
    page.table(_feature_table(with_features))
    _bounds(page, with_features)


def _null_figures(page: Page, qualities: list[SymbolQuality], absent: set[str]) -> None:
    """Null shares of the features that are null often enough to be seen; those nobody collected are left out."""
    kinds = np.sum([quality.features.kinds for quality in qualities], axis=0)
    share = kinds[:, 1:].sum(axis=1) / np.maximum(kinds.sum(axis=1), 1)
    collected = np.array([name not in absent for name in FEATURE_NAMES])
    shown = np.flatnonzero(collected & (share >= MIN_NULL_SHARE_SHOWN))
    rest = share[collected & (share < MIN_NULL_SHARE_SHOWN)]
    if len(rest):
        page.text(
            f"{len(rest)} of the {int(collected.sum())} collected features are null in less than "
            f"{100 * MIN_NULL_SHARE_SHOWN:g} % of the rows (at most {share_text(float(rest.max()))}) and are not drawn."
        )
    if not len(shown):
        return
    height = 130 + 18 * len(shown)
    page.figure(plots.null_bars(kinds, shown), "Share of rows that are null, by kind, all symbols.", height=height)
    if len(qualities) > 1:
        page.figure(plots.null_map(qualities, shown), "Share of rows that are null, by symbol.", height=height)


def _feature_table(qualities: list[SymbolQuality]) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            quality.symbol,
            quality.features.rows,
            (quality.features.bucket_us or 0) // 1_000_000,
            quality.features.price_source,
            share_text(quality.features.coverage_sum / quality.features.rows),
            share_text(quality.features.trades_coverage_sum / quality.features.rows),
            share_text(quality.features.kinds[:, 1:].sum() / quality.features.kinds.sum())
            if quality.features.kinds.sum()
            else "",
        )
        for quality in qualities
    )
    header = ("symbol", "rows", "bucket, s", "price", "mean coverage", "mean trades coverage", "null values")
    return Table(header, rows, caption="Features")


def _bounds(page: Page, qualities: list[SymbolQuality]) -> None:
    outside = np.sum([quality.features.out_of_bounds for quality in qualities], axis=0)
    if not outside.any():
        page.text("Every value lies within the registry's bounds.")
        return
    page.table(
        Table(
            ("feature", "lower", "upper", "values outside"),
            tuple(
                (FEATURE_NAMES[at], f"{FEATURES[at].lower:g}", f"{FEATURES[at].upper:g}", int(outside[at]))
                for at in np.flatnonzero(outside).tolist()
            ),
            caption="Values outside the registry's bounds",
        )
    )
