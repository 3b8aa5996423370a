"""Results of the analysis in English sentences; plain text that holds untrusted names.

Every function takes facts that are already decided (a `Recommendation`, a comparison, gains) and only words them.
Imports `core` and the facts modules of `analysis`. Begin with `recommendation`; `phrases` holds what all share.
"""
