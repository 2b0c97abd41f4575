"""``python -m chronicle``: the command line."""

from chronicle.cli.main import main

if __name__ == "__main__":
    main()
