"""Entry point of `python -m affectkit`."""

import sys

from affectkit.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
