"""From a results folder to `leaderboard.html`, the plots and the table in the terminal; no framework is imported.

May import `results`, `analysis` and `core`. Begin with `build.write_report`; `page.py` fills the template,
`plots/` draws.
"""
