"""Every setting of MIDAS, once.

Each command is one class below, made of groups of settings. The same definition serves the command line
(`--snapshot-interval-ms 100`), the environment (`SNAPSHOT_INTERVAL_MS=100`), a `.env` file in the working folder, a
YAML file named by `--config` where a command takes one, and Python (`Reconstruct(snapshot_interval_ms=100)`), in this
order of precedence, and gives `--help` its text.
"""

import inspect
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import AfterValidator, AliasChoices, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliPositionalArg,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from midas_ray.errors import UsageError
from midas_ray.setting_values import (
    DEFAULT_QUANTILES,
    FORECASTERS,
    MAX_DOLLARS_PER_GB,
    PIPELINE_STAGES,
    RETENTION_TABLES,
    ArchiveKinds,
    BucketMs,
    DataSize,
    DurationS,
    Forecasters,
    FromText,
    GridMs,
    Moment,
    PipelineStages,
    Quantiles,
    Range,
    RetentionTables,
    Symbols,
    SymbolsOrTop,
    VenueName,
    Whole,
    Words,
    WorkerRange,
    _check_depth_levels,
)

S = TypeVar("S", bound="MidasSettings")


class MidasSettings(BaseSettings):
    """Base of every command's settings: where all data lies."""

    model_config = SettingsConfigDict(
        env_file=".env",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        allow_inf_nan=False,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_exit_on_error=False,
    )

    data_dir: str = Field(
        "data",
        min_length=1,
        description="folder or s3://BUCKET/PREFIX that holds raw, clean, features, forecasts and reports",
    )
    spool_dir: str | None = Field(
        None,
        description="with an s3:// DATA_DIR: local folder of growing raw files (uploaded when sealed), logs and state; "
        "empty = ~/.local/state/midas/spool",
    )


class VenueSettings(MidasSettings):
    venue: VenueName = Field("binance-futures", description="exchange whose protocol and folders are used")


class SymbolSettings(VenueSettings):
    symbols: SymbolsOrTop = Field(
        ("btcusdt",),
        validation_alias=AliasChoices("symbols", "symbol"),
        description="symbols, separated by commas; top:50 = the 50 most traded in 24 h (top:1 to top:200)",
    )


class SelectedSymbolSettings(VenueSettings):
    symbols: Symbols = Field(
        (),
        validation_alias=AliasChoices("symbols", "symbol"),
        description="symbols, separated by commas; empty = every symbol under DATA_DIR",
    )


class RaySettings(MidasSettings):
    ray_address: str | None = Field(
        None,
        description="Ray cluster to join (auto, host:port); empty = a private local one, ended with the command",
    )
    num_cpus: int | None = Field(None, ge=1, description="CPU cores for a private local Ray; empty = all")


class GpuSettings(MidasSettings):
    """What holds where GPUs are asked for."""

    wait_for_gpus: DurationS = Field(
        1800.0, ge=0, description="how long to wait for a node with the GPUs asked for, at the start and after a loss"
    )
    fake_gpus: bool = Field(
        False,
        description="train on the CPU where torch cannot use a node's GPU, for trying out; else an error",
    )


class FlagSettings(MidasSettings):
    """Settings some of which only the command line gives: there the environment would say what nobody meant."""

    flags_only: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags and Python, then what is left of the environment and `.env`."""
        return (
            init_settings,
            _Without(settings_cls, env_settings, cls.flags_only),
            _Without(settings_cls, dotenv_settings, cls.flags_only),
            file_secret_settings,
        )


class _Without(PydanticBaseSettingsSource):
    """A source without some settings."""

    def __init__(self, settings_cls: type[BaseSettings], source: PydanticBaseSettingsSource, names: frozenset[str]):
        super().__init__(settings_cls)
        self._source, self._names = source, names

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._source.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        return {name: value for name, value in self._source().items() if name not in self._names}


class ConfigFileSettings(FlagSettings):
    """Settings that a YAML file may give, below flags, the environment and `.env`."""

    flags_only: ClassVar[frozenset[str]] = frozenset({"config"})

    config: str | None = Field(
        None, description="YAML file of settings, such as midas tune writes; flags and the environment outrank it"
    )
    trials: int = Field(
        1,
        ge=1,
        description="configurations tried before this one was chosen, as midas tune notes in --config: they deflate "
        "the Sharpe ratio",
    )
    study: str | None = Field(None, description="midas tune's study that chose it, as noted in --config")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags and Python, the environment, `.env`, then the file."""
        sources = super().settings_customise_sources(
            settings_cls, init_settings, env_settings, dotenv_settings, file_secret_settings
        )
        return (*sources, _ConfigFile(settings_cls))


