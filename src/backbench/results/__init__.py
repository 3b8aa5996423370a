"""The results folder: cells, predictions, table and run record, written whole or not at all, checked when read.

May import `evaluation` (for export alone), `analysis` and `core`. Begin with `store.py`;
`integrity.py` is the only repair.
"""
