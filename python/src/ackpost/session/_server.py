"""Servers and rooms, blocking and asynchronous."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .. import _core
from .._bridge import environment, opened, remark_on_loop, set_level, wait, wait_async
from .._message import File as Attached
from .._message import Seconds, files, read_file, seconds
from ..errors import AckpostError
from ._events import Cursor, Event, event_from
from ._identity import Identity
from ._values import Author, DownloadedFile, File, JoinLink, Message, Posted, RoomInfo, message_from, posted_from, room_from

if TYPE_CHECKING:
    from typing_extensions import Self


def _number(message: int | Message | Posted) -> int:
    return message if isinstance(message, int) else message.id


def _user(user: str | Author) -> str:
    return user if isinstance(user, str) else user.id


class _Account:
    """Common parts of the blocking and the asynchronous server."""

    def __init__(
        self,
        link: JoinLink | str,
        identity: Identity | None = None,
        *,
        encrypt: bool | None = None,
        verify: bool = True,
        ca_file: str | os.PathLike[str] | None = None,
        proxies: bool = True,
        timeout: Seconds | None = None,
    ) -> None:
        ca = None
        if ca_file is not None:
            ca = read_file(os.fspath(ca_file))[0].decode()
        settings = {
            "link": str(link),
            "seed": identity.expose_seed() if identity else None,
            "encrypt": encrypt,
            "verify": verify,
            "ca": ca,
            "proxies": proxies,
            "timeout": seconds(timeout),
        }
        self._settings = json.dumps(settings)
        self._url: str | None = None
        self._begin(identity)

    def _begin(self, identity: Identity | None) -> None:
        self.identity = identity
        """The account as it was given, or ``None``."""
        self._native = self._open()
        self._process = os.getpid()
        self.url_rooms = tuple(self._native.rooms())
        """The rooms of the URL, or the one of the join link."""
        self.default_room = self.url_rooms[0]
        """The first of them."""

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Returns the server of a ``sessions://KEY:SEED@HOST/ROOM`` URL, with its account and its parameters."""
        made = cls.__new__(cls)
        made._url = url
        made._begin(None)
        return made

    def _open(self) -> _core.Community:
        url = self._url
        if url is not None:
            return opened(lambda: _core.Community.from_url(url, environment()))
        return opened(lambda: _core.Community(self._settings))

    def _own(self) -> _core.Community:
        set_level()
        if self._process != os.getpid():
            self._native = self._open()
            self._process = os.getpid()
        return self._native

    def _start(self, call: str, parts: Iterable[bytes] = (), **arguments: Any) -> _core.Pending:
        return self._own().call(json.dumps({"call": call, **arguments}), [*parts])

    def link(self, room: str) -> str:
        """Returns the join link of a room."""
        return self._own().link(room)

    def _follow(
        self,
        rooms: Iterable[str],
        cursor: Cursor | None,
        interval: float,
        backlog: int,
        direct: bool,
        persistent: bool,
    ) -> _core.Events:
        place = cursor.load() if cursor else None
        options = {
            "rooms": [*rooms] or [self.default_room],
            "cursor": json.loads(place) if place else None,
            "interval": interval,
            "backlog": backlog,
            "inbox": direct,
            "persistent": persistent,
        }
        return self._own().follow(json.dumps(options))

    def __repr__(self) -> str:
        who = self._own().account() or "nobody"
        return f"<{type(self).__name__} {self.link(self.default_room).split('?')[0]} as {who}>"


class _RoomCalls:
    """The calls of a room, started and not waited for."""

    def __init__(self, account: _Account, token: str) -> None:
        self._account = account
        self.token = token
        """The name of the room in URLs."""

    @property
    def link(self) -> str:
        """The join link."""
        return self._account.link(self.token)

    def _start(self, call: str, parts: Iterable[bytes] = (), **arguments: Any) -> _core.Pending:
        return self._account._start(call, parts, room=self.token, **arguments)

    def _send(
        self,
        call: str,
        text: str,
        name: str | None,
        attach: Attached | Iterable[Attached],
        reply_to: int | Message | Posted | None,
        whisper_to: str | Author | None,
        whisper_mods: bool,
        **arguments: Any,
    ) -> _core.Pending:
        described: list[dict[str, Any]] = []
        parts: list[bytes] = []
        for file in files(attach):
            data, own_name, media_type = read_file(file)
            described.append({"bytes": len(parts), "name": own_name, "media_type": media_type})
            parts.append(data)
        post = {
            "text": text,
            "name": name,
            "files": described,
            "reply_to": None if reply_to is None else _number(reply_to),
            "whisper_to": None if whisper_to is None else _user(whisper_to),
            "whisper_mods": whisper_mods,
        }
        return self._start(call, parts, post=post, **arguments)

    def _messages(self, raws: list[dict[str, Any]]) -> list[Message]:
        """Oldest first, as people read them."""
        return [message_from(raw, self.token) for raw in reversed(raws)]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.token}>"


