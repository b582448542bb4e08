"""Waiting for the native part: blocking, or in an event loop.

The threads of the native part never touch a Python object. They put results into a queue and write one byte into a
socket pair; the event loop takes the results out on its own thread.
"""

from __future__ import annotations

import os
import sys

from . import _core
from .errors import AckpostError, ConfigError, Deferred, InDoubt, InternalError, OutboxError, Partial, Refused

# Importing `typing`, `json` or `dataclasses` would take longer than the whole package: they load with the first call.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any, TypeVar
    from weakref import WeakKeyDictionary

    _Native = TypeVar("_Native")

_KINDS: dict[str, type[AckpostError]] = {
    "config": ConfigError,
    "refused": Refused,
    "deferred": Deferred,
    "partial": Partial,
    "doubt": InDoubt,
    "internal": InternalError,
    "outbox": OutboxError,
    "outbox-passing": OutboxError,
}


def environment() -> dict[str, str]:
    """Returns the variables of the environment, as the native part takes them."""
    found = {name: value for name, value in os.environ.items() if _is_text(name + value)}
    # Without HOME, as in services, the home folder is that of the user.
    if "HOME" not in found and (home := os.path.expanduser("~")) != "~":
        found["HOME"] = home
    return found


def _is_text(text: str) -> bool:
    # Bytes that are not UTF-8 are lone surrogates here, which cannot be handed over.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def opened(make: Callable[[], _Native]) -> _Native:
    """Makes an object of the native part, which raises its errors as text."""
    try:
        return make()
    except ValueError as error:
        text = str(error)
        if not text.startswith("{"):
            raise
        import json

        raise error_from(json.loads(text)["error"]) from None


def result(text: str) -> Any:
    """Returns the value of an answer, or raises its error."""
    import json

    answer = json.loads(text)
    if "ok" in answer:
        return answer["ok"]
    raise error_from(answer["error"])


def error_from(raw: dict[str, Any]) -> AckpostError:
    """Makes the exception of an error of the native part."""
    error = _KINDS[raw["kind"]](raw["cause"], raw["remedy"])
    if raw["kind"] == "outbox-passing":
        error.permanent = False
    if raw["retry_after"] is not None:
        from datetime import timedelta

        error.retry_after = timedelta(seconds=raw["retry_after"])
    return error


def set_level() -> None:
    """Tells the native part which log records are wanted."""
    # A program that never imported `logging` has not configured it: only warnings can be seen.
    logging = sys.modules.get("logging")
    level = logging.getLogger("ackpost").getEffectiveLevel() if logging else 30
    _core.set_log_level(max(1, min(level, 255)))


def emit_logs() -> None:
    """Hands the log records of the native part to ``logging``."""
    records = _core.take_logs()
    if not records:
        return
    import logging

    logger = logging.getLogger("ackpost")
    for level, module, text in records:
        logger.log(level, "%s", text, extra={"ackpost_module": module})


def wait(pending: _core.Pending, *, cancel: bool = True) -> tuple[Any, bytes | None]:
    """Waits for a call, blocking the thread. Signal handlers run meanwhile; if one raises, the call stops with it."""
    try:
        text, data = pending.wait(cancel)
    finally:
        emit_logs()
    return result(text), data


class _Waiters:
    """The calls that one event loop waits for. It watches the queue only while there are some."""

    __slots__ = ("futures", "queue", "ticket")

    def __init__(self) -> None:
        self.queue: _core.Queue | None = None
        self.futures: dict[int, asyncio.Future[tuple[str, bytes | None]]] = {}
        self.ticket = 0

    def drain(self) -> None:
        if self.queue is None:
            return
        for ticket, text, data in self.queue.take():
            future = self.futures.get(ticket)
            if future is not None and not future.done():
                future.set_result((text, data))
        emit_logs()

    async def wait(
        self, pending: _core.Pending, loop: asyncio.AbstractEventLoop, cancel: bool
    ) -> tuple[str, bytes | None]:
        if self.queue is None:
            queue = _core.Queue()
            loop.add_reader(queue.fileno(), self.drain)
            self.queue = queue
        self.ticket += 1
        ticket = self.ticket
        future: asyncio.Future[tuple[str, bytes | None]] = loop.create_future()
        self.futures[ticket] = future
        pending.deliver_to(self.queue, ticket)
        try:
            return await future
        except BaseException:
            if cancel:
                pending.cancel()
            raise
        finally:
            del self.futures[ticket]
            if not self.futures and self.queue is not None:
                queue, self.queue = self.queue, None
                loop.remove_reader(queue.fileno())


_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Waiters] | None = None


def _waiters_of(loop: asyncio.AbstractEventLoop) -> _Waiters:
    global _loops
    if _loops is None:
        from weakref import WeakKeyDictionary

        _loops = WeakKeyDictionary()
    return _loops.setdefault(loop, _Waiters())


async def wait_async(pending: _core.Pending, *, cancel: bool = True) -> tuple[Any, bytes | None]:
    """Waits for a call in the running event loop. Cancellation stops the call, unless ``cancel`` is false."""
    import asyncio

    loop = asyncio.get_running_loop()
    waiters = _waiters_of(loop)
    text, data = await waiters.wait(pending, loop, cancel)
    return result(text), data


_warned = False


def remark_on_loop() -> None:
    """Logs once, at debug level, that a blocking call stops a running event loop."""
    global _warned
    asyncio = sys.modules.get("asyncio")
    if _warned or asyncio is None or asyncio._get_running_loop() is None:
        return
    _warned = True
    import logging

    logging.getLogger("ackpost").debug("a blocking call was made inside a running event loop; use the async form")
