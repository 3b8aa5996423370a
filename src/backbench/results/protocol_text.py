"""The protocol in words, for run.json and the page: what was done, with the numbers of `recipe`."""

from __future__ import annotations

from collections.abc import Sequence

from backbench.core import recipe
from backbench.core.cells import PROTOCOL_VERSION
from backbench.core.dataset import Dataset
from backbench.core.request import Request

WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def protocol(request: Request, dataset: Dataset) -> dict[str, int | str]:
    """What was done with the data, topic by topic; `PROTOCOL_VERSION` is its number."""
    return {
        "version": PROTOCOL_VERSION,
        "splits": "Published splits are used as published; missing ones are made stratified, by content digest, so that"
        " byte-identical images never straddle two splits that were made: of each class"
        f" {1 / recipe.TEST_ONE_OF:.4g} for test and {1 / recipe.VAL_ONE_OF:.4g} for val, or"
        f" {1 / recipe.VAL_OF_TRAIN_ONE_OF:.4g} of train for val where only that is missing.",
        "choices": "Every choice (regularisation, learning rate, rank) is made on val, by the selection score;"
        " test is evaluated once per cell.",
        "images": f"RGB, the {'whole image' if request.resize == 'stretch' else 'centre square'} resized to the input"
        " size (bilinear, antialiased), then the family's own preprocess_input.",
        "frozen cell": "Global average pooling, features standardised on train, logistic regression with L2: up to"
        f" {_word(len(recipe.PROBE_STRENGTHS))} strengths, {recipe.PROBE_STRENGTHS[0]:.4g} to"
        f" {recipe.PROBE_STRENGTHS[-1]:.4g}, each solved to convergence (gradient at most {recipe.PROBE_TOLERANCE:g}"
        f" of strength times weights), until the best on val lies {_word(recipe.PROBE_BEYOND_BEST)} behind.",
        "fine-tuned cell": "Everything after the frozen stages, and the head, are trained on activations kept from the"
        " one frozen pass (on the pixels where nothing is frozen), starting at a solution of the probe; batch norm and"
        f" dropout stay in inference mode (with random weights batch norm trains as usual)."
        f" {_schedule(request, recipe.LEARNING_RATES, recipe.EPOCHS)}.",
        "scratch cell": "A small CNN trained from pixels."
        f" {_schedule(request, recipe.LEARNING_RATES_FROM_SCRATCH, recipe.EPOCHS_FROM_SCRATCH)}.",
        "augmentation": _augmentation(request, flips=dataset.flips),
        "transferability": "Scores of the pooled features of train alone, stored with the fully frozen cell:"
        f" leave-one-out accuracy of ridge regression (the best of {_word(len(recipe.RIDGE_PENALTIES))} penalties,"
        f" {recipe.RIDGE_PENALTIES[0]:.4g} to {recipe.RIDGE_PENALTIES[-1]:.4g}) and of the nearest neighbours by cosine"
        f" (the best of {_listed(recipe.NEIGHBOURS)}, weighed at temperature {recipe.NEIGHBOUR_TEMPERATURE:g}, of at"
        f" most {recipe.MOST_QUERIES} images), LogME and the shrunk H-score; all but the neighbours on features"
        " standardised on train. No choice is made by them.",
        "selection score": "The probability given to the right class on val: its geometric mean over the images after"
        " one temperature is fitted, from 0 to 1, higher is better.",
        "gap": "Accuracy on train minus accuracy on test, both after training, without augmentation.",
        "interval": f"{100 * recipe.INTERVAL_LEVEL:g} % Wilson score interval over the test items.",
        "calibration": "One temperature divides the logits of a cell, in its predictions and its export: that of the"
        " least log-loss on val, whose labels are smoothed by one image more of any class."
        " Expected calibration error of the most probable class on test, over"
        f" {recipe.ECE_BINS} equal-width bins.",
        "cost": "Measured on backbone and head together: latency is the median at batch 1 of up to"
        f" {recipe.TIMED_CALLS} calls, throughput the best of batches of {_listed((1, *recipe.TIMED_BATCHES))}, memory"
        " the peak of a fresh process that classifies one image; FLOPs count a multiply-add twice.",
    }


def _schedule(request: Request, rates: Sequence[float], epochs: int) -> str:
    """How a network is trained; for `epochs` where none were asked for."""
    others = "".join(f", then {rate:g}" for rate in rates[2:])
    others = (
        f", {rates[1]:g} where its accuracy on val ends more than a standard error below the linear probe's{others}"
        if rates[1:]
        else ""
    )
    return (
        f"AdamW (weight decay {recipe.WEIGHT_DECAY:g}, gradients of a norm of at most {recipe.GRADIENT_NORM:g})"
        f" on labels smoothed by {recipe.LABEL_SMOOTHING:g}, warm-up over"
        f" {100 * recipe.WARM_UP:g} % of the steps, then cosine to zero, {request.epochs or epochs} epochs in batches"
        f" of {request.batch_size}, always to the end, whose weights are kept: no epoch is picked. The learning rate is"
        f" {rates[0]:g}{others}{'; of several, the best on val is kept' if others else ''}"
    )


def _augmentation(request: Request, *, flips: bool) -> str:
    if request.augment == "none":
        return "Training images are not augmented."
    changed = f"shifted by up to {100 * recipe.SHIFT:g} % of the side"
    if flips:
        changed += f" and, {100 * recipe.MIRRORED:g} % of them, mirrored"
    drawn = f"{changed}, anew in every batch where training starts at the pixels"
    if request.augment is None:
        return f"Training images are {drawn}, and not augmented where stages are frozen."
    return (
        f"Training images are {drawn}; where stages are frozen, there are {request.views} fixed versions of each,"
        " itself among them: the probe is fitted on all, training draws one."
    )


def _word(number: int) -> str:
    return WORDS[number] if number < len(WORDS) else str(number)


def _listed(numbers: Sequence[float]) -> str:
    """`10, 20 and 100`."""
    *first, last = (f"{number:g}" for number in numbers)
    return f"{', '.join(first)} and {last}" if first else last
