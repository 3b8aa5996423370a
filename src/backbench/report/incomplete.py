"""Cells that failed, were skipped, pruned or not come to, with their reasons, told once where many share the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from backbench.analysis.missing_cells import UNMEASURED
from backbench.analysis.ranking import cell_labels, tidy
from backbench.core.cells import Status


def groups(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Cells that are not ok, grouped by status and by reasons that differ only in names and addresses."""
    rows = tidy(table)
    rows["label"] = cell_labels(rows)  # of all rows: a depth that failed is told from the same backbone's that did not
    rows = rows[rows["status"] != Status.OK].reset_index(drop=True)
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    known = (Status.FAILED, Status.SKIPPED, Status.PRUNED, UNMEASURED)
    for status in (*known, *sorted(set(rows["status"]) - set(known))):
        for row in rows[rows["status"] == status].to_dict(orient="records"):
            reason = row["reason"].strip() or "no reason was recorded"
            kind = _kind(reason, row["backbone"])
            found.setdefault((status, kind), []).append({"label": row["label"], "reason": reason})
    return [_group(status, members) for (status, _), members in found.items()]


def _kind(reason: str, backbone: str) -> str:
    """A reason without what is particular to one backbone: its name, addresses, file names, long digests."""
    kind = reason.splitlines()[0].replace(backbone, "…") if backbone else reason.splitlines()[0]
    return re.sub(r"\S+://\S+|\S+\.(?:h5|keras|onnx|npz|whl|bin|xml)\b|\b[0-9a-f]{16,}\b|\d+", "…", kind)


def _group(status: str, members: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    first, *rest = members[0]["reason"].splitlines()
    differ = any(member["reason"] != members[0]["reason"] for member in members)
    names = [member["label"] for member in members]
    title = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    return {
        "status": status,
        "title": title,
        "reason": f"For {names[0]}: {first}" if differ else first,
        "members": [dict(member) for member in members],
        "differ": differ,
        "rest": "\n".join([first, *rest]) if rest and len(members) == 1 else "",
    }
