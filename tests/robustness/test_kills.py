"""Sweeps that are killed, over and over, at any moment, end with the results of one that was left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.kill_campaign import Campaign, differences, values
from support.kill_harness import SMALL, Kill, Warm, command, warm

from backbench.results import store

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="waits for orphaned processes as only Linux can")

# The fewest of a night; every moment that a sweep goes through is among them.
KILLS = 50

# What a sweep does for a user, each with at least one moment.
PHASES = {
    "decoding": "open pixels",
    "the lock": "open lock",
    "building": "building",
    "frozen pass": "frozen pass",
    "features": "rename features",
    "probe": "probe",
    "training": "fine-tuning",
    "from scratch": "training",
    "evaluation": "evaluation",
    "timing": "timing",
    "memory": "memory",
    "trained weights": "rename models",
    "predictions": "rename predictions",
    "cell": "rename cells",
    "table": "rename table.parquet",
    "record of the run": "rename run.json",
    "plots": "rename plots",
    "thumbnails": "rename thumbnails",
    "page": "rename leaderboard.html",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Warm]:
    with warm() as server:
        yield server


@pytest.fixture(scope="module")
def campaign(server: Warm, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    campaign = Campaign(server, tmp_path_factory.mktemp("kills"), np.random.default_rng(0), SMALL)
    campaign.leave_alone()
    return campaign


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_sweeps_killed_in_every_phase_come_to_the_same_results(campaign: Campaign) -> None:
    kill(campaign, sorted(PHASES.values()))


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_sweeps_killed_at_any_moment_come_to_the_same_results(campaign: Campaign) -> None:
    moments = sorted(campaign.moments)
    assert set(PHASES.values()) <= set(moments)
    kill(campaign, [*moments, *campaign.rng.choice(moments, max(0, KILLS - len(moments)))])


def kill(campaign: Campaign, moments: list[str]) -> None:
    """Kill at these, some in a row in one folder, in any order."""
    kills, finished = campaign.kills.total(), campaign.finished
    wanted = [campaign.at(moment) for moment in moments]
    campaign.run(iter([wanted[place] for place in campaign.rng.permutation(len(wanted))]))
    assert campaign.wrong == []
    assert campaign.kills.total() - kills == len(moments)
    assert campaign.finished - finished >= len(moments) / Campaign.IN_A_ROW


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_command_itself_killed_at_any_time_comes_to_the_same_results(campaign: Campaign, tmp_path: Path) -> None:
    """From a cold start, with jobs in processes of their own, at times that nothing in the sweep decides."""
    words = command(tmp_path / "out")
    environment = {**os.environ, "BACKBENCH_CACHE": str(tmp_path / "cache")}
    for seconds in (2.0, *campaign.rng.uniform(4.0, 14.0, 3)):
        running = subprocess.Popen(
            words, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(seconds)
        os.killpg(running.pid, signal.SIGKILL)
        assert running.wait() in (-signal.SIGKILL, 0)
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert differences(tmp_path / "out", campaign.clean) == []


@pytest.mark.slow
def test_the_same_sweep_twice_gives_the_same_cells_to_the_bit(campaign: Campaign, tmp_path: Path) -> None:
    ended = campaign.warm.sweep({**SMALL, "out": tmp_path / "out"}, cache=tmp_path / "cache")
    assert ended.code == 0
    assert differences(tmp_path / "out", campaign.clean) == []


@pytest.mark.slow
def test_another_number_of_threads_changes_no_more_than_rounding_does(campaign: Campaign, tmp_path: Path) -> None:
    one = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    ended = campaign.warm.sweep({**SMALL, "out": tmp_path / "out"}, cache=tmp_path / "cache", environment=one)
    assert ended.code == 0
    found, expected = values(tmp_path / "out"), values(campaign.clean)
    assert found["cell_id"].tolist() == expected["cell_id"].tolist()
    for cell_id in found["cell_id"]:
        ours, theirs = (store.read_predictions(place, cell_id) for place in (tmp_path / "out", campaign.clean))
        assert np.array_equal(ours["test_ids"], theirs["test_ids"])
        assert np.abs(ours["test_probs"] - theirs["test_probs"]).max() < 1e-3


@pytest.mark.slow
def test_a_sweep_killed_while_the_next_size_is_decoded_behind_a_job(server: Warm, tmp_path: Path) -> None:
    photos(tmp_path / "photos")
    asked = {"dataset": str(tmp_path / "photos"), "image_size": None, "backbones": "scratch,MobileNet:alpha=0.25"}
    campaign = Campaign(server, tmp_path, np.random.default_rng(0), {**SMALL, **asked, "freeze": "all"})
    campaign.leave_alone()
    assert values(campaign.clean)["image_size"].tolist() == [128, 224]
    opened, renamed = "open pixels behind a job", "rename pixels behind a job"
    assert campaign.moments[renamed] == 2, "the images and what is known of them"
    # All in one folder. Before the first byte, when all is written, before and after the images stand in their place.
    counts = (1, campaign.moments[opened] // 2, campaign.moments[opened])
    wanted = [*(Kill(opened, count) for count in counts), Kill(renamed), Kill(renamed, 2)]
    campaign.run(iter(wanted))
    assert campaign.wrong == []
    assert campaign.kills == {opened: 3, renamed: 2}
    assert campaign.finished == 1


@pytest.mark.slow
def test_a_search_that_is_killed_measures_and_prunes_the_same_cells(server: Warm, tmp_path: Path) -> None:
    """There is time for everything, so that what is pruned is pruned for what the others came to."""
    photos(tmp_path / "photos", 60)
    asked = {"dataset": str(tmp_path / "photos"), "budget": "1h", "limit": None, "seeds": 2, "epochs": 2}
    campaign = Campaign(server, tmp_path, np.random.default_rng(0), {**SMALL, **asked})
    campaign.leave_alone()
    assert set(values(campaign.clean)["status"]) == {"ok", "pruned"}
    # After the probe and two trials; then when the first of the tried cells has been measured; then while one trains.
    campaign.run(iter([Kill("rename cells", 4), Kill("rename cells", 2), Kill("evaluation")]))
    assert campaign.wrong == []
    assert campaign.finished == 1


def photos(folder: Path, each: int = 20) -> None:
    """So many images of noise in each of three classes, told apart by how bright they are."""
    noise = np.random.default_rng(0)
    for number, name in enumerate(("dark", "grey", "light")):
        (folder / name).mkdir(parents=True)
        for image in range(each):
            pixels = noise.integers(80 * number, 80 * number + 90, (160, 160, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{image}.png")
