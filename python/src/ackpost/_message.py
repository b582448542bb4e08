"""Messages and files, as the native part takes them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Union, cast

from .errors import ConfigError

Kind = Literal["info", "success", "warning", "failure"]
Format = Literal["text", "markdown", "html"]
Seconds = Union[float, timedelta]
"""A duration: seconds, or a ``timedelta``."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a message: a path or an address, or bytes in memory with a name."""

    source: str | os.PathLike[str] | bytes
    name: str | None = None
    media_type: str | None = None


File = Union[str, "os.PathLike[str]", "tuple[str, bytes]", Attachment]
"""A file to attach: a path, an ``http(s)://`` address, a name with bytes, or an :class:`Attachment`."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message, before it is rendered for a service."""

    body: str = ""
    title: str = ""
    kind: Kind = "info"
    format: Format | None = None
    attach: tuple[File, ...] = ()
    escapes: bool = False
    """Replace escapes such as ``\\n`` in title and body by their characters."""
    emojis: bool | None = None
    """Replace ``:names:`` of emoji: always, never, or (``None``) if the URL says ``emojis=yes``."""


def seconds(value: Seconds | None) -> float | None:
    """Returns a duration in seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else value


def time_from(text: str) -> datetime:
    """Returns a time that the native part gives as text."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def one_or_many(value: str | Iterable[str]) -> list[str]:
    """Returns the list of values; a string is one value."""
    return [value] if isinstance(value, str) else list(value)


def files(attach: File | Iterable[File]) -> tuple[File, ...]:
    """Returns the tuple of files; a single file is allowed."""
    if isinstance(attach, (str, os.PathLike, Attachment)):
        return (attach,)
    several = tuple(cast("Iterable[Any]", attach))
    if len(several) == 2 and isinstance(several[1], (bytes, bytearray, memoryview)):
        return ((several[0], bytes(several[1])),)
    return several


def file_arguments(attach: Iterable[File]) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Returns files as the native part takes them, and the bytes that go beside."""
    described: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for file in attach:
        if isinstance(file, tuple):
            file = Attachment(file[1], file[0])
        elif not isinstance(file, Attachment):
            file = Attachment(file)
        entry: dict[str, Any] = {"name": file.name, "media_type": file.media_type}
        if isinstance(file.source, (bytes, bytearray, memoryview)):
            entry["bytes"] = len(parts)
            parts.append(bytes(file.source))
        else:
            entry["place"] = os.path.expanduser(os.fspath(file.source))
        described.append(entry)
    return described, parts


def read_file(file: File) -> tuple[bytes, str | None, str | None]:
    """Returns bytes, name and media type of a file.

    Raises :class:`ackpost.ConfigError` if it cannot be read.
    """
    if isinstance(file, tuple):
        return bytes(file[1]), file[0], None
    given = file if isinstance(file, Attachment) else Attachment(file)
    if isinstance(given.source, (bytes, bytearray, memoryview)):
        return bytes(given.source), given.name, given.media_type
    path = os.path.expanduser(os.fspath(given.source))
    try:
        with open(path, "rb") as stream:
            return stream.read(), given.name or os.path.basename(path), given.media_type
    except OSError as error:
        raise ConfigError(f"the file {path} cannot be read: {error.strerror}", "name a readable file") from error


def encode(message: Message, tag: str | Iterable[str] | None) -> tuple[str, list[bytes]]:
    """Returns a message as the native part takes it."""
    described, parts = file_arguments(message.attach)
    arguments = {
        "body": message.body,
        "title": message.title,
        "kind": str(message.kind),
        "format": message.format,
        "escapes": message.escapes,
        "emojis": message.emojis,
        "attach": described,
        "tags": None if tag is None else one_or_many(tag),
    }
    return json.dumps(arguments), parts
