"""All benchmarks' figures in one file and on one page: benchmarks/all.json and benchmarks/README.md.

    python benchmarks/page.py

Reads the JSON that each benchmark has left beside itself; what has not been measured is said to be missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

Found = dict[str, Any]


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    cells = [[_said(value) for value in row] for row in [list(head), *map(list, rows)]]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    rule = "|" + "|".join(" --- " if column == 0 else " ---: " for column in range(len(cells[0]))) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"
    return "–" if value is None else str(value)


def _measured_on(found: Found) -> str:
    rounds = found.get("rounds") or found.get("repeats")
    often = f", medians of {rounds}" if rounds and rounds > 1 else ""
    what = f"{found['what']}; " if "what" in found else ""
    return f"*{what}{found['device']}{often}.*"


def plain_loop(found: Found) -> str:
    """Cells beside the loop of the transfer-learning guide."""
    depths, passes = found["depths"], found["pass_seconds"]
    shared = [name for name in depths if name != "none"]
    apart = found.get("measured_apart", [])

    def counted(name: str) -> float:
        """How often what was measured counts: `none` may have run for fewer epochs than the others."""
        return float(depths["all-1"]["epochs"] / depths["none"]["epochs"]) if name == "none" else 1.0

    tables = []
    for way in passes:
        each = {name: depth["cells"][way] for name, depth in depths.items()}
        rows = [
            [
                f"`{name}`, {depth['epochs']} epochs",
                depth["plain"]["seconds"],
                each[name]["seconds"],
                each[name]["times_faster"],
                each[name].get("times_faster_where_the_pass_is_shared"),
                f"{depth['plain']['test_acc']:.3f}",
                f"{each[name]['test_acc']:.3f}",
            ]
            for name, depth in depths.items()
        ]
        for those in (shared, list(depths)) if len(shared) < len(depths) else (shared,):
            plain = sum(counted(name) * depths[name]["plain"]["seconds"] for name in those)
            ours = sum(passes[way][part] for part in ("with_two_boundaries", "engine", "probe"))
            ours += sum(counted(name) * each[name]["seconds"] for name in those if name != "all")
            said = ", ".join(f"`{name}`" for name in those)
            rows.append([f"{said}: one pass", plain, ours, plain / ours, None, "", ""])
        head = ["freeze depth", "plain loop, s", "here, s", "times faster", "where the pass is shared"]
        ran = f"pass: {found['ran_in'][way]}, training: {found['trained_in'][way]}"
        tables += [f"**{way}** ({ran})", _table([*head, "test", "test here"], rows)]
    plain = sum(depths[name]["plain"]["seconds"] for name in shared)
    limit = min(each["with_two_boundaries"] for each in passes.values()) + sum(
        min(cell.get("bare_steps_seconds", 0.0) for cell in depths[name]["cells"].values()) for name in shared
    )
    return "\n\n".join(
        [
            _measured_on(found),
            *tables,
            f"The same trials on both sides; the plain loop is Keras in float32. Passes are medians, each training"
            f" ran once. The pass that keeps four boundaries"
            f" takes {found['boundaries_over_bare_pass']:.2f} of a bare one. The quicker pass and the quicker bare"
            f" training steps alone would take {limit:,.0f} s without `none`, so that no way of sharing could be more"
            f" than {plain / limit:.1f} times as fast as the plain loop here."
            + (" In the sums `none` counts for as many epochs as the others." if "none" in depths else "")
            + (f" Measured in a run of its own: {', '.join(f'`{name}`' for name in apart)}." if apart else ""),
        ]
    )


def floor(found: Found) -> str:
    """Frozen cells beside decoding and one bare forward pass."""
    rows = []
    for name, one in found["backbones"].items():
        cell, bare = one["cell_seconds"], one["floor_seconds"]
        apart = [cell[phase] for phase in ("building", "engine", "timing", "memory")]
        parts = [cell["decode"], cell["frozen pass"], cell["probe"], cell["store"]]
        rows.append([name, bare["decode"] + bare["forward"], cell["cell"], one["cell_over_floor"], *parts, *apart])
    head = ["backbone", "floor, s", "cell, s", "ratio", "decode", "pass", "probe", "store"]
    head += ["*building*", "*engine*", "*timing*", "*memory*"]
    return "\n\n".join(
        [
            f"**{found['engine']}, {found['precision']}.** " + _measured_on(found),
            _table(head, rows),
            f"All of them together: {found['cells_over_floors']:.2f}. What stands in italics is started once and"
            " counts on neither side.",
        ]
    )


def engines(found: Found) -> str:
    """Images a second of each engine."""
    names = list(next(iter(found["backbones"].values())))
    rows = []
    for name, each in found["backbones"].items():
        row: list[Any] = [name]
        for engine in names:
            one = each[engine]
            ran = "" if one.get("ran_in", engine.split()[-1]) == engine.split()[-1] else f" (ran in {one['ran_in']})"
            row.append(f"{one['images_per_second']:.0f}{ran}" if "images_per_second" in one else "unfit")
        row.append(max(one.get("over_keras", 0.0) for one in each.values()))
        rows.append(row)
    means = ", ".join(f"{name} {mean:.2f}" for name, mean in found["geometric_means_over_keras"].items())
    return "\n\n".join(
        [
            _measured_on(found),
            _table(["images a second", *names, "best over Keras"], rows),
            f"Geometric means over Keras in float32: {means}.",
            *_shares(found),
        ]
    )


def _shares(found: Found) -> list[str]:
    """How near each engine comes to what the processor does at best, where that was measured."""
    if "matrix_gflops" not in found:
        return []
    best, names = found["matrix_gflops"], list(next(iter(found["backbones"].values())))
    rows = [
        [
            name,
            *(f"{share:.0%}" if (share := each[engine].get("share_of_matrix_product")) else None for engine in names),
        ]
        for name, each in found["backbones"].items()
    ]
    return [
        f"Products of large matrices reach {best['float32']:,.0f} GFLOP/s in float32 and {best['bfloat16']:,.0f} in"
        f" bfloat16 on this processor, {best['bfloat16'] / best['float32']:.1f} times as many. The share of that which"
        " each pass reaches, in the precision that it ran in (above 100 % such a product is not yet the very best):",
        _table(["share of the best", *names], rows),
    ]


def decoding(found: Found) -> str:
    """Milliseconds an image."""
    names = ["read", "digest", "decode", "resize", "decode_and_resize", "decode_scaled_and_resize", "all_cores"]
    rows = [
        [photos, *(one["milliseconds_an_image"][name] for name in names), one["scaled_decoding_is_off_by"]["mean"]]
        for photos, one in found["photos"].items()
    ]
    head = ["photos", "read", "digest", "decode", "resize", "both, whole", "both, scaled by the decoder", "all cores"]
    return "\n\n".join([_measured_on(found), _table([*head, "scaled is off by, of 255"], rows)])


def growth(found: Found) -> str:
    """What doubles, and what does not."""
    rows = [
        [f"twice the images, {name}", each["wall"], each["work"]] for name, each in found["twice_the_images"].items()
    ]
    for what in ("four_backbones_over_one_each", "four_depths_over_one_each"):
        rows.append([what.replace("_", " "), found[what]["wall"], found[what]["work"]])
    rows.append(["four more seeds over their own training", None, found["four_more_seeds_over_their_training"]])
    return "\n\n".join(
        [
            _measured_on(found),
            _table(["ratio of", "wall time", "work"], rows),
            "Work leaves out start-up, building and cost measurement, which do not grow with the images.",
        ]
    )


def large(found: Found) -> str:
    """A dataset of Food-101's size."""
    probe, sweep = found["probe"], found["sweep"]
    shares = ", ".join(f"{share:.1%} ({name})" for name, share in probe["share_of_pass_and_probe"].items())
    disk = ", ".join(f"{part} {size:,.0f} MB" for part, size in sweep["cache_mb"].items() if size >= 1)
    return "\n\n".join(
        [
            _measured_on(found),
            f"- A sweep of {sweep['images']:,} photos at {sweep['image_size']} px took {sweep['wall_seconds']:,.0f} s;"
            f" all its processes together held at most {sweep['resident_mb']:,.0f} MB,"
            f" {sweep['not_mapped_mb']:,.0f} MB of it not mapped from files. Cache: {disk};"
            f" results {sweep['results_mb']:,.0f} MB. The pass took {sweep['phase_seconds']['frozen pass']:,.0f} s, the"
            f" probe {sweep['phase_seconds']['probe']:,.0f} s: so small a network hardly tells these classes apart.\n"
            f"- The probe of {probe['rows']:,} x {probe['width']} features and {probe['classes']} classes took"
            f" {probe['seconds']:,.0f} s, {probe['iterations']} iterations along the path,"
            f" {probe['not_mapped_mb']:,.0f} MB not mapped from files: {shares} of it and one pass of ResNet50"
            " over 101,000 images.",
        ]
    )


