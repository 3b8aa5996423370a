"""The command line: options to a request, errors to one line and an exit code.

May import every package; heavy imports wait inside the commands, so that `--help` is quick. Begin with `main.py`.
"""
