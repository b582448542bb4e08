"""Notifications with true outcomes, Session communities, XMPP rooms and bots.

    import ackpost

    report = ackpost.send("xmpps://bot:secret@example.org/jane", "disk full on db1", title="db1")
    if not report:
        for target in report.failed:
            print(target.url, target.outcome, target.reason, target.remedy)

"Delivered" means that the other side said so. ``send`` blocks, ``asend`` does not; a ``Notifier`` or ``AsyncNotifier``
holds URLs with tags and configuration files and keeps its connections.
"""

from __future__ import annotations

from ._core import VERSION as __version__
from ._find import find_ackpost_bin
from ._notifier import AsyncNotifier, Notifier, asend, send
from .errors import AckpostError, ConfigError, Deferred, InDoubt, InternalError, NotDelivered, OutboxError, Partial, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import session as session
    from . import testing as testing
    from . import xmpp as xmpp
    from ._message import Attachment, Message
    from ._outbox import AsyncOutbox, Entry, Outbox, Receipt, enqueue, outbox
    from ._report import Outcome, Report, Status, Target

__all__ = [
    "AckpostError",
    "AsyncNotifier",
    "AsyncOutbox",
    "Attachment",
    "ConfigError",
    "Deferred",
    "InDoubt",
    "Entry",
    "InternalError",
    "Message",
    "NotDelivered",
    "Notifier",
    "Outbox",
    "OutboxError",
    "Outcome",
    "Partial",
    "Receipt",
    "Refused",
    "Report",
    "Status",
    "Target",
    "__version__",
    "asend",
    "enqueue",
    "find_ackpost_bin",
    "outbox",
    "send",
]

_LAZY = {
    "AsyncOutbox": "_outbox",
    "Attachment": "_message",
    "Entry": "_outbox",
    "Message": "_message",
    "Outbox": "_outbox",
    "Outcome": "_report",
    "Receipt": "_outbox",
    "Report": "_report",
    "Status": "_report",
    "Target": "_report",
    "enqueue": "_outbox",
    "outbox": "_outbox",
    "session": None,
    "testing": None,
    "xmpp": None,
}


def __getattr__(name: str) -> object:
    # Importing these takes longer than the rest of the package: they load when they are first used.
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = _LAZY[name]
    value: object
    if module is None:
        value = import_module(f"{__name__}.{name}")
    else:
        value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