class _ConfigFile(PydanticBaseSettingsSource):
    """What the file named by `config` says. Raises UsageError with one line where it cannot be read."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        name = self.current_state.get("config")
        if not name:
            return {}
        try:
            content = yaml.safe_load(Path(name).expanduser().read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"--config {name}: expected a YAML file of settings, found: {reason}") from None
        if not isinstance(content, dict):
            raise UsageError(
                f"--config {name}: expected lines such as `hidden_dim: 32`, found {type(content).__name__}"
            )
        unknown = [str(key) for key in content if key not in self.settings_cls.model_fields]
        if unknown:
            raise UsageError(f"--config {name}: expected settings of this command, found {', '.join(unknown)}")
        return dict(content)


class StreamSettings(MidasSettings):
    enable_trades: bool = Field(True, description="collect trades")
    enable_liquidations: bool = Field(True, description="collect forced orders (futures only)")
    enable_klines: bool = Field(True, description="collect the exchange's own 1-minute klines")
    enable_book_ticker: bool = Field(False, description="collect bookTicker (70 % of all bytes)")
    enable_mark_price: bool = Field(True, description="collect mark price and funding rate (futures only)")
    enable_open_interest: bool = Field(True, description="poll open interest once a minute by REST (futures only)")
    depth_speed_ms: Annotated[Literal[100, 0, 250, 500], FromText] = Field(
        100, description="interval of the depth stream in ms"
    )


class ExchangeUrlSettings(MidasSettings):
    exchange_url: str | None = Field(
        None,
        description="base URL of a simulated exchange, such as http://127.0.0.1:8900; empty = the venue's own servers",
    )


class ExchangeSettings(ExchangeUrlSettings):
    snapshot_limit: Annotated[Literal[5, 10, 20, 50, 100, 500, 1000], FromText] = Field(
        1000, description="levels a side asked of the REST depth snapshot"
    )


class ConnectionSettings(MidasSettings):
    connections: Annotated[Literal[1, 2], FromText] = Field(
        2, description="connections that carry each stream; with 2, data are missing only where both miss them"
    )
    connection_max_age: DurationS = Field(
        82800.0, ge=1, le=86100, description="age at which a connection is renewed, before the exchange's 24 h cut"
    )
    memory_limit_mb: int = Field(
        256, ge=16, le=65536, description="most MB that a collector holds in memory while its disk is full or read-only"
    )
    symbols_per_collector: int = Field(20, ge=1, le=200, description="symbols that share a collector process")


class JournalSettings(MidasSettings):
    journal_max_mb: int = Field(512, ge=1, le=65536, description="rotate a raw file beyond this size, MB compressed")
    compression_level: int = Field(3, ge=1, le=19, description="Zstandard level of raw files")


class BookSettings(MidasSettings):
    snapshot_interval_ms: GridMs = Field(100, ge=10, le=60000, description="grid of the reconstructed book, ms")
    order_book_depth: Annotated[int, AfterValidator(_check_depth_levels)] = Field(
        10, description="levels a side written to clean/book, 10 to 50"
    )


class BucketSettings(MidasSettings):
    time_bucket_ms: BucketMs = Field(60000, ge=1000, le=3600000, description="length of a feature bucket, ms")


class FeatureSettings(BucketSettings):
    """What the features depend on beside the data."""

    cost_notional: float | None = Field(
        None,
        gt=0,
        description="quote notional of cost_to_buy_bps and cost_to_sell_bps; empty = from the data",
    )
    vpin_bucket_share: float = Field(1 / 288, gt=0, lt=1, description="VPIN volume bucket as a share of a day's volume")


class ModelSettings(MidasSettings):
    model_dir: str = Field(
        "models", min_length=1, description="folder of trained models; models/latest points to the newest"
    )


class LogSettings(MidasSettings):
    log_dir: str = Field("logs", min_length=1, description="folder of TensorBoard logs")


class JobPlaces(ModelSettings, LogSettings):
    """Where jobs keep what they make."""


class OptimisationSettings(MidasSettings):
    """What a training is told beside the architecture, under the names of the original's flags."""

    epochs: int = Field(30, ge=1, description="most passes over the training windows")
    batch_size: int = Field(64, ge=1, le=65536, description="windows a step, of all workers together")
    output_length: int = Field(10, ge=1, description="forecast horizons, buckets")
    patience: int = Field(10, ge=1, description="epochs without a better validation loss before stopping")
    stride: int = Field(1, ge=1, description="buckets between the starts of neighbouring training windows")
    max_steps: int | None = Field(None, ge=1, description="most optimiser steps; empty = no limit")
    seed: int = Field(0, ge=0, description="seed of initialisation and shuffling")
    quantiles: Quantiles = Field(
        DEFAULT_QUANTILES, description="forecast quantiles, rising, among them 0.1, 0.5 and 0.9, which are reported"
    )


