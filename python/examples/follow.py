"""Follows a room, and goes on where it stopped: python follow.py 'https://chat.example.org/lobby?public_key=…'"""

import asyncio
import logging
import sys

from ackpost.session import (
    AsyncServer,
    Deleted,
    Edited,
    FileCursor,
    Identity,
    Interrupted,
    NewMessage,
    ReactionsChanged,
)

log = logging.getLogger("follow")


async def follow() -> None:
    me = Identity.from_phrase_file("bot.txt")
    async for event in AsyncServer(sys.argv[1], me).events(["lobby"], cursor=FileCursor("seen.json")):
        match event:
            case NewMessage(room=r, message=m):
                print(r, m.text, flush=True)
            case Edited() | Deleted() | ReactionsChanged():
                ...
            case Interrupted(reason=why, retry_in=s):
                log.warning("offline: %s, again in %s", why, s)


try:
    asyncio.run(follow())
except KeyboardInterrupt:
    pass
