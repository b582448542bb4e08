"""Registration with Apprise, behind its own lazy loading."""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger("ackpost.apprise")
_MARK = "_ackpost_hook"


def _manager_class() -> Any:
    from apprise.manager_plugins import NotificationManager

    return NotificationManager


def install() -> None:
    """Registers the services whenever Apprise loads its own."""
    manager = _manager_class()
    original = manager.load_modules
    if getattr(original, _MARK, False):
        return

    def load_modules(self: Any, *args: Any, **options: Any) -> Any:
        result = original(self, *args, **options)
        _register(self)
        return result

    setattr(load_modules, _MARK, True)
    manager.load_modules = load_modules


def is_installed() -> bool:
    """True if Apprise's loading is wrapped."""
    return bool(getattr(_manager_class().load_modules, _MARK, False))


def register_now() -> None:
    """Registers the services at once; Apprise loads its own first."""
    manager = _manager_class()()
    manager.load_modules()
    _register(manager)


def _register(manager: Any) -> None:
    """Puts our classes in the place of Apprise's. Never raises: Apprise's own classes then stay."""
    try:
        schemas = manager._schema_map
        if not schemas or getattr(manager, "_ackpost_busy", False):
            return
        manager._ackpost_busy = True
        try:
            from ._service import service_classes

            for cls, names in service_classes(schemas):
                if any(getattr(schemas.get(name), "is_ackpost", False) for name in names):
                    continue
                old = [name for name in names if name in schemas]
                try:
                    manager.add(cls, schemas=list(names), force=True)
                except TypeError:
                    # Before Apprise 1.9.7 there is no `force`.
                    if old:
                        manager.remove(*old)
                    manager.add(cls, schemas=list(names))
        finally:
            manager._ackpost_busy = False
    except Exception as error:
        log.warning("Apprise's own services stay: %r", error)
