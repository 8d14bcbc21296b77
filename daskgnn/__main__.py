"""``python -m daskgnn``: the command line."""

from daskgnn.cli import main

# Worker processes import this module under another name.
if __name__ == "__main__":
    main()
