"""Events in rooms, and cursors to resume from."""

from __future__ import annotations

import json
import os
import pathlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from ._values import DirectMessage, Message, Reaction, RoomInfo, direct_from, message_from, reactions_from, room_from


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. The base class of all events."""


@dataclass(frozen=True, slots=True)
class NewMessage(Event):
    """A new message. ``message.own`` is true for messages of this account."""

    room: str
    message: Message


@dataclass(frozen=True, slots=True)
class Edited(Event):
    """A message was edited."""

    room: str
    message: Message


@dataclass(frozen=True, slots=True)
class Deleted(Event):
    """A message was deleted."""

    room: str
    id: int


@dataclass(frozen=True, slots=True)
class ReactionsChanged(Event):
    """The reactions to a message changed."""

    room: str
    id: int
    reactions: dict[str, Reaction]


@dataclass(frozen=True, slots=True)
class RoomChanged(Event):
    """Name, description, image, pins or moderators of a room changed."""

    room: str
    info: RoomInfo


@dataclass(frozen=True, slots=True)
class RoomLost(Event):
    """A room cannot be read now; ``room`` is ``None`` for the direct messages. Reported once."""

    room: str | None
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class RoomBack(Event):
    """A lost room can be read again; ``room`` is ``None`` for the direct messages."""

    room: str | None


@dataclass(frozen=True, slots=True)
class DirectMessageEvent(Event):
    """A direct message came."""

    message: DirectMessage


@dataclass(frozen=True, slots=True)
class Interrupted(Event):
    """The server could not be asked; the next attempt comes by itself."""

    reason: str
    remedy: str
    retry_in: timedelta


@dataclass(frozen=True, slots=True)
class Gap(Event):
    """The community was restored from a backup. What was written since then and before this event may be missing."""

    room: str


@dataclass(frozen=True, slots=True)
class OtherEvent(Event):
    """An event that this version does not know."""


def event_from(raw: dict[str, Any]) -> Event:
    """Makes an event from what the native part says."""
    kind, room = raw["kind"], raw.get("room", "")
    if kind == "message":
        return NewMessage(room, message_from(raw["message"], room, raw["own"]))
    if kind == "edited":
        return Edited(room, message_from(raw["message"], room, raw["own"]))
    if kind == "deleted":
        return Deleted(room, raw["id"])
    if kind == "reactions":
        return ReactionsChanged(room, raw["id"], reactions_from(raw["reactions"]))
    if kind == "room":
        return RoomChanged(room, room_from(raw["info"]))
    if kind == "lost":
        return RoomLost(raw["room"], raw["reason"], raw["remedy"])
    if kind == "back":
        return RoomBack(raw["room"])
    if kind == "gap":
        return Gap(room)
    if kind == "direct":
        return DirectMessageEvent(direct_from(raw["message"]))
    if kind == "interrupted":
        return Interrupted(raw["reason"], raw["remedy"], timedelta(seconds=raw["retry_in"]))
    return OtherEvent()


class Cursor(Protocol):
    """A place to resume from, kept by whoever implements this."""

    def load(self) -> str | None:
        """Returns what was stored last, or ``None``."""

    def store(self, place: str) -> None:
        """Stores a place. It is called when the program asks for the event behind it."""


class FileCursor:
    """A :class:`Cursor` in a file, which is replaced whole."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = pathlib.Path(os.path.expanduser(os.fspath(path)))

    def load(self) -> str | None:
        """Returns what the file holds, or ``None`` if there is no file."""
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return None
        json.loads(text)
        return text

    def store(self, place: str) -> None:
        """Replaces the file."""
        beside = self._path.with_name(f".{self._path.name}.new")
        beside.write_text(place)
        os.replace(beside, self._path)

    def __repr__(self) -> str:
        return f"FileCursor({str(self._path)!r})"
