"""Executors run jobs somewhere and yield (position of the job, event) as things happen.

Every job ends with a `Summary`, or with cells that say why there is none.
"""