class NetworkSettings(OptimisationSettings):
    """The forecaster's architecture and optimisation: what midas tune searches over, and the rest."""

    learning_rate: float = Field(1e-3, gt=0, le=1, description="step size of the optimiser")
    input_length: int = Field(60, ge=2, description="encoder length, buckets")
    hidden_dim: int = Field(64, ge=4, le=2048, description="width of the network")
    n_heads: int = Field(4, ge=1, le=64, description="attention heads")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout probability")
    precision: Literal["float32", "bf16"] = Field(
        "float32", description="arithmetic of a training on GPUs: bf16 where its speed was measured to be worth it"
    )
    compile: bool = Field(False, description="compile the network (CUDA graphs) before a training on GPUs")
    without_families: Words = Field(
        (), description="feature families that the network does not get, such as impact,book_shape; empty = gets all"
    )


class SplitSettings(MidasSettings):
    """Parts by time: training, validation, calibration, test; then the final period, which nothing reads."""

    validation_share: float = Field(0.1, gt=0, lt=0.5, description="share of the time span used for early stopping")
    calibration_share: float = Field(
        0.1, gt=0, lt=0.5, description="share of the time span on which the quantiles are calibrated"
    )
    test_share: float = Field(0.15, gt=0, lt=0.5, description="share of the time span held out at the end")


DEFAULT_FINAL_SHARE = 0.1


class FinalPeriodSettings(MidasSettings):
    """The final period: the last stretch of the data, kept for one judgement at the end."""

    final_share: float = Field(
        DEFAULT_FINAL_SHARE,
        ge=0,
        lt=0.5,
        description="share of the data's time span at its end that nothing reads; 0 = none",
    )
    final_from: Moment | None = Field(
        None, description="the final period begins here instead, UTC: 2026-11-01 or 2026-11-01T12:00"
    )


class TradingSettings(MidasSettings):
    """How forecasts are traded in a backtest."""

    fee_tier: str = Field("", description="fees by name, such as binance-futures-vip0; empty = the venue's vip0")
    fee_bps: float | None = Field(
        None, ge=0, le=1000, description="fee a side instead of a tier's, bps of notional; empty = by --fee-tier"
    )
    threshold_bps: float = Field(
        0.0, ge=0, description="trade when the expected move beats the round-trip cost by this, bps"
    )
    rule: Literal["distribution", "median"] = Field(
        "distribution", description="trade on the whole forecast distribution, or on its median alone"
    )
    min_probability: float = Field(
        0.5, ge=0, le=1, description="least forecast probability of earning more than the costs (rule distribution)"
    )
    latency_ms: float = Field(500.0, ge=0, description="from the close of a bucket to the order's arrival, ms")
    funding_bps_8h: float = Field(
        1.0, description="funding that longs pay each 8 h where the data hold none (futures venues), bps"
    )
    max_position: float = Field(1.0, gt=0, le=1, description="most of a sleeve's stake in one position")
    daily_loss_limit_pct: float = Field(
        5.0, gt=0, description="flat for the rest of a UTC day after losing this share of the stake, %"
    )


class Collect(SymbolSettings, StreamSettings, ExchangeSettings, ConnectionSettings, JournalSettings):
    """Capture in the foreground until --duration has passed or Ctrl-C."""

    duration: DurationS | None = Field(None, gt=0, description="how long: 60s, 10m, 24h; empty = until stopped")


class Up(Collect):
    """Start the head node and the collectors: of the symbols named, and of all that were collected before.

    What runs already is left as it is, with its settings; symbols are added to it without a restart. Without --symbols,
    what was collected before is started again (btcusdt where nothing was). midas down --symbols takes a symbol off.
    """

    dashboard_port: int = Field(8265, ge=1, le=65535, description="port of the Ray dashboard on this machine")
    autoscaling_config: str | None = Field(
        None,
        min_length=1,
        description="Ray's cluster YAML, as `ray up` leaves it on the head: nodes are added and removed by it; a head "
        "that runs with another one is started anew; empty = as before, at first without other nodes",
    )