class Room(_RoomCalls):
    """A room of a community, with calls that block.

    Calls raise :class:`ackpost.Refused` or :class:`ackpost.Deferred` with cause and remedy. ``token`` is the name of the
    room in links.
    """

    def _do(self, call: str, **arguments: Any) -> Any:
        remark_on_loop()
        return wait(self._start(call, **arguments))[0]

    def info(self) -> RoomInfo:
        """Returns name, description, pins, moderators, and the rights of this account."""
        return room_from(self._do("info"))

    def recent(self, limit: int = 20) -> list[Message]:
        """Returns the latest messages, oldest first; at most 256."""
        return self._messages(self._do("recent", limit=limit))

    def before(self, message: int | Message, limit: int = 20) -> list[Message]:
        """Returns the messages before another one, oldest first; at most 256."""
        return self._messages(self._do("before", id=_number(message), limit=limit))

    def message(self, id: int) -> Message:
        """Returns one message."""
        return message_from(self._do("message", id=id), self.token)

    def post(
        self,
        text: str = "",
        *,
        name: str | None = None,
        files: Attached | Iterable[Attached] = (),
        reply_to: int | Message | Posted | None = None,
        whisper_to: str | Author | None = None,
        whisper_mods: bool = False,
    ) -> Posted:
        """Posts a message. The result is false if the community shows the message to nobody.

        ``name`` is shown instead of the id. ``files`` are paths, or pairs of a name and bytes. Only moderators may whisper.
        """
        remark_on_loop()
        pending = self._send("post", text, name, files, reply_to, whisper_to, whisper_mods)
        return posted_from(wait(pending)[0], self.token)

    def edit(self, message: int | Message | Posted, text: str, *, name: str | None = None) -> Posted:
        """Replaces the text of one's own message."""
        pending = self._send("edit", text, name, (), None, None, False, id=_number(message))
        return posted_from(wait(pending)[0], self.token)

    def delete(self, message: int | Message | Posted) -> None:
        """Deletes one's own message; moderators may delete every message."""
        self._do("delete", id=_number(message))

    def delete_all(self, user: str | Author) -> None:
        """Deletes every message of somebody in this room. For moderators."""
        self._do("delete_all", user=_user(user))

    def react(self, message: int | Message | Posted, emoji: str) -> bool:
        """Reacts with an emoji. Returns false if this account had done so before."""
        return bool(self._do("react", id=_number(message), emoji=emoji))

    def unreact(self, message: int | Message | Posted, emoji: str) -> bool:
        """Takes a reaction back. Returns false if there was none."""
        return bool(self._do("unreact", id=_number(message), emoji=emoji))

    def pin(self, message: int | Message | Posted) -> None:
        """Pins a message. For admins."""
        self._do("pin", id=_number(message))

    def unpin(self, message: int | Message | Posted | None = None) -> int:
        """Unpins a message, or all of them, and returns how many. For admins."""
        return int(self._do("unpin", id=None if message is None else _number(message)))

    def ban(self, user: str | Author, duration: Seconds | None = None) -> None:
        """Bans somebody from this room, for a time or permanently. For moderators."""
        self._do("ban", user=_user(user), seconds=seconds(duration))

    def unban(self, user: str | Author) -> None:
        """Lifts a ban. For moderators."""
        self._do("unban", user=_user(user))

    def set_role(
        self,
        user: str | Author,
        *,
        moderator: bool | None = None,
        admin: bool | None = None,
        visible: bool | None = None,
    ) -> None:
        """Makes somebody a moderator or an admin here, or no longer. For admins."""
        self._do("role", user=_user(user), moderator=moderator, admin=admin, visible=visible)

    def download(self, file: int | File) -> DownloadedFile:
        """Downloads a file of this room."""
        raw, data = wait(self._start("download", id=file if isinstance(file, int) else file.id))
        return DownloadedFile(raw["name"], data or b"")


