"""Weights fetched in the background, in the order in which jobs will want them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path

from backbench.backbones import find_weights
from backbench.core.backbone import Backbone, Weights
from backbench.core.errors import UnavailableError


class WeightsPrefetcher:
    """Hands out each backbone's weights, waiting for them if need be.

    One thread fetches, so that an index or host is asked for one file at a time; it is a daemon, so that an
    interrupted sweep does not wait for a download.
    """

    def __init__(
        self,
        backbones: Iterable[Backbone],
        *,
        cache: Path,
        mirrors: bool,
        progress: Callable[[str, int, int], None] = lambda _name, _done, _total: None,
    ) -> None:
        self._cache, self._mirrors, self._progress = cache, mirrors, progress
        self._unreachable: set[str] = set()
        self._may_start = threading.Event()
        self._may_start.set()
        self._found: dict[str, Future[Weights]] = {backbone.name: Future() for backbone in backbones}
        thread = threading.Thread(target=self._fetch, args=(list(backbones),), daemon=True, name="weights")
        thread.start()

    def get(self, backbone: Backbone) -> Weights:
        """The weights of one backbone. Raises UnavailableError with the reason when they cannot be had."""
        self.quiet(False)
        return self._found[backbone.name].result()

    def waiting_for(self, backbone: Backbone) -> bool:
        """Whether `get` would have to wait."""
        return not self._found[backbone.name].done()

    def quiet(self, wanted: bool) -> None:
        """Whether to start no further download for now, because something is being timed."""
        if wanted:
            self._may_start.clear()
        else:
            self._may_start.set()

    def _fetch(self, backbones: list[Backbone]) -> None:
        for backbone in backbones:
            future = self._found[backbone.name]
            self._may_start.wait()
            try:
                future.set_result(
                    find_weights(
                        backbone,
                        cache=self._cache,
                        mirrors=self._mirrors,
                        unreachable=self._unreachable,
                        progress=self._telling(backbone.name),
                    )
                )
            except UnavailableError as error:
                future.set_exception(error)
            except Exception as error:  # one backbone's trouble must not leave the others waiting
                future.set_exception(UnavailableError(f"{backbone.name}: getting its weights failed: {error}"))

    def _telling(self, name: str) -> Callable[[int, int | None], None]:
        return lambda done, total: self._progress(name, done, total or 0)
