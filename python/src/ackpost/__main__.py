"""`python -m ackpost`: the program `ackpost`."""

from __future__ import annotations

import os
import sys

from ._find import find_ackpost_bin


def main() -> None:
    """Replaces this process by the program."""
    try:
        program = find_ackpost_bin()
    except FileNotFoundError as error:
        sys.exit(f"ackpost: {error}")
    sys.stdout.flush()
    os.execv(program, ["ackpost", *sys.argv[1:]])


if __name__ == "__main__":
    main()
