"""Values of rooms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigError


@dataclass(frozen=True, slots=True)
class JoinLink:
    """A join link: ``https://HOST/ROOM?public_key=KEY``."""

    text: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.text)
        if parts.scheme not in ("http", "https") or not parts.netloc or "public_key=" not in parts.query:
            raise ConfigError("this is not a join link", "copy it whole: https://HOST/ROOM?public_key=KEY")

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Author:
    """Somebody in a community."""

    id: str
    """The id in this community: ``15…`` where ids are blinded, else ``05…``."""
    short: str
    """The form that people see when there is no name: ``(15a1b2…c3d4)``."""
    name: str | None = None
    """The name that the author chose; nobody checks it."""

    def __str__(self) -> str:
        return self.name or self.short


@dataclass(frozen=True, slots=True)
class Reaction:
    """The reactions with one emoji."""

    count: int
    you: bool
    people: tuple[str, ...]
    """Ids of the first few."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of a message; :meth:`Room.download` gets it."""

    id: int
    name: str | None
    """The name, as the uploader gave it: never use it as a path unchecked."""
    media_type: str | None
    size: int | None


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A file that was downloaded."""

    name: str | None
    """The name, as the uploader gave it: never use it as a path unchecked."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Quote:
    """The message that another one answers."""

    time: datetime | None
    author: str | None


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a room. Take ``text`` for the author's word only if ``verified`` is true."""

    id: int
    room: str
    author: Author
    time: datetime
    text: str
    edited: datetime | None = None
    problem: str | None = None
    """Why the content must not be taken for the author's word."""
    whisper: bool = False
    """True if only some people see it."""
    files: tuple[File, ...] = ()
    quotes: Quote | None = None
    reactions: dict[str, Reaction] | None = None
    own: bool = False
    """True if it is a message of this account (only in events)."""

    @property
    def verified(self) -> bool:
        """True if the signature proves the author."""
        return self.problem is None


@dataclass(frozen=True, slots=True)
class Posted:
    """A message that the community took. True unless it shows the message to nobody."""

    id: int
    room: str
    withheld: str | None = None
    """Why nobody sees the message: ``held`` for approval, ``filtered``, or another word."""
    message: Message | None = None

    def __bool__(self) -> bool:
        return self.withheld is None


@dataclass(frozen=True, slots=True)
class DirectMessage:
    """A direct message that came through a community."""

    id: int
    author: Author | None
    text: str
    problem: str | None = None
    """Why it could not be opened."""


@dataclass(frozen=True, slots=True)
class RoomInfo:
    """A room as the server describes it."""

    token: str
    name: str
    description: str | None
    active_users: int
    moderators: tuple[str, ...]
    """Ids of the visible moderators, admins among them."""
    admins: tuple[str, ...]
    pinned: tuple[int, ...]
    """Numbers of the pinned messages."""
    moderator: bool
    """True if this account moderates the room."""
    admin: bool
    read: bool
    write: bool
    upload: bool


def time_from(seconds: float | None) -> datetime | None:
    """Returns a time with its zone, or ``None``."""
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)


def reactions_from(raw: dict[str, Any]) -> dict[str, Reaction]:
    """Makes reactions from what the native part says."""
    return {emoji: Reaction(one["count"], one["you"], tuple(one["people"])) for emoji, one in raw.items()}


def message_from(raw: dict[str, Any], room: str, own: bool = False) -> Message:
    """Makes a message from what the native part says."""
    quote = raw["quotes"]
    return Message(
        id=raw["id"],
        room=room,
        author=Author(raw["author"]["id"], raw["author"]["short"], raw["name"]),
        time=datetime.fromtimestamp(raw["posted"], timezone.utc),
        text=raw["text"],
        edited=time_from(raw["edited"]),
        problem=raw["problem"],
        whisper=raw["whisper"],
        files=tuple(File(one["id"], one["name"], one["media_type"], one["size"]) for one in raw["files"]),
        quotes=Quote(time_from(quote["time_ms"] / 1000 if quote["time_ms"] else None), quote["author"]) if quote else None,
        reactions=reactions_from(raw["reactions"]),
        own=own,
    )


def direct_from(raw: dict[str, Any]) -> DirectMessage:
    """Makes a direct message from what the native part says."""
    author = raw["author"] and Author(raw["author"]["id"], raw["author"]["short"], raw["name"])
    return DirectMessage(raw["id"], author, raw["text"], raw["problem"])


def posted_from(raw: dict[str, Any], room: str) -> Posted:
    """Makes the result of a post from what the native part says."""
    message = raw["message"] and message_from(raw["message"], room, own=True)
    return Posted(raw["id"], room, raw["withheld"], message)


def room_from(raw: dict[str, Any]) -> RoomInfo:
    """Makes a room from what the native part says."""
    lists = {name: tuple(raw[name]) for name in ("moderators", "admins", "pinned")}
    return RoomInfo(**{**raw, **lists})
