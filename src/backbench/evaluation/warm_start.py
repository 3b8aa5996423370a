"""Processes for jobs that begin with the framework imported: one process imports it, and each job is a fork of that.

Importing takes four seconds on one core, which is longer than some jobs. Python's fork server is the process that
imports; it computes nothing, so that no thread and no device is in use when it forks. Only TensorFlow on the CPUs of
Linux is forked: JAX warns against it, and a GPU's driver does not survive it where an import has touched it.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, SpawnContext
from threading import Lock

from backbench.core import hardware

# Variables that the framework and the libraries beneath it look at when they are imported.
READ_AT_IMPORT = ("KERAS_BACKEND", "TF_", "OMP_", "KMP_", "MKL_", "OPENBLAS_", "ONEDNN_", "DNNL_", "LD_", "PYTHON")

_lock = Lock()
_imported_with: dict[str, str] | None = None


def context(backend: str) -> ForkServerContext | SpawnContext:
    """Where the process of a job comes from: the process that has imported already, where there may be one.

    The first call starts that process and does not wait for it. A job whose variables (`READ_AT_IMPORT`) are others
    than its own gets a new process, as on any other machine.
    """
    global _imported_with
    if not (sys.platform == "linux" and backend == "tensorflow" and not hardware.gpus()):
        return multiprocessing.get_context("spawn")
    given = {name: value for name, value in os.environ.items() if name.startswith(READ_AT_IMPORT)}
    forking = multiprocessing.get_context("forkserver")
    with _lock:
        if _imported_with is None:
            _imported_with = given
            forking.set_forkserver_preload([f"{__package__}.preload"])
            forkserver.ensure_running()
    return forking if given == _imported_with else multiprocessing.get_context("spawn")
