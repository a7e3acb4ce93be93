"""`python -m gradcompile` is the command `gradcompile`."""

import sys

from gradcompile.cli import main

if __name__ == "__main__":
    sys.exit(main())
