"""Every file of a hostile folder is used with the right pixels, or listed with its reason; none stops a sweep."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.hostile_files import COLOURS, PLAIN, SIDE, Hostile, chunk, corpus, png, unfiltered

from backbench import sweep
from backbench.cli.main import main
from backbench.core.cells import Cell, empty_row, planned_cells
from backbench.core.dataset import Dataset, Listing, Pixels
from backbench.core.errors import RequestError, UnavailableError
from backbench.core.events import CellFinished
from backbench.core.request import Request
from backbench.results import run_record, store
from backbench.results.run_record import RunRecord
from backbench.sweep import engine_choice, plan, resume_checks

CORPUS = tuple(corpus())


def photo(path: Path, number: int) -> Path:
    """A sound image of content of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = chunk(b"tEXt", b"Comment\0photo %d" % number)
    path.write_bytes(png(SIDE, SIDE, depth=8, colour=2, rows=unfiltered(COLOURS), before=text))
    return path


def album(root: Path) -> Path:
    """A folder with all splits and two classes of sound images."""
    for number, split in enumerate(("train", "val", "test")):
        for label, name in enumerate("ab"):
            photo(root / split / name / "sound.png", 10 * number + label)
    return root


def no_progress(*_: object) -> None:
    """Nobody watches."""


def request(root: Path, **options: object) -> Request:
    return Request(dataset=str(root), image_size=SIDE, backbones="scratch", **options)  # type: ignore[arg-type]


def opened(root: Path, cache: Path) -> tuple[Listing, Dataset, Pixels]:
    """What a sweep would use of a folder."""
    asked = request(root)
    listing = plan.listing_for(asked, progress=no_progress)
    return listing, *plan.dataset_for(asked, listing, cache=cache, progress=no_progress)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, np.ndarray]:
    """The whole corpus in one class folder, read as a sweep reads it."""
    base = tmp_path_factory.mktemp("hostile")
    root = album(base / "data")
    (root / "__MACOSX" / "a").mkdir(parents=True)
    for file in CORPUS:
        path = root / "train" / "a" / file.name
        path.parent.mkdir(exist_ok=True)
        if callable(file.content):
            file.content(path)
        else:
            path.write_bytes(file.content)
    _, dataset, pixels = opened(root, base / "cache")
    return dataset, pixels.open()


@pytest.mark.timeout(120)  # a pipe that is waited for would never end
@pytest.mark.parametrize("file", CORPUS, ids=lambda file: ascii(file.name[:40]).strip("'"))
def test_used_correctly_or_listed_with_its_reason(file: Hostile, read: tuple[Dataset, np.ndarray]) -> None:
    dataset, rows = read
    name = f"train/a/{file.name}"
    listed = {entry["id"]: entry["reason"] for entry in dataset.health["unreadable"]}
    if file.pixels is not None:
        assert name not in listed
        found = rows[dataset.rows[dataset.ids.index(name)]].astype(int)
        assert np.abs(found - file.pixels).max() <= file.off_by
    elif file.reason:
        assert name not in dataset.ids
        assert re.search(file.reason, listed[name], re.IGNORECASE)
        assert listed[name].isprintable()
        assert "0x" not in listed[name]
        assert "/tmp" not in listed[name]
    else:
        assert name not in dataset.ids
        assert name not in listed


def test_nothing_is_lost_or_invented(read: tuple[Dataset, np.ndarray]) -> None:
    dataset, _ = read
    used, listed = (sum(getattr(file, kind) is not default for file in CORPUS) for kind, default in
                    (("pixels", None), ("reason", "")))  # fmt: skip
    assert len(CORPUS) >= 100
    assert dataset.health["images"] == len(dataset.ids) == used + 6
    assert len(dataset.health["unreadable"]) == listed
    assert dataset.health["ignored_files"] == len(CORPUS) - used - listed


