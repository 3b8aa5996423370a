"""GPUs and cores for several jobs on one machine: by hand, no GPU needed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from backbench.core import hardware
from backbench.executors.gpu_assignment import GpuAssignment, of_this_machine, shares

FOUR = ["GPU-a", "GPU-b", "GPU-c", "GPU-d"]


def test_each_gpu_has_a_job_with_a_quarter_of_the_cores() -> None:
    assert shares(FOUR, range(8), None) == [
        GpuAssignment("GPU-a", (0, 1)), GpuAssignment("GPU-b", (2, 3)),
        GpuAssignment("GPU-c", (4, 5)), GpuAssignment("GPU-d", (6, 7)),
    ]  # fmt: skip


def test_cores_that_cannot_be_divided_differ_by_one_and_none_is_left_over() -> None:
    assert [share.cores for share in shares(FOUR[:3], range(8), None)] == [(0, 1), (2, 3, 4), (5, 6, 7)]


def test_fewer_jobs_take_the_first_gpus_and_more_take_turns() -> None:
    assert shares(FOUR, range(8), 2) == [GpuAssignment("GPU-a", (0, 1, 2, 3)), GpuAssignment("GPU-b", (4, 5, 6, 7))]
    assert [share.gpu for share in shares(FOUR[:2], range(8), 3)] == ["GPU-a", "GPU-b", "GPU-a"]


def test_more_jobs_than_cores_share_them() -> None:
    assert [share.cores for share in shares(FOUR, [5, 6], None)] == [(5, 6), (5,), (5, 6), (6,)]


@pytest.mark.parametrize(("gpus", "workers", "count"), [([], None, 1), ([], 3, 3), (["GPU-a"], None, 1), (FOUR, 1, 1)])
def test_one_job_or_one_gpu_needs_no_shares(gpus: list[str], workers: int | None, count: int) -> None:
    assert shares(gpus, range(8), workers) == [GpuAssignment()] * count


def test_without_workers_each_gpu_of_this_machine_has_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "gpus", lambda: FOUR[:3])
    assert [share.gpu for share in of_this_machine(None)] == FOUR[:3]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system binds no process to cores")
def test_a_share_is_what_a_process_then_has() -> None:
    program = (
        "import os\nfrom backbench.core import hardware\n"
        "from backbench.executors.gpu_assignment import GpuAssignment, take\n"
        "take(GpuAssignment('GPU-b', (min(os.sched_getaffinity(0)),)))\n"
        "print(os.environ['CUDA_VISIBLE_DEVICES'], hardware.cores())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "GPU-b 1\n"
