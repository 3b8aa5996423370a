"""`python -m backbench` is the command line."""

from backbench.cli.main import main

if __name__ == "__main__":
    main()
