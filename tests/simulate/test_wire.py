"""Number formats and templates of the wire."""

import json

import pytest

from midas_ray.simulate.symbols import spec_of
from midas_ray.simulate.wire import FIELDS, FUTURES_TEMPLATES, SPOT_TEMPLATES, Format, Wire, decimal_text


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0, 2, "0.00"),
        (5, 3, "0.005"),
        (-5, 3, "-0.005"),
        (12345, 2, "123.45"),
        (7, 0, "7"),
        (10**12, 8, "10000.00000000"),
    ],
)
def test_decimal_text(value: int, digits: int, text: str) -> None:
    assert decimal_text(value, digits) == text


def test_numbers_of_each_venue() -> None:
    futures, spot = (Wire(spec_of("btcusdt"), spot) for spot in (False, True))
    assert futures.number(950_001, Format.PX) == "95000.10"  # ticks of 0.10, two decimals on the wire
    assert spot.number(950_001, Format.PX) == "95000.10000000"
    assert futures.number(7, Format.SZ) == "0.007"
    assert spot.number(7, Format.SZ) == "0.00700000"
    assert futures.number(950_001 * 7, Format.VALUE) == "665.00070"
    assert spot.number(950_001 * 7, Format.VALUE) == "665.00070000"
    assert futures.number(950_001_500, Format.MARK) == "95000.15000000"
    assert futures.number(-12_345, Format.RATE) == "-0.00012345"
    sol = Wire(spec_of("solusdt"), False)
    assert (sol.number(25_001, Format.PX), sol.number(3, Format.SZ)) == ("25.001", "0.3")


@pytest.mark.parametrize("spot", [False, True])
def test_every_template_renders_to_json(spot: bool) -> None:
    wire = Wire(spec_of("ethusdt"), spot)
    fields = dict.fromkeys(FIELDS, 1)
    del fields["bids"], fields["asks"]
    for template in SPOT_TEMPLATES if spot else FUTURES_TEMPLATES:
        message = json.loads(wire.render(template, wire.levels([(1, 2)]), "", **fields))
        assert "SYMBOL" not in json.dumps(message)
        if template not in {"snapshot", "forceOrder"}:
            assert message["s"] == "ETHUSDT"


def test_depth_sides_are_sorted_as_on_the_venue() -> None:
    futures, spot = (Wire(spec_of("ethusdt"), spot) for spot in (False, True))
    fields = dict.fromkeys(("E", "T", "U", "u", "pu"), 1)
    rows = [(2, 1), (3, 1), (1, 1)]
    assert [px for px, _ in json.loads(futures.depth(rows, rows, **fields))["b"]] == ["0.01", "0.02", "0.03"]
    spot_message = json.loads(spot.depth(rows, rows, **fields))
    assert [px[:4] for px, _ in spot_message["b"]] == ["0.03", "0.02", "0.01"]
    assert [px[:4] for px, _ in spot_message["a"]] == ["0.01", "0.02", "0.03"]
