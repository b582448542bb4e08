"""Direct messages over Session's storage network: mailboxes and bots. Experimental.

    from ackpost.session import Identity, direct

    box = direct.Mailbox(Identity.from_phrase_file("bot.txt"), name="Backup")
    box.send("05…", "the backup is done")
    for event in box.events():
        if isinstance(event, direct.Message):
            print(event.author, event.text)

A send is proven by the signed receipts of more than half of the nodes that keep the recipient's mailbox. The sender of a message
is proven by a signature. :class:`Mailbox` blocks, :class:`AsyncMailbox` does not.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

from .. import _core
from .._bridge import environment, opened, remark_on_loop, set_level, wait, wait_async
from .._message import File as Attached
from .._message import Seconds, files, read_file, seconds
from ..errors import AckpostError, Deferred
from ._commands import BotBase, Memory, Role, log
from ._identity import Identity
from ._values import DownloadedFile, File

__all__ = [
    "Accepted",
    "AsyncMailbox",
    "Bot",
    "Context",
    "Disappears",
    "Event",
    "Mailbox",
    "Message",
    "OtherEvent",
    "Stored",
    "Unreadable",
    "Unsent",
]


@dataclass(frozen=True, slots=True)
class Stored:
    """A message that the nodes of the recipient's mailbox have."""

    id: str
    """The hash of the message."""
    signed: int
    """Number of nodes that signed that they have it."""
    nodes: int
    """Number of nodes that keep the mailbox."""


@dataclass(frozen=True, slots=True)
class Disappears:
    """When a message disappears from the devices of both sides."""

    after: timedelta
    since: Literal["sent", "read"] = "sent"
    """The time counts from when it was sent, or from when the recipient read it."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a mailbox. The base class of all events."""


@dataclass(frozen=True, slots=True)
class Message(Event):
    """A message. Its author is proven."""

    id: str
    author: str
    """The Session ID."""
    name: str | None
    """The name that the author chose; nobody checks it."""
    text: str
    time: datetime
    """When it was sent, by the clock of the sender."""
    files: tuple[File, ...] = ()
    sent_to: str | None = None
    """The recipient, if another device of this account sent the message."""
    disappears: Disappears | None = None
    """When the message disappears from the devices."""


@dataclass(frozen=True, slots=True)
class Accepted(Event):
    """An account accepted the message request of this one."""

    author: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Unsent(Event):
    """An account takes a message back."""

    author: str
    time: datetime
    """The time of the message."""


