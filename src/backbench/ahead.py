"""Images decoded ahead: at the size that a later job needs, while an earlier one computes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from backbench import pixels
from backbench.errors import BackbenchError
from backbench.records import Job, Listing

Report = Callable[[str, int, int], None]

# Seconds for the image that is being decoded when all is to end.
PATIENCE = 5.0


class Ahead:
    """Decodes one size at a time in the background, with what the processor has to spare.

    What is decoded lies in the cache, where whoever needs it finds it; what fails is met again there.
    """

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._may_go = threading.Event()
        self._may_go.set()
        self._over = False
        self._size: int | None = None
        self._thread: threading.Thread | None = None
        self._done = ("", 0, 0)

    def start(self, current: Job, later: Sequence[Job]) -> None:
        """Begin with the first of the later jobs whose images have another size than those of the current one."""
        job = next((job for job in later if job.image_size != current.image_size), None)
        if job and not self._busy():
            self._size = job.image_size
            self._thread = threading.Thread(target=self._decode, args=(job,), daemon=True, name="decoding")
            self._thread.start()

    def wait(self, job: Job, progress: Report) -> None:
        """Until the images of this job are no longer being decoded here."""
        if self._size != job.image_size:
            return
        self.quiet(False)
        while self._thread and self._busy():
            progress(*self._done)
            self._thread.join(0.2)

    def quiet(self, wanted: bool) -> None:
        """Whether to pause, because something is being timed."""
        if wanted:
            self._may_go.clear()
        else:
            self._may_go.set()

    def close(self) -> None:
        """Stop within seconds; what was half-decoded goes, at the latest when the cache is next looked through."""
        self._over = True
        self._may_go.set()
        if self._thread:
            self._thread.join(PATIENCE)

    def _busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _decode(self, job: Job) -> None:
        def report(done: int, total: int) -> None:
            self._done = (f"decoding at {job.image_size} px", done, total)

        with suppress(BackbenchError, OSError):
            pixels.decode(
                self._listing,
                size=job.image_size,
                resize=job.resize,
                cache=job.cache,
                progress=report,
                may_go_on=self._may_go_on,
            )

    def _may_go_on(self) -> bool:
        self._may_go.wait()
        return not self._over
