"""Machines of the fake Vast.ai: a real sshd in namespaces of its own, and what befalls it."""

from collections.abc import Callable
from typing import Any

from midas_ray.cloud.ssh import CHANGED
from tests.cluster import machine_scenarios as scenarios

Outer = Callable[..., Any]


def test_an_instance_runs_its_start_script_takes_the_accounts_key_and_destroys_itself(outer: Outer) -> None:
    found = outer(scenarios.instance, timeout_s=120)
    number = found["number"]
    assert found["address"]
    assert found["session"] == f'{number}|a "b" \\c|'
    assert found["started"] == f'/root\n{number}|a "b" \\cvast-{number}\n'
    assert len(found["login"]) == 3
    assert found["stranger"] == "401"
    assert (found["destroyed_by"], found["gone"]) == ("instance", True)


def test_only_the_given_key_opens_a_machine(outer: Outer) -> None:
    assert outer(scenarios.foreign_key, timeout_s=120) == 255


def test_machines_share_no_files_and_change_none_of_the_hosts(outer: Outer) -> None:
    assert outer(scenarios.privacy, timeout_s=120) == {
        "one": "6",
        "two": "0",
        "host": 0,
        "of the host": 2,
        "names": ["one", "two"],
        "hosts": [0, 2],
        "written elsewhere": 2,
        "terminal": "/dev/pts/0",
    }


def test_a_stopped_machine_leaves_no_process_and_its_address_is_given_again(outer: Outer) -> None:
    found = outer(scenarios.death, timeout_s=120)
    assert found["before"] >= 5
    assert found["after"] == [0, "", ""]
    assert found["address"] == [True, True]
    assert found["second"] == "second"


def test_machines_reach_each_others_sshd_alone_and_only_through_the_bridge(outer: Outer) -> None:
    assert outer(scenarios.network, timeout_s=120) == {
        "sshd": "SSH-",
        "other": 28,
        "silenced": 124,
        "restored": "SSH-",
        "without the bridge": "",
    }


def test_a_changed_host_key_is_seen_by_a_strict_client_alone(outer: Outer) -> None:
    found = outer(scenarios.host_key, timeout_s=120)
    assert (found["first"], found["after"], found["old session"]) == (0, 255, "still here")
    assert CHANGED in found["said"]


def test_a_full_disk_is_full_in_one_folder_until_space_is_made(outer: Outer) -> None:
    found = outer(scenarios.disk, timeout_s=120)
    full = [name for name, said in found.items() if "No space left on device" in said]
    assert full == ["/root", "/tmp"]
    assert [said for name, said in found.items() if name not in full] == ["", "", "", ""]


def test_ssh_that_refuses_hangs_drops_and_machines_that_freeze_and_die(outer: Outer) -> None:
    assert outer(scenarios.failing_ssh, timeout_s=120) == {
        "at first": True,
        "refused": False,
        "refused, session": None,
        "hung": False,
        "no longer": True,
        "dropped, session": 255,
        "dropped, next": True,
        "frozen": False,
        "states": ["T"],
        "thawed": True,
        "dead": False,
        "left": 0,
    }
