"""Many threads over one client: minimum intervals hold, one listing serves many, nothing is rented twice."""

import itertools
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from midas_ray.cloud import pace as pace_module
from midas_ray.cloud.client import VastClient
from midas_ray.cloud.errors import RateLimitedError, UnavailableError
from midas_ray.cloud.fake import FakeHandle
from midas_ray.cloud.fake.script import THRESHOLDS_S
from midas_ray.cloud.messages import Account
from midas_ray.cloud.offers import OfferQuery, rank
from midas_ray.cloud.pace import INTERVALS_S, Pace

N_THREADS = 16


def together(call: Callable[[int], object]) -> list[object]:
    """What `call(i)` gives in each of many threads that begin at once; an exception in the place of what raised."""
    barrier = threading.Barrier(N_THREADS)

    def run(number: int) -> object:
        barrier.wait()
        try:
            return call(number)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            return error

    with ThreadPoolExecutor(N_THREADS) as pool:
        return list(pool.map(run, range(N_THREADS)))


def test_calls_of_one_kind_keep_their_interval(fake: FakeHandle) -> None:
    fake.steer(intervals_s={"account": 0.03})
    with VastClient(fake.api_key, fake.url, intervals_s={"account": 0.1}) as vast:
        credits = together(lambda _: vast.account())
    assert all(isinstance(each, Account) for each in credits)
    refused = [call for call in fake.calls("account") if call["status"] == 429]
    assert len(refused) < N_THREADS / 2  # a thread that sleeps on after its slot; without intervals it is nearly all


class OversleepingClock:
    """A clock whose sleeps last up to three times as long as asked."""

    def __init__(self, seed: int) -> None:
        self.now = 1000.0
        self._draw = random.Random(seed)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds * self._draw.uniform(1, 3)


def test_a_call_that_went_out_late_puts_off_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = OversleepingClock(7)
    monkeypatch.setattr(pace_module, "time", clock)
    pace, went_out = Pace({"search": 2.0}), []
    for _ in range(200):
        pace.wait("search", clock.now + 100)
        went_out.append(clock.now)
    assert min(later - at for at, later in itertools.pairwise(went_out)) >= 2.0 - 1e-9


def test_listings_asked_for_at_once_are_shared(fake: FakeHandle) -> None:
    with VastClient(fake.api_key, fake.url, intervals_s={"instances": 0.3}) as vast:
        vast.instances()
        assert together(lambda _: vast.instances()) == [[]] * N_THREADS
    # two, but for a thread that the machine let begin only after 0.3 s
    assert len(fake.calls("instances")) - 1 < N_THREADS / 2


def test_a_listing_is_never_older_than_the_question(fake: FakeHandle) -> None:
    query = OfferQuery(num_gpus=0, verified=False, direct_ports=0)
    with VastClient(fake.api_key, fake.url, intervals_s={}) as vast:
        offers = rank(vast.search(query), query)

        def rent(number: int) -> bool:
            label = f"n{number}"
            made = vast.create(offers[number].id, image="i", disk_gb=8, label=label, env={}, onstart="", bid_price=None)
            return made in {instance.id for instance in vast.instances()}

        assert together(rent) == [True] * N_THREADS
    assert len(fake.instances()) == N_THREADS


def test_a_failed_listing_is_shared_too(fake: FakeHandle) -> None:
    fake.steer(failures=[{"what": "500", "call": "instances", "times": 1000}])
    with VastClient(fake.api_key, fake.url, intervals_s={}) as vast:
        found = together(lambda _: vast.instances())
    assert all(isinstance(each, UnavailableError) for each in found)
    assert len(fake.calls("instances")) < 6 * N_THREADS / 2  # two listings of six attempts, but for late threads


def test_every_kind_of_call_keeps_a_longer_interval_than_the_api_asks() -> None:
    assert set(INTERVALS_S) == set(THRESHOLDS_S)
    assert all(INTERVALS_S[kind] > threshold for kind, threshold in THRESHOLDS_S.items())


def test_a_slot_too_late_is_refused_at_once_and_not_taken() -> None:
    pace = Pace({"destroy": 1000.0})
    pace.wait("destroy", time.monotonic() + 1)
    for _ in range(3):
        with pytest.raises(RateLimitedError, match="too many calls at once"):
            pace.wait("destroy", time.monotonic() + 60)
    pace.hold("other", 1000)
    with pytest.raises(RateLimitedError):
        pace.wait("other", time.monotonic() + 60)
