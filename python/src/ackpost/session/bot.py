"""Bots: commands, greetings and schedules in a room.

    bot = Bot(LINK, identity=me, name="Helper", store="helper.db")

    @bot.command("roll", usage="SIDES", cooldown=5)
    async def roll(ctx, sides: int):
        await ctx.reply(f"{random.randint(1, sides)}")

    bot.run()
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import Refused
from ._commands import BotBase, Memory, Role, Say, answering, log, patiently
from ._events import Interrupted, NewMessage, RoomChanged, RoomLost
from ._identity import Identity
from ._server import AsyncRoom, AsyncServer
from ._values import Author, JoinLink, Message, Posted, RoomInfo

__all__ = ["Bot", "Context", "Say"]

_Function = TypeVar("_Function", bound="Callable[..., Awaitable[None]]")


@dataclass(frozen=True, slots=True)
class Context:
    """Context of a command: the message that called it, with its bot, room and words."""

    bot: Bot
    room: AsyncRoom
    message: Message
    words: tuple[str, ...] = ()
    """The words behind the command."""

    @property
    def author(self) -> Author:
        """The author of the message."""
        return self.message.author

    @property
    def person(self) -> str:
        """The id of the author."""
        return self.message.author.id

    async def reply(self, text: str, **options: Any) -> Posted:
        """Answers the message. Options are those of :meth:`AsyncRoom.post`. It waits up to two minutes for a rate limit."""
        return await patiently(lambda: self.room.post(text, name=self.bot.name, reply_to=self.message, **options))

    async def say(self, text: str, **options: Any) -> Posted:
        """Posts to the room of the message."""
        return await patiently(lambda: self.room.post(text, name=self.bot.name, **options))

    async def react(self, emoji: str) -> None:
        """Reacts to the message."""
        await self.room.react(self.message, emoji)


class Bot(BotBase):
    """A bot in rooms of a community.

    ``link`` is the join link of the room, ``rooms`` further rooms of the same server. ``store`` is a file in which the
    bot keeps its place, so that it answers after a restart what was written meanwhile, and nothing twice. Commands begin with
    ``prefix``. ``help`` is a command by itself. Messages whose signature does not prove their author, and the bot's own,
    are never commands. ``server`` is the :class:`AsyncServer` and ``rooms`` holds the names of the rooms, for calls of the
    bot's own.
    """

    _roles = ("everyone", "moderator", "admin")

    def __init__(
        self,
        link: JoinLink | str,
        *,
        identity: Identity,
        name: str | None = None,
        rooms: tuple[str, ...] = (),
        prefix: str = "!",
        store: str | os.PathLike[str] | None = None,
        interval: float = 4,
        **options: Any,
    ) -> None:
        super().__init__(name, prefix, store)
        self.server = AsyncServer(link, identity, **options)
        """The server, for calls of the bot's own."""
        self.rooms = rooms or (self.server.default_room,)
        self._interval = interval
        self._joins: list[Callable[[Context], Awaitable[None]]] = []
        self._infos: dict[str, RoomInfo] = {}

    def on_join(self, function: _Function) -> _Function:
        """Calls a function when somebody writes in a room for the first time since the bot is there."""
        self._joins.append(function)
        return function

    async def _prepare(self) -> None:
        for token in self.rooms:
            try:
                self._infos[token] = await self.server.room(token).info()
            except Refused as error:
                # A ban, or a room that is gone for now, may end while the bot runs.
                log.warning("the room %s: %s", token, error)

    def _places(self) -> Iterable[AsyncRoom]:
        return [self.server.room(token) for token in self.rooms]

    async def _follow(self, memory: Memory) -> None:
        events = self.server.events(self.rooms, cursor=memory, interval=self._interval, direct=False)
        await self._say_ready()
        async for event in events:
            for on_event in self._events:
                await self._guard(on_event(event))
            # An edited message is never a command: it would run again.
            if isinstance(event, NewMessage):
                await self._on_message(event, memory)
            elif isinstance(event, RoomChanged):
                self._infos[event.room] = event.info
            elif isinstance(event, (Interrupted, RoomLost)):
                log.warning("%s; %s", event.reason, event.remedy)

    async def _on_message(self, event: NewMessage, memory: Memory) -> None:
        message = event.message
        if message.own or not message.verified:
            return
        context = Context(self, self.server.room(event.room), message)
        if self._joins and memory.is_new(event.room, message.author.id):
            for function in self._joins:
                await self._begin(answering(function(context), context), context.person)
        await self._answer(context, message.text)

    def _may(self, role: Role, context: Any) -> bool:
        if role == "everyone":
            return True
        info = self._infos.get(context.room.token)
        if info is None:
            return False
        return context.author.id in (info.admins if role == "admin" else info.moderators)
