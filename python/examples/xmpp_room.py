"""Watches an XMPP room and answers: python xmpp_room.py bot@example.org ops@rooms.example.org

pw holds the password of the account.
"""

import asyncio
import sys

from ackpost import xmpp


def status() -> str:
    return "all is well"


async def main(account: str, address: str) -> None:
    async with xmpp.Account(account, password_file="pw") as me:
        async with me.join(address, nick="helper") as room:
            async for m in room.messages(history=0):
                if not m.own and m.text.startswith("!status"):
                    await room.send(status(), reply_to=m)


try:
    asyncio.run(main(*sys.argv[1:3]))
except KeyboardInterrupt:
    pass
