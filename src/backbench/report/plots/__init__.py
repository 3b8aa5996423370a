"""The plots of a sweep: what each shows is prepared once, then drawn for files by matplotlib and for the page by Vega.

A module per plot. Its `prepare` turns what is stored into a `Plot`: a tidy frame with title, caption, finding, legend
and table. Its `matplotlib_figure` and `vega_plot` draw that frame and compute nothing else of it. `plot` defines what
both share, `style` is matplotlib's side, `vega` that of Vega-Lite. Begin with `train_vs_test`, the simplest.
Imports the statistics (`analysis`) and what a results folder holds (`report.loader`), nothing else of the report.
"""

from __future__ import annotations

from altair.utils.schemapi import debug_mode

from backbench.report.loader import ReportData
from backbench.report.plots import (
    accuracy_vs_cost,
    freeze_depth,
    learning_curves,
    per_class_accuracy,
    reliability,
    style,
    train_vs_test,
)
from backbench.report.plots.style import DrawnPlot

# In the order of the page: which one, how deep, at what cost; then what stands behind the numbers.
PLOTS = (train_vs_test, accuracy_vs_cost, freeze_depth, learning_curves, per_class_accuracy, reliability)
NAMES = frozenset(module.NAME for module in PLOTS)


def draw(stored: ReportData) -> tuple[DrawnPlot, ...]:
    """The plots that there are numbers for; none when no cell is ok. The same results give the same bytes."""
    # Whether a specification is valid does not depend on the data: the tests find out, and checking takes seconds.
    with debug_mode(False):
        return tuple(
            style.drawn(plot, module.matplotlib_figure, module.vega_plot(plot))
            for module in PLOTS
            if (plot := module.prepare(stored)) is not None
        )
