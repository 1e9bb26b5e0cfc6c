"""``python -m pcm3`` is the command ``pcm3``."""

import sys

from pcm3.cli import main

if __name__ == "__main__":
    sys.exit(main())
