"""Sweeps that are killed with SIGKILL, the whole process tree at once, at moments chosen by what they are doing.

A process that has imported everything waits and forks one sweep after the other: what is killed are real processes that
write real files, without the seconds of a cold start. A moment is a phase of a job, or a file that a process of the
sweep is about to open for writing, move or remove.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

TIMES = ["latency_ms", "throughput_ips", "peak_mem_mb", "fit_seconds", "wall_seconds"]

# Small enough for a sweep of four cells in some seconds, and with every kind of cell that needs no weights.
SMALL = {
    "limit": 20, "image_size": 32, "epochs": 1, "weights": "none", "backbones": "MobileNet:alpha=0.25,scratch",
    "freeze": "all,all-1", "seeds": 1, "engine": "keras", "precision": "float32", "mirrors": False,
    "keep_models": "all",
}  # fmt: skip


@dataclass(frozen=True)
class Kill:
    """Kill at the `count`-th moment (from 1) called `moment`, `delay` seconds later."""

    moment: str
    count: int = 1
    delay: float = 0.0


@dataclass(frozen=True)
class Ended:
    """How a sweep ended: killed or with a code, and the moments that it had reached by then."""

    killed: bool
    code: int
    moments: Counter[str] = field(default_factory=Counter)
    said: str = ""


class Warm:
    """Runs sweeps from a process that has imported everything."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def sweep(
        self,
        options: Mapping[str, Any],
        *,
        cache: Path,
        kill: Kill | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Ended:
        """One sweep with the options of `Request`, to its end or to the moment at which it is killed."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            asked = {
                "options": {**options, "out": str(options["out"])},
                "cache": str(cache),
                "kill": asdict(kill) if kill else None,
                "environment": dict(environment or {}),
                "folder": folder,
            }
            self._server.stdin.write(json.dumps(asked) + "\n")
            self._server.stdin.flush()
            line = self._server.stdout.readline()
            if not line:
                raise RuntimeError(f"the process that forks sweeps ended with code {self._server.wait()}")
            code = int(line)
            reached = Path(folder, "moments").read_text(encoding="utf-8").splitlines()
            said = Path(folder, "said").read_text(encoding="utf-8", errors="replace")
        return Ended(code == -signal.SIGKILL, code, Counter(reached), said)

    def resident_mib(self) -> float:
        """Memory of the process that forks the sweeps."""
        lines = Path(f"/proc/{self._server.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


@contextmanager
def warm() -> Iterator[Warm]:
    """A process that forks sweeps; it ends with the block."""
    server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Warm(server)
    finally:
        assert server.stdin is not None
        server.stdin.close()
        server.wait(60)


def values(directory: Path) -> pd.DataFrame:
    """The stored table without what differs from run to run: times and memory."""
    from backbench import store

    table = store.read_table(directory).drop(columns=TIMES)
    return table.sort_values("cell_id").reset_index(drop=True)


def command(out: Path, **changed: Any) -> list[str]:
    """The same small sweep as words of a command line, from a cold start."""
    options = {**SMALL, **changed, "out": out}
    options = {name: value for name, value in options.items() if name != "mirrors"}
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return [sys.executable, "-m", "backbench.sweep", "--no-mirrors", *words]


def differences(directory: Path, clean: Path) -> list[str]:
    """How a finished folder differs from one whose sweep was never disturbed; empty where it does not."""
    from backbench import doctor, store

    found = [f"{each.what}: {each.wrong}" for each in doctor.look_at(directory)]
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
        """One of the times that this moment comes, and in half of the cases a little later."""
        count = int(self.rng.integers(1, self.moments[moment] + 1))
        return Kill(moment, count, float(self.rng.choice([0.0, self.rng.uniform(0.0005, 0.05)])))

    def run(self, wanted: Iterable[Kill], *, damages: bool = False) -> None:
        """Kill at each of these; a folder whose sweep comes to its end is compared and gives way to a new one.

        With `damages`, one of the stored files is damaged after each kill.
        """
        folder, before = self._fresh(), 0
        for kill in wanted:
            for attempt in (kill, replace(kill, count=1, delay=0.0), replace(kill, count=1, delay=0.0)):
                if self._killed(folder, attempt):
                    self.kills[kill.moment] += 1
                    before += 1
                    if damages:
                        self._damage(folder)
                    break
                folder, before = self._fresh(), 0
            else:
                raise RuntimeError(f"a new sweep came to its end without {kill}")
            if before == self.IN_A_ROW:
                self._killed(folder, None)
                folder, before = self._fresh(), 0
        self._killed(folder, None)

    def _damage(self, folder: Path) -> None:
        """Flip one bit of a file that counts, or cut it off."""
        kinds = ("out/cells/*.json", "out/predictions/*.npz", "out/heads/*.npz", "out/models/*.npz", "cache/*/*.npy")
        paths = sorted(path for kind in kinds for path in folder.glob(kind) if not path.name.startswith("."))
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

    def _fresh(self) -> Path:
        return self.root / f"{self.finished:04d}"

    def _killed(self, folder: Path, kill: Kill | None) -> bool:
        """Whether a sweep was killed as asked; one that came to its end is compared and its folder goes."""
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


def _same_arrays(one: Path, other: Path) -> bool:
    if not one.exists():
        return False
    with np.load(one, allow_pickle=False) as ours, np.load(other, allow_pickle=False) as theirs:
        return ours.files == theirs.files and all(np.array_equal(ours[name], theirs[name]) for name in ours.files)


def _names(directory: Path) -> set[str]:
    """Files of a results folder, without logs and without what says that a file is set aside."""
    paths = (path for path in directory.rglob("*") if path.is_file() and path.suffix != ".damaged")
    return {name for path in paths if not (name := path.relative_to(directory).as_posix()).startswith("logs/")}


def _serve() -> None:
    """Fork a sweep for every line of stdin; its exit code goes to stdout when all of its processes are gone."""
    import ctypes

    import keras
    import tensorflow  # noqa: F401  both are imported here, so that what is forked need not

    from backbench import cost, doctor, export, job, sweep  # noqa: F401
    from backbench.report import live, pictures  # noqa: F401

    del keras
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # What a killed sweep leaves behind comes to this process, which waits until it is really gone.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    for line in sys.stdin:
        asked = json.loads(line)
        if (victim := os.fork()) == 0:
            _be_swept(asked)
        code = 0
        while True:
            try:
                gone, status = os.waitpid(-1, 0)
            except ChildProcessError:
                break
            if gone == victim:
                code = os.waitstatus_to_exitcode(status)
        answers.write(f"{code}\n")
        answers.flush()


def _be_swept(asked: Mapping[str, Any]) -> None:
    """The process of one sweep; it does not return."""
    os.setsid()
    os.environ.update(asked["environment"], BACKBENCH_CACHE=asked["cache"])
    folder = Path(asked["folder"])
    said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    code = 1
    try:
        _watch(asked, os.open(folder / "moments", os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        from backbench import sweep
        from backbench.records import Request

        options = {**asked["options"], "out": Path(asked["options"]["out"])}
        code = 0 if sweep.run(Request(**options)).complete else 3
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _watch(asked: Mapping[str, Any], trace: int) -> None:
    """Write down every moment of this process and of its jobs, and kill them all at the one that was asked for."""
    from backbench import cost, job
    from backbench.records import Progress

    kill = Kill(**asked["kill"]) if asked["kill"] else None
    context = multiprocessing.get_context("fork")
    left = context.Value("i", kill.count if kill else 0)
    places = (asked["options"]["out"], asked["cache"])

    def reached(moment: str) -> None:
        os.write(trace, f"{moment}\n".encode())
        if kill is None or moment != kill.moment:
            return
        with left.get_lock():
            left.value -= 1
            due = left.value == 0
        if due and kill.delay:
            threading.Timer(kill.delay, os.killpg, (0, signal.SIGKILL)).start()
        elif due:
            os.killpg(0, signal.SIGKILL)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event == "open" and not given[2] & (os.O_WRONLY | os.O_RDWR):
            return
        if event in ("open", "os.remove", "os.rename"):
            path = given[1] if event == "os.rename" else given[0]
            for place in places:
                if isinstance(path, str | os.PathLike) and str(path).startswith(f"{place}/"):
                    first = Path(path).relative_to(place).parts[0]
                    reached(f"{event.removeprefix('os.')} {_plain(first)}")

    multiprocessing.get_context = lambda *_: context  # type: ignore[assignment]
    # What a prediction costs is no part of the comparison: measured as little as possible.
    cost.BATCH_SIZES, cost.REPEATS, cost.SECONDS = (2,), 1, 0.0
    cost.peak_memory = lambda *_, **__: 100.0
    run = job.run

    def told(asked_job: Any, emit: Any) -> None:
        def telling(event: Any) -> None:
            reached(event.phase if isinstance(event, Progress) else type(event).__name__)
            emit(event)

        run(asked_job, telling)

    job.run = told
    sys.addaudithook(hook)


def _plain(name: str) -> str:
    """The name of a top-level file or folder; of a temporary file that of what it will be."""
    return ".".join(name.lstrip(".").split(".")[:2]) if name.startswith(".") else name


if __name__ == "__main__":
    _serve()
