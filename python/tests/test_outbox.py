"""The durable queue."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import ackpost
from ackpost import AsyncOutbox, Outbox
from ackpost.testing import FakeCommunity


def test_a_stored_message_is_delivered_later(community: FakeCommunity, home: Path) -> None:
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    receipt = ackpost.enqueue(community.url("lobby", "ops"), "invoice 4711 paid", ttl="2h", dedup="invoice-4711")
    assert receipt
    assert len(receipt.ids) == 2
    assert not community.messages
    assert (home / ".local/state/ackpost/outbox.db").stat().st_mode & 0o077 == 0
    with ackpost.outbox() as queue:
        entry = queue.get(receipt.ids[0])
        assert entry is not None
        assert (entry.state, entry.is_final, entry.outcome) == ("waiting", False, None)
        assert before < entry.accepted_at < datetime.now(timezone.utc)
        assert entry.expires_at - entry.accepted_at == timedelta(hours=2)
        assert entry.history[0].kind == "accepted"
        assert "0123456789abcdef0123" not in repr(entry)
        # Repeats are collected, and reported in one message.
        again = [ackpost.enqueue(community.url("lobby"), "invoice 4711 paid", dedup="invoice-4711") for _ in range(2)]
        assert [(one.accepted[0].state, one.accepted[0].folded) for one in again] == [("collecting", False), ("collecting", True)]
        done = queue.flush(20, wait_for_due=False)
        assert done.delivered == 2
        entry = queue.get(receipt.ids[0])
        assert entry is not None
        assert (entry.state, entry.outcome, entry.is_final) == ("delivered", ackpost.Outcome.DELIVERED, True)
        assert queue.get("0" * 16) is None
    assert sorted(message.room for message in community.messages) == ["lobby", "ops"]


def test_the_program_sees_the_same_queue(community: FakeCommunity) -> None:
    receipt = ackpost.enqueue(community.url("lobby"), "x", attach=("a.txt", b"a"))
    command = [ackpost.find_ackpost_bin(), "--json", "outbox", "list"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert receipt.ids[0] in shown.stdout


def test_dead_entries_are_listed_retried_and_dropped(community: FakeCommunity, tmp_path: Path) -> None:
    community.fail("closed", 403)
    with Outbox(tmp_path / "queue.db") as queue:
        (id,) = queue.enqueue(community.url("closed"), "x").ids
        assert queue.flush(10).refused == 1
        (dead,) = queue.list("dead")
        assert (dead.id, dead.outcome, bool(dead.remedy)) == (id, ackpost.Outcome.REFUSED, True)
        assert queue.list(["waiting"]) == []
        assert queue.stats()["dead"] == 1
        assert queue.retry() == 1
        community.fail("closed", 201)
        assert queue.flush(10).delivered == 1
        assert queue.drop() == 0


def test_a_worker_runs_until_it_is_stopped(community: FakeCommunity, tmp_path: Path) -> None:
    with Outbox(tmp_path / "queue.db") as queue:
        worker = threading.Thread(target=queue.run)
        worker.start()
        ids = queue.enqueue(community.url("lobby"), "x").ids
        assert [entry.state for entry in queue.wait(ids, 20)] == ["delivered"]
        queue.stop()
        worker.join(20)
        assert not worker.is_alive()


def test_the_asynchronous_form(community: FakeCommunity, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncOutbox(tmp_path / "queue.db") as queue:
            worker = asyncio.create_task(queue.run())
            receipt = await queue.enqueue([community.url("lobby")], "x", digest=1)
            assert receipt.accepted[0].state == "collecting"
            assert [entry.state for entry in await queue.wait(receipt.ids, 20)] == ["delivered"]
            assert len(await queue.list()) == 1
            assert (await queue.stats())["delivered"] == 1
            worker.cancel()
            with pytest.raises(asyncio.CancelledError):
                await worker
            assert await queue.drop() == 0
            assert await queue.retry() == 0
            assert (await queue.flush(1)).remaining == 0

    asyncio.run(main())


def test_a_message_outlives_the_program_that_stored_it(community: FakeCommunity, run_code: object) -> None:
    code = "import ackpost, os, sys; ackpost.enqueue(sys.argv[1], 'x'); os.kill(os.getpid(), 9)"
    assert run_code(code, community.url("lobby")).returncode == -9  # type: ignore[operator]
    with ackpost.outbox() as queue:
        assert queue.flush(20).delivered == 1


def test_errors_have_a_remedy(community: FakeCommunity, tmp_path: Path) -> None:
    with pytest.raises(ackpost.ConfigError, match="bogus"):
        ackpost.enqueue("bogus://x", "x")
    with pytest.raises(ackpost.AckpostError, match="ttl") as raised:
        ackpost.enqueue(community.url("lobby"), "x", ttl="soon")
    assert raised.value.remedy
    (tmp_path / "not-a-database").write_bytes(b"text" * 4000)
    with pytest.raises(ackpost.OutboxError):
        Outbox(tmp_path / "not-a-database").stats()
    half = ackpost.enqueue([community.url("lobby"), "bogus://x"], "x")
    assert len(half.ids) == 1
    assert not half
    with pytest.raises(ackpost.ConfigError, match="16"):
        ackpost.outbox().get("short")


def test_a_stop_without_a_worker_does_not_end_the_next_one(community: FakeCommunity, tmp_path: Path) -> None:
    with Outbox(tmp_path / "queue.db") as queue:
        queue.stop()
        worker = threading.Thread(target=queue.run)
        worker.start()
        ids = queue.enqueue(community.url("lobby"), "x").ids
        assert [entry.state for entry in queue.wait(ids, 20)] == ["delivered"]
        queue.stop()
        worker.join(20)
        assert not worker.is_alive()
        # The end of a worker does not end the next one either.
        queue.stop()
        again = threading.Thread(target=queue.run)
        again.start()
        ids = queue.enqueue(community.url("lobby"), "y").ids
        assert [entry.state for entry in queue.wait(ids, 20)] == ["delivered"]
        queue.stop()
        again.join(20)
        assert not again.is_alive()


def test_a_worker_that_could_not_begin_does_not_end_the_next_one(community: FakeCommunity, tmp_path: Path) -> None:
    place = tmp_path / "queue.db"
    place.mkdir()
    queue = Outbox(place)
    with pytest.raises(ackpost.AckpostError):
        queue.run()
    place.rmdir()
    worker = threading.Thread(target=queue.run)
    worker.start()
    ids = queue.enqueue(community.url("lobby"), "x").ids
    assert [entry.state for entry in queue.wait(ids, 20)] == ["delivered"]
    queue.stop()
    worker.join(20)
    assert not worker.is_alive()
    queue.close()
