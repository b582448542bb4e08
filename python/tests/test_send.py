"""Sending, reports and errors."""

from __future__ import annotations

import asyncio
import logging
import pickle
import sys
from datetime import timedelta
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pytest

import ackpost
from ackpost import AsyncNotifier, Attachment, Message, Notifier, Outcome, Status
from ackpost.testing import FakeCommunity

SECRET = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"


def test_a_delivery_is_true_and_says_who_confirmed_it(community: FakeCommunity) -> None:
    report = ackpost.send(community.url("lobby"), "disk full", title="db1", kind="failure")
    assert report
    assert len(report) == 1
    (target,) = report
    assert target.outcome is Outcome.DELIVERED
    word: str = target.outcome
    assert word == "delivered"
    assert (target.confirmed_by, target.address, target.attempts) == ("server", "lobby", 1)
    assert target.elapsed > timedelta(0)
    assert SECRET not in repr(report)
    assert SECRET not in target.url
    assert community.messages[-1].text == "db1\r\ndisk full"


def test_one_failure_makes_the_report_false(community: FakeCommunity) -> None:
    community.fail("broken", 403)
    community.fail("down", 503)
    report = ackpost.send([community.url("lobby"), community.url("broken", "down")], "x")
    assert not report
    assert report.status is Status.PARTIAL
    assert [target.address for target in report.delivered] == ["lobby"]
    assert {target.address: str(target.outcome) for target in report.failed} == {
        "broken": "refused",
        "down": "deferred",
    }
    assert all(target.reason and target.remedy for target in report.failed)


def test_check_raises_one_error_for_each_recipient(community: FakeCommunity) -> None:
    community.fail("broken", 403)
    community.fail("down", 503)
    with pytest.raises(ackpost.NotDelivered) as raised:
        ackpost.send(community.url("broken", "down"), "x", check=True)
    refused, deferred = raised.value.exceptions
    assert isinstance(refused, ackpost.Refused)
    assert refused.permanent
    assert refused.target is not None
    assert refused.target.address == "broken"
    assert refused.remedy
    assert isinstance(deferred, ackpost.Deferred)
    assert not deferred.permanent
    assert not raised.value.permanent
    assert len(raised.value.report) == 2
    assert ackpost.send(community.url("lobby"), "x", check=True)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with Python 3.11")
def test_not_delivered_is_an_exception_group(community: FakeCommunity) -> None:
    community.fail("down", 503)
    with pytest.raises(ackpost.NotDelivered) as raised:
        ackpost.send(community.url("down"), "x", check=True)
    matched = raised.value.subgroup(ackpost.Deferred)  # type: ignore[attr-defined,unused-ignore]
    assert isinstance(matched, ackpost.NotDelivered)
    assert matched.report is raised.value.report
    assert raised.value.subgroup(ackpost.Refused) is None  # type: ignore[attr-defined,unused-ignore]


def test_bad_urls_are_problems_and_errors() -> None:
    report = ackpost.send("bogus://x", "x")
    assert not report
    assert report.status is Status.FAILURE
    assert "bogus" in report.problems[0]
    with pytest.raises(ackpost.ConfigError, match="bogus") as raised:
        Notifier("bogus://x")
    assert isinstance(raised.value, ValueError)
    assert raised.value.problems
    with pytest.raises(ackpost.NotDelivered):
        report.check()


@pytest.mark.parametrize(
    ("options", "word"),
    [({"kind": "loud"}, "kind"), ({"format": "rtf"}, "format"), ({"body": ""}, "empty")],
)
def test_bad_arguments_are_errors_with_a_remedy(
    community: FakeCommunity, options: dict[str, str], word: str
) -> None:
    arguments = {"body": "x", **options}
    with pytest.raises(ackpost.ConfigError, match=word) as raised:
        ackpost.send(community.url("lobby"), **arguments)  # type: ignore[arg-type]
    assert raised.value.remedy


def test_reports_and_errors_can_be_pickled(community: FakeCommunity) -> None:
    community.fail("down", 503)
    report = ackpost.send(community.url("lobby", "down"), "x")
    again = pickle.loads(pickle.dumps(report))
    assert again == report
    assert again.as_dict() == report.as_dict()
    error = report.failed[0].error()
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.cause, copy.remedy, copy.target) == (ackpost.Deferred, error.cause, error.remedy, error.target)  # type: ignore[union-attr]


def test_async_sends_are_coroutines(community: FakeCommunity) -> None:
    report = asyncio.run(ackpost.asend([community.url("a"), community.url("b")], "x"))
    assert len(report.delivered) == 2

    async def checked() -> None:
        community.fail("down", 503)
        with pytest.raises(ackpost.NotDelivered):
            await ackpost.asend(community.url("down"), "x", check=True)

    asyncio.run(checked())


def test_tags_and_configurations(community: FakeCommunity, tmp_path: Path) -> None:
    config = tmp_path / "apprise.yml"
    config.write_text(
        f"urls:\n  - {community.url('ops')}:\n      tag: ops\n  - {community.url('dev')}:\n      tag: [dev, night]\n"
    )
    config.chmod(0o600)
    with Notifier(config=config) as notifier:
        assert len(notifier) == 2
        notifier.add(community.url("all"), tag=["ops", "dev"])
        assert [target.address for target in notifier.send("x", tag="ops")] == ["ops", "all"]
        assert [target.address for target in notifier.send("x", tag="dev,night")] == ["dev"]
        assert len(notifier.send("x", tag=["ops", "night"])) == 3
        assert len(notifier.send("x")) == 3
        assert [target.address for target in notifier.send("x", urls=community.url("other"))] == ["other"]
        assert len(notifier) == 3
        nothing = notifier.send("x", tag="none")
        assert (nothing.status, len(nothing), bool(nothing)) == (Status.NO_MATCH, 0, False)
        assert all(SECRET not in url for url, _ in notifier.services())
    with pytest.raises(ackpost.ConfigError, match=r"missing\.yml"):
        Notifier(config=tmp_path / "missing.yml")


