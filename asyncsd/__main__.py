"""`python -m asyncsd` is the command `asyncsd`."""

import sys

from asyncsd.cli import main

if __name__ == "__main__":
    sys.exit(main())
