"""`python -m backbench.sweep` is the command `backbench sweep`."""

from backbench.cli.main import sweep_command

if __name__ == "__main__":
    sweep_command(prog_name="python -m backbench.sweep")