class Down(FlagSettings):
    """Stop the collectors, losing nothing, then the head node that `midas up` started; midas up starts them again.

    With --symbols only those are stopped, for good, and all else goes on.
    """

    flags_only: ClassVar[frozenset[str]] = frozenset({"symbols"})

    symbols: SymbolsOrTop = Field(
        (), description="symbols to take off, separated by commas, or the top:50 they came with; the others go on"
    )


class Status(FlagSettings):
    """Health of everything `midas up` started, at a glance; exit code 1 when any symbol is not live.

    A symbol that the venue has delisted does not count.
    """

    flags_only: ClassVar[frozenset[str]] = frozenset({"json"})

    as_json: bool = Field(False, validation_alias="json", description="print JSON, for other programs")


class Dashboards(FlagSettings):
    """Write what Prometheus and Grafana need to show this data folder's head, and say how to open boards and alerts."""

    flags_only: ClassVar[frozenset[str]] = frozenset({"output", "serve"})

    output: str | None = Field(
        None, min_length=1, description="folder for the files; empty = DATA_DIR/.midas/dashboards"
    )
    prometheus_port: int = Field(9090, ge=1, le=65535, description="port of Prometheus on this machine")
    grafana_port: int = Field(3000, ge=1, le=65535, description="port of Grafana on this machine")
    serve: bool = Field(False, description="run Prometheus, where it is installed, until Ctrl-C")


class Logs(MidasSettings):
    """Show the logs of a stage: collector, processor or features."""

    stage: CliPositionalArg[Literal["all", "collector", "processor", "features"]] = Field(
        "all", description="which logs"
    )
    follow: bool = Field(False, description="keep printing what is added, until Ctrl-C")
    lines: int = Field(100, ge=1, description="lines shown from the end of each log")


class Stats(SelectedSymbolSettings):
    """Files, rows, bytes per symbol and day, span, completeness, gaps."""

    as_json: bool = Field(
        False, validation_alias=AliasChoices("json", "as_json"), description="print JSON, for machines"
    )


class Simulate(VenueSettings, JournalSettings):
    """Serve the simulated exchange, or write raw history with --history."""

    symbols: Symbols = Field(
        ("btcusdt", "ethusdt"),
        validation_alias=AliasChoices("symbols", "symbol"),
        description="symbols, separated by commas",
    )
    listen: str = Field("127.0.0.1:8900", description="address and port of the server; port 0 = any free one")
    seed: int = Field(0, ge=0, description="seed: the same seed gives the same market")
    history: DurationS | None = Field(
        None, gt=0, description="write raw history of this length (24h) instead of serving"
    )
    start: str = Field("2026-01-05T00:00:00Z", description="UTC time at which history starts")
    duration: DurationS | None = Field(None, gt=0, description="stop serving after this time; empty = until stopped")
    faults: str | None = Field(
        None,
        description="what goes wrong: a file of faults, or random:SEED:COUNT for so many that leave a client with two "
        "connections nothing to lose (random:SEED:COUNT:any: gaps too)",
    )
    truth: Path | None = Field(None, description="folder for the exchange's own record of books, prints and faults")
    tls_cert: Path | None = Field(None, description="certificate (PEM) to serve https and wss with; needs --tls-key")
    tls_key: Path | None = Field(None, description="private key (PEM) of --tls-cert")
    connection_lifetime: DurationS | None = Field(
        None, gt=0, description="the exchange ends each connection after this time; empty = 24h"
    )


class ArchiveSettings(FlagSettings):
    """What `midas import binance-vision` downloads. All but the URL come from the command line alone."""

    flags_only: ClassVar[frozenset[str]] = frozenset({"download", "kinds", "paths"})
    pair_flags: ClassVar[frozenset[str]] = frozenset({"--download"})
    """Flags that take two words."""

    download: Words = Field(
        (), description="binance-vision: FROM TO, dates (both inclusive, UTC) to download and import instead of PATH"
    )
    kinds: ArchiveKinds = Field(
        ("aggTrades", "klines"),
        description="binance-vision: kinds to download, of trades, aggTrades, klines (1m), bookTicker (futures only)",
    )
    archive_url: str = Field(
        "https://data.binance.vision", min_length=1, description="binance-vision: base URL of the archive or a mirror"
    )


