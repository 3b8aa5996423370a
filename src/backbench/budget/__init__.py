"""Which cell comes next and what it will take: strategies and cost model, which only decide, and replays.

May import `report`, `results`, `evaluation`, `backbones`, `analysis` and `core`. Begin with `protocol.py` (what a
strategy asks for and gets), then `successive_halving.py`; `cost_model.py` forecasts, `online_cost_model.py` corrects
the forecast as jobs end.
"""