def gpu(found: Found) -> str:
    """Images a second on each device."""
    parts = []
    for device, one in found.items():
        rows = []
        for name, each in one["backbones"].items():
            size, best = max(each["batches"].items(), key=lambda item: item[1]["images_per_second"])
            timm = each.get("timm", {}).get("batches", {})
            theirs = max((batch["images_per_second"] for batch in timm.values()), default=None)
            row = [name, size, best["images_per_second"], best["on_device"], each["share_of_matrix_product"]]
            rows.append([*row, best["seconds_until_ready"], theirs])
        head = ["backbone", "batch", "images/s", "on the device", "share of a matrix product", "ready, s", "timm"]
        said = f"**{device}**, {one['precision']}, matrix products at {one['matrix_tflops']:.0f} TFLOP/s"
        parts += [said, _table(head, rows)]
    return "\n\n".join(parts)


def precision(found: Found) -> str:
    """Training in bfloat16."""
    rows = [
        [name, step["float32_ms"], step["bfloat16_ms"], step["times_faster_in_bfloat16"]]
        for name, step in found["steps"].items()
    ]
    return "\n\n".join([_measured_on(found), _table(["backbone", "float32, ms", "bfloat16, ms", "times faster"], rows)])


def report(found: Found) -> str:
    """Page and statistics."""
    page, statistics = found["report"], found["statistics"]
    return "\n\n".join(
        [
            _measured_on(found),
            f"The page of {page['cells']:,} cells takes {page['seconds']:.1f} s and {page['page_megabytes']:.1f} MB."
            f" The recommendation among {statistics['cells']} cells on {statistics['test_items']:,} test images takes"
            f" {statistics['seconds']:.1f} s.",
        ]
    )


