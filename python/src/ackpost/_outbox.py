"""The durable queue: accepted now, delivered whatever happens."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from . import _core
from ._bridge import environment, remark_on_loop, set_level, wait, wait_async
from ._message import File, Format, Kind, Message, time_from
from ._notifier import _encode, _list_of
from ._report import Outcome
from .errors import AckpostError, ConfigError, InternalError

if TYPE_CHECKING:
    from typing_extensions import Self

State = Literal["collecting", "waiting", "sending", "delivered", "partial", "dead", "dropped"]
Span = str | float | timedelta
"""A time: ``"90s"``, ``"2h"``, ``"3d"``, a number of seconds, or a ``timedelta``."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """One recipient of a stored message."""

    id: str
    target: str
    service: str
    url: str
    """The URL of the service, with its secrets masked."""
    state: State
    folded: bool
    """True if the message was put to an entry that was there before."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A message that is stored. True if every recipient is stored with every file."""

    accepted: tuple[Accepted, ...]
    problems: tuple[str, ...] = ()
    """URLs that cannot be used, and files that cannot be read."""

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the entries, one for each recipient."""
        return tuple(one.id for one in self.accepted)

    def __bool__(self) -> bool:
        return bool(self.accepted) and not self.problems


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """Something that happened to an entry."""

    at: datetime
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One message for one recipient in the outbox."""

    id: str
    target: str
    service: str
    url: str
    """The URL of the service, with its secrets masked."""
    state: State
    accepted_at: datetime
    due_at: datetime
    """Time of the next attempt, while the entry waits."""
    expires_at: datetime
    """Time at which an undelivered entry becomes dead."""
    settled_at: datetime | None
    attempts: int
    waits_for: str
    folded: int
    """Number of further messages that were put to it."""
    outcome: Outcome | None = None
    """Outcome of the last attempt."""
    id_there: str | None = None
    """Id of the message on the other side."""
    reason: str | None = None
    remedy: str | None = None
    history: tuple[HistoryEvent, ...] = ()
    """Its events, oldest first. Only :meth:`Outbox.get` fills it."""

    @property
    def is_final(self) -> bool:
        """True if nothing more happens to it by itself."""
        return self.state in ("delivered", "partial", "dead", "dropped")


# The classes below have a method of that name.
Entries = list[Entry]


@dataclass(frozen=True, slots=True)
class Flushed:
    """Results of a worker: numbers of entries."""

    delivered: int
    partial: int
    deferred: int
    """Attempts that failed and will be repeated."""
    refused: int
    expired: int
    remaining: int
    """Entries that still wait."""


def _entry(raw: dict[str, Any]) -> Entry:
    outcome = raw["outcome"] or {}
    return Entry(
        id=raw["id"],
        target=raw["target"],
        service=raw["service"],
        url=raw["url"],
        state=raw["state"],
        accepted_at=time_from(raw["accepted_at"]),
        due_at=time_from(raw["due_at"]),
        expires_at=time_from(raw["expires_at"]),
        settled_at=time_from(raw["settled_at"]) if raw["settled_at"] else None,
        attempts=raw["attempts"],
        waits_for=raw["waits_for"],
        folded=raw["folded"],
        outcome=Outcome(outcome["outcome"]) if outcome else None,
        id_there=outcome.get("id"),
        reason=outcome.get("reason"),
        remedy=outcome.get("remedy"),
        history=tuple(HistoryEvent(time_from(one["at"]), one["kind"], one["text"]) for one in raw.get("events", ())),
    )


