"""What a job asks of a node: by hand, for clusters of a few shapes."""

from __future__ import annotations

import pytest

from backbench.executors.ray.resources import Node, TaskResources, demand


def test_without_gpus_a_job_takes_a_node() -> None:
    assert demand([Node(8, 0, 32e9), Node(8, 0, 16e9)], None) == TaskResources(8, 0, 16e9, 2)


def test_the_smallest_node_says_what_is_asked_for_and_a_larger_one_may_run_two() -> None:
    assert demand([Node(4, 0, 8e9), Node(8, 0, 32e9)], None) == TaskResources(4, 0, 8e9, 3)


def test_with_gpus_a_job_takes_one_and_its_share_of_the_cores_and_nodes_without_stay_idle() -> None:
    assert demand([Node(16, 0, 8e9), Node(64, 8, 512e9), Node(32, 4, 256e9)], None) == TaskResources(8, 1, 64e9, 12)


def test_fewer_workers_leave_room_unused_and_more_share_the_cores_of_a_node() -> None:
    nodes = [Node(8, 0, 32e9), Node(8, 0, 32e9)]
    assert demand(nodes, 1) == TaskResources(8, 0, 32e9, 1)
    assert demand(nodes, 4) == TaskResources(4, 0, 16e9, 4)
    assert demand(nodes, 100) == TaskResources(1, 0, 4e9, 16)


def test_a_head_node_without_cores_is_passed_over() -> None:
    assert demand([Node(0, 0, 8e9), Node(2, 0, 4e9)], None) == TaskResources(2, 0, 4e9, 1)
    with pytest.raises(ValueError, match="no node has a core or a GPU"):
        demand([Node(0, 0, 8e9)], None)
