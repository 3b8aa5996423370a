"""A forecast in words and columns."""

from __future__ import annotations

from collections.abc import Iterator

from backbench.budget.cost_model import Expected, Seconds
from backbench.core import formatting
from backbench.core.dataset import SPLITS
from backbench.results.run_record import ForecastRecord
from backbench.sweep.dry_run import Forecast


def as_text(found: Forecast) -> str:
    """The forecast for the terminal, one line a job, then what it comes to."""
    return formatting.for_terminal("\n".join(_lines(found)))


def _lines(found: Forecast) -> Iterator[str]:
    data, jobs = found.dataset, found.jobs
    counts = {split: len(data.indices(split)) for split in SPLITS}
    sizes = ", ".join(f"{formatting.count(amount)} {split}" for split, amount in counts.items())
    yield f"{data.name}: {sizes} images, {len(data.class_names)} classes; {found.engine}"
    yield ""
    width = max([3, *(len(expected.job.label) for expected in jobs)])
    yield f"{'job':{width}} {'image':>7} {'cells':>6} {'there':>6} {'time':>12}  {'weights':9} to measure"
    for expected in jobs:
        yield _line(expected, width)
    yield ""
    total = sum((expected.seconds for expected in jobs), Seconds())
    missing, there = (sum(n) for n in zip(*((len(each.missing), each.there) for each in jobs), strict=True))
    impossible = sum(expected.impossible for expected in jobs)
    text = f"{sum(bool(each.missing) for each in jobs)} jobs with {missing} cells to measure, {there} are there already"
    yield text + (f", {impossible} cannot be measured" if impossible else "")
    if missing:
        span = f"{formatting.duration(total.least)} to {formatting.duration(total.most)}"
        yield f"time: about {formatting.duration(total.likely)}, somewhere from {span}" + (
            "; one job after the other" if found.workers > 1 else ""
        )
        if found.budget:
            share = found.budget[-1].isdigit()
            amount = f"about {formatting.duration(float(found.budget) * total.likely)}" if share else "so much at most"
            yield (f"of this --budget {found.budget} spends {amount}; which cells are measured is decided on the way")
        yield from _bytes(found)
        yield f"how sure: {_certainty(found)}"
    yield "nothing was started or written"


def _line(expected: Expected, width: int) -> str:
    job, freezes = expected.job, dict.fromkeys(cell.freeze for cell in expected.missing)
    seeds = {freeze: sum(cell.freeze == freeze for cell in expected.missing) for freeze in freezes}
    said = ", ".join(freeze + (f" x {number}" if number > 1 else "") for freeze, number in seeds.items())
    weights = "-" if not job.spec.pretrained else f"{expected.download / 1e6:.0f} MB" if expected.download else "here"
    spent = formatting.duration(expected.seconds.likely) if expected.missing else "-"
    cells, size = len(expected.missing), f"{job.spec.image_size} px"
    return f"{job.label:{width}} {size:>7} {cells:>6} {expected.there:>6} {spent:>12}  {weights:9} {said}".rstrip()


def _bytes(found: Forecast) -> Iterator[str]:
    wanted = [expected for expected in found.jobs if expected.missing]
    pixels = sum(3 * size**2 for size in {expected.job.spec.image_size for expected in wanted}) * len(found.dataset.ids)
    features = sum(expected.work.features for expected in wanted)
    kept = sorted((expected.work.kept for expected in wanted), reverse=True)[: found.workers]
    download = sum(expected.download for expected in wanted)
    yield (
        f"disk: {_size(pixels)} of pixels and {_size(features)} of features in the cache, where it does not have them;"
        f" at most {_size(sum(kept))} of activations while a job runs; {_size(download)} of weights to download"
    )


def _size(amount: float) -> str:
    return f"{amount / 1e9:.1f} GB" if amount >= 9.995e8 else f"{amount / 1e6:.0f} MB"


def _certainty(found: Forecast) -> str:
    labels = {expected.job.label for expected in found.jobs if expected.missing}
    own = len(labels & found.measured)
    if own == len(labels):
        return f"measured in {found.directory} with the same networks"
    if found.measured:
        others = f"{own} of {len(labels)} networks were measured in {found.directory}, the others are taken to be like"
        return f"{others} the median of those"
    where = f"; the GPU ({found.gpu}) was not tried and is probably much quicker" if found.gpu else ""
    return f"a guess, from the speed of a matrix product on this CPU: nothing was measured in {found.directory}{where}"


def error_in_words(error: ForecastRecord) -> Iterator[str]:
    """How far the forecasts of a sweep's jobs were off, if it ran any."""
    if error.jobs:
        said, taken = error.said, error.taken
        off = abs(said - taken) / taken
        yield (
            f"forecast: {formatting.duration(said)} for {formatting.count(error.jobs)}"
            f" {'job' if error.jobs == 1 else 'jobs'}, they took {formatting.duration(taken)}:"
            f" {formatting.percent(off)} too {'long' if said > taken else 'short'}; a single job was off by a factor of"
            f" {error.median_factor:.2f} in the median"
        )