def _span(value: Span | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    return f"{max(1, round(seconds))}s"


def _rules(
    ttl: Span | None, dedup: str | None, digest: Span | None, budget: str | None, quiet: str | None
) -> str:
    return json.dumps(
        {"ttl": _span(ttl), "dedup": dedup, "digest": _span(digest), "budget": budget, "quiet": quiet}
    )


def _receipt(raw: dict[str, Any]) -> Receipt:
    accepted = tuple(
        Accepted(one["id"], one["target"], one["service"], one["url"], one["state"], one["folded"])
        for one in raw["accepted"]
    )
    missing = dict.fromkeys(cause for one in raw["accepted"] for cause in one.get("missing_files", ()))
    if not accepted:
        raise ConfigError(
            "\n".join(raw["problems"]) or "no service matches; nothing was stored",
            "" if raw["problems"] else "give a URL, or a tag that a service has",
            problems=tuple(raw["problems"]),
        )
    return Receipt(accepted, (*raw["problems"], *missing))


class _Base:
    def __init__(
        self, location: str | os.PathLike[str] | None = None, *, key: str | os.PathLike[str] | None = None
    ) -> None:
        self._place = None if location is None else os.path.expanduser(os.fspath(location))
        self._key = None if key is None else os.path.expanduser(os.fspath(key))
        self._native = self._open()
        self._process = os.getpid()

    def _open(self) -> _core.Outbox:
        return _core.Outbox(self._place, self._key, environment())

    def _own(self) -> _core.Outbox:
        set_level()
        if self._process != os.getpid():
            self._native = self._open()
            self._process = os.getpid()
        return self._native

    def _start(self, call: str, **arguments: Any) -> _core.Pending:
        return self._own().call(json.dumps({"call": call, **arguments}))

    def _list(
        self, states: State | Iterable[State] = (), target: str | None = None, limit: int = 100, before: str | None = None
    ) -> _core.Pending:
        several = [states] if isinstance(states, str) else [*states]
        return self._start("list", states=several, target=target, limit=limit, before=before)

    def _flush(self, deadline: float, now: bool, wait: bool, retries: bool) -> _core.Pending:
        return self._start("flush", seconds=deadline, now=now, wait=wait, retries=retries)


class Outbox(_Base):
    """The durable queue, the same one that the program ``ackpost`` uses.

    ``location`` is a file or a ``postgres://`` URL; without it, ``$ACKPOST_OUTBOX`` or ``outbox.db`` in the state folder.
    ``key`` is the file with the key of the queue. Something has to deliver what waits: :meth:`flush`, :meth:`run`,
    ``ackpost outbox run`` or ``ackpost gateway run``.

    Raises :class:`OutboxError` if the queue cannot be used.
    """

    def enqueue(
        self,
        urls: str | Iterable[str],
        body: str | Message = "",
        *,
        title: str = "",
        kind: Kind = "info",
        format: Format | None = None,
        attach: File | Iterable[File] = (),
        ttl: Span | None = None,
        dedup: str | None = None,
        digest: Span | None = None,
        budget: str | None = None,
        quiet: str | None = None,
    ) -> Receipt:
        """Stores a message for every recipient of some URLs; see :func:`ackpost.enqueue`."""
        remark_on_loop()
        message = _encode(None, body, title, kind, format, attach, False, None)
        rules = _rules(ttl, dedup, digest, budget, quiet)
        return _receipt(wait(self._own().accept(_list_of(urls), *message, rules))[0])

    def get(self, id: str) -> Entry | None:
        """Returns an entry with its history, or ``None`` if there is none with this id."""
        raw, _ = wait(self._start("get", id=id))
        return _entry(raw) if raw else None

    def list(
        self,
        states: State | Iterable[State] = (),
        *,
        target: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Entries:
        """Returns entries, newest first: only those in these states, or whose target contains a text."""
        return [_entry(raw) for raw in wait(self._list(states, target, limit, before))[0]]

    def wait(self, ids: Iterable[str], timeout: float = 60) -> Entries:
        """Waits until these entries are final or the time is up, and returns them. Something else must deliver them."""
        return [_entry(raw) for raw in wait(self._start("wait", ids=[*ids], seconds=timeout))[0]]

    def retry(self, ids: Iterable[str] | None = None) -> int:
        """Lets entries be tried again, without ids all dead ones, and returns how many."""
        return int(wait(self._start("retry", ids=None if ids is None else [*ids]))[0])

    def drop(self, ids: Iterable[str] | None = None) -> int:
        """Drops entries that are not delivered, without ids all dead ones, and returns how many."""
        return int(wait(self._start("drop", ids=None if ids is None else [*ids]))[0])

    def stats(self) -> dict[str, Any]:
        """Returns the counts that ``ackpost --json outbox stats`` prints."""
        return dict(wait(self._start("stats"))[0])

    def flush(self, deadline: float = 60, *, now: bool = True, wait_for_due: bool = True, retries: bool = False) -> Flushed:
        """Delivers what waits, and what becomes due before the deadline in seconds."""
        return Flushed(**wait(self._flush(deadline, now, wait_for_due, retries))[0])

    def run(self) -> Flushed:
        """Delivers what is in the queue until :meth:`stop` is called by another thread, or until Ctrl-C."""
        pending = self._start("run")
        try:
            return Flushed(**wait(pending, cancel=False)[0])
        except AckpostError:
            # The worker has ended by itself.
            raise
        except BaseException:
            # Attempts under way may end; the rest is given back.
            self._native.stop()
            wait(pending, cancel=False)
            raise

    def stop(self) -> None:
        """Lets :meth:`run` end: attempts under way may end, and the rest stays in the queue."""
        self._own().stop()

    def close(self) -> None:
        """Closes the queue. Entries stay in it."""
        if self._process == os.getpid():
            wait(self._start("close"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncOutbox(_Base):
    """The asynchronous form of :class:`Outbox`."""

    async def enqueue(
        self,
        urls: str | Iterable[str],
        body: str | Message = "",
        *,
        title: str = "",
        kind: Kind = "info",
        format: Format | None = None,
        attach: File | Iterable[File] = (),
        ttl: Span | None = None,
        dedup: str | None = None,
        digest: Span | None = None,
        budget: str | None = None,
        quiet: str | None = None,
    ) -> Receipt:
        """Stores a message for every recipient of some URLs; see :func:`ackpost.enqueue`."""
        message = _encode(None, body, title, kind, format, attach, False, None)
        rules = _rules(ttl, dedup, digest, budget, quiet)
        return _receipt((await wait_async(self._own().accept(_list_of(urls), *message, rules)))[0])

    async def get(self, id: str) -> Entry | None:
        """Returns an entry with its history, or ``None`` if there is none with this id."""
        raw, _ = await wait_async(self._start("get", id=id))
        return _entry(raw) if raw else None

    async def list(
        self,
        states: State | Iterable[State] = (),
        *,
        target: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Entries:
        """Returns entries, newest first: only those in these states, or whose target contains a text."""
        return [_entry(raw) for raw in (await wait_async(self._list(states, target, limit, before)))[0]]

    async def wait(self, ids: Iterable[str], timeout: float = 60) -> Entries:
        """Waits until these entries are final or the time is up, and returns them. Something else must deliver them."""
        raws, _ = await wait_async(self._start("wait", ids=[*ids], seconds=timeout))
        return [_entry(raw) for raw in raws]

    async def retry(self, ids: Iterable[str] | None = None) -> int:
        """Lets entries be tried again, without ids all dead ones, and returns how many."""
        return int((await wait_async(self._start("retry", ids=None if ids is None else [*ids])))[0])

    async def drop(self, ids: Iterable[str] | None = None) -> int:
        """Drops entries that are not delivered, without ids all dead ones, and returns how many."""
        return int((await wait_async(self._start("drop", ids=None if ids is None else [*ids])))[0])

    async def stats(self) -> dict[str, Any]:
        """Returns the counts that ``ackpost --json outbox stats`` prints."""
        return dict((await wait_async(self._start("stats")))[0])

    async def flush(
        self, deadline: float = 60, *, now: bool = True, wait_for_due: bool = True, retries: bool = False
    ) -> Flushed:
        """Delivers what waits, and what becomes due before the deadline in seconds."""
        return Flushed(**(await wait_async(self._flush(deadline, now, wait_for_due, retries)))[0])

    async def run(self) -> Flushed:
        """Delivers what is in the queue until :meth:`stop` is called or the task is cancelled."""
        pending = self._start("run")
        try:
            return Flushed(**(await wait_async(pending, cancel=False))[0])
        except AckpostError:
            raise
        except BaseException:
            self._native.stop()
            with suppress(InternalError):
                await wait_async(pending, cancel=False)
            raise

    def stop(self) -> None:
        """Lets :meth:`run` end: attempts under way may end, and the rest stays in the queue."""
        self._own().stop()

    async def close(self) -> None:
        """Closes the queue. Entries stay in it."""
        if self._process == os.getpid():
            await wait_async(self._start("close"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def outbox(location: str | os.PathLike[str] | None = None) -> Outbox:
    """Returns the durable queue: the one at a place, or the one that the program ``ackpost`` uses."""
    return Outbox(location)


def enqueue(
    urls: str | Iterable[str],
    body: str | Message = "",
    *,
    title: str = "",
    kind: Kind = "info",
    format: Format | None = None,
    attach: File | Iterable[File] = (),
    ttl: Span | None = None,
    dedup: str | None = None,
    digest: Span | None = None,
    budget: str | None = None,
    quiet: str | None = None,
) -> Receipt:
    """Stores a message durably for every recipient of some URLs, with its files, in one commit.

    The receipt has an id for each recipient. ``ttl`` limits how long delivery is tried (24 hours). Messages with the
    same ``dedup`` key within an hour are folded (``"KEY/10m"`` for another time, ``"auto"`` compares the text).
    ``digest`` collects messages for a time, ``budget`` limits messages for each time (``"5/16s"``), and ``quiet`` names
    hours without messages (``"22:00-07:00"``). These win over the parameters of the URL.

    Raises :class:`ConfigError` if nothing can be stored because of the URLs, and :class:`OutboxError` if the queue
    cannot be used.
    """
    with Outbox() as queue:
        return queue.enqueue(
            urls,
            body,
            title=title,
            kind=kind,
            format=format,
            attach=attach,
            ttl=ttl,
            dedup=dedup,
            digest=digest,
            budget=budget,
            quiet=quiet,
        )