class Import(VenueSettings, JournalSettings, BookSettings, ArchiveSettings):
    """Bring other people's archives into MIDAS: raw journals, or clean tables for klines and binance-vision."""

    format: CliPositionalArg[
        Literal["lines", "cryptofeed", "klines", "tardis", "midas-v2", "hftbacktest", "binance-vision"]
    ] = Field(
        description="lines: '<timestamp> <json>', plain or gzip; cryptofeed: its raw files; klines: feather, csv or "
        "zip; tardis: Tardis.dev CSV, plain or .gz (incremental_book_L2, trades, derivative_ticker, liquidations, told "
        "by their headers); midas-v2: .jsonl.zst of the original MIDAS collector, also cut off at the end; hftbacktest:"
        " .npz of normalised events (array `data`) of the one --symbol; binance-vision: zips of Binance's public "
        "archive (trades, aggTrades, 1m klines, bookTicker) under their own names"
    )
    paths: CliPositionalArg[list[str]] = Field([], description="files, in any order")
    symbols: Symbols = Field(
        (),
        validation_alias=AliasChoices("symbols", "symbol"),
        description="symbols to keep; empty = all the files hold",
    )


class Reconstruct(SelectedSymbolSettings, BookSettings, RaySettings):
    """Raw journals -> clean book snapshots, trades, gaps, mark, liquidations, bars."""


class Features(SelectedSymbolSettings, FeatureSettings, BookSettings, RaySettings, FlagSettings):
    """Clean tables -> 72 features per bucket; with --live each bucket as it closes, from what is being collected.

    --snapshot-interval-ms and --order-book-depth are of --live alone: clean/ has its own.
    """

    flags_only: ClassVar[frozenset[str]] = frozenset({"live", "duration"})

    live: bool = Field(
        False, description="follow the journals of a running collector and publish each bucket as it closes"
    )
    duration: DurationS | None = Field(
        None, gt=0, description="with --live: how long: 60s, 10m, 24h; empty = until stopped"
    )


class Validate(SelectedSymbolSettings):
    """Data-quality report; exit code 1 when a hard check fails."""

    report_dir: str | None = Field(None, description="folder of the reports; empty = DATA_DIR/reports")
    strict: bool = Field(False, description="soft checks fail too")


class Train(
    SelectedSymbolSettings,
    RaySettings,
    GpuSettings,
    ModelSettings,
    LogSettings,
    NetworkSettings,
    SplitSettings,
    FinalPeriodSettings,
    ConfigFileSettings,
):
    """Train a Temporal Fusion Transformer on the feature table."""

    flags_only: ClassVar[frozenset[str]] = frozenset({"config", "resume"})

    gpus: int | None = Field(
        None,
        ge=0,
        description="GPU workers; empty = as many as there are now; 0 = on the CPU; more than there are has a cluster "
        "that rents nodes rent one",
    )
    workers: WorkerRange | None = Field(
        None,
        description="workers that share every batch: 2, or 1-4 = as many of these as there is room for at the moment; "
        "empty = one a GPU, or one on the CPU",
    )
    max_restarts: int = Field(
        3, ge=0, description="deaths of workers or nodes after which training goes on from the last epoch"
    )
    resume: str | None = Field(
        None,
        description="name of a training that was cut off: go on from its last epoch, with its settings, but for "
        "--gpus, --workers and where it runs, which are this command's",
    )


class Tune(
    SelectedSymbolSettings,
    RaySettings,
    GpuSettings,
    LogSettings,
    OptimisationSettings,
    SplitSettings,
    FinalPeriodSettings,
    FlagSettings,
):
    """Search the forecaster's settings by asynchronous successive halving (ASHA), on the validation part alone.

    Learning rate and dropout are drawn from a range, the others from a list; the best configuration is written as a
    file for midas train --config and midas backtest --config.
    """

    flags_only: ClassVar[frozenset[str]] = frozenset({"name", "resume", "output"})

    epochs: int = Field(
        20, ge=1, validation_alias=AliasChoices("max_epochs", "epochs"), description="most epochs of a trial"
    )
    grace_epochs: int = Field(2, ge=1, description="epochs before a trial may be stopped for being worse than others")
    trials: int = Field(20, ge=1, le=10_000, description="configurations to try")
    learning_rates: Range = Field((1e-4, 1e-2), description="least and most learning rate, drawn in its logarithm")
    dropouts: Range = Field((0.0, 0.3), description="least and most dropout probability")
    hidden_dims: Whole = Field((16, 32, 64), description="widths of the network to choose from")
    heads: Whole = Field((1, 2, 4), description="numbers of attention heads to choose from")
    input_lengths: Whole = Field((30, 60, 120), description="encoder lengths to choose from, buckets")
    optional_families: Words = Field(
        ("book_shape", "derivatives", "imbalance", "impact", "liquidity", "order_flow", "trade_flow", "volatility"),
        description="feature families that a trial may leave out, each in one of four trials",
    )
    cpus_per_trial: int = Field(1, ge=1, le=256, description="CPU cores and torch threads of a trial")
    gpus_per_trial: float | None = Field(
        None,
        ge=0,
        le=1,
        description="share of a GPU that a trial takes: 0.25 = 4 on one; empty = 1 where there is one; where there is "
        "none a cluster that rents nodes rents one",
    )
    name: str | None = Field(None, description="name of the study; empty = by the time")
    resume: str | None = Field(
        None, description="name of a study that was cut off: go on with it; finished trials are not run again"
    )
    output: str | None = Field(
        None, description="file for the best configuration (YAML); empty = DATA_DIR/tuning/NAME/best.yaml"
    )


