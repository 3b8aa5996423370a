"""Jobs on a Ray cluster: one node runs one job at a time, idle nodes take over cells of busy ones.

Begin with `cluster.run` (the driver) and `node.py` (what runs on a node). Imports Ray only inside functions.
"""
