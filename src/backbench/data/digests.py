"""Content digests of many images at once, by all cores and with bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from backbench.core.hardware import cores

Progress = Callable[[int, int], None]

_BATCH = 64  # one future per image would cost more memory than its digest


def digest_all(
    count: int, digest: Callable[[int], str], progress: Progress | None = None
) -> tuple[list[str], dict[int, str]]:
    """`digest(index)` of all indices below `count`, called from several threads.

    Returns the digests ('' where there is none) and, by index, the reason of each OSError. `progress` is told
    (done, count) in the calling thread.
    """

    def one(index: int) -> tuple[str, str]:
        try:
            return digest(index), ""
        except OSError as error:
            return "", error.strerror or str(error) or type(error).__name__

    def batch(start: int) -> list[tuple[str, str]]:
        return [one(index) for index in range(start, min(start + _BATCH, count))]

    results: list[tuple[str, str]] = []
    with ThreadPoolExecutor(cores()) as pool:
        for part in pool.map(batch, range(0, count, _BATCH)):
            results += part
            if progress:
                progress(len(results), count)
    return [value for value, _ in results], {index: reason for index, (_, reason) in enumerate(results) if reason}
