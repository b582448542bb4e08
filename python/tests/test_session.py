"""Communities: reading, posting, following."""

from __future__ import annotations

import asyncio
import gc
import pickle
import signal
import subprocess
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

import ackpost
from ackpost.session import (
    AsyncServer,
    Deleted,
    Edited,
    Event,
    FileCursor,
    Identity,
    Interrupted,
    JoinLink,
    NewMessage,
    ReactionsChanged,
    Server,
)
from ackpost.testing import FakeCommunity


def server(community: FakeCommunity, identity: Identity | None = None, room: str = "lobby") -> Server:
    return Server(JoinLink(community.link(room)), identity, encrypt=False)


def test_a_secret_in_the_wrong_place_is_not_repeated(tmp_path: Path) -> None:
    me = Identity.generate()
    phrase = me.expose_phrase()
    assert phrase is not None
    phrases = [phrase, phrase.replace(" ", "  "), phrase + " x"]
    cases: list[tuple[Callable[[str], Identity], list[str]]] = [
        (Identity.stored, [*phrases, me.expose_seed()]),
        (Identity.from_phrase_file, [*phrases, me.expose_seed()]),
        (Identity.from_seed, phrases),
        (Identity.from_phrase, phrases[2:]),
    ]
    for make, secrets in cases:
        for secret in secrets:
            with pytest.raises(ackpost.ConfigError) as raised:
                make(secret)
            assert secret not in str(raised.value)
    # A file of that name is a file all the same.
    place = tmp_path / me.expose_seed()
    place.write_text(phrase)
    assert Identity.from_phrase_file(place) == me


def test_reading_needs_no_identity(community: FakeCommunity) -> None:
    community.say("lobby", "first", name="Jane")
    community.say("lobby", "second")
    community.messages[1]._row["signature"] = community.messages[0]._row["signature"]
    first, second = server(community).room("lobby").recent(20)
    assert (first.text, first.verified, str(first.author), first.author.name) == ("first", True, "Jane", "Jane")
    assert first.author.id.startswith("15")
    assert abs((datetime.now(timezone.utc) - first.time).total_seconds()) < 60
    assert not second.verified
    assert "signature" in (second.problem or "")
    assert [message.id for message in server(community).room().before(second, 5)] == [first.id]
    with pytest.raises(ackpost.Refused) as raised:
        server(community).room().post("x")
    assert raised.value.remedy


def test_post_answer_react_edit_delete(community: FakeCommunity, tmp_path: Path) -> None:
    me = Identity.generate()
    room = server(community, me).room()
    picture = tmp_path / "chart.png"
    picture.write_bytes(b"png")
    first = room.post("numbers of today", name="Report", files=[picture, ("a.txt", b"a")])
    assert first
    assert first.message is not None
    assert room.react(first, "📈")
    assert not room.react(first, "📈")
    answer = room.post("that is all", reply_to=first)
    seen = room.message(answer.id)
    assert seen.quotes is not None
    assert seen.quotes.author == first.message.author.id
    (numbers, _) = room.recent()
    assert [(file.name, file.size) for file in numbers.files] == [("chart.png", 3), ("a.txt", 1)]
    assert room.download(numbers.files[0]).data == b"png"
    assert numbers.reactions is not None
    assert numbers.reactions["📈"].count == 1
    assert room.edit(first, "numbers of yesterday")
    assert room.message(first.id).text == "numbers of yesterday"
    assert room.unreact(first, "📈")
    room.delete(answer)
    with pytest.raises(ackpost.Refused):
        room.message(answer.id)
    with pytest.raises(ackpost.Refused):
        room.pin(first)
    community.moderators.add(server(community, me).my_id())
    room.pin(first)
    assert room.info().pinned == (first.id,)
    assert room.info().moderator
    assert room.unpin() == 1
    with pytest.raises(ackpost.ConfigError, match="missing"):
        room.post("x", files=tmp_path / "missing")


def test_errors_tell_permanent_from_temporary(community: FakeCommunity) -> None:
    room = server(community, Identity.generate()).room()
    community.fail("lobby", 403, times=1)
    with pytest.raises(ackpost.Refused) as refused:
        room.post("x")
    assert refused.value.permanent
    community.fail("lobby", 503)
    with pytest.raises(ackpost.Deferred) as deferred:
        room.post("x")
    assert not deferred.value.permanent
    # The server failed at an unknown point, and does not show the message.
    community.fail("lobby", 500)
    with pytest.raises(ackpost.InDoubt, match="look"):
        room.post("x")
    for text in ("https://example.org/lobby", "nonsense"):
        with pytest.raises(ackpost.ConfigError, match="join link"):
            JoinLink(text)
    with pytest.raises(ackpost.ConfigError, match="join link"):
        Server("https://example.org/lobby?public_key=short")


def test_identities(home: Path, tmp_path: Path) -> None:
    me = Identity.generate()
    phrase = me.expose_phrase()
    assert phrase is not None
    assert me.expose_seed() not in repr(me)
    file = tmp_path / "bot.txt"
    file.write_text(f"  {phrase}\n")
    same = [Identity.from_phrase(phrase), Identity.from_phrase_file(file), Identity.from_seed(me.expose_seed()), Identity(me.expose_seed())]
    assert all(one == me and one.session_id == me.session_id for one in same)
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(me)
    with pytest.raises(ackpost.ConfigError, match="hexadecimal"):
        Identity("short")
    with pytest.raises(ackpost.ConfigError, match="work"):
        Identity.stored("work")
    with pytest.raises(ackpost.ConfigError) as raised:
        Identity.stored(phrase)
    assert phrase not in str(raised.value)
    subprocess.run(
        [ackpost.find_ackpost_bin(), "identity", "import", "work"], input=phrase, text=True, check=True, capture_output=True
    )
    assert Identity.stored("work") == me


