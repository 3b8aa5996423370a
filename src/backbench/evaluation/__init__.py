"""One backbone at all its freeze depths: linear probe, fine-tuning, scores and cost become cells.

May import `features`, `backbones`, `data`, `analysis` and `core`. Begin with `job.run`, then `shared_pass.py`,
`linear_probe.py` and `fine_tuning.py`.
"""
