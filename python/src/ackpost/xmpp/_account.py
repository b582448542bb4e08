"""XMPP accounts and rooms that are asynchronous."""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode
from weakref import WeakSet

from .. import _core
from .._bridge import environment, opened, set_level, wait_async
from .._message import File, read_file
from ..errors import AckpostError, ConfigError, Deferred, Partial, Refused
from ._events import Event, Lagged, Message, Occupant, RoomLost, Sent, event_from

if TYPE_CHECKING:
    from typing_extensions import Self

WAITING = 10_000
"""Most events that wait for one part of a program; older ones are dropped and counted."""
ENTER_WAIT = 120.0
"""Seconds that a room has to let an account in."""
ENDED = ("the session ended before the room answered", "open the account again")

Call = tuple[str, list[bytes], dict[str, Any]]


class Heard:
    """Events that wait for one part of the program, in order."""

    def __init__(self, wanted: Callable[[Event], bool], says_lost: bool) -> None:
        self._wanted = wanted
        self._says_lost = says_lost
        self._waiting: deque[Event] = deque()
        self._lost = 0

    def hear(self, event: Event) -> None:
        if isinstance(event, Lagged) and self._says_lost:
            self._lost += event.count
        elif self._wanted(event):
            if len(self._waiting) == WAITING:
                self._waiting.popleft()
                self._lost += 1
            self._waiting.append(event)

    def take(self) -> Event | None:
        """Returns the next event. Dropped ones are counted before it, or logged where only messages are wanted."""
        if self._lost:
            lost, self._lost = self._lost, 0
            if self._says_lost:
                return Lagged(lost)
            import logging

            logging.getLogger("ackpost").warning("%d messages were dropped, because the program took them too slowly", lost)
        return self._waiting.popleft() if self._waiting else None


class _Listener(AsyncIterator[Event]):
    """Events that one part of the program wants, in order."""

    def __init__(self, account: Account, wanted: Callable[[Event], bool], says_lost: bool) -> None:
        self._account = account
        self._heard = Heard(wanted, says_lost)
        self._changed = asyncio.Event()

    def hear(self, event: Event) -> None:
        self._heard.hear(event)
        self._changed.set()

    async def __anext__(self) -> Event:
        while (event := self._heard.take()) is None:
            if self._account._over is not None:
                await self.aclose()
                if isinstance(self._account._over, AckpostError):
                    raise self._account._over
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return event

    async def aclose(self) -> None:
        self._account._listeners.discard(self)

    def __aiter__(self) -> Self:
        return self


def _account_url(address: str, password: str | None, has_file: bool, port: int | None, tls: bool) -> str:
    """The URL of an account, without parameters."""
    local, _, domain = address.partition("/")[0].rpartition("@")
    if not local or not domain:
        raise ConfigError(f"`{address}` is not an address", "write user@example.org")
    if (password is None) != has_file:
        raise ConfigError("the account has no password", "give either password or password_file")
    secret = f":{quote(password, safe='')}" if password is not None else ""
    where = quote(domain, safe=":[]") + (f":{port}" if port else "")
    return f"{'xmpps' if tls else 'xmpp'}://{quote(local, safe='')}{secret}@{where}/"


class AccountBase:
    """Common parts of the asynchronous and the blocking account."""

    def __init__(
        self,
        address: str,
        *,
        password: str | None = None,
        password_file: str | os.PathLike[str] | None = None,
        host: str | None = None,
        port: int | None = None,
        tls: bool = True,
        ca_file: str | os.PathLike[str] | None = None,
        **parameters: str,
    ) -> None:
        options = dict(parameters)
        if host:
            options["xmpp"] = host
        if password_file is not None:
            options["password_file"] = os.path.expanduser(os.fspath(password_file))
        if ca_file is not None:
            options["ca_file"] = os.path.expanduser(os.fspath(ca_file))
        query = urlencode(options, quote_via=quote)
        if "://" in address:
            if password is not None or port is not None:
                raise ConfigError("the URL has its own password and port", "write them into the URL, or give an address")
            url = address + (("&" if "?" in address else "?") + query if query else "")
        else:
            url = _account_url(address, password, password_file is not None, port, tls) + f"?{query}"
        self._native = opened(lambda: _core.Xmpp(url, environment()))
        self.jid = ""
        """The full address, once the account is logged in."""
        self._process = os.getpid()
        self._begin()

    def _begin(self) -> None:
        """Called at the end of the construction."""

    def _start(self, call: str, parts: Iterable[bytes] = (), **arguments: Any) -> _core.Pending:
        if self._process != os.getpid():
            raise ConfigError("the account was opened by another process", "open it in the process that uses it")
        set_level()
        return self._native.call(json.dumps({"call": call, **arguments}), [*parts])