async def collect(events: object, count: int) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(20) if hasattr(asyncio, "timeout") else _NoLimit():
        async for event in events:  # type: ignore[attr-defined]
            if not type(event).__name__.startswith("Room"):
                found.append(event)
            if len(found) == count:
                return found
    return found


class _NoLimit:
    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None: ...


def test_following_rooms_and_resuming(community: FakeCommunity, tmp_path: Path) -> None:
    cursor = FileCursor(tmp_path / "seen.json")
    me = Identity.generate()

    async def main() -> None:
        account = AsyncServer(community.link("lobby"), me, encrypt=False)
        room = account.room()
        await room.post("before")
        events = account.events(["lobby"], cursor=cursor, interval=0.05, backlog=1)
        (first,) = await collect(events, 1)
        assert isinstance(first, NewMessage)
        assert (first.message.text, first.message.own) == ("before", True)
        other = await asyncio.to_thread(community.say, "lobby", "hello", name="Jane")
        (hello,) = await collect(events, 1)
        match hello:
            case NewMessage(room="lobby", message=message):
                assert (message.text, message.own, message.author.name) == ("hello", False, "Jane")
            case _:
                raise AssertionError(hello)
        await room.react(other, "👍")
        await room.edit(first.message, "after")
        await room.delete(first.message)
        changed = await collect(events, 2)
        assert isinstance(changed[0], ReactionsChanged)
        assert changed[0].reactions["👍"].you is False or changed[0].reactions["👍"].count == 1
        assert isinstance(changed[-1], (Deleted, Edited))
        # Waiting can be given up and taken up again.
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(events.__anext__(), 0.3)
        await room.post("late")
        (late,) = await collect(events, 1)
        assert isinstance(late, NewMessage)
        # Not dealt with: nobody asked for the next event.
        again = account.events(["lobby"], cursor=cursor, interval=0.05)
        (repeated,) = await collect(again, 1)
        assert isinstance(repeated, NewMessage)
        assert repeated.message.text == "late"

    asyncio.run(main())


def test_following_tells_of_interruptions() -> None:
    async def main() -> None:
        community = FakeCommunity()
        account = AsyncServer(community.link("lobby"), encrypt=False)
        await asyncio.to_thread(community.say, "lobby", "x")
        events = account.events(interval=0.05, backlog=1)
        await collect(events, 1)
        await asyncio.to_thread(community.close)
        (interrupted,) = await collect(events, 1)
        assert isinstance(interrupted, Interrupted)
        assert interrupted.retry_in.total_seconds() > 0
        assert interrupted.remedy

    asyncio.run(main())


def test_blocking_events(community: FakeCommunity) -> None:
    community.say("lobby", "one")
    events = server(community).events(interval=0.05, backlog=5)
    for event in events:
        if isinstance(event, NewMessage):
            assert event.message.text == "one"
            break


def test_servers_work_in_a_forked_child(community: FakeCommunity, run_code: object) -> None:
    code = """
        import os, sys
        from ackpost.session import Identity, Server
        server = Server(sys.argv[1], Identity.generate(), encrypt=False)
        server.room().post("parent")
        child = os.fork()
        if child == 0:
            server.room().post("child")
            os._exit(0)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    ended = run_code(code, community.link("lobby"))  # type: ignore[operator]
    assert ended.returncode == 0, ended.stderr
    assert [message.text for message in community.messages] == ["parent", "child"]


def test_a_wait_that_a_signal_handler_ends_loses_no_event(community: FakeCommunity) -> None:
    def ring(_number: int, _frame: object) -> None:
        raise TimeoutError

    events = server(community).events(interval=0.05)
    before = signal.signal(signal.SIGALRM, ring)
    try:
        for _ in range(2):
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(TimeoutError):
                next(events)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    for text in ("one", "two", "three"):
        community.say("lobby", text)
    texts = []
    for event in events:
        if isinstance(event, NewMessage):
            texts.append(event.message.text)
        if len(texts) == 3:
            break
    assert texts == ["one", "two", "three"]


def test_what_is_written_after_a_quiet_run_comes_with_the_next_one(community: FakeCommunity, tmp_path: Path) -> None:
    cursor = FileCursor(tmp_path / "place")

    async def quiet() -> None:
        events = AsyncServer(community.link("lobby")).events(interval=0.05, cursor=cursor)
        waiting = asyncio.ensure_future(events.__anext__())
        while not (tmp_path / "place").exists():
            assert not waiting.done()
            await asyncio.sleep(0.02)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await events.aclose()

    asyncio.run(asyncio.wait_for(quiet(), 20))
    community.say("lobby", "meanwhile")
    for event in server(community).events(interval=0.05, cursor=cursor):
        if isinstance(event, NewMessage):
            assert event.message.text == "meanwhile"
            break


@pytest.mark.parametrize("closes", [True, False])
def test_a_follower_that_nobody_has_any_more_asks_nothing(community: FakeCommunity, closes: bool) -> None:
    async def main() -> None:
        events = AsyncServer(community.link("lobby")).events(interval=0.05)
        waiting = asyncio.ensure_future(events.__anext__())
        while not community.requests:
            await asyncio.sleep(0.02)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        if closes:
            await events.aclose()
        del events, waiting
        gc.collect()
        # What is under way may end.
        await asyncio.sleep(0.3)
        asked = community.requests
        await asyncio.sleep(0.5)
        assert community.requests == asked

    asyncio.run(main())
