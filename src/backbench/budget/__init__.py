"""Which cell comes next and what it will take: search strategies and the cost model, as pure decisions without effects.

May import `results`, `evaluation`, `backbones`, `analysis` and `core`. Begin with `protocol.py` (what a strategy asks
for and gets), then `successive_halving.py`; `cost_model.py` forecasts, `online_cost_model.py` corrects the
forecast as jobs end.
"""
