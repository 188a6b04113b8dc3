"""Calendar features, by hand."""

import math

import pytest

from tests.features.by_hand import buckets, values


def test_the_hour_goes_round_once_a_day() -> None:
    b = buckets()
    angle = 2 * math.pi * 20 / 86400
    assert values(b, "hour_sin", 2)[1] == pytest.approx(math.sin(angle))
    assert values(b, "hour_cos", 360)[359] == pytest.approx(math.cos(2 * math.pi / 24))
