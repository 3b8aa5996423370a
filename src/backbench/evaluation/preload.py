"""All that a job imports, for the process that the others are forked from: importing this module is all it does.

What frameworks say as they are imported goes nowhere: the process shares the terminal of the sweep. An error does not
either, since the job that imports the same raises it once more.
"""

from __future__ import annotations

import os
from contextlib import suppress

quiet = os.open(os.devnull, os.O_WRONLY)
spoken_to = {stream: os.dup(stream) for stream in (1, 2)}
try:
    for stream in spoken_to:
        os.dup2(quiet, stream)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with suppress(Exception):
        import backbench.evaluation.job
        import backbench.features.engines.openvino_engine  # noqa: F401  an import is what is wanted
finally:
    for stream, kept in spoken_to.items():
        os.dup2(kept, stream)
        os.close(kept)
    os.close(quiet)