def calls_of(
    to: str,
    room: bool,
    text: str,
    subject: str | None,
    reply_to: Message | None,
    replaces: Message | Sent | str | None,
    file: File | None,
) -> list[Call]:
    """Returns the calls that send a text, a file, or both."""
    calls: list[Call] = []
    if text or subject or file is None:
        place = None
        if reply_to is not None and reply_to.id is not None:
            place = {"id": reply_to.id, "to": reply_to.sender or None}
        arguments = {
            "to": to,
            "room": room,
            "text": text,
            "subject": subject,
            "reply_to": place,
            "replaces": replaces if replaces is None or isinstance(replaces, str) else replaces.id,
        }
        calls.append(("send", [], arguments))
    if file is not None:
        data, name, media_type = read_file(file)
        named = {"name": name or "file", "media_type": media_type or "application/octet-stream"}
        calls.append(("file", [data], {"to": to, "room": room, **named}))
    return calls


def sent_from(raw: dict[str, Any]) -> Sent:
    """Makes a confirmed message from what the native part says."""
    return Sent(raw["id"], raw["confirmed_by"], tuple(raw["notes"]))


def is_about_entering(event: Event) -> bool:
    """Returns whether an event says if the account is in a room."""
    return isinstance(event, RoomLost) or (isinstance(event, Occupant) and event.own)


def is_private(event: Event) -> bool:
    """Returns whether an event is a message to the account itself."""
    return isinstance(event, Message) and not event.in_room


def is_of_room(address: str, history: int) -> Callable[[Event], bool]:
    """Returns a filter for the messages of a room."""
    return lambda event: isinstance(event, Message) and event.room == address and bool(history or event.time is None)


def entered(event: Event, room: str) -> str | None:
    """Returns the nick with which the room let the account in. Raises if it did not."""
    if isinstance(event, RoomLost) and event.room.partition("/")[0] == room:
        raise (Refused if event.permanent else Deferred)(event.reason, event.remedy)
    return event.nick if isinstance(event, Occupant) and event.room == room and event.present else None


def not_entered(room: str) -> Deferred:
    """Returns the error of a room that did not let the account in."""
    return Deferred(f"{room} did not answer in {ENTER_WAIT:.0f} s", "check that the room's service is up, and enter again")


def sent_all(raws: list[dict[str, Any]]) -> Sent:
    """Makes the confirmed message of a text and the file behind it."""
    sent = [sent_from(raw) for raw in raws]
    return replace(sent[0], file=sent[1]) if len(sent) > 1 else sent[0]


def partly_sent(error: AckpostError) -> Partial:
    """Returns the error of a file whose text has arrived."""
    return Partial(f"the text was delivered, and the file was not: {error.cause}", f"send the file alone; {error.remedy}")


