"""Session communities: read, post, follow, moderate; bots.

    from ackpost.session import Identity, Server

    server = Server("https://chat.example.org/lobby?public_key=…", identity=Identity.from_phrase_file("bot.txt"))
    server.room("lobby").post("Hello")

:class:`Server` blocks, :class:`AsyncServer` does not. Without an identity, what is open to everybody can be read.
"""

from __future__ import annotations

from ._events import (
    Cursor,
    Deleted,
    DirectMessageEvent,
    Edited,
    Event,
    FileCursor,
    Gap,
    Interrupted,
    NewMessage,
    OtherEvent,
    ReactionsChanged,
    RoomBack,
    RoomChanged,
    RoomLost,
)
from ._identity import Identity, is_same_account
from ._server import AsyncRoom, AsyncServer, Events, Room, Server, SyncEvents
from ._values import (
    Author,
    DirectMessage,
    DownloadedFile,
    File,
    JoinLink,
    Message,
    Posted,
    Quote,
    Reaction,
    RoomInfo,
)
from .bot import Bot, Context, Say

__all__ = [
    "AsyncRoom",
    "AsyncServer",
    "Author",
    "Bot",
    "Context",
    "Cursor",
    "Deleted",
    "DirectMessage",
    "DirectMessageEvent",
    "DownloadedFile",
    "Edited",
    "Event",
    "Events",
    "File",
    "FileCursor",
    "Gap",
    "Identity",
    "Interrupted",
    "JoinLink",
    "Message",
    "NewMessage",
    "OtherEvent",
    "Posted",
    "Quote",
    "Reaction",
    "ReactionsChanged",
    "Room",
    "RoomBack",
    "RoomChanged",
    "RoomInfo",
    "RoomLost",
    "Say",
    "Server",
    "SyncEvents",
    "is_same_account",
]
