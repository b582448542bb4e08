"""Finding the program `ackpost` that is installed with the package."""

from __future__ import annotations

import os
import sys


def find_ackpost_bin() -> str:
    """Returns the path of the program ``ackpost`` that belongs to this package.

    Raises ``FileNotFoundError`` if it is not installed, for instance because a packager left it out.
    """
    import sysconfig

    name = "ackpost" + (sysconfig.get_config_var("EXE") or "")
    package = os.path.dirname(os.path.abspath(__file__))
    folders = [
        sysconfig.get_path("scripts"),
        # `pip install --prefix` and `--target`.
        os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(package)))), "bin"),
        os.path.join(os.path.dirname(package), "bin"),
        sysconfig.get_path("scripts", scheme=sysconfig.get_preferred_scheme("user")),
        os.path.join(sys.base_prefix, "bin"),
    ]
    for folder in folders:
        path = os.path.join(folder, name)
        # The program is not one of Python's: an entry point of another package could have the same name.
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(f"the program {name} is not in {', '.join(dict.fromkeys(folders))}; install ackpost again")