class AsyncRoom(_RoomCalls):
    """The asynchronous form of :class:`Room`."""

    async def _do(self, call: str, **arguments: Any) -> Any:
        return (await wait_async(self._start(call, **arguments)))[0]

    async def info(self) -> RoomInfo:
        """Returns name, description, pins, moderators, and the rights of this account."""
        return room_from(await self._do("info"))

    async def recent(self, limit: int = 20) -> list[Message]:
        """Returns the latest messages, oldest first; at most 256."""
        return self._messages(await self._do("recent", limit=limit))

    async def before(self, message: int | Message, limit: int = 20) -> list[Message]:
        """Returns the messages before another one, oldest first; at most 256."""
        return self._messages(await self._do("before", id=_number(message), limit=limit))

    async def message(self, id: int) -> Message:
        """Returns one message."""
        return message_from(await self._do("message", id=id), self.token)

    async def post(
        self,
        text: str = "",
        *,
        name: str | None = None,
        files: Attached | Iterable[Attached] = (),
        reply_to: int | Message | Posted | None = None,
        whisper_to: str | Author | None = None,
        whisper_mods: bool = False,
    ) -> Posted:
        """Posts a message; see :meth:`Room.post`."""
        pending = self._send("post", text, name, files, reply_to, whisper_to, whisper_mods)
        return posted_from((await wait_async(pending))[0], self.token)

    async def edit(self, message: int | Message | Posted, text: str, *, name: str | None = None) -> Posted:
        """Replaces the text of one's own message."""
        pending = self._send("edit", text, name, (), None, None, False, id=_number(message))
        return posted_from((await wait_async(pending))[0], self.token)

    async def delete(self, message: int | Message | Posted) -> None:
        """Deletes one's own message; moderators may delete every message."""
        await self._do("delete", id=_number(message))

    async def delete_all(self, user: str | Author) -> None:
        """Deletes every message of somebody in this room. For moderators."""
        await self._do("delete_all", user=_user(user))

    async def react(self, message: int | Message | Posted, emoji: str) -> bool:
        """Reacts with an emoji. Returns false if this account had done so before."""
        return bool(await self._do("react", id=_number(message), emoji=emoji))

    async def unreact(self, message: int | Message | Posted, emoji: str) -> bool:
        """Takes a reaction back. Returns false if there was none."""
        return bool(await self._do("unreact", id=_number(message), emoji=emoji))

    async def pin(self, message: int | Message | Posted) -> None:
        """Pins a message. For admins."""
        await self._do("pin", id=_number(message))

    async def unpin(self, message: int | Message | Posted | None = None) -> int:
        """Unpins a message, or all of them, and returns how many. For admins."""
        return int(await self._do("unpin", id=None if message is None else _number(message)))

    async def ban(self, user: str | Author, duration: Seconds | None = None) -> None:
        """Bans somebody from this room, for a time or permanently. For moderators."""
        await self._do("ban", user=_user(user), seconds=seconds(duration))

    async def unban(self, user: str | Author) -> None:
        """Lifts a ban. For moderators."""
        await self._do("unban", user=_user(user))

    async def set_role(
        self,
        user: str | Author,
        *,
        moderator: bool | None = None,
        admin: bool | None = None,
        visible: bool | None = None,
    ) -> None:
        """Makes somebody a moderator or an admin here, or no longer. For admins."""
        await self._do("role", user=_user(user), moderator=moderator, admin=admin, visible=visible)

    async def download(self, file: int | File) -> DownloadedFile:
        """Downloads a file of this room."""
        raw, data = await wait_async(self._start("download", id=file if isinstance(file, int) else file.id))
        return DownloadedFile(raw["name"], data or b"")


