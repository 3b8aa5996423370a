"""What jobs will take, by what the jobs of this sweep have taken so far: the forecast, corrected while it is used."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from statistics import median

from backbench.budget.cost_model import PHASES, Rate, Speeds, typical, usual
from backbench.core.events import TRAINING_PHASES, Phase
from backbench.core.job import Job, Screening
from backbench.evaluation.workload import stage_flops, workload_of
from backbench.results.run_record import ForecastRecord

# Seconds of a trained cell until its first step is over, where nothing tells: most of them go to compiling.
STARTING = 5.0

TRAINING = (*TRAINING_PHASES, Phase.EVALUATION)


@dataclass
class OnlineCostModel:
    """Rates by part and label of a job, as in `Speeds`, and what is beside them.

    `starting` are seconds of each trained cell that do not grow with its work, by label; `step` the rates of training
    after it. `said` has for each job that ended the seconds that were expected when it started, and those that it took.
    """

    speeds: Speeds
    starting: dict[str, float] = field(default_factory=dict)
    step: dict[str, Rate] = field(default_factory=dict)
    said: list[tuple[float, float]] = field(default_factory=list)

    def expected(self, job: Job, wanted: Collection[str]) -> float:
        """Likely seconds of these cells of a job, from the start of its process to its end."""
        if isinstance(job.effort, Screening):
            screened = self._take("screening", "frozen", job, _screening(job, job.effort.images))
            return screened + self._take(_overhead(job), "overhead", job, 1.0)
        work = workload_of(job, wanted)
        shared = (("frozen", work.frozen), ("probe", work.probe))
        training = sum(self._training(job, flops) for flops in work.training.values())
        likely = sum(self.speeds.take(part, job, amount).likely for part, amount in shared)
        return likely + self._take(_overhead(job), "overhead", job, 1.0) + training

    def learn(
        self, job: Job, wanted: Collection[str], *, said: float, phases: Mapping[Phase, float], wall: float
    ) -> None:
        """Take note of a job that has ended, of its phases, and of the seconds that it was said to take and took."""
        self.said.append((said, wall))
        if isinstance(job.effort, Screening):
            parts = {"screening": phases.get(Phase.FROZEN_PASS, 0.0)}
            amounts = {"screening": _screening(job, job.effort.images)}
        else:
            work = workload_of(job, wanted)
            parts = {part: sum(phases.get(phase, 0.0) for phase in PHASES[part]) for part in ("frozen", "probe")}
            amounts = {"frozen": work.frozen, "probe": work.probe}
            if work.training:
                parts["training"] = sum(phases.get(phase, 0.0) for phase in TRAINING)
                self._trained(job, work.training, spent=parts["training"], starting=phases.get(Phase.STARTING, 0.0))
        overhead = max(0.0, wall - sum(parts.values()))
        rates = {part: parts[part] / amount for part, amount in amounts.items() if amount and parts[part]}
        measured = {part: dict(known) for part, known in self.speeds.measured.items()}
        for part, rate in {**rates, _overhead(job): overhead}.items():
            measured.setdefault(part, {})[job.label] = Rate(rate, usual(part, job))
        self.speeds = replace(self.speeds, measured=measured)

    def _take(self, part: str, like: str, job: Job, amount: float) -> float:
        """Seconds of a part, by one that is like it where nothing is known of the part itself."""
        return self.speeds.take(part if self.speeds.measured.get(part) else like, job, amount).likely

    def error(self) -> ForecastRecord:
        """Seconds said and taken, over all jobs, and the median factor by which a job was off."""
        said, taken = (sum(times) for times in zip(*self.said, strict=True)) if self.said else (0.0, 0.0)
        off = [max(a, b) / max(1e-9, min(a, b)) for a, b in self.said]
        return ForecastRecord(len(self.said), said, taken, median(off) if off else 1.0)

    def _trained(self, job: Job, training: Mapping[str, float], *, spent: float, starting: float) -> None:
        """Take note of what the trained cells of a job took, `starting` of it before their first steps were over."""
        self.starting[job.label] = starting / len(training)
        rate = max(0.0, spent - starting) / sum(training.values())
        self.step[job.label] = Rate(rate, usual("training", job))

    def _training(self, job: Job, flops: float) -> float:
        """Seconds of one trained cell: what starting costs, and what grows with the work."""
        starting = self.starting.get(job.label, median(self.starting.values()) if self.starting else STARTING)
        if job.label in self.step:
            step = self.step[job.label].seconds
        elif self.step:
            step = typical(self.step.values()) * usual("training", job)
        else:
            step = self.speeds.take("training", job, 1.0).likely
        return starting + step * flops


def _overhead(job: Job) -> str:
    """What starts with a job: one that is only tried measures no latency and no memory."""
    if job.effort.complete:
        return "overhead"
    return "overhead of screening" if isinstance(job.effort, Screening) else "overhead of trials"


def _screening(job: Job, images: int) -> float:
    """FLOPs of the pass of so many images of train, whether the dataset has been cut down to them or not yet."""
    return min(images, len(job.spec.dataset.indices("train"))) * sum(stage_flops(job))
