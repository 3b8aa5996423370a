"""Which cells are the best, and whose trained weights are kept: the winner's always, and as few others as possible."""

from __future__ import annotations

from typing import Any

import pandas as pd

from backbench.analysis import grouped
from backbench.analysis.best_cells import trained, winners, worth_keeping


def row(cell_id: str, score: float | None, **columns: Any) -> dict[str, Any]:
    place = {"backbone": "VGG16", "weights": "imagenet", "image_size": 96, "freeze": "all-1", "seed": 0}
    status = {"status": "ok" if score is not None else "failed", "selection_score": score}
    return {"cell_id": cell_id} | place | status | columns


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def test_winners_are_the_best_seeds_in_the_order_of_the_leaderboard() -> None:
    cells = table(
        row("a0", 0.90),
        row("a1", 0.92, seed=1),  # mean 0.91
        row("b0", 0.95, freeze="all-2"),
        row("b1", 0.80, freeze="all-2", seed=1),  # mean 0.875
        row("c0", 0.99, freeze="all"),
        row("d0", None, freeze="none"),
    )
    assert winners(cells) == ["c0", "a1", "b0"]
    assert list(grouped(cells)["cell_id"]) == ["c0", "a0", "b0"]


def test_trained_leaves_out_probes_on_pretrained_weights() -> None:
    cells = table(
        row("probe", 0.5, freeze="all"),
        row("tail", 0.5),
        row("random probe", 0.5, freeze="all", weights="none"),
        row("scratch", 0.5, backbone="scratch", weights="none", freeze="none"),
        row("failed", None, freeze="none"),
    )
    assert list(trained(cells)["cell_id"]) == ["tail", "random probe", "scratch"]


def test_worth_keeping_is_the_best_trained_depth_of_every_network() -> None:
    cells = table(
        row("a", 0.90),
        row("b", 0.91, freeze="all-2"),
        row("probe", 0.99, freeze="all"),
        row("larger", 0.20, image_size=224),
        row("random", 0.10, weights="none"),
        row("scratch", 0.30, backbone="scratch", weights="none", freeze="none"),
    )
    assert worth_keeping(cells) == {"b", "larger", "random", "scratch"}
    assert worth_keeping(table()) == set()


def test_worth_keeping_ranks_by_the_mean_over_the_seeds() -> None:
    cells = table(
        row("a0", 0.90),
        row("a1", 0.91, seed=1),
        row("b0", 0.95, freeze="all-2"),
        row("b1", 0.80, freeze="all-2", seed=1),
    )
    assert worth_keeping(cells) == {"a1"}


def test_worth_keeping_keeps_every_best_seed_of_an_unfinished_network() -> None:
    """b0 alone would beat both seeds of a, and the second seed of b shows that it does not."""
    before = table(row("a0", 0.90), row("a1", 0.91, seed=1), row("b0", 0.95, freeze="all-2"))
    other = row("other", 0.5, backbone="Xception"), row("worse", 0.4, backbone="Xception", freeze="none")
    cells = pd.concat([before, table(*other)], ignore_index=True)
    assert worth_keeping(cells, open_series={("VGG16", "imagenet", 96)}) == {"a1", "b0", "other"}
    assert worth_keeping(before) == {"b0"}


def test_worth_keeping_holds_the_winner_or_it_needs_no_weights() -> None:
    """Scores in every order over three networks at three depths and two seeds, with ties."""
    scores = [0.1 * (7 * position % 5) for position in range(18)]
    places = [(name, freeze, seed) for name in "ABC" for freeze in ("all", "all-1", "none") for seed in (0, 1)]
    for shift in range(18):
        cells = table(
            *(
                row(f"{name} {freeze} {seed}", scores[(position + shift) % 18], backbone=name, freeze=freeze, seed=seed)
                for position, (name, freeze, seed) in enumerate(places)
            )
        )
        winner = winners(cells)[0]
        assert winner in worth_keeping(cells) or " all " in winner
        assert len(worth_keeping(cells)) == 3
