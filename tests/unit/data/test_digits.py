"""The embedded digits."""

from __future__ import annotations

import hashlib
import io
import pickle

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from backbench.data import open_listing


def test_digits_are_the_scans_of_scikit_learn() -> None:
    listing = open_listing("digits")
    scans = load_digits()
    assert len(listing.ids) == 1797
    assert listing.class_names == tuple("0123456789")
    assert listing.labels.tolist() == scans.target.tolist()
    assert set(listing.published.tolist()) == {""}
    assert (listing.image_size, listing.flips) == (96, False)
    for index in (0, 1, 1796):
        with Image.open(io.BytesIO(listing.images.encoded(index))) as image:
            assert (image.mode, image.size) == ("L", (8, 8))
            assert np.asarray(image).tolist() == np.rint(scans.images[index] * 255 / 16).tolist()


def test_digits_ids_are_in_order_and_contents_all_differ() -> None:
    listing = open_listing("digits")
    assert list(listing.ids) == sorted(listing.ids)
    assert len(set(listing.ids)) == len(set(listing.digests)) == 1797
    # Digests decide the splits, so they must not change with the version of a library.
    together = hashlib.sha256("".join(listing.digests).encode()).hexdigest()
    assert together == "360be1ca9567e389c3d114e6326c8c7a39b000339344cd5410e67fba852734d0"


def test_digits_travel_to_other_processes() -> None:
    listing = pickle.loads(pickle.dumps(open_listing("digits")))
    assert listing.images.encoded(0).startswith(b"P5 8 8 255\n")
