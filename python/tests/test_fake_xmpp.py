"""The fake XMPP server for users' tests: it behaves as a real one where programs can see it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

import ackpost
from ackpost import xmpp
from ackpost.testing import FakeXmpp


@pytest.fixture
def server() -> Iterator[FakeXmpp]:
    with FakeXmpp() as running:
        yield running


def test_messages_to_people_and_rooms_are_remembered(server: FakeXmpp) -> None:
    report = ackpost.send(server.url("jane", "#ops"), "disk full <1 GB & less>", title="db1")
    assert report, str(report)
    assert sorted(str(target.confirmed_by) for target in report) == ["room", "server"]
    person, room = sorted(server.messages, key=lambda message: message.room)
    assert (person.to, person.sender) == ("jane@localhost", "bot@localhost")
    assert room.to == "ops@conference.localhost"
    assert person.text == room.text == "db1\ndisk full <1 GB & less>"


def test_faults_have_the_outcome_of_their_condition(server: FakeXmpp) -> None:
    server.fail("jane", "item-not-found")
    server.fail("#ops", "forbidden")
    server.fail("#full", "resource-constraint")
    report = ackpost.send(server.url("jane", "#ops", "#full"), "x", timeout=15)
    assert {target.address: str(target.outcome) for target in report} == {
        "jane@localhost": "refused",
        "#ops@conference.localhost": "refused",
        "#full@conference.localhost": "deferred",
    }
    assert not server.messages


def test_a_wrong_password_is_refused(server: FakeXmpp) -> None:
    report = ackpost.send(server.url("jane").replace("secret", "hunter2"), "x")
    assert report.failed[0].outcome == "refused"
    assert "hunter2" not in str(report)


def test_accounts_talk_to_each_other(server: FakeXmpp) -> None:
    async def main() -> None:
        bot = xmpp.Account("bot@localhost", **server.options)
        async with bot, xmpp.Account("jane@localhost", **server.options) as jane:
            async with bot.join("ops@conference.localhost", nick="bot") as room:
                messages, own = room.messages(), bot.messages()
                async with jane.join("ops@conference.localhost", nick="jane") as other:
                    assert sorted(server.occupants("#ops")) == ["bot", "jane"]
                    await other.send("!status")
                    heard = await anext(messages)
                    assert (heard.text, heard.nick, heard.own) == ("!status", "jane", False)
                    await room.send("all is well", reply_to=heard)
                    assert (await anext(messages)).own
                await jane.send("bot@localhost", "for you")
                assert (await anext(own)).text == "for you"
            await asyncio.to_thread(server.say, "bot", "from outside", sender="joe")
            assert (await anext(own)).sender.startswith("joe@localhost")

    asyncio.run(asyncio.wait_for(main(), 40))


def test_the_blocking_face(server: FakeXmpp) -> None:
    with xmpp.BlockingAccount("bot@localhost", **server.options) as bot:
        assert bot.jid.startswith("bot@localhost/")
        inbox = bot.messages()
        with bot.join("ops@conference.localhost", nick="bot") as room:
            messages = room.messages()
            server.say("#ops", "!status", sender="jane")
            heard = next(messages)
            assert (heard.text, heard.nick, heard.own) == ("!status", "jane", False)
            sent = room.send("all is well", reply_to=heard)
            assert sent.confirmed_by == "room"
            assert next(messages).own
            # What was read for the room was kept for the others.
            server.say("bot", "for you")
            server.say("#ops", "later", sender="jane")
            assert next(messages).text == "later"
            assert next(inbox).text == "for you"
            room.react(heard, "👍")
        assert bot.send("jane@localhost", "hello").confirmed_by == "server"
    assert not server.occupants("#ops")
    server.fail("#closed", "forbidden")
    with xmpp.BlockingAccount("bot@localhost", **server.options) as bot, pytest.raises(ackpost.Refused):
        bot.join("closed@conference.localhost", nick="bot").enter()


def test_a_broken_connection_comes_back(server: FakeXmpp) -> None:
    async def main() -> None:
        async with xmpp.Account(server.url("#ops").replace("?", "?name=bot&")) as bot:
            async with asyncio.timeout(40):
                events = bot.events()
                await asyncio.to_thread(server.disconnect)
                was_offline = False
                async for event in events:
                    was_offline = was_offline or isinstance(event, xmpp.Offline)
                    if was_offline and isinstance(event, xmpp.Online):
                        break
                while not server.occupants("#ops"):
                    await asyncio.sleep(0.05)
                await asyncio.to_thread(server.say, "#ops", "again here")
                async for event in events:
                    if isinstance(event, xmpp.Message):
                        assert event.text == "again here"
                        break

    asyncio.run(main())
