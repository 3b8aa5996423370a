"""The version of backbench, here and nowhere else: a checkout on PYTHONPATH has no package metadata."""

__version__ = "0.1.0"
