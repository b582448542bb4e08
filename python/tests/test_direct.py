"""Direct messages over a fake storage network: five nodes, which sign what they store."""

from __future__ import annotations

import asyncio
import gc
import pathlib
import time
from datetime import timedelta
from typing import Any

import pytest

import ackpost
from ackpost.session import Identity, direct
from swarm import Swarm

def options(swarm: Swarm, tmp_path: pathlib.Path, who: str) -> dict[str, Any]:
    return {"network": swarm.seeds, "state_folder": tmp_path / who, "name": who, "hidden": False, "proxies": False}


def test_a_message_is_proven_and_read_once(swarm: Swarm, tmp_path: pathlib.Path) -> None:
    me, you = Identity.generate(), Identity.generate()
    mine = direct.Mailbox(me, **options(swarm, tmp_path, "me"))
    (stored,) = mine.send(you.session_id, "hello")
    assert stored.nodes == 5
    assert stored.signed >= 3
    yours = direct.Mailbox(you, **options(swarm, tmp_path, "you"))
    (message,) = yours.new()
    assert isinstance(message, direct.Message)
    assert (message.text, message.name, message.author) == ("hello", "me", me.session_id)
    assert abs(message.time.timestamp() - time.time()) < 60
    assert yours.new() == []
    # One program at a time reads from a position.
    with pytest.raises(ackpost.Deferred, match="another program"):
        direct.Mailbox(you, **options(swarm, tmp_path, "you")).new()
    del yours
    # Another program with the same folder goes on behind it; another reader begins at the start.
    assert direct.Mailbox(you, **options(swarm, tmp_path, "you")).new() == []
    assert len(direct.Mailbox(you, reader="second", **options(swarm, tmp_path, "you")).new()) == 1
    assert me.expose_seed() not in repr(mine)


def test_an_event_counts_as_handled_when_the_next_one_is_wanted(swarm: Swarm, tmp_path: pathlib.Path) -> None:
    me, you = Identity.generate(), Identity.generate()
    mine = direct.Mailbox(me, **options(swarm, tmp_path, "me"))
    for text in ("one", "two", "three"):
        mine.send(you.session_id, text)

    def texts(count: int) -> list[str]:
        found = []
        for event in direct.Mailbox(you, **options(swarm, tmp_path, "you")).events(0.1):
            assert isinstance(event, direct.Message)
            found.append(event.text)
            if len(found) == count:
                break
        return found

    assert texts(2) == ["one", "two"]
    assert texts(2) == ["two", "three"]


