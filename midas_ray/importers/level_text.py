"""Columns of prices and sizes as plain decimal text, checked; rows of levels joined into changes of the book."""

from decimal import Decimal

import polars as pl

_EXPONENT = r"^\d{1,18}(?:\.\d+)?[eE][+-]?\d{1,2}$"
_PLAIN = r"^\d{1,18}(?:\.\d{1,10}0*)?$"
"""A number from 0 that the book takes: MAX_DECIMALS after the point."""


def plain_text(column: pl.Series) -> pl.Series:
    """Decimal text with exponents written out; null where it is no number from 0, or has more than 10 decimals.

    Text without an exponent stays as it is.
    """
    is_exponent = column.str.contains(_EXPONENT)
    if is_exponent.any():
        plain = [f"{Decimal(text):f}" if exponent else text for text, exponent in zip(column, is_exponent, strict=True)]
        column = pl.Series(column.name, plain, dtype=pl.String)
    is_plain = column.str.contains(_PLAIN).fill_null(value=False)
    return column if is_plain.all() else column.zip_with(is_plain, pl.Series([None], dtype=pl.String))


def is_positive(column: str) -> pl.Expr:
    """Whether plain decimal text is above 0."""
    return pl.col(column).str.contains("[1-9]")


def book_changes(rows: pl.DataFrame) -> pl.DataFrame:
    """Changes of the book, in order: one row each with recv_ns, symbol, exchange_ms, bids, asks, is_whole, message.

    rows: at least one, with `message` (the same for all rows of a change), symbol, recv_ns, exchange_ms, is_whole, px,
    qty and is_bid (null: no level).
    """
    return (
        rows.rechunk()  # polars 2.1 panics in `format` over columns of several chunks, one of them empty
        .with_columns(level=pl.format('["{}","{}"]', "px", "qty"))
        .group_by("message", maintain_order=True)
        .agg(
            pl.col("recv_ns", "symbol", "exchange_ms").last(),
            bids=pl.col("level").filter(pl.col("is_bid")).str.join(","),
            asks=pl.col("level").filter(~pl.col("is_bid")).str.join(","),
            is_whole=pl.col("is_whole").last(),
        )
        .select("recv_ns", "symbol", "exchange_ms", "bids", "asks", "is_whole", "message")
    )
