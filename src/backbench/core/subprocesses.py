"""Modules that run in a process of their own and end with the one that started them, however that ends."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence


def run(
    module: str, arguments: Sequence[str], *, timeout: float, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """What `python -m module arguments` says and its exit code, after at most `timeout` seconds.

    Its standard input is a pipe that only this process holds open: that it closes is how the other one learns of this
    one's end. Raises subprocess.TimeoutExpired.
    """
    theirs, ours = os.pipe()
    # -P: nothing of the folder where the user is.
    command = [sys.executable, "-P", "-m", "backbench.core.subprocesses", module, *arguments]
    try:
        return subprocess.run(  # noqa: S603  our own interpreter, and modules that are named in our own code
            command, stdin=theirs, capture_output=True, text=True, timeout=timeout, env=dict(environment), check=False
        )
    finally:
        os.close(theirs)
        os.close(ours)


def _watch() -> None:
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_watch, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
