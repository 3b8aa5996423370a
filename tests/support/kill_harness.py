"""Sweeps that are killed with SIGKILL, the whole process tree at once, at moments chosen by what they are doing.

A process that has imported everything waits and forks one sweep after the other: what is killed are real processes that
write real files, without the seconds of a cold start. A moment is a phase of a job, or a file that a process of the
sweep is about to open for writing, move or remove.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

# Small enough for a sweep of three cells in some seconds, and with every kind of cell that needs no weights.
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


def command(out: Path, **changed: Any) -> list[str]:
    """The same small sweep as words of a command line, from a cold start."""
    options = {**SMALL, **changed, "out": out}
    options = {name: value for name, value in options.items() if name != "mirrors"}
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return [sys.executable, "-m", "backbench.sweep", "--no-mirrors", *words]


def _serve() -> None:
    """Fork a sweep for every line of stdin; its exit code goes to stdout when all of its processes are gone."""
    import ctypes

    import keras
    import tensorflow  # noqa: F401  both are imported here, so that what is forked need not

    from backbench.report import page, plots  # noqa: F401
    from backbench.sweep import pipeline  # noqa: F401

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
        work = _watched(asked, os.open(folder / "moments", os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        from backbench import sweep
        from backbench.core.request import Request
        from backbench.executors import local

        options = {**asked["options"], "out": Path(asked["options"]["out"])}
        code = 0 if sweep.run(Request(**options), executor=partial(local.run, work=work)).complete else 3
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _watched(asked: Mapping[str, Any], trace: int) -> Callable[[Any, Any], None]:
    """The work of jobs that notes every moment of it, as this process does, and kills all at the one asked for."""
    from backbench.core import recipe
    from backbench.core.events import Progress
    from backbench.evaluation import inference_cost
    from backbench.executors import local

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
                    behind = " behind a job" if threading.current_thread().name == "decoding" else ""
                    reached(f"{event.removeprefix('os.')} {_plain(first)}{behind}")

    multiprocessing.get_context = lambda *_: context  # type: ignore[assignment]
    # What a prediction costs is no part of the comparison: measured as little as possible.
    recipe.TIMED_BATCHES, recipe.TIMED_CALLS, inference_cost.SECONDS = (2,), 1, 0.0
    inference_cost.peak_memory = lambda *_, **__: 100.0

    def work(job: Any, emit: Any) -> None:
        def telling(event: Any) -> None:
            reached(event.phase if isinstance(event, Progress) else type(event).__name__)
            emit(event)

        local.evaluate(job, telling)

    sys.addaudithook(hook)
    return work


def _plain(name: str) -> str:
    """The name of a top-level file or folder; of a temporary file that of what it will be."""
    return ".".join(name.lstrip(".").split(".")[:2]) if name.startswith(".") else name


if __name__ == "__main__":
    _serve()
