"""The evaluation protocol in words, for run.json and the page; `records.PROTOCOL_VERSION` is its number."""

from __future__ import annotations

from typing import Any

from backbench.records import PROTOCOL_VERSION, Dataset, Request


def describe(request: Request, dataset: Dataset) -> dict[str, Any]:
    """What was done with the data and why the numbers can be compared."""
    return {
        "version": PROTOCOL_VERSION,
        "splits": "Published splits are used as published; missing ones are made stratified, by content digest, so that"
        " byte-identical images never straddle two splits that were made.",
        "choices": "Every choice (regularisation, epoch, rank) is made on val; test is evaluated once per cell.",
        "images": f"RGB, the {'whole image' if request.resize == 'stretch' else 'centre square'} resized to the input"
        " size (bilinear, antialiased), then the family's own preprocess_input.",
        "frozen cell": "Global average pooling, features standardised on train, logistic regression with L2: twelve"
        " strengths from strong to weak, each solved to convergence, the best on val kept.",
        "scratch cell": f"A small CNN trained from pixels with AdamW, warm-up and cosine for at most {request.epochs}"
        f" epochs of batch {request.batch_size}, shifts{' and flips' if dataset.flips else ''} as augmentation, early"
        " stopping on val, the best epoch kept.",
        "selection score": "Accuracy on val; between candidates with equally many right, the lower log-loss on val.",
        "gap": "Accuracy on train minus accuracy on test, both after training, without augmentation.",
        "interval": "95 % Wilson score interval over the test items.",
        "cost": "Measured on backbone and head together: latency is the median at batch 1, throughput the best of a few"
        " batch sizes, memory the peak of a fresh process that classifies one image; FLOPs count a multiply-add twice.",
    }
