"""Bots."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import ackpost
from ackpost.session import Bot, Context, Identity, Say
from ackpost.session._commands import Schedule, _convert, _usage, _zone
from ackpost.testing import FakeCommunity


def make(community: FakeCommunity, **options: Any) -> Bot:
    me = options.pop("identity", None) or Identity.generate()
    return Bot(community.link("lobby"), identity=me, name="Helper", interval=0.05, **options)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen within 8 seconds")


async def running(bot: Bot, work: Callable[[], Awaitable[None]]) -> None:
    ready = asyncio.Event()

    @bot.on_ready
    async def begin() -> None:
        ready.set()

    task = asyncio.create_task(bot.start())
    await asyncio.wait([task, asyncio.create_task(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
    # The first look at the room has to be over before something new is written.
    await asyncio.sleep(0.3)
    await work()
    bot.stop()
    await asyncio.wait_for(task, 15)


def test_functions_for_messages_answer_with_say_too(community: FakeCommunity) -> None:
    bot = make(community)

    @bot.on_join
    async def hello(ctx: Context) -> None:
        raise Say(f"Welcome to {ctx.room.token}")

    @bot.on_message
    async def other(ctx: Context) -> None:
        raise Say("Write !help")

    def answers() -> list[str]:
        return [message.text for message in community.messages if message.name == "Helper"]

    async def work() -> None:
        await asyncio.to_thread(community.say, "lobby", "hi", name="Jane")
        await until(lambda: len(answers()) == 2)

    asyncio.run(running(bot, work))
    assert answers() == ["Welcome to lobby", "Write !help"]


def test_commands_answer(community: FakeCommunity) -> None:
    bot = make(community)

    @bot.command("roll", usage="SIDES", cooldown=60)
    async def roll(ctx: Context, sides: int) -> None:
        """Rolls a die."""
        if sides < 1:
            raise Say("A die has at least one side.")
        await ctx.reply(f"{sides} of {sides}")

    @bot.command(role="moderator")
    async def pin(ctx: Context, number: int) -> None:
        await ctx.room.pin(number)

    @bot.command
    async def fails(ctx: Context) -> None:
        raise RuntimeError("broken")

    @bot.on_join
    async def hello(ctx: Context) -> None:
        await ctx.say(f"Welcome, {ctx.author.name}!")

    @bot.on_message
    async def echo(ctx: Context) -> None:
        await ctx.react("👀")

    jane = Identity.generate()

    def answers() -> list[str]:
        return [message.text for message in community.messages if message.name == "Helper"]

    async def say(text: str) -> None:
        await asyncio.to_thread(community.say, "lobby", text, identity=jane, name="Jane")

    async def work() -> None:
        await say("!fails")
        await say("!roll 6")
        await until(lambda: "6 of 6" in answers())
        await say("!roll 7")
        await until(lambda: any("Try again in" in answer for answer in answers()))
        await asyncio.to_thread(community.say, "lobby", "!roll many", name="Max")
        await until(lambda: any(answer.endswith("Usage: !roll SIDES") for answer in answers()))
        await asyncio.to_thread(community.say, "lobby", "!roll 0", name="Eve")
        await until(lambda: "A die has at least one side." in answers())
        await say("!pin 1")
        await until(lambda: "Only a moderator may use !pin." in answers())
        await say("!help")
        await until(lambda: any("!roll SIDES – Rolls a die." in answer for answer in answers()))
        assert not any("!pin" in answer for answer in answers() if "!roll SIDES –" in answer)
        await say("just talking")
        await until(lambda: any(message.reactions for message in community.messages))
        assert answers().count("Welcome, Jane!") == 1

    asyncio.run(running(bot, work))


def test_a_restart_answers_what_was_written_meanwhile_and_nothing_twice(community: FakeCommunity, tmp_path: Path) -> None:
    me = Identity.generate()
    seen: list[str] = []

    def bot() -> Bot:
        made = make(community, identity=me, store=tmp_path / "helper.db")

        @made.command
        async def note(ctx: Context, *, text: str) -> None:
            seen.append(text)
            ctx.bot.set("last", text)

        return made

    async def main() -> None:
        async def first() -> None:
            await asyncio.to_thread(community.say, "lobby", "!note one thing")
            await until(lambda: seen == ["one thing"])
            await asyncio.sleep(0.3)

        await running(bot(), first)
        await asyncio.to_thread(community.say, "lobby", "!note another")

        async def second() -> None:
            await until(lambda: len(seen) == 2)

        again = bot()
        await running(again, second)
        assert seen == ["one thing", "another"]
        assert again.get("last") == "another"
        assert again.get("nothing", 5) == 5

    asyncio.run(main())


def test_moderators_are_known(community: FakeCommunity) -> None:
    me, jane = Identity.generate(), Identity.generate()
    bot = make(community, identity=me)

    @bot.command(role="moderator")
    async def pin(ctx: Context, number: int) -> None:
        await ctx.room.pin(number)

    async def main() -> None:
        from ackpost.session import AsyncServer

        for one in (me, jane):
            community.moderators.add(await AsyncServer(community.link("lobby"), one).my_id())

        async def work() -> None:
            posted = await asyncio.to_thread(community.say, "lobby", "important")
            await asyncio.to_thread(community.say, "lobby", f"!pin {posted.id}", identity=jane)
            await until(lambda: any(message.pinned for message in community.messages))

        await running(bot, work)

    asyncio.run(main())


def test_schedules(community: FakeCommunity) -> None:
    bot = make(community)

    @bot.schedule(every=0.1)
    async def tick(room: Any) -> None:
        await room.post("tick")

    async def work() -> None:
        await until(lambda: len(community.messages) >= 2)

    asyncio.run(running(bot, work))
    for arguments in ({}, {"at": "25:00"}, {"at": "9", "every": 1}, {"every": 0}):
        with pytest.raises(ValueError, match=r"time|every|seconds"):
            bot.schedule(**arguments)


def test_times_of_day_follow_the_clock_on_the_wall() -> None:
    async def nothing(_room: object) -> None: ...

    berlin = _zone("Europe/Berlin")
    daily = Schedule(nothing, (9, 0), 0, berlin)
    # Clocks go back on 25 October 2026 in Berlin: 09:00 is 07:00 UTC before and 08:00 UTC after.
    before = datetime(2026, 10, 24, 7, 0, 1, tzinfo=timezone.utc)
    assert daily.next_after(before) == datetime(2026, 10, 25, 8, 0, tzinfo=timezone.utc)
    assert daily.next_after(before - timedelta(hours=2)) == datetime(2026, 10, 24, 7, 0, tzinfo=timezone.utc)
    with pytest.raises(ValueError, match="time zone"):
        _zone("Nowhere/City")


def test_words_become_arguments() -> None:
    async def plain(ctx: Context, name: str, count: int = 1, yes: bool = False) -> None: ...
    async def rest(ctx: Context, *, text: str) -> None: ...
    async def many(ctx: Context, *numbers: float) -> None: ...

    assert _usage(plain) == "NAME [COUNT] [YES]"
    assert _convert(plain, "'Jane Doe' 3 yes") == (["Jane Doe", 3, True], {})
    assert _convert(plain, "it's") == (["it's"], {})
    assert _convert(rest, "all of it") == ([], {"text": "all of it"})
    assert _convert(many, "1 2.5") == ([1.0, 2.5], {})
    for function, words in ((plain, ""), (plain, "a b"), (plain, "a 1 yes more"), (rest, ""), (plain, "a 1 maybe")):
        with pytest.raises(ValueError):  # noqa: PT011
            _convert(function, words)


def test_a_bot_stops_at_sigterm(community: FakeCommunity, run_code: Any) -> None:
    code = """
        import os, signal, sys, threading
        from ackpost.session import Bot, Identity
        bot = Bot(sys.argv[1], identity=Identity.generate(), interval=0.1)
        threading.Timer(0.6, os.kill, (os.getpid(), signal.SIGTERM)).start()
        bot.run()
        print("ended")
    """
    ended = run_code(code, community.link("lobby"))
    assert (ended.returncode, ended.stdout) == (0, "ended\n"), ended.stderr


def test_one_person_gets_answers_in_order_and_others_do_not_wait(community: FakeCommunity) -> None:
    bot = make(community)
    release = asyncio.Event()

    @bot.command
    async def slow(ctx: Context) -> None:
        await release.wait()
        await ctx.reply("slow")

    @bot.command
    async def fast(ctx: Context) -> None:
        await ctx.reply(f"fast {ctx.author.name}")

    jane, joe = Identity.generate(), Identity.generate()

    def said() -> list[str]:
        return [message.text for message in community.messages if message.name == "Helper"]

    async def talk() -> None:
        for who, name, text in ((jane, "Jane", "!slow"), (jane, "Jane", "!fast"), (joe, "Joe", "!fast")):
            await asyncio.to_thread(community.say, "lobby", text, identity=who, name=name)
        await until(lambda: said() == ["fast Joe"])
        release.set()
        await until(lambda: said() == ["fast Joe", "slow", "fast Jane"])

    asyncio.run(running(bot, talk))


def test_a_bot_waits_for_its_server(community: FakeCommunity, monkeypatch: pytest.MonkeyPatch) -> None:
    bot = make(community)
    attempts: list[int] = []
    prepare = bot._prepare

    async def fails_at_first() -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise ackpost.Deferred("nobody listens there", "wait")
        await prepare()

    monkeypatch.setattr(bot, "_prepare", fails_at_first)
    monkeypatch.setattr("ackpost.session._commands._FIRST_PAUSE", 0.05)

    @bot.command
    async def ping(ctx: Context) -> None:
        await ctx.reply("pong")

    async def talk() -> None:
        await asyncio.to_thread(community.say, "lobby", "!ping", name="Jane")
        await until(lambda: any(message.text == "pong" for message in community.messages))

    asyncio.run(running(bot, talk))
    assert len(attempts) == 3


def test_a_bot_that_waits_can_be_stopped() -> None:
    link = f"http://127.0.0.1:9/lobby?public_key={'ab' * 32}"

    async def main() -> None:
        bot = Bot(link, identity=Identity.generate())
        task = asyncio.create_task(bot.start())
        await asyncio.sleep(0.5)
        assert not task.done()
        bot.stop()
        await asyncio.wait_for(task, 5)

    asyncio.run(main())


def test_one_person_who_asks_for_much_does_not_make_the_bot_deaf(
    community: FakeCommunity, caplog: pytest.LogCaptureFixture
) -> None:
    bot = make(community)
    release = asyncio.Event()

    @bot.command
    async def slow(ctx: Context) -> None:
        await release.wait()

    @bot.command
    async def fast(ctx: Context) -> None:
        await ctx.reply("fast")

    jane, joe = Identity.generate(), Identity.generate()

    async def talk() -> None:
        for _ in range(30):
            await asyncio.to_thread(community.say, "lobby", "!slow", identity=jane, name="Jane")
        await asyncio.to_thread(community.say, "lobby", "!fast", identity=joe, name="Joe")
        await until(lambda: any(message.text == "fast" for message in community.messages))
        release.set()

    asyncio.run(running(bot, talk))
    assert "asks faster than the bot answers" in caplog.text


def test_an_answer_waits_for_a_rate_limit() -> None:
    from ackpost.session._commands import patiently

    attempts: list[int] = []

    async def post() -> str:
        attempts.append(1)
        if len(attempts) == 1:
            raise ackpost.Deferred("too fast", "wait", retry_after=timedelta(seconds=0.01))
        if len(attempts) == 2:
            return "posted"
        raise ackpost.Deferred("no answer", "wait")

    assert asyncio.run(patiently(post)) == "posted"
    # Without a time from the server nobody knows whether it has the message.
    with pytest.raises(ackpost.Deferred):
        asyncio.run(patiently(post))
    assert len(attempts) == 3


def test_a_time_of_day_comes_once_though_the_sleep_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [datetime(2026, 12, 1, 8, 59, 0, tzinfo=timezone.utc)]
    begun: list[datetime] = []

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return clock[0]

    async def sleep(seconds: float) -> None:
        clock[0] += timedelta(seconds=seconds) - timedelta(milliseconds=5 if seconds > 1 else 0)
        if clock[0] > datetime(2026, 12, 2, 12, tzinfo=timezone.utc):
            raise asyncio.CancelledError

    async def tick(_room: object) -> None: ...

    bot = Bot(f"http://127.0.0.1:9/lobby?public_key={'ab' * 32}", identity=Identity.generate())

    async def begin(work: Any, _person: object = None) -> None:
        work.close()
        begun.append(clock[0])

    monkeypatch.setattr("ackpost.session._commands.datetime", Clock)
    monkeypatch.setattr("ackpost.session._commands.asyncio.sleep", sleep)
    monkeypatch.setattr(bot, "_begin", begin)
    keeping = bot._keep_time(Schedule(tick, (9, 0), 0, timezone.utc))
    with pytest.raises(asyncio.CancelledError):
        keeping.send(None)
    assert [at.day for at in begun] == [1, 2]


def test_a_bot_outlives_a_ban_at_its_start(community: FakeCommunity) -> None:
    community.fail("lobby", 403, times=1)
    bot = make(community)

    async def talk() -> None:
        await asyncio.sleep(0)

    asyncio.run(running(bot, talk))
