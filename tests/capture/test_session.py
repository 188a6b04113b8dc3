"""`top:N`: where it is taken, what it means, and one line where it cannot be."""

import pytest
from aiohttp import web

from midas_ray.capture.session import check_start
from midas_ray.errors import UnknownSymbolError, UsageError
from midas_ray.setting_values import top_count
from midas_ray.settings import Collect, Features, MidasSettings, Simulate, Up, parse_settings
from midas_ray.venues import get_venue
from tests.capture.test_rest import listing, serving

FUTURES = get_venue("binance-futures")


@pytest.mark.parametrize("command", [Collect, Up])
def test_top_n_is_kept_for_the_start(command: type[Collect], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = parse_settings(command, "x", ["--symbols", " TOP:050 "])
    assert settings.symbols == ("top:50",)
    assert top_count(settings.symbols) == 50
    assert top_count(("btcusdt",)) is None
    assert top_count(()) is None
    monkeypatch.setenv("SYMBOLS", "top:3")
    assert parse_settings(command, "x", []).symbols == ("top:3",)
    assert command(**settings.model_dump()).symbols == ("top:50",)  # as an actor gets them


@pytest.mark.parametrize("text", ["top:0", "top:201", "top:", "top:x", "top:-3", "top:5,btcusdt", "btcusdt,top:5"])
def test_a_wrong_top_n_is_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"--symbols: expected top:1 to top:200 alone, or symbols such as [^\n]+$"):
        parse_settings(Collect, "collect", ["--symbols", text])


@pytest.mark.parametrize("command", [Simulate, Features])
def test_other_commands_do_not_take_it(command: type[MidasSettings]) -> None:
    with pytest.raises(UsageError, match=r"'top:5' is for midas collect and midas up only: expected symbols[^\n]+$"):
        parse_settings(command, "x", ["--symbols", "top:5"])


async def test_a_start_names_every_symbol_that_is_not_listed() -> None:
    def info(_request: web.Request) -> web.Response:
        return web.json_response({"rateLimits": [], "symbols": [listing("BTCUSDT")]})

    async with serving({FUTURES.exchange_info_path: info}) as url:
        settings = Collect(symbols=("btcusdt", "nope", "never"), exchange_url=url)
        assert await check_start(settings, ("btcusdt",)) == ("btcusdt",)
        with pytest.raises(UnknownSymbolError, match="does not list 'nope', 'never'; check the spelling"):
            await check_start(settings, settings.symbols)
        with pytest.raises(UsageError, match="expected at least one symbol"):
            await check_start(settings, ())
