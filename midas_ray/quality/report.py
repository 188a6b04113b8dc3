"""reports/data_quality.html: the verdict first, then the checks, then what the data look like."""

from midas_ray.console import share_text
from midas_ray.page import Cell, Page, Table
from midas_ray.quality import sections
from midas_ray.quality.document import Context
from midas_ray.quality.findings import CHECKS, Findings, utc_text
from midas_ray.quality.latency import LatencySketch
from midas_ray.quality.scan import SymbolQuality


def verdict_of(total: Findings, strict: bool) -> str:
    """One sentence or two: do the data hold, and what falls short."""
    hard = [check.name for check in CHECKS if check.severity == "hard"]
    broken = [name for name in hard if total.counts[name]]
    looked = [name for name in hard if total.looked_at[name] or total.counts[name]]
    short = [check.name for check in CHECKS if check.severity == "soft" and total.counts[check.name]]
    if broken:
        text = f"{len(broken)} of {len(hard)} hard checks fail: {', '.join(broken)}."
    elif len(looked) == len(hard):
        text = f"All {len(hard)} hard checks pass."
    else:
        text = f"All {len(looked)} hard checks that apply pass ({len(hard) - len(looked)} had nothing to look at)."
    if short:
        text += f" Soft checks that {'fail' if strict else 'warn'}: {', '.join(short)}."
    return text


def render(qualities: list[SymbolQuality], total: Findings, context: Context) -> str:
    """The whole page as HTML text."""
    strict = context.strict
    page = Page("Data quality", f"{context.venue}, {context.data_dir}; made {context.created:%Y-%m-%d %H:%M} UTC")
    page.verdict(verdict_of(total, strict), "bad" if total.failed(strict) else "good")
    page.cards(_cards(qualities))
    _checks(page, total, strict)
    _tables(page, qualities)
    sections.coverage(page, qualities)
    sections.gaps(page, qualities)
    sections.prices(page, qualities)
    sections.latency(page, qualities)
    sections.klines(page, qualities)
    sections.features(page, qualities)
    return page.render()


def _cards(qualities: list[SymbolQuality]) -> list[tuple[str, str, str]]:
    rows, live = (sum(getattr(q.book, name) for q in qualities) for name in ("rows", "live_rows"))
    clean = sum(extent.rows for q in qualities for name, extent in q.tables.items() if name != "features")
    spans = [q.span_us for q in qualities if q.span_us is not None]
    gaps = [gap for q in qualities for gap in q.ledger.gaps]
    latency = _pooled(qualities)
    compared = sum(c.compared for q in qualities for c in q.comparisons)
    differences = sum(len(c.differences) for q in qualities for c in q.comparisons)
    span = (
        f"{utc_text(min(s for s, _ in spans))[:16]} to {utc_text(max(e for _, e in spans))[:16]} UTC" if spans else ""
    )
    return [
        ("Clean rows", f"{clean:,}", f"{len(qualities)} symbol{'s' if len(qualities) > 1 else ''}; {span}"),
        (
            "Live share of book rows",
            share_text(live / rows) if rows else "no book",
            f"{live:,} of {rows:,}" if rows else "",
        ),
        (
            "Gaps in the ledger",
            f"{len(gaps):,}",
            f"longest {max(gap.length_s for gap in gaps):,.1f} s" if gaps else "nothing lost",
        ),
        (
            "Trade latency, p99",
            f"{latency.percentile_us(99) / 1e3:,.0f} ms" if latency.n else "no trades",
            _clock_note(latency) if latency.n else "",
        ),
        (
            "Kline differences",
            f"{differences:,}" if compared else "not compared",
            f"in {compared:,} comparisons of a minute" if compared else "no klines, or no whole minute",
        ),
    ]


def _pooled(qualities: list[SymbolQuality]) -> LatencySketch:
    pooled = LatencySketch()
    for quality in qualities:
        pooled.absorb(quality.trades.latency)
    return pooled


def _clock_note(latency: LatencySketch) -> str:
    if latency.n_negative:
        return (
            f"median {latency.percentile_us(50) / 1e3:,.0f} ms; {share_text(latency.n_negative / latency.n)} negative"
        )
    return f"median {latency.percentile_us(50) / 1e3:,.0f} ms"


def _checks(page: Page, total: Findings, strict: bool) -> None:
    page.section("Checks")
    rows: list[tuple[Cell, ...]] = [
        (
            total.status(check.name, strict),
            check.name,
            check.severity,
            check.asserts,
            f"{total.looked_at[check.name]:,} {check.unit}",
            total.counts[check.name],
        )
        for check in CHECKS
    ]
    page.table(
        Table(
            ("status", "check", "kind", "what holds", "looked at", "findings"),
            tuple(rows),
            note="A hard check that fails: a contract of the data is broken. SKIP: there was nothing to look at.",
        )
    )
    for check in CHECKS:
        examples = total.examples[check.name]
        if not examples:
            continue
        more = total.counts[check.name] - len(examples)
        page.table(
            Table(
                ("where", "time, UTC", "found", "expected"),
                tuple(
                    (each.path, "" if each.ts_us is None else utc_text(each.ts_us), each.found, each.expected)
                    for each in examples
                ),
                caption=f"Findings of {check.name}",
                note=f"and {more:,} more" if more > 0 else "",
            )
        )


def _tables(page: Page, qualities: list[SymbolQuality]) -> None:
    page.section("Tables")
    rows: list[tuple[Cell, ...]] = []
    for quality in qualities:
        for name, extent in quality.tables.items():
            if extent.files:
                times = ("" if us is None else utc_text(us) for us in (extent.first_us, extent.last_us))
                rows.append((quality.symbol, name, extent.files, extent.rows, *times))
    page.table(Table(("symbol", "table", "files", "rows", "first, UTC", "last, UTC"), tuple(rows)))
    if not any(quality.features.rows for quality in qualities):
        page.text("There are no features yet: run midas features, then validate again.")
