"""Engines run the frozen part of a backbone: batches of images in, arrays of features out.

An engine is one small module with `forward(model, batches)`, a generator of one array per batch.
"""
