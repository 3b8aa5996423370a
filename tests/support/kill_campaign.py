"""Kill after kill, damage after damage: what sweeps come to in the end, against one that was left alone."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from support.kill_harness import Kill, Warm

TIMES = ["latency_ms", "throughput_ips", "peak_mem_mb", "fit_seconds", "wall_seconds"]


def values(directory: Path) -> pd.DataFrame:
    """The stored table without what differs from run to run: times and memory."""
    from backbench.results import store

    table = store.read_table(directory).drop(columns=TIMES)
    return table.sort_values("cell_id").reset_index(drop=True)


def differences(directory: Path, clean: Path) -> list[str]:
    """How a finished folder differs from one whose sweep was never disturbed; empty where it does not."""
    from backbench.results import integrity, store

    found = [f"{each.what}: {each.wrong}" for each in integrity.look_at(directory)]
    ours, theirs = values(directory), values(clean)
    if not ours.equals(theirs):
        found.append(f"the table differs:\n{ours.to_string()}\n{theirs.to_string()}")
    read = pd.read_csv(directory / "table.csv").sort_values("cell_id")["cell_id"].tolist()
    if read != theirs["cell_id"].tolist():
        found.append(f"table.csv has the cells {read}")
    for cell_id in theirs["cell_id"]:
        for folder in ("predictions", "heads", "models"):
            name = Path(folder, f"{cell_id}.npz")
            if (clean / name).exists() and not _same_arrays(directory / name, clean / name):
                found.append(f"{name} differs")
        cells = [store.read_cell(place, cell_id) for place in (directory, clean)]
        if cells[0].identity != cells[1].identity:
            found.append(f"the identity of {cell_id} differs")
    names = [_names(place) for place in (directory, clean)]
    if names[0] != names[1]:
        found.append(f"files: {sorted(names[0] ^ names[1])}")
    return found


@dataclass
class Campaign:
    """Kills sweeps, resumes them, kills them again, and holds what they come to against one that was left alone."""

    warm: Warm
    root: Path
    rng: np.random.Generator
    options: Mapping[str, Any]
    kills: Counter[str] = field(default_factory=Counter)
    damages: Counter[str] = field(default_factory=Counter)
    cells: int = 0
    finished: int = 0
    wrong: list[str] = field(default_factory=list)
    moments: Counter[str] = field(default_factory=Counter)
    after: Callable[[Path], None] = lambda _folder: None

    # Kills in one folder before its sweep is left to finish.
    IN_A_ROW = 6

    @property
    def clean(self) -> Path:
        """The results of the sweep that was left alone."""
        return self.root / "clean"

    def leave_alone(self) -> None:
        """The sweep that the others are compared with; its moments are those at which they are killed."""
        ended = self.warm.sweep({**self.options, "out": self.clean}, cache=self.root / "clean-cache")
        if ended.code:
            raise RuntimeError(f"the undisturbed sweep ended with code {ended.code}: {ended.said}")
        self.moments = ended.moments

    def at(self, moment: str) -> Kill:
        """One of the times that this moment comes, rather an early one, and in half of the cases a little later."""
        count = int(self.rng.integers(1, self.moments[moment] + 1, 2).min())
        return Kill(moment, count, float(self.rng.choice([0.0, self.rng.uniform(0.0005, 0.05)])))

    def run(self, wanted: Iterator[Kill], *, damages: bool = False) -> None:
        """Kill at each of these, some in a row in one folder; then its sweep is left to finish and compared.

        With `damages`, one of the stored files is damaged after each kill.
        """
        order = list(self.moments)
        while group := sorted(islice(wanted, self.IN_A_ROW), key=lambda kill: order.index(kill.moment)):
            for kill in group:
                # A moment may be over in a folder that went on so far; then this one is finished, and the next is new.
                for attempt in (kill, *[replace(kill, count=1, delay=0.0)] * 2):
                    if killed := self._killed(attempt):
                        break
                if not killed:
                    raise RuntimeError(f"a new sweep came to its end without {kill}")
                self.kills[kill.moment] += 1
                if damages:
                    self._damage()
            self._killed(None)

    @property
    def folder(self) -> Path:
        """Where the sweep is that has not come to its end yet."""
        return self.root / f"{self.finished:04d}"

    def _killed(self, kill: Kill | None) -> bool:
        """Whether a sweep was killed as asked; one that came to its end is compared and its folder goes."""
        folder = self.folder
        ended = self.warm.sweep({**self.options, "out": folder / "out"}, cache=folder / "cache", kill=kill)
        self.cells += ended.moments["Finished"]
        if ended.killed:
            return True
        found = [f"it ended with code {ended.code}: {ended.said}"] if ended.code else []
        found += differences(folder / "out", self.clean)
        self.finished += 1
        self.wrong += [f"{folder.name}: {text}" for text in found]
        self.after(folder)
        if not found:
            shutil.rmtree(folder)
        return False

    def _damage(self) -> None:
        """Flip one bit of a file that counts, or cut it off."""
        kinds = ("out/cells/*.json", "out/predictions/*.npz", "out/heads/*.npz", "out/models/*.npz", "cache/*/*.npy")
        paths = sorted(path for kind in kinds for path in self.folder.glob(kind) if not path.name.startswith("."))
        if not paths:
            return
        path = paths[self.rng.integers(len(paths))]
        content = bytearray(path.read_bytes())
        place = int(self.rng.integers(len(content)))
        cut = bool(self.rng.integers(2))
        if cut:
            del content[place:]
        else:
            content[place] ^= 1 << int(self.rng.integers(8))
        path.write_bytes(content)
        self.damages[f"{path.parent.name} {'cut off' if cut else 'bit flipped'}"] += 1


def _same_arrays(one: Path, other: Path) -> bool:
    if not one.exists():
        return False
    with np.load(one, allow_pickle=False) as ours, np.load(other, allow_pickle=False) as theirs:
        return ours.files == theirs.files and all(np.array_equal(ours[name], theirs[name]) for name in ours.files)


def _names(directory: Path) -> set[str]:
    """Files of a results folder, without logs and without what says that a file is set aside."""
    paths = (path for path in directory.rglob("*") if path.is_file() and path.suffix != ".damaged")
    return {name for path in paths if not (name := path.relative_to(directory).as_posix()).startswith("logs/")}
