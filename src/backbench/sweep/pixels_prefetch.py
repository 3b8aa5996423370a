"""Images decoded in the background: at the size that a job waits for, and at that of a later one in the meantime."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from backbench.core.dataset import Listing
from backbench.core.job import Job
from backbench.sweep import plan

Report = Callable[[str, int, int], None]

# Seconds for the images that are being decoded when all is to end.
PATIENCE = 5.0

# Bytes of the disk that stay for what runs: nobody needs yet what is decoded ahead of time.
MARGIN = 2_000_000_000


@dataclass
class _Work:
    """One size in the making; `awaited` once a job needs it now."""

    thread: threading.Thread
    result: Future[Job] = field(default_factory=Future)
    awaited: bool = False
    reached: tuple[str, int, int] = ("decoding", 0, 0)


class PixelsPrefetcher:
    """Decodes in threads, with what the processor has to spare, so that whoever waits can do other things meanwhile.

    What is decoded lies in the cache, where whoever needs it finds it; what fails ahead of time is met again then.
    """

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._works: dict[int, _Work] = {}
        self._changed = threading.Condition()
        self._quiet = self._over = False

    def start(self, current: Job, later: Sequence[Job]) -> None:
        """Begin with the first of the later jobs whose images have another size than those of the current one."""
        job = next((job for job in later if job.spec.image_size != current.spec.image_size), None)
        if job and all(work.result.done() for work in self._works.values()) and self._room(job):
            self._begin(job)

    def decoded(self, job: Job, progress: Report) -> Generator[None, None, Job]:
        """Return the job with its images; yields as long as they are being decoded. Raises as `with_pixels` does."""
        work = self._works.get(job.spec.image_size)
        if work is None or work.result.done():  # that may have been long ago, or have failed
            work = self._begin(job)
        with self._changed:
            work.awaited = True
            self._changed.notify_all()
        while not work.result.done():
            progress(*work.reached)
            yield
        return job.with_resources(pixels=work.result.result().resources.pixels)

    def quiet(self, wanted: bool) -> None:
        """Whether to pause with what nobody waits for, because something is being timed."""
        with self._changed:
            self._quiet = wanted
            self._changed.notify_all()

    def close(self) -> None:
        """Stop within seconds; what was half-decoded goes, at the latest when the cache is next looked through."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        until = time.monotonic() + PATIENCE
        for work in self._works.values():
            work.thread.join(max(0.0, until - time.monotonic()))

    def _room(self, job: Job) -> bool:
        needed = len(self._listing.ids) * job.spec.image_size**2 * 3
        return shutil.disk_usage(job.resources.cache).free >= needed + MARGIN

    def _begin(self, job: Job) -> _Work:
        work = _Work(threading.Thread(target=lambda: self._decode(job, work), daemon=True, name="decoding"))
        self._works[job.spec.image_size] = work
        work.thread.start()
        return work

    def _decode(self, job: Job, work: _Work) -> None:
        def report(what: str, done: int, total: int) -> None:
            work.reached = what, done, total

        def may_go_on() -> bool:
            with self._changed:
                self._changed.wait_for(lambda: self._over or work.awaited or not self._quiet)
            return not self._over

        try:
            work.result.set_result(plan.with_pixels(job, self._listing, progress=report, may_go_on=may_go_on))
        except BaseException as error:  # of whatever kind: it belongs to the one who waits
            work.result.set_exception(error)
