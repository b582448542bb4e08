"""Common parts of bots in rooms and bots of direct messages: commands, schedules, values, and running."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import shlex
import signal
import sqlite3
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any, Literal, TypeVar, get_type_hints, overload

from ..errors import AckpostError, Deferred

Role = Literal["everyone", "moderator", "admin", "operator"]
_Function = TypeVar("_Function", bound="Callable[..., Awaitable[None]]")
_Answer = TypeVar("_Answer")
log = logging.getLogger("ackpost.bot")
_ANSWERS_AT_ONCE = 16
_WAITING_OF_ONE = 8
"""Most messages of one person that wait while an answer to this person is under way."""
_LOOK_AT_THE_CLOCK = 60.0
"""Seconds after which a schedule looks at the clock again."""
_PATIENCE = 120.0
"""Seconds that an answer waits in all for a server that asks to wait."""
_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "yes or no"}
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0
"""Seconds between the attempts of a bot to begin."""


class Say(Exception):
    """Raised by a command, or by a function for messages, to answer with a text and stop."""


@dataclass(slots=True)
class Command:
    name: str
    run: Callable[..., Awaitable[None]]
    usage: str
    about: str
    role: Role
    cooldown: float
    last: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Schedule:
    run: Callable[..., Awaitable[None]]
    at: tuple[int, int] | None
    every: float
    zone: tzinfo

    def next_after(self, now: datetime) -> datetime:
        """The next time to run."""
        if self.at is None:
            return now + timedelta(seconds=self.every)
        here = now.astimezone(self.zone)
        then = here.replace(hour=self.at[0], minute=self.at[1], second=0, microsecond=0)
        while then <= here:
            # The wall clock counts: a day may have 23 or 25 hours.
            then = (then.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=self.zone)
        return then.astimezone(timezone.utc)


class Memory:
    """Position of the bot and known people; in a file, or for this run only."""

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        place = ":memory:" if path is None else os.path.expanduser(os.fspath(path))
        # The garbage collector may close it in any thread; only the thread of the bot uses it.
        self._db = sqlite3.connect(place, check_same_thread=False)
        self._db.execute("CREATE TABLE IF NOT EXISTS place (one INTEGER PRIMARY KEY CHECK (one = 1), cursor TEXT)")
        self._db.execute("CREATE TABLE IF NOT EXISTS seen (room TEXT, id TEXT, PRIMARY KEY (room, id)) WITHOUT ROWID")
        self._db.execute("CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
        self._db.commit()

    def load(self) -> str | None:
        row = self._db.execute("SELECT cursor FROM place").fetchone()
        return row[0] if row else None

    def store(self, place: str) -> None:
        with self._db:
            self._db.execute("INSERT OR REPLACE INTO place VALUES (1, ?)", (place,))

    def is_new(self, room: str, id: str) -> bool:
        with self._db:
            return self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (room, id)).rowcount == 1

    def knows(self, room: str, id: str) -> bool:
        return self._db.execute("SELECT 1 FROM seen WHERE room = ? AND id = ?", (room, id)).fetchone() is not None

    def get(self, key: str) -> Any:
        row = self._db.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def set(self, key: str, value: Any) -> None:
        with self._db:
            if value is None:
                self._db.execute("DELETE FROM kept WHERE key = ?", (key,))
            else:
                self._db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (key, json.dumps(value)))

    def close(self) -> None:
        self._db.close()

    def __del__(self) -> None:
        # A bot that was asked for a value before or after it ran.
        self._db.close()


class BotBase:
    """The commands, schedules and values of a bot."""

    _roles: tuple[str, ...] = ("everyone",)

    def __init__(self, name: str | None, prefix: str, store: str | os.PathLike[str] | None) -> None:
        self.name = name
        self.prefix = prefix
        self._store = store
        self._memory: Memory | None = None
        self._commands: dict[str, Command] = {}
        self._messages: list[Callable[..., Awaitable[None]]] = []
        self._events: list[Callable[..., Awaitable[None]]] = []
        self._ready: list[Callable[[], Awaitable[None]]] = []
        self._schedules: list[Schedule] = []
        self._tasks: set[asyncio.Task[None]] = set()
        # The work that waits for each person whose task is running.
        self._queues: dict[str, deque[Awaitable[None]]] = {}
        self._stop: asyncio.Event | None = None

    # --- The own part of each kind of bot ---

    async def _prepare(self) -> None:
        """Called before the bot listens."""

    def _places(self) -> Iterable[Any]:
        """Returns the arguments for functions of schedules."""
        raise NotImplementedError

    async def _follow(self, memory: Memory) -> None:
        """Deals with events until it is cancelled."""
        raise NotImplementedError

    def _may(self, role: Role, context: Any) -> bool:
        raise NotImplementedError

    # --- Decorators ---

    @overload
    def command(self, name: _Function, /) -> _Function: ...
    @overload
    def command(
        self, name: str | None = None, *, usage: str | None = None, role: Role = "everyone", cooldown: float = 0
    ) -> Callable[[_Function], _Function]: ...
    def command(
        self,
        name: Any = None,
        *,
        usage: str | None = None,
        role: Role = "everyone",
        cooldown: float = 0,
    ) -> Any:
        """Makes a function a command.

        The function gets a :class:`Context` and the words behind the command, converted by its annotations (``str``, ``int``,
        ``float``, ``bool``). ``*words`` takes the rest as words, and a last parameter ``*, text: str`` takes it as one text.
        Wrong words answer the usage. ``role`` restricts the command, and ``cooldown`` is the number of seconds between two calls
        of the same person. The first line of the docstring is its line in ``help``.
        """
        if role not in self._roles:
            raise ValueError(f"the role {role!r} does not exist here: use one of {', '.join(self._roles)}")

        def add(function: _Function) -> _Function:
            word = name if isinstance(name, str) else getattr(function, "__name__", "")
            about = (function.__doc__ or "").strip().split("\n")[0]
            known = Command(word, function, usage or _usage(function), about, role, cooldown)
            self._commands[word.lower()] = known
            return function

        return add if name is None or isinstance(name, str) else add(name)

    def on_message(self, function: _Function) -> _Function:
        """Calls a function for every message that is not a command."""
        self._messages.append(function)
        return function

    def on_event(self, function: _Function) -> _Function:
        """Calls a function for every event; see :mod:`ackpost.session`."""
        self._events.append(function)
        return function

    def on_ready(self, function: _Function) -> _Function:
        """Calls a function without arguments once the bot follows its rooms."""
        self._ready.append(function)
        return function

    def schedule(
        self, at: str | None = None, *, every: float | timedelta | None = None, tz: str | tzinfo = "UTC"
    ) -> Callable[[_Function], _Function]:
        """Calls a function with each room, every day at a time such as ``"09:00"``, or every so many seconds.

        The first call of ``every`` comes after that time. Calls that were due while the bot was not running are left out.
        """
        if (at is None) == (every is None):
            raise ValueError("give either a time such as '09:00' or every=SECONDS")
        clock: tuple[int, int] | None = None
        if at is not None:
            hour, _, minute = at.partition(":")
            clock = int(hour), int(minute or 0)
            if not (0 <= clock[0] < 24 and 0 <= clock[1] < 60):
                raise ValueError(f"{at!r} is not a time of day")
        seconds = every.total_seconds() if isinstance(every, timedelta) else float(every or 0)
        if at is None and seconds <= 0:
            raise ValueError("every must be more than 0 seconds")
        zone = _zone(tz) if isinstance(tz, str) else tz

        def add(function: _Function) -> _Function:
            self._schedules.append(Schedule(function, clock, seconds, zone))
            return function

        return add

    # --- Values ---

    def get(self, key: str, default: Any = None) -> Any:
        """Returns a value that :meth:`set` stored."""
        value = self._open().get(key)
        return default if value is None else value

    def set(self, key: str, value: Any) -> None:
        """Stores a value that JSON can hold; ``None`` removes it. With ``store`` it outlives the program."""
        self._open().set(key, value)

    def _open(self) -> Memory:
        if self._memory is None:
            self._memory = Memory(self._store)
        return self._memory

    # --- Running ---

    def run(self) -> None:
        """Runs the bot until Ctrl-C or SIGTERM."""

        async def main() -> None:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self.stop)
            await self.start()

        asyncio.run(main())

    def stop(self) -> None:
        """Lets :meth:`start` end. Answers under way are finished first, for at most 10 seconds."""
        if self._stop is not None:
            self._stop.set()

    async def start(self) -> None:
        """Runs the bot until :meth:`stop` is called or the task is cancelled.

        It waits for a server that is not there yet. Raises :class:`ackpost.AckpostError` if it can never listen.
        """
        self._stop = asyncio.Event()
        self._queues = {}
        self._commands.setdefault("help", Command("help", self._help, "", "Shows the commands.", "everyone", 0))
        if not await self._begin_listening():
            return
        memory = self._open()
        background = [asyncio.create_task(self._keep_time(one)) for one in self._schedules]
        follow = asyncio.create_task(self._follow(memory))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([follow, stopping], return_when=asyncio.FIRST_COMPLETED)
            if follow.done():
                follow.result()
        finally:
            for task in (follow, stopping, *background):
                task.cancel()
            await asyncio.gather(follow, stopping, *background, return_exceptions=True)
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=10)
            for task in self._tasks:
                task.cancel()
            memory.close()
            self._memory = None

    async def _begin_listening(self) -> bool:
        """Prepares, and tries again after temporary failures. Returns false if the bot is stopped meanwhile."""
        assert self._stop is not None
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._prepare()
                return True
            except Deferred as error:
                log.warning("%s", error)
                wanted = error.retry_after.total_seconds() if error.retry_after else 0
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stop.wait(), max(pause, wanted))
                return False
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _say_ready(self) -> None:
        for function in self._ready:
            await self._guard(function())

    async def _answer(self, context: Any, text: str) -> None:
        """Runs the command of a message, or the functions for other messages."""
        if text.startswith(self.prefix):
            word, _, rest = text[len(self.prefix) :].partition(" ")
            command = self._commands.get(word.strip().lower())
            if command is not None:
                await self._begin(self._run(command, context, rest.strip()), context.person)
                return
        for function in self._messages:
            await self._begin(answering(function(context), context), context.person)

    async def _begin(self, work: Awaitable[None], person: str | None = None) -> None:
        """Runs something in a task. One person has one task, so that one who asks for much does not make others wait."""
        if person is not None and (queue := self._queues.get(person)) is not None:
            if len(queue) >= _WAITING_OF_ONE:
                log.warning("%s asks faster than the bot answers; a message was left out", person)
                _leave_out(work)
                return
            queue.append(work)
            return
        # No more at once than this, so that a flood of messages waits instead of filling the memory.
        while len(self._tasks) >= _ANSWERS_AT_ONCE:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        queue = deque([work])
        if person is not None:
            self._queues[person] = queue
        task = asyncio.ensure_future(self._in_turn(queue, person))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _in_turn(self, queue: deque[Awaitable[None]], person: str | None) -> None:
        try:
            while queue:
                await self._guard(queue.popleft())
        finally:
            if person is not None and self._queues.get(person) is queue:
                del self._queues[person]
            for work in queue:
                _leave_out(work)

    async def _guard(self, work: Awaitable[None]) -> None:
        """A failing function does not end the bot."""
        try:
            await work
        except AckpostError as error:
            log.warning("%s", error)
        except Exception:
            log.exception("a function of the bot failed")

    async def _run(self, command: Command, context: Any, rest: str) -> None:
        person = context.person
        if not self._may(command.role, context):
            article = "a" if command.role == "moderator" else "an"
            await context.reply(f"Only {article} {command.role} may use {self.prefix}{command.name}.")
            return
        now = time.monotonic()
        left = command.last.get(person, -1e9) + command.cooldown - now
        if left > 0:
            await context.reply(f"Try again in {left:.0f} s.")
            return
        if command.cooldown:
            command.last = {who: at for who, at in command.last.items() if at + command.cooldown > now}
            command.last[person] = now
        try:
            arguments, named = _convert(command.run, rest)
        except ValueError as error:
            cause = f"{error}\n" if str(error) else ""
            await context.reply(f"{cause}Usage: {self.prefix}{command.name} {command.usage}".rstrip())
            return
        context = replace(context, words=tuple(rest.split()))
        await answering(command.run(context, *arguments, **named), context)

    async def _help(self, context: Any) -> None:
        lines = [
            f"{self.prefix}{one.name} {one.usage}".rstrip() + (f" – {one.about}" if one.about else "")
            for one in self._commands.values()
            if self._may(one.role, context)
        ]
        await context.reply("\n".join(lines))

    async def _keep_time(self, schedule: Schedule) -> None:
        due = schedule.next_after(datetime.now(timezone.utc))
        while True:
            # The clock may be set meanwhile, and a sleep may end a little early.
            while (left := (due - datetime.now(timezone.utc)).total_seconds()) > 0:
                await asyncio.sleep(min(left, _LOOK_AT_THE_CLOCK))
            for place in self._places():
                await self._begin(schedule.run(place))
            due = schedule.next_after(max(due, datetime.now(timezone.utc)))


def _leave_out(work: Awaitable[None]) -> None:
    # Python warns of a coroutine that nobody waits for.
    close = getattr(work, "close", None)
    if close is not None:
        close()


async def patiently(post: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """Posts an answer. A server that names a time to wait has not taken it, and is asked again after that time."""
    left = _PATIENCE
    while True:
        try:
            return await post()
        except Deferred as error:
            if error.retry_after is None or (pause := error.retry_after.total_seconds()) > left:
                raise
            left -= pause
            await asyncio.sleep(pause)


async def answering(work: Awaitable[None], context: Any) -> None:
    """Runs a function that has a message to answer: the text of :class:`Say` is the answer."""
    try:
        await work
    except Say as said:
        await context.reply(str(said))


def _zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    if name.upper() == "UTC":
        return timezone.utc
    try:
        return ZoneInfo(name)
    except ZoneInfoNotFoundError as error:
        raise ValueError(f"{name!r} is not a time zone of this machine; install the package tzdata") from error


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters behind the context."""
    signature = list(inspect.signature(function).parameters.values())
    return signature[1:]


