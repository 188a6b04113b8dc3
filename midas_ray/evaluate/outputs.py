"""The three files of a backtest: fills (CSV), metrics (JSON), report (HTML). All are made before any is written."""

import io
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from midas_ray import __version__
from midas_ray.errors import StorageError, UsageError
from midas_ray.evaluate import report
from midas_ray.evaluate.judge import BASELINES, FORECASTERS, Scores
from midas_ray.evaluate.outcome import Outcome, Trading
from midas_ray.evaluate.significance import LEVEL, RESAMPLES, Estimates
from midas_ray.evaluate.trading import max_drawdown_pct
from midas_ray.evaluate.verdict import reach
from midas_ray.storage import Storage

DEFAULT_OUTPUT = "reports/backtest_results.html"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the files go: a storage and the HTML page's path in it; `.json` and `.csv` lie beside the page."""

    storage: Storage
    html: str

    @property
    def stem(self) -> str:
        return self.html.removesuffix(".html")

    def shown(self, suffix: str) -> str:
        """The path of a file, for people."""
        return self.storage.shown_path(f"{self.stem}{suffix}")


def destination(data_dir: str, output: str | None) -> Destination:
    """Where `--output` points, or DATA_DIR/reports. Raises UsageError and StorageError before any work is done."""
    if output is None:
        place = Destination(Storage(data_dir), DEFAULT_OUTPUT)
    else:
        folder, _, name = output.rpartition("/")
        if not name.endswith(".html") or name == ".html":
            raise UsageError(
                f"--output {output}: expected the path of a page that ends in .html; .json and .csv go beside it"
            )
        place = Destination(Storage(folder or ("/" if output.startswith("/") else ".")), name)
    _check_writable(place)
    return place


