"""Ackpost's engine under the services `xmpp://`, `session://` and `sogs://` of Apprise.

Programs that use Apprise need no change: the package registers itself when Apprise is imported. Where that is not possible,
:func:`register` does it, and ``plugin_path()`` is a folder for ``apprise --plugin-path``.
"""

from __future__ import annotations

import os

__all__ = ["plugin_path", "register"]
__version__ = "0.1.0"


def register() -> None:
    """Puts Ackpost under the two services of Apprise in this process."""
    from . import _hook

    _hook.install()
    _hook.register_now()


def plugin_path() -> str:
    """Returns the folder for ``apprise --plugin-path`` and ``APPRISE_PLUGIN_PATH``."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "plugins")