def test_async_notifier_keeps_and_closes(community: FakeCommunity, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncNotifier(community.url("lobby")) as notifier:
            await notifier.add_config_text(f"ops={community.url('ops')}\n")
            assert await notifier.send("one")
            assert len(await notifier.send("two", tag="ops")) == 1
        assert await notifier.send("three")
        with pytest.raises(ackpost.ConfigError):
            await notifier.add_config(tmp_path / "missing.yml")

    asyncio.run(main())
    assert len(community.messages) == 5


def test_files_from_disk_and_memory(community: FakeCommunity, tmp_path: Path) -> None:
    path = tmp_path / "report.txt"
    path.write_bytes(b"from disk")
    report = ackpost.send(
        community.url("lobby"), "x", attach=[path, ("log.txt", b"from memory"), Attachment(b"png", "a.png", "image/png")]
    )
    assert report, report
    names = {file.name: file.data for file in community.files.values()}
    assert names == {"report.txt": b"from disk", "log.txt": b"from memory", "a.png": b"png"}
    assert len(community.messages[-1].files) == 3
    assert ackpost.send(community.url("lobby"), "x", attach=("one.txt", b"1"))
    missing = ackpost.send(community.url("lobby"), "x", attach=str(tmp_path / "missing"))
    assert not missing
    assert "missing" in (missing.failed[0].reason or "")


def test_a_message_can_be_made_before(community: FakeCommunity) -> None:
    message = Message("**b**", title="t", format="markdown")
    assert ackpost.send(community.url("lobby"), message)
    assert Notifier(community.url("lobby")).send(message)
    assert community.messages[0].text == community.messages[1].text


def test_time_limits(community: FakeCommunity) -> None:
    community.fail("slow", 201, delay=5)
    report = ackpost.send(community.url("slow"), "x", timeout=timedelta(seconds=0.3))
    assert report.status is Status.TIMEOUT
    assert report.failed[0].timed_out
    with Notifier(community.url("slow"), service_timeout=0.3) as notifier:
        assert not notifier.send("x")


def test_records_reach_logging_on_the_calling_thread(
    community: FakeCommunity, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="ackpost"):
        ackpost.send(community.url("lobby"), "x")
    assert caplog.records
    assert all(record.threadName == "MainThread" for record in caplog.records)
    assert SECRET not in caplog.text


def test_a_notifier_says_what_it_is(community: FakeCommunity) -> None:
    assert repr(Notifier(community.url("lobby"))) == "<Notifier with 1 services>"
    assert bool(Notifier())


def test_a_recipient_that_cannot_be_used_is_said(community: FakeCommunity, caplog: pytest.LogCaptureFixture) -> None:
    notifier = ackpost.Notifier(community.url("a.b", "lobby"))
    assert len(notifier) == 1
    assert "`a.b` is not a valid room token" in notifier.problems[0]
    assert "`a.b` is not a valid room token" in caplog.text
    report = notifier.send("x")
    assert not report
    assert report.problems == notifier.problems
    assert [target.address for target in report.delivered] == ["lobby"]


def test_services_of_others_can_be_left_out(community: FakeCommunity, tmp_path: Path) -> None:
    config = tmp_path / "c.yml"
    # Only the filled-in URL of the third entry shows that it is Apprise's.
    config.write_text(
        f"template: [who]\nurls:\n  - {community.url('lobby')}\n  - discord://a/b\n"
        "  - mailto://127.0.0.1:1?from=b@x.org&to=${WHO}@x.org&inline=yes\n"
    )
    cases: list[tuple[str, Literal["skip", "fail"]]] = [("one", "skip"), ("two", "fail")]
    for body, rule in cases:
        with ackpost.Notifier(config=config, foreign=rule, variables={"who": "jane"}) as notifier:
            report = notifier.send(body)
        assert [target.outcome for target in report] == ["delivered"], report
        assert bool(report) == (rule == "skip"), report.problems
        if rule == "fail":
            assert "discord 1, mailto 1 cannot be delivered here" in report.problems[0]
        else:
            assert report.problems == ()
    assert [message.text for message in community.messages] == ["one", "two"]


def test_concurrent_first_messages_load_each_configuration_once(community: FakeCommunity, tmp_path: Path) -> None:
    places = []
    for number, room in enumerate(("lobby", "ops")):
        place = tmp_path / f"{number}.cfg"
        place.write_text(f"x={community.url(room)}\n")
        places.append(place)

    async def main() -> None:
        async with AsyncNotifier() as notifier:
            notifier._configs.extend((str(place), False) for place in places)
            cancelled = asyncio.ensure_future(notifier.send("never"))
            await asyncio.sleep(0)
            cancelled.cancel()
            reports = await asyncio.gather(*(notifier.send(f"{number}") for number in range(3)))
            assert [len(report) for report in reports] == [2, 2, 2]
            assert len(notifier) == 2

    asyncio.run(main())
    assert len(community.messages) == 6


def test_threads_load_each_configuration_once(community: FakeCommunity, tmp_path: Path) -> None:
    place = tmp_path / "one.cfg"
    place.write_text(f"x={community.url('lobby')}\n")
    with ackpost.Notifier(config=place) as notifier:
        # As after a fork.
        notifier._process = -1
        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(notifier.send, map(str, range(8))))
        assert len(notifier) == 1
    assert len(community.messages) == 8