def _usage(function: Callable[..., Any]) -> str:
    words = []
    for one in _parameters(function):
        name = one.name.upper()
        if one.kind is one.VAR_POSITIONAL:
            words.append(f"[{name}…]")
        elif one.default is one.empty:
            words.append(name)
        else:
            words.append(f"[{name}]")
    return " ".join(words)


def _value(text: str, kind: Any) -> Any:
    if kind is bool:
        word = text.lower()
        if word in ("yes", "on", "true", "1"):
            return True
        if word in ("no", "off", "false", "0"):
            return False
        raise ValueError
    if kind in (int, float):
        return kind(text)
    return text


def _convert(function: Callable[..., Any], rest: str) -> tuple[list[Any], dict[str, Any]]:
    """The words of a call as the arguments of the function. Raises ``ValueError`` if they do not fit."""
    try:
        words = shlex.split(rest)
    except ValueError:
        # A quotation mark without its partner is a character like any other.
        words = rest.split()
    hints = get_type_hints(function)
    arguments: list[Any] = []
    named: dict[str, Any] = {}
    for one in _parameters(function):
        kind = hints.get(one.name, str)
        if one.kind is one.VAR_POSITIONAL:
            arguments += [_value(word, kind) for word in words]
            words = []
        elif one.kind is one.KEYWORD_ONLY:
            if not words and one.default is one.empty:
                raise ValueError
            if words:
                named[one.name] = " ".join(words)
            words = []
        elif words:
            try:
                arguments.append(_value(words.pop(0), kind))
            except ValueError:
                raise ValueError(f"{one.name.upper()} must be {_KINDS.get(kind, 'a valid value')}.") from None
        elif one.default is one.empty:
            raise ValueError
    if words:
        raise ValueError
    return arguments, named
