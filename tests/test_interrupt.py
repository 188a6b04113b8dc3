"""Signals: SIGTERM unwinds, and a signal in a protected block waits for its end."""

import os
import signal
import threading

import pytest

from midas_ray.interrupt import Terminated, held_back, termination_unwinds


def test_termination_unwinds_and_the_handler_is_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), termination_unwinds():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def a_wait_of_ray_that_a_signal_meets(number: signal.Signals) -> None:
    with termination_unwinds():
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None  # as Ray's compiled waits do


def test_what_ray_makes_of_it_is_still_a_termination() -> None:
    with pytest.raises(Terminated):
        a_wait_of_ray_that_a_signal_meets(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt) as caught:
        a_wait_of_ray_that_a_signal_meets(signal.SIGINT)
    assert caught.type is KeyboardInterrupt


def a_block_that_a_signal_meets(number: signal.Signals, done: list[bool]) -> None:
    with termination_unwinds(), held_back():
        os.kill(os.getpid(), number)
        signal.signal(number, signal.SIG_IGN)  # as a library might
        done.append(True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_held_signal_is_heeded_at_the_end(number: signal.Signals) -> None:
    done: list[bool] = []
    with pytest.raises(KeyboardInterrupt):
        a_block_that_a_signal_meets(number, done)
    assert done == [True]


def test_nothing_is_raised_where_no_signal_came() -> None:
    before = signal.getsignal(signal.SIGINT)
    with held_back():
        pass
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_are_left_alone() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with termination_unwinds(), held_back():
                pass
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failures