class Account(AccountBase):
    """An XMPP account with a kept session. Use it in an ``async with`` block.

    ``address`` is ``user@example.org`` with ``password`` or ``password_file``, or a whole
    ``xmpps://user:password@example.org`` URL, whose rooms are entered; parameters are added to it. ``host``, ``port`` and ``ca_file`` say where to
    connect and which authorities to trust; ``parameters`` are further parameters of the URL, such as ``omemo="yes"``.

    Raises :class:`ackpost.ConfigError` for an unusable address, and :class:`ackpost.Refused` or
    :class:`ackpost.Deferred` if the login fails.
    """

    def _begin(self) -> None:
        # An iterator that nobody has any more hears nothing.
        self._listeners: WeakSet[_Listener] = WeakSet()
        self._pump: asyncio.Task[None] | None = None
        self._over: BaseException | bool | None = None

    async def _do(self, call: str, parts: Iterable[bytes] = (), **arguments: Any) -> Any:
        return (await wait_async(self._start(call, parts, **arguments)))[0]

    async def open(self) -> Self:
        """Logs in."""
        if self._pump is None:
            self.jid = await self._do("open")
            self._pump = asyncio.create_task(self._listen())
        return self

    async def _listen(self) -> None:
        try:
            while (raw := await self._do("next")) is not None:
                if raw["kind"] == "ended":
                    kind = Refused if raw["permanent"] else Deferred
                    self._over = kind(raw["reason"], raw["remedy"])
                    return
                event = event_from(raw)
                for listener in list(self._listeners):
                    listener.hear(event)
        except AckpostError as error:
            self._over = error
        finally:
            self._over = self._over or True
            for listener in list(self._listeners):
                listener._changed.set()

    async def close(self) -> None:
        """Ends the session in good order."""
        if self._pump is not None:
            with suppress(AckpostError):
                await self._do("close")
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
            self._pump = None

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _hear(self, wanted: Callable[[Event], bool], says_lost: bool = False) -> _Listener:
        listener = _Listener(self, wanted, says_lost)
        self._listeners.add(listener)
        return listener

    def events(self) -> AsyncIterator[Event]:
        """Returns everything that happens from now on. Ends when the session is closed."""
        return self._hear(lambda _event: True, says_lost=True)

    def messages(self) -> AsyncIterator[Message]:
        """Returns the messages that people write to this account from now on."""
        wanted = self._hear(is_private)
        return cast("AsyncIterator[Message]", wanted)

    async def send(
        self,
        to: str,
        text: str = "",
        *,
        subject: str | None = None,
        reply_to: Message | None = None,
        replaces: Message | Sent | str | None = None,
        file: File | None = None,
    ) -> Sent:
        """Sends a message to a person and waits for its confirmation.

        ``replaces`` corrects an earlier message. A ``file`` follows the text as its own message.
        """
        return await self._send(to, False, text, subject, reply_to, replaces, file)

    async def _send(
        self,
        to: str,
        room: bool,
        text: str,
        subject: str | None,
        reply_to: Message | None,
        replaces: Message | Sent | str | None,
        file: File | None,
    ) -> Sent:
        raws: list[dict[str, Any]] = []
        for call, parts, arguments in calls_of(to, room, text, subject, reply_to, replaces, file):
            try:
                raws.append(await self._do(call, parts, **arguments))
            except AckpostError as error:
                if not raws:
                    raise
                raise partly_sent(error) from error
        return sent_all(raws)

    def join(
        self, room: str, *, nick: str | None = None, password: str | None = None, create: bool = False
    ) -> Room:
        """Returns a room. Enter it with ``async with``, or by :meth:`Room.enter`."""
        return Room(self, room, nick, password, create)


class Room:
    """A room of an account."""

    def __init__(self, account: Account, address: str, nick: str | None, password: str | None, create: bool) -> None:
        self.account = account
        self.address = address.partition("/")[0]
        self.nick = nick
        """The nick; once the account is in the room, the one that the room gave."""
        self._password = password
        self._create = create

    async def enter(self) -> Self:
        """Enters the room and stays in it, also after a break of the connection.

        Raises :class:`ackpost.Refused` or :class:`ackpost.Deferred` if the room does not let the account in.
        """
        # The events name the room in its normal form, which is known when the call returns.
        listener = self.account._hear(is_about_entering)
        try:
            self.address = await self.account._do(
                "join", room=self.address, nick=self.nick, password=self._password, create=self._create
            )
            self.nick = await asyncio.wait_for(self._entered(listener), ENTER_WAIT)
        except asyncio.TimeoutError:
            raise not_entered(self.address) from None
        finally:
            await listener.aclose()
        return self

    async def _entered(self, listener: AsyncIterator[Event]) -> str:
        async for event in listener:
            nick = entered(event, self.address)
            if nick is not None:
                return nick
        raise Deferred(*ENDED)

    async def leave(self) -> None:
        """Leaves the room."""
        await self.account._do("leave", room=self.address)

    async def __aenter__(self) -> Self:
        return await self.enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.account._over is None:
            await self.leave()

    def messages(self, history: int = 0) -> AsyncIterator[Message]:
        """Returns the messages of the room from now on, one's own among them.

        With ``history=0``, messages from before the account entered are left out; otherwise those come too that the room
        sends after this call.
        """
        wanted = self.account._hear(is_of_room(self.address, history))
        return cast("AsyncIterator[Message]", wanted)

    async def send(
        self,
        text: str = "",
        *,
        reply_to: Message | None = None,
        replaces: Message | Sent | str | None = None,
        file: File | None = None,
    ) -> Sent:
        """Sends a message to the room, and waits until the room shows it."""
        return await self.account._send(self.address, True, text, None, reply_to, replaces, file)

    async def react(self, message: Message, *emoji: str) -> Sent:
        """Reacts to a message. The emoji replace earlier ones of this account; none takes them back."""
        raw = await self.account._do("react", to=self.address, room=True, id=message.id or "", emoji=[*emoji])
        return sent_from(raw)

    async def retract(self, message: Message) -> Sent:
        """Takes one's own message back."""
        raw = await self.account._do("retract", to=self.address, room=True, id=message.id or "")
        return sent_from(raw)

    def __repr__(self) -> str:
        return f"<Room {self.address}>"
