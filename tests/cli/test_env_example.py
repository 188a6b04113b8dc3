""".env.example names settings that exist, at accepted values, and leaves out nothing of capture, book and trading."""

from pathlib import Path

from dotenv import dotenv_values

from midas_ray import settings

EXAMPLE = Path(__file__).parents[2] / ".env.example"


def test_every_line_is_a_setting_at_its_default() -> None:
    classes = [each for each in vars(settings).values() if isinstance(each, type)]
    defaults: dict[str, set[str]] = {}
    for each in classes:
        if issubclass(each, settings.MidasSettings):
            for name, field in each.model_fields.items():
                default = field.default
                shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
                defaults.setdefault(name.upper(), set()).add(shown.lower())
    values = dotenv_values(EXAMPLE)
    assert set(values) <= set(defaults)
    for name, text in values.items():
        assert text is not None
        assert text.lower() in defaults[name], name


def test_all_of_the_originals_settings_are_documented() -> None:
    names = {"SNAPSHOT_INTERVAL_MS", "TIME_BUCKET_MS", "ORDER_BOOK_DEPTH", "ENABLE_TRADES", "ENABLE_LIQUIDATIONS"}
    assert names | {"ENABLE_KLINES", "SYMBOLS"} <= set(dotenv_values(EXAMPLE))


def test_all_trading_settings_are_documented() -> None:
    text = EXAMPLE.read_text()
    own = set(settings.TradingSettings.model_fields) - set(settings.MidasSettings.model_fields)
    assert [name for name in sorted(own) if f"{name.upper()}=" not in text] == []
