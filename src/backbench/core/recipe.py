"""The recipe: every constant that a reported number depends on and that no option sets.

`protocol_text` says them in run.json and on the page. Who changes one so that a
number means something else raises `cells.PROTOCOL_VERSION`.
"""

from __future__ import annotations

import numpy as np

# Splits that the source does not publish take one of so many images of each class: test, val beside it, and val where
# only that is missing.
TEST_ONE_OF, VAL_ONE_OF, VAL_OF_TRAIN_ONE_OF = 5, 10, 8

# Linear probe: the L2 strengths, two per decade, from too strong to too weak.
PROBE_STRENGTHS = tuple(float(s) for s in 10.0 ** (0.5 - np.arange(12) / 2))

# Weaker ones are not solved once the best on val lies this many behind, a decade: they would overfit more, and each
# takes nearly twice as long as the one before it.
PROBE_BEYOND_BEST = 2

# The probe's objective is s-strongly convex in W: a gradient of norm g puts W within g/s of the optimum and the value
# within g^2/(2s) of the smallest. Stopping at g <= tolerance s ||W|| leaves at most tolerance^2, a thousandth, of the
# penalty.
PROBE_TOLERANCE = 3e-2

# Fine-tuning: a learning rate is tried where those before it end below the probe, by more than a standard error.
LEARNING_RATES = (1e-3, 3e-4, 1e-4)
# What starts at random has one.
LEARNING_RATES_FROM_SCRATCH = (1e-3,)

# Epochs of a schedule: of pretrained networks, which start at the probe, and of what starts at random.
EPOCHS, EPOCHS_FROM_SCRATCH = 10, 25

WEIGHT_DECAY = 1e-4

# A network that knows train by heart has next to no loss left, and Adam makes full steps of what noise remains in the
# gradient; smoothed labels leave it something to learn.
LABEL_SMOOTHING = 0.1

# Norm of the gradient of all that is trained, above which it is scaled down: without it, 1e-3 went astray on digits
# with one network and seed in two (training loss 1.00 and .55 at the end; with it .58 and .53).
GRADIENT_NORM = 1.0

# Share of the steps in which the learning rate rises. With a tenth, the first epoch undid what the features had been:
# val fell to half of its score and the end was lower on it (.428 and .463 on photos, means of two seeds).
WARM_UP = 0.3

# Augmentation: the largest shift, as a share of the side, and the share of images that are mirrored.
SHIFT, MIRRORED = 0.1, 0.5

# Transferability: ridge penalties per image, in units in which every feature has variance 1, half decades, strong to
# weak; the numbers of neighbours that vote, and the temperature of their weights (Caron et al. 2021, arXiv 2104.14294,
# appendix).
RIDGE_PENALTIES = tuple(float(penalty) for penalty in 10.0 ** (3 - np.arange(13) / 2))
NEIGHBOURS, NEIGHBOUR_TEMPERATURE = (10, 20, 100), 0.07

# Of more images than this, so many, evenly spaced over the classes, ask for their neighbours among all others; the same
# for every backbone. The standard error is at most 1.6 points. Of 2,500 grocery photos it was 0.9 to 1.1 for seven sets
# of features, and 0.6 to 1.4 for the difference of two; 512 would take a third less for all scores of 1,280 features
# and be off by half as much again.
MOST_QUERIES = 1024

# Level of the interval of test accuracy, and bins of the expected calibration error.
INTERVAL_LEVEL, ECE_BINS = 0.95, 15

# Cost of inference: calls of which the median is taken, and the batch sizes beside 1 that throughput is tried at.
TIMED_CALLS, TIMED_BATCHES = 15, (8, 32)