class Backtest(
    SelectedSymbolSettings,
    RaySettings,
    GpuSettings,
    ModelSettings,
    NetworkSettings,
    FinalPeriodSettings,
    TradingSettings,
    ConfigFileSettings,
):
    """Walk-forward with retraining in each fold; with --model, judge that model on rows after its training end."""

    flags_only: ClassVar[frozenset[str]] = frozenset({"config", "open_final", "open_final_again"})

    model: str | None = Field(None, description="model folder to judge; empty = walk-forward with retraining")
    output: str | None = Field(
        None, description="path of the HTML report; empty = DATA_DIR/reports/backtest_results.html"
    )
    forecasters: Forecasters = Field(
        FORECASTERS, description=f"of {', '.join(FORECASTERS)}: the first is judged, beside the others"
    )
    seeds: int = Field(3, ge=1, le=20, description="seeds the network is trained with; their mean is judged")
    folds: int = Field(3, ge=3, description="walk-forward folds")
    cross_validation: Literal["walk-forward", "combinatorial"] = Field(
        "walk-forward", description="combinatorial: purged, with embargo; later data train for earlier tests"
    )
    groups: int = Field(6, ge=3, le=20, description="stretches that combinatorial cross-validation cuts the data into")
    test_groups: int = Field(2, ge=2, le=10, description="of these, judged in each split")
    open_final: bool = Field(False, description="judge the final period, once, and record that it was opened")
    open_final_again: bool = Field(False, description="as --open-final, although it was opened before")
    gpus: int | None = Field(
        None,
        ge=0,
        description="GPUs shared by the folds; empty = as many as there are now; 0 = CPU; more than there are has a "
        "cluster that rents nodes rent them",
    )


class Pipeline(Reconstruct, FeatureSettings, Validate, Train, Backtest):  # type: ignore[misc]
    """Reconstruct, features, validate, train, backtest: each where its inputs changed; after a kill, on from there.

    Flags are those of the stages. The exit code is that of the first stage that fails.
    """

    flags_only: ClassVar[frozenset[str]] = frozenset(
        {"config", "resume", "open_final", "open_final_again", "stages", "from", "from_stage", "again", "keep_going"}
    )

    stages: PipelineStages = Field(PIPELINE_STAGES, description=f"some of {', '.join(PIPELINE_STAGES)}")
    from_stage: Literal["reconstruct", "features", "validate", "train", "backtest"] = Field(
        "reconstruct", validation_alias=AliasChoices("from", "from_stage"), description="leave out the stages before it"
    )
    again: bool = Field(False, description="validate, train and backtest although nothing changed")
    keep_going: bool = Field(False, description="go on after a stage that failed")


class Forecast(SelectedSymbolSettings, FeatureSettings, BookSettings, RaySettings, ModelSettings, FlagSettings):
    """Forecast the next buckets as each one closes, from what is being collected; score it when the future arrives."""

    flags_only: ClassVar[frozenset[str]] = frozenset({"duration", "detach", "stop"})

    model: str | None = Field(
        None, description="model folder; empty = the promoted one in MODEL_DIR, else the latest; a new one is taken up"
    )
    duration: DurationS | None = Field(None, gt=0, description="how long: 60s, 10m, 24h; empty = until stopped")
    detach: bool = Field(False, description="as an actor on the head of midas up, which goes on by itself")
    stop: bool = Field(False, description="end the actor that --detach started")


class Models(ModelSettings, SelectedSymbolSettings, FinalPeriodSettings, FlagSettings):
    """Trained models: list them, promote one for live forecasts, compare two on the same rows."""

    flags_only: ClassVar[frozenset[str]] = frozenset({"json"})

    action: CliPositionalArg[Literal["list", "promote", "compare"]] = Field(description="what to do")
    runs: CliPositionalArg[list[str]] = Field(
        [], description="runs (folders under MODEL_DIR): one to promote, two to compare"
    )
    as_json: bool = Field(
        False, validation_alias=AliasChoices("json", "as_json"), description="print JSON, for other programs"
    )


