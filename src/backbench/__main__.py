"""`python -m backbench` is the command line."""

from backbench.cli import main

if __name__ == "__main__":
    main()