def test_what_goes_or_changes_between_listing_and_decoding_is_left_out_and_tried_again(
    tmp_path: Path, cache: Path
) -> None:
    root = album(tmp_path / "data")
    gone, changed, piped = (photo(root / "train" / "a" / f"{name}.png", 50 + len(name)) for name in ("g", "ch", "pip"))
    asked = request(root)
    listing = plan.listing_for(asked, progress=no_progress)
    gone.unlink()
    photo(changed, 99)
    piped.unlink()
    os.mkfifo(piped)
    dataset, _ = plan.dataset_for(asked, listing, cache=cache, progress=no_progress)
    assert {entry["id"]: entry["reason"] for entry in dataset.health["unreadable"]} == {
        "train/a/g.png": "No such file or directory",
        "train/a/ch.png": "the file changed while it was being read",
        "train/a/pip.png": "not a regular file",
    }
    piped.unlink()
    again, _ = plan.dataset_for(asked, listing, cache=cache, progress=no_progress)
    assert len(again.ids) == len(dataset.ids)
    photo(changed, 52)  # what was listed is back
    again, _ = plan.dataset_for(asked, listing, cache=cache, progress=no_progress)
    assert set(again.ids) - set(dataset.ids) == {"train/a/ch.png"}


def test_what_goes_before_a_second_size_is_decoded_skips_that_network_and_says_why(tmp_path: Path, cache: Path) -> None:
    root = album(tmp_path / "data")
    listing, dataset, _ = opened(root, cache)
    resolved = engine_choice.resolve(request(root), RunRecord(), dataset)
    (job,) = plan.jobs_for(
        Request(dataset=str(root), image_size=2 * SIDE, backbones="scratch"), dataset, resolved=resolved, cache=cache
    )
    (root / "val" / "a" / "sound.png").unlink()
    with pytest.raises(UnavailableError, match=r"1 images? could not be decoded .*val/a/sound\.png"):
        plan.with_pixels(job, listing, progress=no_progress)


def add(root: Path) -> None:
    photo(root / "train" / "a" / "another.png", 70)


def remove(root: Path) -> None:
    (root / "train" / "b" / "second.png").unlink()


def change(root: Path) -> None:
    photo(root / "test" / "a" / "sound.png", 71)


def relabel(root: Path) -> None:
    (root / "train" / "b" / "second.png").rename(root / "train" / "a" / "second.png")


def damage(root: Path) -> None:
    (root / "train" / "b" / "second.png").write_bytes(PLAIN[:60])


@pytest.mark.parametrize(
    ("happen", "said"),
    [
        (add, "then 3 train, 2 val, 2 test images, now 4, 2, 2"),
        (remove, "then 3 train, 2 val, 2 test images, now 2, 2, 2"),
        (damage, "then 3 train, 2 val, 2 test images, now 2, 2, 2, and 1 that cannot be read"),
        (change, "as many images in each split, but not the same"),
        (relabel, "as many images in each split, but not the same"),
    ],
)
def test_a_dataset_that_changed_under_a_finished_run_is_noticed(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str], happen: object, said: str
) -> None:
    root = album(tmp_path / "data")
    photo(root / "train" / "b" / "second.png", 60)
    asked = request(root, out=tmp_path / "results")
    _, dataset, _ = opened(root, cache)
    resolved = engine_choice.resolve(asked, RunRecord(), dataset)
    store.write_run(
        tmp_path / "results", run_record.record(asked, dataset, jobs=[], resolved=resolved, earlier=RunRecord())
    )
    before = (tmp_path / "results" / "run.json").read_bytes()
    resume_checks.same_dataset(tmp_path / "results", store.read_run(tmp_path / "results"), dataset)
    happen(root)  # type: ignore[operator]
    with pytest.raises(RequestError) as refused:
        sweep.run(asked, visible=False)
    assert f"an earlier state or another selection of this dataset ({said})" in str(refused.value)
    assert "--out" in str(refused.value)
    lost = "1 file could not be read and will be left out, listed on the page and in run.json (train/b/second.png: "
    assert (lost in capsys.readouterr().out) == (happen is damage)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["run.json"]
    assert (tmp_path / "results" / "run.json").read_bytes() == before


