"""Events of an XMPP account."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from .._message import time_from


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was confirmed."""

    id: str
    confirmed_by: str
    """The proof: ``sent``, ``handed over``, ``server``, ``room`` or ``receipt``."""
    notes: tuple[str, ...] = ()
    file: Sent | None = None
    """The message with the file, if a file followed the text."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. The base class of all events."""


@dataclass(frozen=True, slots=True)
class Message(Event):
    """A message of a person or in a room."""

    sender: str
    """The address; in rooms that of the room with the nick behind ``/``."""
    text: str
    in_room: bool
    id: str | None
    """The id to use for answers, reactions and corrections."""
    own: bool
    """True if this account wrote it."""
    subject: str | None = None
    files: tuple[str, ...] = ()
    """Addresses of files."""
    time: datetime | None = None
    """When it was sent, if it was delivered late, for instance from the history of a room."""
    encrypted: bool = False
    reply_to: str | None = None
    """The id of the message that it answers."""
    occupant_id: str | None = None
    """The id of the author that stays the same when the nick changes, where the room gives one."""

    @property
    def room(self) -> str | None:
        """The address of the room."""
        return self.sender.partition("/")[0] if self.in_room else None

    @property
    def nick(self) -> str:
        """The nick in the room, or the part of the address before ``@``."""
        return self.sender.partition("/")[2] if self.in_room else self.sender.partition("@")[0]


@dataclass(frozen=True, slots=True)
class Edited(Message):
    """An earlier message was corrected."""

    replaces: str | None = None
    """The id that the corrected message had."""


@dataclass(frozen=True, slots=True)
class Retracted(Event):
    """A message was taken back."""

    sender: str
    id: str
    in_room: bool
    own: bool


@dataclass(frozen=True, slots=True)
class Reaction(Event):
    """Somebody reacted. The list replaces their earlier one."""

    sender: str
    id: str
    emoji: tuple[str, ...]
    in_room: bool
    own: bool


@dataclass(frozen=True, slots=True)
class Receipt(Event):
    """A client of the recipient has a message."""

    sender: str
    id: str


@dataclass(frozen=True, slots=True)
class Occupant(Event):
    """Somebody came into a room, changed, or left."""

    room: str
    nick: str
    present: bool
    own: bool
    role: str
    affiliation: str
    jid: str | None = None
    """The real address, where the room shows it."""
    occupant_id: str | None = None


@dataclass(frozen=True, slots=True)
class Subject(Event):
    """The topic of a room."""

    room: str
    nick: str | None
    subject: str


@dataclass(frozen=True, slots=True)
class Online(Event):
    """The session stands (again)."""

    jid: str
    resumed: bool
    """True if nothing was missed."""


@dataclass(frozen=True, slots=True)
class Offline(Event):
    """The connection is gone and will be made again."""

    reason: str
    remedy: str
    retry_in: timedelta


@dataclass(frozen=True, slots=True)
class RoomLost(Event):
    """The account is no longer in a room, or was not let in."""

    room: str
    reason: str
    remedy: str
    permanent: bool


@dataclass(frozen=True, slots=True)
class Undecryptable(Event):
    """An encrypted message could not be read."""

    sender: str
    in_room: bool
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class NewKey(Event):
    """A key of a device was seen for the first time."""

    sender: str
    device: int
    fingerprint: str
    changed: bool
    """True if the account had other keys before. Compare the fingerprint with its owner."""


@dataclass(frozen=True, slots=True)
class Lagged(Event):
    """The program took events too slowly, and this many were dropped."""

    count: int


@dataclass(frozen=True, slots=True)
class Gap(Event):
    """Earlier messages of an archive could not be read."""

    archive: str


@dataclass(frozen=True, slots=True)
class CaughtUp(Event):
    """All earlier messages of an archive were events; the following ones are new."""

    archive: str


@dataclass(frozen=True, slots=True)
class OtherEvent(Event):
    """An event that this version does not know."""


def message_from(raw: dict[str, Any]) -> Message:
    """Makes a message from what the native part says."""
    archive = raw["archive"]
    sender = raw["from"] or ""
    # In rooms the id that the room gave counts.
    by_room = archive and raw["room"] and archive["by"] == sender.partition("/")[0]
    values: dict[str, Any] = {
        "sender": sender,
        "text": raw["text"],
        "in_room": raw["room"],
        "id": archive["id"] if by_room else raw["origin_id"] or raw["id"],
        "own": raw["own"],
        "subject": raw["subject"],
        "files": tuple(raw["files"]),
        "time": time_from(raw["stamp"]) if raw["stamp"] else None,
        "encrypted": raw["encrypted"],
        "reply_to": raw["reply_to"],
        "occupant_id": raw["occupant_id"],
    }
    return Edited(**values, replaces=raw["replaces"]) if raw["kind"] == "edited" else Message(**values)


def event_from(raw: dict[str, Any]) -> Event:
    """Makes an event from what the native part says."""
    kind = raw["kind"]
    if kind in ("message", "edited"):
        return message_from(raw)
    if kind == "online":
        return Online(raw["jid"], raw["resumed"])
    if kind == "offline":
        return Offline(raw["reason"], raw["remedy"], timedelta(seconds=raw["retry_in"]))
    if kind == "lost":
        return RoomLost(raw["room"], raw["reason"], raw["remedy"], raw["permanent"])
    if kind == "occupant":
        names = ("room", "nick", "present", "own", "role", "affiliation", "jid", "occupant_id")
        return Occupant(**{name: raw[name] for name in names})
    if kind == "subject":
        return Subject(raw["room"], raw["nick"], raw["subject"])
    if kind == "retracted":
        return Retracted(raw["from"], raw["id"], raw["room"], raw["own"])
    if kind == "reaction":
        return Reaction(raw["from"], raw["id"], tuple(raw["emoji"]), raw["room"], raw["own"])
    if kind == "receipt":
        return Receipt(raw["from"], raw["id"])
    if kind == "undecryptable":
        return Undecryptable(raw["from"], raw["room"], raw["reason"], raw["remedy"])
    if kind == "new-key":
        return NewKey(raw["from"], raw["device"], raw["fingerprint"], raw["changed"])
    if kind == "lagged":
        return Lagged(raw["count"])
    if kind == "gap":
        return Gap(raw["archive"])
    if kind == "caught-up":
        return CaughtUp(raw["archive"])
    return OtherEvent()