class Audit(SelectedSymbolSettings, ModelSettings, NetworkSettings, SplitSettings, FinalPeriodSettings, FlagSettings):
    """Prove on your own data that nothing sees the future: features, scalers, windows, forecasts, calibration.

    Each stage is run again with another future behind random cuts; what lies before them must not change. A small
    network is trained for a few steps for it. Exit code 1, with one line, where anything looks ahead.
    """

    flags_only: ClassVar[frozenset[str]] = frozenset({"json"})

    model: str | None = Field(
        None, description="model folder whose forecasts are audited too; empty = the promoted one, else the latest"
    )
    cuts: int = Field(5, ge=1, le=1000, description="random moments after which the data are changed")
    as_json: bool = Field(
        False, validation_alias=AliasChoices("json", "as_json"), description="print JSON, for other programs"
    )


class Demo(MidasSettings):
    """Everything end to end against the simulated exchange; prints where the reports are."""

    data_dir: str = Field("demo", description="folder of the demonstration; emptied first if a demonstration made it")
    history: DurationS = Field(86400.0, gt=0, description="length of simulated history")
    live_seconds: DurationS = Field(30.0, gt=0, description="seconds of live capture")
    seed: int = Field(7, ge=0, description="seed of the simulated market")


class Tensorboard(LogSettings):
    """Serve the training curves."""

    tensorboard_port: int = Field(6006, ge=1, le=65535, description="port on this machine")


class CleanData(SelectedSymbolSettings, BookSettings, FeatureSettings, ModelSettings, FlagSettings):
    """Delete collected data by age and size, but what models and unfinished stages need; asks first."""

    flags_only: ClassVar[frozenset[str]] = frozenset({"max_size", "tables", "delete_unfinished", "delete_model_data"})

    older_than: DurationS | None = Field(
        None, gt=0, description="only days that ended this long ago: 7d; with neither limit: all days"
    )
    max_size: DataSize | None = Field(
        None, gt=0, description="oldest days first until the chosen tables of the venue hold at most this: 50GB"
    )
    tables: RetentionTables = Field(
        (), description=f"{', '.join(RETENTION_TABLES)}, separated by commas; empty = all of them"
    )
    dry_run: bool = Field(False, description="show what would go, and why the rest stays; delete nothing")
    assume_yes: bool = Field(False, description="delete without asking, as from cron")
    delete_unfinished: bool = Field(
        False, description="delete also what reconstruct or features still need, or would make again"
    )
    delete_model_data: bool = Field(False, description="delete also the features that trained models were made from")


class VastUrlSettings(MidasSettings):
    vast_url: str = Field(
        "https://console.vast.ai", min_length=1, description="address of the API; midas vast fake prints its own"
    )