def test_a_folder_whose_name_is_no_text(tmp_path: Path, cache: Path) -> None:
    root = album(tmp_path / os.fsdecode(b"ph\xffo\nt"))
    asked = request(root, out=tmp_path / "results")
    _, dataset, _ = opened(root, cache)
    assert dataset.name == "ph\\xffo\nt"
    resolved = engine_choice.resolve(asked, RunRecord(), dataset)
    store.write_run(
        tmp_path / "results", run_record.record(asked, dataset, jobs=[], resolved=resolved, earlier=RunRecord())
    )
    held = store.read_run(tmp_path / "results")
    assert held.dataset.source == held.request["dataset"] == str(root)
    resume_checks.same_dataset(tmp_path / "results", held, dataset)
    (job,) = plan.jobs_for(asked, dataset, resolved=resolved, cache=cache)
    (planned,) = planned_cells(job.spec)
    row = empty_row(job.spec, planned).replace(status="failed")
    store.write_cell(tmp_path / "results", CellFinished(Cell(planned.cell_id, "failed", f"{root} went away", {}, row)))
    table = store.table(store.read_cells(tmp_path / "results"))
    store.write_table(tmp_path / "results", table)
    assert table["dataset"].tolist() == ["ph\\xffo\nt"]
    assert table["reason"].tolist() == [f"{tmp_path}/ph\\udcffo\nt went away"]
    assert store.read_table(tmp_path / "results").equals(table)


def test_a_name_cannot_break_the_line_that_refuses_it(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "data"
    for number, name in enumerate(("a\nb", "\x1b[2Jc")):
        photo(root / name / "1.png", number)
    found = CliRunner().invoke(main, ["sweep", "--dataset", str(root), "--out", str(tmp_path / "out")])
    assert found.exit_code == 2
    (line,) = found.stderr.splitlines()
    assert "class '?[2Jc' has 1 image (and 1 other class too few)" in line


# Root may read everything, so the child becomes nobody once it has imported what it needs.
AS_NOBODY = """
import os, sys
from pathlib import Path
from backbench.data import open_listing
from backbench.core.errors import BackbenchError
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    Path(sys.argv[1], "probe").read_bytes()
except PermissionError:
    pass
else:
    sys.exit(77)
for folder in sys.argv[2:]:
    try:
        found = open_listing(folder)
        print("read", found.ids, found.unreadable)
    except BackbenchError as error:
        print("refused", error)
"""


def test_what_may_not_be_read_is_listed_and_folders_are_refused_in_one_line() -> None:
    base = Path(tempfile.mkdtemp(prefix="backbench-locked-"))  # pytest's own folder is closed to others
    try:
        base.chmod(0o755)
        (base / "probe").touch(mode=0o000)
        data, listed, locked = (album(base / name) for name in ("data", "listed", "locked"))
        photo(data / "train" / "a" / "mine.png", 80).chmod(0o000)
        photo(data / "train" / "c" / "inside.png", 81)
        for folder, mode in ((data / "train" / "c", 0o000), (listed, 0o744), (locked, 0o000)):
            folder.chmod(mode)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(base), str(data), str(listed), str(locked)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        if done.returncode == 77 or "Operation not permitted" in done.stderr:
            pytest.skip("this user may read everything and cannot become another one")
        assert done.stderr == ""
        first, second, third = done.stdout.splitlines()
        assert first.startswith("read")
        assert "('train/a/mine.png', 'Permission denied'), ('train/c', 'Permission denied')" in first
        assert second.startswith("refused")
        assert "cannot be read (Permission denied)" in third
    finally:
        for folder in (base / "data" / "train" / "c", base / "listed", base / "locked"):
            folder.chmod(0o755)
        shutil.rmtree(base)
