"""XMPP accounts: send, receive, rooms.

    from ackpost import xmpp

    async with xmpp.Account("bot@example.org", password_file="pw") as me:
        await me.send("jane@example.org", "hello")
        async with me.join("ops@rooms.example.org", nick="helper") as room:
            async for message in room.messages():
                if not message.own and message.text.startswith("!status"):
                    await room.send("all is well", reply_to=message)

The session is kept: it is made again when it breaks, and rooms are entered again. :class:`Account` and
:class:`Room` are asynchronous; :class:`BlockingAccount` and :class:`BlockingRoom` block.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ._account import Account, Room
from ._blocking import BlockingAccount, BlockingRoom
from ._events import (
    CaughtUp,
    Edited,
    Event,
    Gap,
    Lagged,
    Message,
    NewKey,
    Occupant,
    Offline,
    Online,
    OtherEvent,
    Reaction,
    Receipt,
    Retracted,
    RoomLost,
    Sent,
    Subject,
    Undecryptable,
)

__all__ = [
    "Account",
    "BlockingAccount",
    "BlockingRoom",
    "CaughtUp",
    "Edited",
    "Event",
    "Gap",
    "Lagged",
    "Message",
    "NewKey",
    "Occupant",
    "Offline",
    "Online",
    "OtherEvent",
    "Reaction",
    "Receipt",
    "Retracted",
    "Room",
    "RoomLost",
    "Sent",
    "Subject",
    "Undecryptable",
    "watch",
]


async def watch(account: Account | str, **options: Any) -> AsyncIterator[Event]:
    """Returns everything that happens on an account: an open one, or a URL with the rooms to enter."""
    if isinstance(account, Account):
        async for event in account.events():
            yield event
        return
    async with Account(account, **options) as opened:
        async for event in opened.events():
            yield event