class _Following:
    def __init__(self, native: _core.Events, cursor: Cursor | None) -> None:
        self._native = native
        self._cursor = cursor
        self._pending: _core.Pending | None = None
        self._place: str | None = None

    def _next(self) -> _core.Pending:
        # The program has dealt with the event before.
        if self._place is not None and self._cursor is not None:
            self._cursor.store(self._place)
            self._place = None
        # The answer of a cancelled wait is not lost.
        if self._pending is None:
            self._pending = self._native.next()
        return self._pending

    def _take(self, raw: dict[str, Any]) -> Event | None:
        self._pending = None
        self._place = json.dumps(raw["cursor"])
        # The place of the present comes without an event.
        return None if raw["event"] is None else event_from(raw["event"])

    def _stop(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None

    def _failed(self, error: BaseException) -> None:
        # Anything else, such as the error of a signal handler, ended the wait and not the call.
        if isinstance(error, AckpostError):
            self._pending = None


class Events(_Following, AsyncIterator[Event]):
    """Events as an asynchronous iterator. Cancelling the wait for an event loses nothing."""

    async def __anext__(self) -> Event:
        while True:
            pending = self._next()
            try:
                event = self._take((await wait_async(pending, cancel=False))[0])
            except BaseException as error:
                self._failed(error)
                raise
            if event is not None:
                return event

    async def aclose(self) -> None:
        """Stops asking the server. What happens later comes again with the next iterator that has the same ``cursor``."""
        self._stop()


class SyncEvents(_Following, Iterator[Event]):
    """Events as an iterator that blocks."""

    def __next__(self) -> Event:
        while True:
            pending = self._next()
            try:
                event = self._take(wait(pending, cancel=False)[0])
            except BaseException as error:
                self._failed(error)
                raise
            if event is not None:
                return event

    def close(self) -> None:
        """Stops asking the server."""
        self._stop()


class Server(_Account):
    """A community server, and perhaps an account on it, with calls that block.

    ``link`` is the join link of one of its rooms. Without ``identity``, what is open to everybody can be read.
    ``encrypt`` seals requests to the key of the server; the default does so over plain http. ``verify`` and ``ca_file``
    say which certificates are accepted, and ``timeout`` limits each call in seconds.
    """

    def room(self, token: str | None = None) -> Room:
        """Returns a room: the one of the join link, or another one of the server."""
        return Room(self, token or self.default_room)

    def rooms(self) -> list[RoomInfo]:
        """Returns the rooms that this account can see."""
        return [room_from(raw) for raw in wait(self._start("rooms"))[0]]

    def my_id(self) -> str:
        """Returns the id under which the others see this account."""
        return str(wait(self._start("me"))[0])

    def send_direct(self, user: str | Author, text: str, *, name: str | None = None) -> None:
        """Sends a direct message to a blinded id of this server."""
        wait(self._start("direct", to=_user(user), text=text, name=name))

    def events(
        self,
        rooms: Iterable[str] = (),
        *,
        cursor: Cursor | None = None,
        interval: float = 4,
        backlog: int = 0,
        direct: bool = True,
        persistent: bool = True,
    ) -> SyncEvents:
        """Returns what happens in rooms, from now on or from the place that ``cursor`` has.

        The server is asked every ``interval`` seconds. ``backlog`` is the number of earlier messages to begin with. If not
        ``persistent``, an error that does not pass by itself ends the iteration.
        """
        return SyncEvents(self._follow(rooms, cursor, interval, backlog, direct, persistent), cursor)


class AsyncServer(_Account):
    """The asynchronous form of :class:`Server`."""

    def room(self, token: str | None = None) -> AsyncRoom:
        """Returns a room: the one of the join link, or another one of the server."""
        return AsyncRoom(self, token or self.default_room)

    async def rooms(self) -> list[RoomInfo]:
        """Returns the rooms that this account can see."""
        return [room_from(raw) for raw in (await wait_async(self._start("rooms")))[0]]

    async def my_id(self) -> str:
        """Returns the id under which the others see this account."""
        return str((await wait_async(self._start("me")))[0])

    async def send_direct(self, user: str | Author, text: str, *, name: str | None = None) -> None:
        """Sends a direct message to a blinded id of this server."""
        await wait_async(self._start("direct", to=_user(user), text=text, name=name))

    def events(
        self,
        rooms: Iterable[str] = (),
        *,
        cursor: Cursor | None = None,
        interval: float = 4,
        backlog: int = 0,
        direct: bool = True,
        persistent: bool = True,
    ) -> Events:
        """Returns what happens in rooms; see :meth:`Server.events`."""
        return Events(self._follow(rooms, cursor, interval, backlog, direct, persistent), cursor)