def replay(found: Found) -> str:
    """Points lost and whether the best was measured, by budget."""
    rows = [
        [
            f"{row['budget']:.0%}",
            row["strategy"],
            f"{100 * row['regret']:.1f}",
            f"{100 * row['regret_low']:.1f} to {100 * row['regret_high']:.1f}",
            f"{row['survived']:.0%}",
        ]
        for row in found["budgets"]
    ]
    head = ["budget", "search", "points of test accuracy lost", "the middle 80 %", "had measured the best"]
    drawn = f"Medians over {found['draws']} draws of val images and of the order of seeds."
    return "\n\n".join([_measured_on(found), _table(head, rows), drawn])


SECTIONS: tuple[tuple[str, str, Callable[[Found], str]], ...] = (
    ("Against the plain Keras loop", "freeze_depth", plain_loop),
    ("Against the floor: decoding and one bare pass", "frozen_cell", floor),
    ("The same with OpenVINO", "frozen_cell_openvino", floor),
    ("Engines", "engines", engines),
    ("Before the network: decoding", "decoding", decoding),
    ("How it grows", "growth", growth),
    ("A large dataset", "large", large),
    ("On a GPU", "gpu", gpu),
    ("Training in bfloat16", "precision", precision),
    ("Under a budget", "replay", replay),
    ("The page", "report_speed", report),
)


def main() -> None:
    """Read what there is, write one file and one page."""
    everything: Found = {}
    parts = [
        "# Benchmarks",
        "Ratios from one run on one machine each, with both sides in turns. `make benchmark` measures them again where"
        " it runs, and writes this page from the JSON files beside it. `coverage.json` and `selection.json` are about"
        " the statistics; docs/architecture.md tells what they found.",
    ]
    for title, name, said in SECTIONS:
        path = HERE / f"{name}.json"
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        parts += [f"## {title}", said(found) if found else f"Not measured yet: `python benchmarks/{name}.py` does it."]
        everything |= {name: found} if found else {}
    (HERE / "all.json").write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    (HERE / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(f"{HERE / 'README.md'}: {len(everything)} benchmarks")


if __name__ == "__main__":
    main()
