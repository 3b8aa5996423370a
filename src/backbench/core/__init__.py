"""Records of the domain and primitives of the system: request, dataset, backbone, job, cell; files, cache, hardware.

Imports nothing else of backbench and no framework. Begin with `request.py`, `job.py` and `cells.py`.
"""
