"""``python -m preimage.cli``, where the script is not on the path."""

import sys

from preimage.cli import main

if __name__ == "__main__":
    sys.exit(main())