def test_what_an_interrupted_call_marked_comes_with_the_next_one(
    swarm: Swarm, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me, you = Identity.generate(), Identity.generate()
    mine = direct.Mailbox(me, **options(swarm, tmp_path, "me"))
    box = direct.Mailbox(you, **options(swarm, tmp_path, "you"))
    really = vars(direct)["wait"]
    interrupted: list[int] = []

    def wait(pending: Any, *, cancel: bool = True) -> Any:
        if box._marking is not None and len(interrupted) < 2:
            interrupted.append(1)
            raise TimeoutError
        return really(pending, cancel=cancel)

    monkeypatch.setattr("ackpost.session.direct.wait", wait)
    mine.send(you.session_id, "one")
    for _ in range(2):
        with pytest.raises(TimeoutError):
            box.new()
    mine.send(you.session_id, "two")
    mine.send(you.session_id, "three")
    events = box.events(0.1)
    texts = [event.text for event in (next(events), next(events)) if isinstance(event, direct.Message)]
    assert texts == ["one", "two"]
    del events
    # The second one was given and is not marked yet: the program may still be at it.
    assert [event.text for event in box.new() if isinstance(event, direct.Message)] == ["three"]
    monkeypatch.undo()
    del box
    gc.collect()
    again = direct.Mailbox(you, **options(swarm, tmp_path, "you"))
    assert again.new() == []


def test_nodes_that_do_not_sign_are_no_delivery(swarm: Swarm, tmp_path: pathlib.Path) -> None:
    you = Identity.generate()
    mine = direct.Mailbox(Identity.generate(), timeout=5, **options(swarm, tmp_path, "me"))
    mine.send(you.session_id, "before")
    assert swarm.do("fault forged-signature") == {"ok": True}
    with pytest.raises(ackpost.Deferred) as raised:
        mine.send(you.session_id, "x")
    assert raised.value.remedy


def test_failures_that_pass_are_tried_again_with_the_same_bytes(swarm: Swarm, tmp_path: pathlib.Path) -> None:
    me, you = Identity.generate(), Identity.generate()
    mine = direct.Mailbox(me, **options(swarm, tmp_path, "me"))
    mine.send(you.session_id, "before")
    # Three nodes are asked for each attempt: the first attempt fails. The nodes have the message all the same.
    assert swarm.do("fault forged-signature times=3") == {"ok": True}
    (stored,) = mine.send(you.session_id, "important", patience=120)
    assert stored.signed >= 3
    texts = [event.text for event in direct.Mailbox(you, **options(swarm, tmp_path, "you")).new() if isinstance(event, direct.Message)]
    assert texts == ["before", "important"]
    assert {len(rows) for rows in swarm.do(f"mailbox {you.session_id}")["nodes"]} == {2}


@pytest.mark.parametrize("hidden", [True, False])
def test_files_go_over_the_file_server(swarm: Swarm, tmp_path: pathlib.Path, hidden: bool) -> None:
    me, you = Identity.generate(), Identity.generate()
    both = {"file_server": swarm.file_server, "hidden": hidden}
    mine = direct.Mailbox(me, **{**options(swarm, tmp_path, "me"), **both})
    yours = direct.Mailbox(you, **{**options(swarm, tmp_path, "you"), **both})
    data = bytes(range(256)) * 400
    path = tmp_path / "chart.png"
    path.write_bytes(data)
    mine.send(you.session_id, "the numbers", attach=[path, ("empty.txt", b""), ("notes.txt", b"one\ntwo")])
    (message,) = yours.new()
    assert isinstance(message, direct.Message)
    assert message.text == "the numbers"
    assert [file.name for file in message.files] == ["chart.png", "empty.txt", "notes.txt"]
    assert [yours.download(file).data for file in message.files] == [data, b"", b"one\ntwo"]
    assert yours.download(message.files[0]).name == "chart.png"
    # A mailbox knows the files of the messages that it read.
    with pytest.raises(ackpost.ConfigError, match="belongs to no message"):
        mine.download(message.files[0])
    with pytest.raises(ackpost.ConfigError, match="file server"):
        direct.Mailbox(me, **{**options(swarm, tmp_path, "me"), "file_server": "nonsense"})


def test_messages_disappear(swarm: Swarm, tmp_path: pathlib.Path) -> None:
    me, you = Identity.generate(), Identity.generate()
    mine = direct.Mailbox(me, **options(swarm, tmp_path, "me"))
    mine.send(you.session_id, "stays")
    mine.send(you.session_id, "an hour", disappears=3600)
    mine.send(you.session_id, "a day after reading", disappears=direct.Disappears(timedelta(days=1), "read"))
    messages = [event for event in direct.Mailbox(you, **options(swarm, tmp_path, "you")).new() if isinstance(event, direct.Message)]
    assert [message.disappears for message in messages] == [
        None,
        direct.Disappears(timedelta(hours=1)),
        direct.Disappears(timedelta(days=1), "read"),
    ]


def test_wrong_arguments_are_said(swarm: Swarm, tmp_path: pathlib.Path) -> None:
    settings = options(swarm, tmp_path, "me")
    you = Identity.generate().session_id
    mailbox = direct.Mailbox(Identity.generate(), **settings)
    for to in ("", "nonsense", you[:-1]):
        with pytest.raises(ackpost.ConfigError, match="not a Session ID"):
            mailbox.send(to, "x")
    with pytest.raises(ackpost.ConfigError, match="between 10 seconds and 14 days"):
        mailbox.send(you, "x", ttl=-1)
    with pytest.raises(ackpost.ConfigError, match="between 10 seconds and 14 days"):
        mailbox.send(you, "x", disappears=2)
    with pytest.raises(ackpost.ConfigError, match="cannot disappear"):
        mailbox.send(you, "x", disappears=-5)
    # Files of a refused message are not uploaded: there is no file server at this address.
    nowhere = {**settings, "file_server": "ab" * 32 + "@127.0.0.1:1"}
    for wrong in ({"ttl": -1}, {"disappears": 2}, {"disappears": -5}):
        with pytest.raises(ackpost.ConfigError):
            direct.Mailbox(Identity.generate(), **nowhere).send(you, "x", attach=[("notes.txt", b"one")], **wrong)
    with pytest.raises(ackpost.ConfigError, match="1 to 100 bytes"):
        direct.Mailbox(Identity.generate(), **{**settings, "name": ""})
    with pytest.raises(ackpost.ConfigError, match="seed of the network"):
        direct.Mailbox(Identity.generate(), **{**settings, "network": ["nonsense"]})
    secret = Identity.generate().expose_seed()
    with pytest.raises(ackpost.ConfigError) as raised:
        direct.Mailbox(Identity.generate(), **{**settings, "network": [secret]})
    assert secret not in str(raised.value)
    with pytest.raises(ackpost.ConfigError, match="belongs to no message"):
        direct.Mailbox(Identity.generate(), **settings).download(7)


def test_send_takes_a_url(swarm: Swarm, tmp_path: pathlib.Path) -> None:
    you, me = Identity.generate(), Identity.generate()
    url = f"sessiondm://{you.session_id}?seed={me.expose_seed()}&mode=direct&network={','.join(swarm.seeds)}"
    report = ackpost.send(url, "disk full")
    assert report, str(report)
    (message,) = direct.Mailbox(you, **options(swarm, tmp_path, "you")).new()
    assert isinstance(message, direct.Message)
    assert message.text == "disk full"


def test_a_bot_answers(swarm: Swarm, tmp_path: pathlib.Path) -> None:
    me, you = Identity.generate(), Identity.generate()

    async def main() -> None:
        bot = direct.Bot(me, operators=[you.session_id], interval=0.1, **options(swarm, tmp_path, "bot"))

        @bot.command("add", usage="A B")
        async def add(ctx: direct.Context, a: int, b: int) -> None:
            """Adds two numbers."""
            await ctx.reply(str(a + b))

        @bot.command(role="operator")
        async def stop(ctx: direct.Context) -> None:
            """Stops the bot."""
            await ctx.reply("bye")
            bot.stop()

        @bot.on_message
        async def other(ctx: direct.Context) -> None:
            await ctx.reply(f"{ctx.message.text}?")

        answered: list[direct.Message] = []
        accepted: list[str] = []

        running = asyncio.create_task(bot.start())
        mine = direct.AsyncMailbox(you, **options(swarm, tmp_path, "you"))
        stranger = direct.AsyncMailbox(Identity.generate(), **options(swarm, tmp_path, "stranger"))
        await stranger.send(me.session_id, "stop")
        answers = []
        for text in ("add 1 2", "add one 2", "hm", "stop"):
            await mine.send(me.session_id, text, disappears=600)
            async for event in mine.events(0.1):
                if isinstance(event, direct.Accepted):
                    accepted.append(event.author)
                    continue
                assert isinstance(event, direct.Message)
                assert event.author == me.session_id
                answers.append(event.text)
                answered.append(event)
                break
        assert answers == ["3", "A must be a whole number.\nUsage: add A B", "hm?", "bye"]
        assert accepted == [me.session_id], "once, before the first answer"
        # What disappears there leaves no answer behind.
        assert {one.disappears for one in answered} == {direct.Disappears(timedelta(minutes=10))}
        await asyncio.wait_for(running, 20)
        refused = [event.text for event in await stranger.new() if isinstance(event, direct.Message)]
        assert refused == ["Only an operator may use stop."]

    asyncio.run(asyncio.wait_for(main(), 50))
