"""The frozen pass: every image goes through the frozen part of a backbone once; features and activations are stored.

May import `backbones`, `data`, `analysis` and `core`. Begin with `frozen_model.py` (what is frozen, where it is cut),
then `frozen_pass.py` (the pass itself); `engines/` runs it, `feature_cache.py` and `activation_store.py`
store its output.
"""
