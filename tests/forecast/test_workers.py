"""How trainings are spread over what a cluster has, and what is asked of its autoscaler."""

from dataclasses import replace

import pytest

from midas_ray.cloud import mesh
from midas_ray.errors import UsageError
from midas_ray.forecast.room import Room
from midas_ray.forecast.workers import Workers, plan_workers

LAPTOP = Room(
    gpus=0, gpus_of_largest=0, cpus_beside_gpu=0.0, cpus=4, cpus_of_largest=4, free_cpus=4, one_node=False, grows=False,
    gpus_of_largest_type=None,
)  # fmt: skip
OFFICE = replace(LAPTOP, gpus=4, gpus_of_largest=2, cpus_beside_gpu=8.0, cpus=32, cpus_of_largest=16, free_cpus=32)
RENTING = replace(LAPTOP, cpus=2, cpus_of_largest=2, free_cpus=2, one_node=True, grows=True)
RENTED = replace(RENTING, gpus=3, gpus_of_largest=2, cpus=2)
ONE_CPU = Workers(1, 1, False, 1)


@pytest.mark.parametrize(
    ("gpus", "workers", "room", "expected"),
    [
        (None, None, LAPTOP, ONE_CPU),
        (0, (2, 4), LAPTOP, Workers(2, 4, False, 1)),
        (None, None, OFFICE, Workers(4, 4, True, 1)),
        (3, (1, 2), OFFICE, Workers(1, 2, True, 1)),
        (0, None, OFFICE, ONE_CPU),
        # Renting costs money: never without a number.
        (None, None, RENTING, replace(ONE_CPU, one_node=True)),
        (0, (1, 4), RENTING, Workers(2, 2, False, 1, one_node=True)),
        (1, None, RENTING, Workers(1, 1, True, 1, one_node=True, to_come=True)),
        (4, (1, 3), RENTING, Workers(3, 3, True, 1, one_node=True, to_come=True)),
        (4, (1, 3), replace(RENTING, gpus_of_largest_type=3), Workers(3, 3, True, 1, one_node=True, to_come=True)),
        # What is rented is used, on one node.
        (None, None, RENTED, Workers(2, 2, True, 1, one_node=True)),
        (2, (1, 2), RENTED, Workers(2, 2, True, 1, one_node=True)),
        (2, None, replace(RENTED, gpus_of_largest_type=1), Workers(2, 2, True, 1, one_node=True)),
        (3, None, RENTED, Workers(3, 3, True, 1, one_node=True, to_come=True)),
    ],
)
def test_workers(gpus: int | None, workers: tuple[int, int] | None, room: Room, expected: Workers) -> None:
    assert plan_workers(gpus, workers, 8, room) == expected


@pytest.mark.parametrize(
    ("gpus", "workers", "room", "said"),
    [
        (1, None, LAPTOP, "--gpus 1: expected at most the 0 that Ray finds; lower it, or 0 for the CPU"),
        (5, None, OFFICE, "--gpus 5: expected at most the 4 that Ray finds; lower it, or 0 for the CPU"),
        (
            3, None, replace(RENTED, grows=False),
            "--gpus 3: expected at most the 2 that Ray finds on one node; lower it, or 0 for the CPU",
        ),
        (
            9, None, replace(RENTED, gpus_of_largest_type=8),
            "--gpus 9: expected at most the 8 of the largest node type in cluster.yaml, as the workers of one training "
            "are on one node; lower it, add a type with more GPUs, or 0 for the CPU",
        ),
        (2, (3, 3), RENTING, "--workers 3: expected at most one a GPU, found 2 GPUs; lower it, or add --gpus 0"),
        (0, (5, 5), LAPTOP, "--workers 5: expected at most the 4 CPU cores that Ray finds; lower it"),
        (0, (3, 3), RENTING, "--workers 3: expected at most the 2 CPU cores of one node that Ray finds; lower it"),
    ],
)  # fmt: skip
def test_too_much(gpus: int, workers: tuple[int, int] | None, room: Room, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan_workers(gpus, workers, 8, room)
    assert str(caught.value) == said


def test_threads_of_a_wide_network() -> None:
    assert plan_workers(0, (1, 2), 64, OFFICE) == Workers(1, 2, False, 4)
    assert plan_workers(0, None, 64, replace(LAPTOP, free_cpus=3)) == Workers(1, 1, False, 3)


def test_a_gpu_comes_without_cores_as_rented_nodes_offer_none() -> None:
    assert Workers(2, 2, True, 1, one_node=True).resources() == {"GPU": 1}
    assert Workers(2, 2, True, 1, one_node=True).placement() == "STRICT_PACK"
    assert Workers(1, 2, False, 3).resources() == {"CPU": 3}
    assert Workers(1, 2, False, 3).placement() == "PACK"


def test_nodes_of_the_mesh_are_told_by_their_ports() -> None:
    assert mesh.is_node("127.0.0.1", mesh.Ports(mesh.HEAD_SLOT).node_manager)
    assert mesh.is_node("127.0.0.1", mesh.Ports(mesh.WORKER_SLOTS[-1]).node_manager)
    assert not mesh.is_node("10.0.0.1", mesh.Ports(mesh.HEAD_SLOT).node_manager)
    assert not mesh.is_node("127.0.0.1", mesh.Ports(mesh.HEAD_SLOT).object_manager)
