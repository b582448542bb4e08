"""XMPP accounts and rooms, against a real Prosody."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

import ackpost
from ackpost import xmpp

T = TypeVar("T")


def account(prosody: dict[str, str], user: str, **options: Any) -> xmpp.Account:
    options = {"password": f"{user}pass", **options}
    return xmpp.Account(
        f"{user}@localhost", host="127.0.0.1", port=int(prosody["XMPP_PORT"]), ca_file=prosody["XMPP_CA"], **options
    )


async def first(events: AsyncIterator[T], wanted: Any = lambda _event: True) -> T:
    async def look() -> T:
        async for event in events:
            if wanted(event):
                return event
        raise AssertionError("the events ended")

    return await asyncio.wait_for(look(), 20)


def test_people_write_to_each_other(prosody: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("alicepass\n")

    async def main() -> None:
        text = uuid.uuid4().hex
        async with (
            account(prosody, "alice", password=None, password_file=tmp_path / "pw") as alice,
            account(prosody, "bob") as bob,
        ):
            assert alice.jid.startswith("alice@localhost/")
            inbox = bob.messages()
            heard = asyncio.ensure_future(first(inbox, lambda message: message.text == text))
            await asyncio.sleep(0)
            sent = await alice.send("bob@localhost", text)
            assert sent.confirmed_by == "server"
            message = await heard
            assert (message.sender.partition("/")[0], message.own, message.in_room, message.nick) == (
                "alice@localhost",
                False,
                False,
                "alice",
            )
            corrected = asyncio.ensure_future(first(bob.events(), lambda event: isinstance(event, xmpp.Edited)))
            await asyncio.sleep(0)
            await alice.send("bob@localhost", "better", replaces=sent)
            edit = await corrected
            assert isinstance(edit, xmpp.Edited)
            assert (edit.text, edit.replaces) == ("better", sent.id)
            # The server does not say whether the address is wrong or the person is away.
            with pytest.raises(ackpost.Deferred) as deferred:
                await alice.send("nobody@localhost", "x")
            assert deferred.value.remedy

    asyncio.run(main())


def test_rooms(prosody: dict[str, str]) -> None:
    address = f"py{uuid.uuid4().hex[:8]}@conference.localhost"

    async def main() -> None:
        async with account(prosody, "alice") as alice, account(prosody, "bob") as bob:
            async with alice.join(address, nick="helper", create=True) as helper:
                assert helper.nick == "helper"
                await helper.send("before")
                async with bob.join(address, nick="bob") as other:
                    seen = helper.messages(history=0)
                    question = asyncio.ensure_future(first(seen, lambda message: not message.own))
                    answers = asyncio.ensure_future(first(other.messages(history=0), lambda message: message.reply_to))
                    await asyncio.sleep(0)
                    asked = await other.send("!status")
                    assert asked.confirmed_by == "room"
                    message = await question
                    assert (message.text, message.nick, message.room) == ("!status", "bob", address)
                    await helper.send("all is well", reply_to=message)
                    answer = await answers
                    assert (answer.text, answer.own, answer.reply_to) == ("all is well", False, message.id)
                    reacted = asyncio.ensure_future(first(bob.events(), lambda event: isinstance(event, xmpp.Reaction)))
                    taken = asyncio.ensure_future(first(bob.events(), lambda event: isinstance(event, xmpp.Retracted)))
                    await asyncio.sleep(0)
                    await helper.react(message, "👍")
                    reaction = await reacted
                    assert isinstance(reaction, xmpp.Reaction)
                    assert (reaction.id, reaction.emoji) == (message.id, ("👍",))
                    await helper.retract(answer)
                    assert isinstance(await taken, xmpp.Retracted)

    asyncio.run(main())


def test_a_room_that_does_not_let_in_is_an_error(prosody: dict[str, str]) -> None:
    async def main() -> None:
        async with account(prosody, "carol") as carol:
            with pytest.raises(ackpost.Refused) as refused:
                await asyncio.wait_for(carol.join("members@conference.localhost").enter(), 20)
            assert refused.value.remedy

    asyncio.run(main())


def test_watching_a_url(prosody: dict[str, str]) -> None:
    port = prosody["XMPP_PORT"]
    url = f"xmpps://bob:bobpass@localhost:{port}/?xmpp=127.0.0.1&ca_file={prosody['XMPP_CA']}&to=%23open@conference.localhost"

    async def main() -> None:
        events = xmpp.watch(url)
        event = await first(events, lambda event: isinstance(event, xmpp.Occupant) and event.own)
        assert isinstance(event, xmpp.Occupant)
        assert event.room == "open@conference.localhost"
        await events.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())


def test_bad_accounts_are_errors_with_a_remedy(prosody: dict[str, str]) -> None:
    for address, options in (("nobody", {"password": "x"}), ("a@b.org", {}), ("https://example.org", {}), ("bogus://x", {})):
        with pytest.raises(ackpost.ConfigError) as bad:
            xmpp.Account(address, **options)  # type: ignore[arg-type]
        assert bad.value.remedy

    async def main() -> None:
        with pytest.raises(ackpost.Refused) as refused:
            await account(prosody, "alice", password="wrong-hunter2").open()
        assert refused.value.remedy
        assert "hunter2" not in str(refused.value)

    asyncio.run(main())
    assert "hunter2" not in repr(xmpp.Account("a@b.org", password="hunter2"))


def test_sending_over_xmpp(prosody: dict[str, str]) -> None:
    port = prosody["XMPP_PORT"]
    url = f"xmpps://alice:alicepass@localhost:{port}/bob?xmpp=127.0.0.1&ca_file={prosody['XMPP_CA']}"
    with ackpost.Notifier(url) as notifier:
        assert [bool(notifier.send(f"{n}")) for n in range(3)] == [True] * 3
        assert "alicepass" not in repr(notifier.services())
    (target,) = ackpost.send(url, "x")
    assert (target.outcome, target.confirmed_by) == ("delivered", "server")


def test_a_room_is_entered_in_whatever_form_its_address_is_written(prosody: dict[str, str]) -> None:
    async def main() -> None:
        async with account(prosody, "alice") as alice, alice.join("Open@Conference.LOCALHOST", nick="helper") as room:
            assert room.address == "open@conference.localhost"
            assert room.nick == "helper"
            messages = room.messages()
            text = uuid.uuid4().hex
            await room.send(text)
            assert (await first(messages, lambda message: message.text == text)).own

    asyncio.run(asyncio.wait_for(main(), 40))
    blocking = xmpp.BlockingAccount(
        "alice@localhost", password="alicepass", host="127.0.0.1", port=int(prosody["XMPP_PORT"]), ca_file=prosody["XMPP_CA"]
    )
    with blocking as alice, alice.join("OPEN@conference.localhost", nick="other") as room:
        assert room.address == "open@conference.localhost"


def test_a_text_without_its_file_is_partly_delivered(prosody: dict[str, str], tmp_path: Path) -> None:
    too_large = tmp_path / "large.bin"
    too_large.write_bytes(bytes(12_000_000))

    async def main() -> None:
        async with account(prosody, "alice") as alice:
            with pytest.raises(ackpost.Partial, match="the text was delivered"):
                await alice.send("bob@localhost", "with a file", file=too_large)

    asyncio.run(main())


def test_dropped_events_are_counted() -> None:
    from ackpost.xmpp._account import WAITING, Heard

    everything = Heard(lambda _event: True, says_lost=True)
    for number in range(WAITING + 3):
        everything.hear(xmpp.Receipt("a@b", str(number)))
    everything.hear(xmpp.Lagged(4))
    assert everything.take() == xmpp.Lagged(7)
    assert everything.take() == xmpp.Receipt("a@b", "3")