@dataclass(frozen=True, slots=True)
class Unreadable(Event):
    """Bytes that are not a readable message."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class OtherEvent(Event):
    """An event that this version does not know."""


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)


def _event(raw: dict[str, Any]) -> Event:
    kind = raw["kind"]
    if kind == "message":
        there = tuple(File(one["id"], one["name"], one["media_type"], one["size"]) for one in raw["files"])
        time = _time(raw["time_ms"])
        rule = raw["disappears"]
        gone = Disappears(timedelta(seconds=rule["seconds"]), rule["since"]) if rule else None
        return Message(raw["hash"], raw["from"], raw["name"], raw["text"] or "", time, there, raw["sent_to"], gone)
    if kind == "accepted":
        return Accepted(raw["from"], raw["name"])
    if kind == "unsent":
        return Unsent(raw["from"], _time(raw["time_ms"]))
    if kind == "unreadable":
        return Unreadable(raw["hash"], raw["reason"])
    return OtherEvent()


class _Base:
    """Common parts of the blocking and the asynchronous mailbox."""

    def __init__(
        self,
        identity: Identity,
        *,
        name: str = "Ackpost",
        reader: str = "",
        state_folder: str | os.PathLike[str] | None = None,
        hidden: bool = True,
        network: Iterable[str] = (),
        file_server: str | None = None,
        proxies: bool = True,
        timeout: Seconds | None = None,
    ) -> None:
        folder = _core.network_folder(environment()) if state_folder is None else os.path.expanduser(os.fspath(state_folder))
        settings = {
            "seed": identity.expose_seed(),
            "name": name,
            "folder": folder,
            "reader": reader,
            "direct": not hidden,
            "seeds": [*network],
            "file_server": file_server,
            "proxies": proxies,
            "timeout": seconds(timeout),
        }
        self.identity = identity
        """The account."""
        self._settings = json.dumps(settings)
        self._native = self._open()
        self._process = os.getpid()
        self._waiting: deque[Event] = deque()
        self._given = False
        self._polling: _core.Pending | None = None
        # A call that marks events as handled, with their number.
        self._marking: tuple[_core.Pending, int] | None = None
        # Number of waiting events that are marked already, because the call that wanted them was interrupted.
        self._marked = 0

    def _open(self) -> _core.Direct:
        return opened(lambda: _core.Direct(self._settings))

    def _start(self, call: str, parts: Iterable[bytes] = (), **arguments: Any) -> _core.Pending:
        set_level()
        if self._process != os.getpid():
            self._native = self._open()
            self._process = os.getpid()
            self._waiting.clear()
            self._given = False
            self._polling = None
            self._marking = None
            self._marked = 0
        return self._native.call(json.dumps({"call": call, **arguments}), [*parts])

    def _send(
        self,
        to: str,
        text: str,
        attach: Attached | Iterable[Attached],
        ttl: Seconds | None,
        disappears: Seconds | Disappears | None,
        patience: Seconds,
    ) -> _core.Pending:
        if disappears is not None and not isinstance(disappears, Disappears):
            disappears = Disappears(timedelta(seconds=seconds(disappears) or 0))
        rule = None
        if disappears is not None:
            rule = {"seconds": disappears.after.total_seconds(), "since": disappears.since}
        names, parts = [], []
        for file in files(attach):
            data, name, media_type = read_file(file)
            names.append({"name": name or "file", "media_type": media_type or "application/octet-stream"})
            parts.append(data)
        options = {"ttl": seconds(ttl), "disappears": rule, "patience": seconds(patience) or 0}
        return self._start("send", parts, to=to, text=text, files=names, **options)

    def _poll(self) -> _core.Pending:
        # The answer of a wait that was interrupted is not lost.
        if self._polling is None or self._process != os.getpid():
            self._polling = self._start("poll")
        return self._polling

    def _failed(self, error: BaseException) -> None:
        # Anything else, such as the error of a signal handler, ended the wait and not the call.
        if isinstance(error, AckpostError):
            self._polling = None

    def _mark(self, count: int) -> _core.Pending:
        """Starts to mark events as handled. An interrupted call is waited for again."""
        if self._marking is None or self._process != os.getpid():
            self._marking = (self._start("handled", count=count), count)
        return self._marking[0]

    def _was_marked(self, error: BaseException | None) -> None:
        if self._marking is None:
            return
        if error is None:
            self._marked += self._marking[1] - self._given
            self._given = False
        if error is None or isinstance(error, AckpostError):
            self._marking = None

    def _unmarked(self) -> int:
        return len(self._waiting) - self._marked + self._given

    def _all(self) -> list[Event]:
        events = [*self._waiting]
        self._waiting.clear()
        self._marked = 0
        return events

    def _give(self) -> Event:
        if self._marked:
            self._marked -= 1
        else:
            self._given = True
        return self._waiting.popleft()

    def _take(self, raw: dict[str, Any]) -> bool:
        """Keeps the events of a poll. Returns whether the mailbox has more."""
        self._polling = None
        self._waiting.extend(_event(one) for one in raw["events"])
        return bool(raw["more"])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.identity.session_id}>"


def _stored(raw: list[dict[str, Any]]) -> tuple[Stored, ...]:
    return tuple(Stored(one["hash"], one["signed"], one["swarm"]) for one in raw)


def _pause(error: AckpostError, interval: float) -> float:
    """Returns how long to wait after a poll that failed. Raises the error if it does not pass."""
    if not isinstance(error, Deferred):
        raise error
    log.warning("%s", error)
    return max(interval, error.retry_after.total_seconds() if error.retry_after else 0)


class Mailbox(_Base):
    """An account on Session's storage network, with calls that block.

    ``name`` is shown to recipients. ``state_folder`` (by default the one of the program ``ackpost``) keeps the position in the mailbox.
    Two programs that both want every message of one account have different names as ``reader``. Requests go through three nodes,
    so that none sees both this machine's address and the mailbox; with ``hidden=False`` they go to the mailbox's node itself.
    ``network`` and ``file_server`` name another network than the public one, for tests.
    """

    def send(
        self,
        to: str,
        text: str,
        *,
        attach: Attached | Iterable[Attached] = (),
        ttl: Seconds | None = None,
        disappears: Seconds | Disappears | None = None,
        patience: Seconds = 0,
    ) -> tuple[Stored, ...]:
        """Sends a text, and returns the receipts: one for each message that a long text becomes.

        The nodes keep a message for ``ttl`` (14 days), until the recipient fetches it. With ``disappears`` it vanishes from the
        devices: so many seconds after it was sent, or by a :class:`Disappears`. Temporary failures are tried again for
        ``patience``, with the same bytes, so that no message is stored twice. A second call makes a new message. Raises
        :class:`ackpost.Refused` or :class:`ackpost.Deferred`.
        """
        remark_on_loop()
        return _stored(wait(self._send(to, text, attach, ttl, disappears, patience))[0])

    def accept(self, author: str, *, patience: Seconds = 0) -> None:
        """Accepts the message request of an account, as an answer does too."""
        wait(self._start("accept", to=author, patience=seconds(patience) or 0))

    def download(self, file: int | File) -> DownloadedFile:
        """Downloads and decrypts a file of a message that was read."""
        raw, data = wait(self._start("download", number=file if isinstance(file, int) else file.id))
        return DownloadedFile(raw["name"], data or b"")

    def _ask(self) -> bool:
        """Polls once. Returns whether the mailbox has more."""
        try:
            return self._take(wait(self._poll(), cancel=False)[0])
        except BaseException as error:
            self._failed(error)
            raise

    def _handled(self, count: int) -> None:
        try:
            wait(self._mark(count), cancel=False)
        except BaseException as error:
            self._was_marked(error)
            raise
        self._was_marked(None)

    def new(self) -> list[Event]:
        """Returns what is new, and keeps that it was handled. If the call is interrupted, the next one returns it."""
        remark_on_loop()
        while self._ask():
            pass
        if self._marking is not None:
            self._handled(0)
        self._handled(self._unmarked())
        return self._all()

    def events(self, interval: float = 5) -> Iterator[Event]:
        """Returns what happens from the last place on. The mailbox is asked every ``interval`` seconds.

        An event counts as handled when the program asks for the next one; otherwise the next run gets it again.
        """
        while True:
            if self._marking is not None or self._given:
                self._handled(1)
            if self._waiting:
                yield self._give()
                continue
            try:
                more = self._ask()
                pause = 0.0 if more or self._waiting else interval
            except AckpostError as error:
                pause = _pause(error, interval)
            time.sleep(pause)


class AsyncMailbox(_Base):
    """The asynchronous form of :class:`Mailbox`."""

    async def send(
        self,
        to: str,
        text: str,
        *,
        attach: Attached | Iterable[Attached] = (),
        ttl: Seconds | None = None,
        disappears: Seconds | Disappears | None = None,
        patience: Seconds = 0,
    ) -> tuple[Stored, ...]:
        """Sends a text, and returns the receipts; see :meth:`Mailbox.send`."""
        return _stored((await wait_async(self._send(to, text, attach, ttl, disappears, patience)))[0])

    async def accept(self, author: str, *, patience: Seconds = 0) -> None:
        """Accepts the message request of an account, as an answer does too."""
        await wait_async(self._start("accept", to=author, patience=seconds(patience) or 0))

    async def download(self, file: int | File) -> DownloadedFile:
        """Downloads and decrypts a file of a message that was read."""
        raw, data = await wait_async(self._start("download", number=file if isinstance(file, int) else file.id))
        return DownloadedFile(raw["name"], data or b"")

    async def _ask(self) -> bool:
        """Polls once. Returns whether the mailbox has more."""
        try:
            return self._take((await wait_async(self._poll(), cancel=False))[0])
        except BaseException as error:
            self._failed(error)
            raise

    async def _handled(self, count: int) -> None:
        try:
            await wait_async(self._mark(count), cancel=False)
        except BaseException as error:
            self._was_marked(error)
            raise
        self._was_marked(None)

    async def new(self) -> list[Event]:
        """Returns what is new, and keeps that it was handled. If the call is interrupted, the next one returns it."""
        while await self._ask():
            pass
        if self._marking is not None:
            await self._handled(0)
        await self._handled(self._unmarked())
        return self._all()

    async def events(self, interval: float = 5) -> AsyncIterator[Event]:
        """Returns what happens from the last place on; see :meth:`Mailbox.events`."""
        while True:
            if self._marking is not None or self._given:
                await self._handled(1)
            if self._waiting:
                yield self._give()
                continue
            try:
                more = await self._ask()
                pause = 0.0 if more or self._waiting else interval
            except AckpostError as error:
                pause = _pause(error, interval)
            await asyncio.sleep(pause)


_PATIENCE = 300.0
"""Seconds for which a bot tries to send an answer."""


def _at_least_ten_seconds(rule: Disappears | None) -> Disappears | None:
    """Returns the rule for an answer: nodes keep a message for ten seconds at least."""
    if rule is None or rule.since == "read":
        return rule
    return Disappears(max(rule.after, timedelta(seconds=10)))


@dataclass(frozen=True, slots=True)
class Context:
    """Context of a command: the message that called it, with its bot and words."""

    bot: Bot
    message: Message
    words: tuple[str, ...] = ()
    """The words behind the command."""

    @property
    def author(self) -> str:
        """The Session ID of the author."""
        return self.message.author

    @property
    def person(self) -> str:
        """The Session ID of the author."""
        return self.message.author

    async def reply(self, text: str, **options: Any) -> tuple[Stored, ...]:
        """Answers the author. Options are those of :meth:`AsyncMailbox.send`.

        An answer disappears like the message that it answers. Temporary failures are tried again for five minutes.
        """
        options = {"disappears": _at_least_ten_seconds(self.message.disappears), "patience": _PATIENCE, **options}
        return await self.bot.mailbox.send(self.message.author, text, **options)


class Bot(BotBase):
    """A bot that people write to directly.

    Commands begin with ``prefix``, an empty text by default. Roles are ``"everyone"`` and ``"operator"``: the Session IDs in
    ``operators``. The bot accepts every message request, unless ``only`` names the accounts that it listens to. ``store`` is a
    file for the values of :meth:`get` and :meth:`set`. Other options are those of :class:`Mailbox`.
    """

    _roles = ("everyone", "operator")

    def __init__(
        self,
        identity: Identity,
        *,
        name: str = "Bot",
        prefix: str = "",
        operators: Iterable[str] = (),
        only: Iterable[str] | None = None,
        store: str | os.PathLike[str] | None = None,
        interval: float = 5,
        **options: Any,
    ) -> None:
        super().__init__(name, prefix, store)
        self.mailbox = AsyncMailbox(identity, name=name, **options)
        """The mailbox, for messages of the bot's own."""
        self.operators = frozenset(operators)
        self.only = None if only is None else frozenset(only)
        self._interval = interval

    def _places(self) -> Iterable[AsyncMailbox]:
        return [self.mailbox]

    async def _follow(self, memory: Memory) -> None:
        await self._say_ready()
        async for event in self.mailbox.events(self._interval):
            for on_event in self._events:
                await self._guard(on_event(event))
            if not isinstance(event, Message) or event.sent_to or event.author == self.mailbox.identity.session_id:
                continue
            if self.only is not None and event.author not in self.only:
                continue
            if not memory.knows("direct", event.author):
                await self._begin(self._accept(memory, event.author), event.author)
            await self._answer(Context(self, event), event.text)

    async def _accept(self, memory: Memory, author: str) -> None:
        # If it fails, the next message of the author tries it again.
        if memory.knows("direct", author):
            return
        await self.mailbox.accept(author, patience=_PATIENCE)
        memory.is_new("direct", author)

    def _may(self, role: Role, context: Any) -> bool:
        return role == "everyone" or context.author in self.operators