def _check_writable(place: Destination) -> None:
    """Before hours of work. A local folder is looked at only, so that a failing backtest leaves none behind."""
    if not place.storage.is_local:
        place.storage.check_writable()
        return
    page = Path(place.shown(".html"))
    if page.is_dir():
        raise UsageError(f"--output {page}: expected a file, found a folder")
    nearest = next(folder for folder in page.parents if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        found = "one without write permission" if nearest.is_dir() else "a file"
        raise StorageError(
            f"{nearest}: expected a writable folder for the report, found {found}; choose another --output"
        )


def write(outcome: Outcome, place: Destination) -> None:
    """Write fills, metrics and page, each atomically. Raises StorageError."""
    files = {
        ".csv": fills_csv(outcome),
        ".json": json.dumps(metrics(outcome), indent=1, allow_nan=False).encode(),
        ".html": report.render(outcome).encode(),
    }
    for suffix, data in files.items():
        place.storage.write_bytes(place.stem + suffix, data)


def fills_csv(outcome: Outcome) -> bytes:
    """One line per fill in order of time: two for each round trip. Results stand on the line of the exit."""
    columns = _fills(outcome)
    buffer = io.BytesIO()
    columns.write_csv(buffer, datetime_format="%Y-%m-%dT%H:%M:%SZ", float_precision=None)
    return buffer.getvalue()


def _fills(outcome: Outcome) -> pl.DataFrame:
    panel, fee_bps = outcome.panel, outcome.conditions.fee_bps
    schema: dict[str, type[pl.DataType] | pl.DataType] = {
        "ts": pl.Datetime("us"), "symbol": pl.String, "trade": pl.Int64, "action": pl.String, "side": pl.String,
        "px": pl.Float64, "reference_px": pl.Float64, "fee_bps": pl.Float64, "decision_ts": pl.Datetime("us"),
        "fold": pl.Int64, "forecast_bps": pl.Float64, "gross_bps": pl.Float64, "net_bps": pl.Float64,
    }  # fmt: skip
    if outcome.trading is None:
        return pl.DataFrame(schema=schema)
    trades = outcome.trading.trades
    number = np.arange(1, len(trades) + 1)
    shared = {
        "symbol": np.array(panel.symbols)[panel.symbol_index[trades.entry_row]],
        "trade": number,
        "fee_bps": np.full(len(trades), fee_bps),
        "decision_ts": outcome.forecasts.ts_us[trades.origin],
        "fold": outcome.forecasts.fold[trades.origin],
        "forecast_bps": trades.forecast_bps,
    }
    nothing = np.full(len(trades), np.nan)
    parts = []
    for action, rows, px, side, gross, net in (
        ("entry", trades.entry_row, trades.entry_px, trades.side, nothing, nothing),
        ("exit", trades.exit_row, trades.exit_px, -trades.side, trades.gross_bps, trades.net_bps),
    ):
        own: dict[str, Any] = {
            "ts": panel.ts_us[rows],
            "action": [action] * len(trades),
            "side": np.where(side > 0, "buy", "sell").tolist(),
            "px": px,
            "reference_px": panel.price[rows],
            "gross_bps": gross,
            "net_bps": net,
        }
        every = shared | own
        parts.append(pl.DataFrame({name: pl.Series(every[name]).cast(schema[name]) for name in schema}))
    return pl.concat(parts).with_columns(pl.col("gross_bps", "net_bps").fill_nan(None)).sort("ts", "trade", "action")


def metrics(outcome: Outcome) -> dict[str, Any]:
    """Everything the page says, for programs. Undefined numbers are null."""
    panel, verdict = outcome.panel, reach(outcome)
    taus = outcome.forecasts.quantiles_Q.tolist()
    return {
        "version": __version__,
        "venue": panel.venue,
        "symbols": list(panel.symbols),
        "bucket_ms": panel.bucket_ms,
        "price_source": panel.price_source,
        "quantiles": taus,
        "interval": {"level": LEVEL, "method": "circular block bootstrap over moments", "resamples": RESAMPLES},
        "verdict": {
            "beats": verdict.beats,
            "has_edge_after_costs": verdict.has_edge,
            "skill": verdict.skill_sentence,
            "edge": verdict.edge_sentence,
        },
        "conditions": asdict(outcome.conditions),
        "folds": [_plain(asdict(fold)) for fold in outcome.folds],
        "scores": _scores(outcome.scores),
        "scores_by_fold": {str(fold): _scores(scores) for fold, scores in outcome.scores_by_fold.items()},
        "scores_by_symbol": {symbol: _scores(scores) for symbol, scores in outcome.scores_by_symbol.items()},
        "trading": None if outcome.trading is None else _trading(outcome.trading),
    }


def _plain(value: Any) -> Any:
    """Arrays as lists, NaN and infinities as None."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.floating | float):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def _estimates(estimates: Estimates) -> Any:
    return _plain(asdict(estimates))


def _scores(scores: Scores) -> dict[str, Any]:
    return {
        "windows": scores.n_origins,
        "moments": scores.n_moments,
        "block_length": scores.block_length,
        "pinball_loss_bps": {name: _plain(scores.loss_HQ[name]) for name in FORECASTERS},
        "skill": {
            name: {
                "pooled": _estimates(scores.skill[name].pooled),
                "by_horizon": _estimates(scores.skill[name].by_horizon),
                "by_quantile": _estimates(scores.skill[name].by_quantile),
                "by_horizon_and_quantile": _estimates(scores.skill[name].by_cell),
            }
            for name in BASELINES
        },
        "calibration": {
            name: {
                "share_at_or_below": _estimates(scores.calibration[name].below),
                "coverage": _estimates(scores.calibration[name].coverage),
                "coverage_by_horizon": _estimates(scores.calibration[name].coverage_by_horizon),
            }
            for name in FORECASTERS
        },
    }


def _trading(result: Trading) -> dict[str, Any]:
    trades, curve = result.trades, result.curve
    return {
        "round_trips": len(trades),
        "signals": trades.signals,
        "unfilled": trades.unfilled,
        "net_bps_per_round_trip": None if result.per_trade is None else _estimates(result.per_trade),
        "return_after_costs_pct": float(curve.net_pct[-1]),
        "return_before_costs_pct": float(curve.gross_pct[-1]),
        "buy_and_hold_pct": float(curve.hold_pct[-1]),
        "max_drawdown_pct": max_drawdown_pct(curve.net_pct),
        "sharpe_annualised": result.sharpe,
        "test_days": result.days,
    }