class Vast(VastUrlSettings, FlagSettings):
    """Rented GPUs: offers that fit, what is and was spent, and a fake Vast.ai to try things out on.

    midas vast offers   what can be rented now, cheapest first; changes nothing
    midas vast cost     what runs and costs now, what was spent, what each job cost; changes nothing
    midas vast fake     serve a Vast.ai without an account, until Ctrl-C; nothing costs anything

    The account's key is VAST_API_KEY, or the file ~/.config/vastai/vast_api_key of Vast.ai's own CLI (mode 0600).
    """

    flags_only: ClassVar[frozenset[str]] = frozenset(
        {
            "gpu_names",
            "num_gpus",
            "min_gpu_ram_gb",
            "min_reliability",
            "min_inet_down_mbps",
            "min_inet_up_mbps",
            "min_cpu_cores",
            "min_cpu_ram_gb",
            "min_cuda",
            "disk_gb",
            "max_price_per_hour",
            "max_dollars_per_gb",
            "market",
            "regions",
            "verified",
            "rows",
            "ray_dashboard",
            "json",
            "port",
            "machines",
            "fake_script",
        }
    )

    action: CliPositionalArg[Literal["offers", "cost", "fake"]] = Field(description="offers, cost or fake: see above")
    gpu_names: Words = Field((), description="offers: GPU models, such as 'RTX 4090,RTX_3090'; empty = any")
    num_gpus: int = Field(1, ge=0, le=8, description="offers: GPUs of the instance, 0 = any number")
    min_gpu_ram_gb: float = Field(0.0, ge=0, description="offers: least VRAM of each GPU, GB")
    min_reliability: float = Field(0.98, ge=0, le=1, description="offers: least share of the time the host is up")
    min_inet_down_mbps: float = Field(100.0, ge=0, description="offers: least download rate, Mbit/s")
    min_inet_up_mbps: float = Field(0.0, ge=0, description="offers: least upload rate, Mbit/s")
    min_cpu_cores: float = Field(4.0, ge=0, description="offers: least CPU cores")
    min_cpu_ram_gb: float = Field(0.0, ge=0, description="offers: least memory, GB")
    min_cuda: float = Field(0.0, ge=0, description="offers: least CUDA version of the driver, such as 12.6")
    disk_gb: float = Field(40.0, ge=8, description="offers: disk rented with it, GB, part of the price")
    max_price_per_hour: float | None = Field(None, gt=0, description="offers: most $ an hour; empty = no cap")
    max_dollars_per_gb: float = Field(MAX_DOLLARS_PER_GB, ge=0, description="offers: most $ a GB received or sent")
    market: Literal["on-demand", "bid"] = Field("on-demand", description="offers: on-demand, or bid (can be outbid)")
    regions: Words = Field((), description="offers: countries (US,DE) or places (Texas); empty = anywhere")
    verified: bool = Field(True, description="offers: only hosts that Vast.ai verified")
    rows: int = Field(20, ge=1, le=64, description="offers, cost: most offers or jobs shown")
    ray_dashboard: str | None = Field(
        None,
        pattern="^https?://",
        description="cost: dashboard of the cluster whose jobs are shown; empty = RAY_ADDRESS where that begins with "
        "http, else http://127.0.0.1:8265",
    )
    as_json: bool = Field(
        False, validation_alias=AliasChoices("json", "as_json"), description="print JSON, for other programs"
    )
    port: int = Field(8300, ge=0, le=65535, description="fake: port on this machine; 0 = any free one")
    machines: Literal["none", "namespaces"] = Field(
        "none",
        description="fake: what is behind its instances: none, or namespaces of this machine with a real sshd each "
        "(Linux, root)",
    )
    fake_script: Path | None = Field(
        None, description="fake: JSON file of delays, limits and failures, as POST /fake/script takes them"
    )


class Doctor(VenueSettings, ExchangeUrlSettings, VastUrlSettings, FlagSettings):
    """Check this machine: versions, ports, disk, clock, GPU, and what a cluster needs: token, keys, SSH.

    Neither the exchange nor Vast.ai is asked but for --online.
    """

    flags_only: ClassVar[frozenset[str]] = frozenset({"cluster_yaml", "online"})

    cluster_yaml: Path = Field(
        Path("cluster.yaml"), description="configuration of a cluster, checked where it is there and filled in"
    )
    online: bool = Field(False, description="also ask the exchange for its clock, and Vast.ai whether it takes the key")


def _one_line(error: ValidationError, command: str) -> str:
    first = error.errors()[0]
    flag = "--" + "-".join(str(part) for part in first["loc"]).replace("_", "-")
    found = f", found {first['input']!r}" if first["type"] != "missing" else ""
    reason = first["msg"].removeprefix("Value error, ")
    reason = reason[:1].lower() + reason[1:]
    return f"midas {command}: {flag}: {reason}{found}; see midas {command} --help"


def _joined_pairs(argv: list[str], flags: frozenset[str]) -> list[str]:
    """`--flag A B` as `--flag A,B`, for the flags that take two words. Raises UsageError where one is missing."""
    joined: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        joined.append(word)
        if word in flags:
            if len(rest) < 2 or rest[0].startswith("-") or rest[1].startswith("-"):
                raise UsageError(f"{word}: expected two words FROM TO, found {' '.join(rest[:2]) or 'none'}")
            joined.append(f"{rest.pop(0)},{rest.pop(0)}")
    return joined


def parse_settings(settings_class: type[S], command: str, argv: list[str]) -> S:
    """Settings of `command` from flags, environment and `.env`. Raises UsageError with one line; exits on --help."""

    class Named(settings_class):  # type: ignore[valid-type, misc]
        __doc__ = inspect.getdoc(settings_class)
        model_config = SettingsConfigDict(cli_prog_name=f"midas {command}")

    try:
        return CliApp.run(Named, cli_args=_joined_pairs(argv, getattr(settings_class, "pair_flags", frozenset())))
    except ValidationError as error:
        raise UsageError(_one_line(error, command)) from None
    except SettingsError as error:
        reason = str(error).removeprefix("error parsing CLI: ")
        raise UsageError(f"midas {command}: {reason}; see midas {command} --help") from None
