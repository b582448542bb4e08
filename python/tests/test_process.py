"""Ends of programs, forks, threads, Ctrl-C, event loops and cancellation."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ackpost
from ackpost import AsyncNotifier, Notifier
from ackpost._bridge import environment
from ackpost._notifier import _encode
from ackpost.testing import FakeCommunity

ENDS = int(os.environ.get("ACKPOST_ENDS", "15"))

FORMS = {
    "blocking": "import sys, ackpost; sys.exit(not ackpost.send(sys.argv[1], 'x'))",
    "async": "import asyncio, sys, ackpost; sys.exit(not asyncio.run(ackpost.asend(sys.argv[1], 'x')))",
    "kept": "import sys, ackpost; n = ackpost.Notifier(sys.argv[1]); sys.exit(not n.send('x'))",
    # The program ends while a message is on its way.
    "unfinished": """
        import asyncio, ackpost, sys
        async def main():
            task = asyncio.ensure_future(ackpost.asend(sys.argv[1], 'x'))
            await asyncio.sleep(0.01)
        asyncio.run(main())
    """,
    # A thread still waits when the interpreter goes down.
    "thread": """
        import threading, ackpost, sys
        threading.Thread(target=ackpost.send, args=(sys.argv[1], 'x'), daemon=True).start()
    """,
}


@pytest.mark.parametrize("form", FORMS)
def test_no_program_crashes_at_its_end(community: FakeCommunity, run_code: Any, form: str) -> None:
    for _ in range(ENDS):
        ended = run_code(FORMS[form], community.url("lobby"))
        assert (ended.returncode, ended.stderr) == (0, "")


def _send(url: str) -> bool:
    return bool(ackpost.send(url, "from a child"))


def _asend(url: str) -> bool:
    return bool(asyncio.run(ackpost.asend(url, "from a child")))


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_send(community: FakeCommunity, method: str) -> None:
    assert ackpost.send(community.url("lobby"), "before")
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map_async(_send, [community.url("lobby")] * 4).get(30) == [True] * 4
        assert pool.map_async(_asend, [community.url("lobby")] * 4).get(30) == [True] * 4
    assert ackpost.send(community.url("lobby"), "after")
    assert len(community.messages) == 10


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_notifier_works_in_a_forked_child(community: FakeCommunity) -> None:
    notifier = Notifier(community.url("lobby"))
    notifier.add_config_text(f"ops={community.url('ops')}")
    assert notifier.send("before", tag="ops")
    child = os.fork()
    if child == 0:
        good = len(notifier.send("child").delivered) == 2 and len(notifier.send("child", tag="ops")) == 1
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert notifier.send("after")


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_closes_nothing_of_its_parent(community: FakeCommunity, tmp_path: Path) -> None:
    queue = ackpost.Outbox(tmp_path / "queue.db")
    receipt = queue.enqueue(community.url("lobby"), "x")

    def open_files() -> int:
        places = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
        return sum("queue.db" in os.readlink(place) for place in places if os.path.lexists(place))

    before = open_files()
    assert before > 0
    child = os.fork()
    if child == 0:
        try:
            # Its own database opens, and the one of the parent stays as it is: SQLite forbids to close it here.
            found = queue.get(receipt.ids[0])
            del queue
            gc.collect()
            os._exit(0 if found is not None and open_files() >= before else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    queue.flush(20)
    entry = queue.get(receipt.ids[0])
    assert entry is not None
    assert entry.state == "delivered"
    queue.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_call_of_the_parent_does_not_hang_in_a_child(community: FakeCommunity) -> None:
    community.fail("slow", 201, delay=2)
    native = Notifier(community.url("slow"))._own()
    pending = native.send(*_encode(None, "x", "", "info", None, (), False, None), None)
    child = os.fork()
    if child == 0:
        try:
            pending.wait()
        except RuntimeError as error:
            os._exit(0 if "forked" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pending.wait()[0]


def test_variables_of_the_environment_arrive_whatever_they_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEVERAL_LINES", "one\n\ttwo")
    monkeypatch.setenv("NOT_TEXT", os.fsdecode(b"\xff"))
    handed = environment()
    assert handed["SEVERAL_LINES"] == "one\n\ttwo"
    assert "NOT_TEXT" not in handed


def test_threads_share_a_notifier(community: FakeCommunity) -> None:
    rooms = [f"room{n}" for n in range(8)]
    with Notifier() as notifier:
        for room in rooms:
            notifier.add(community.url(room), tag=room)
            community.fail(room, 201, delay=0.5)
        results: list[bool] = []
        threads = [
            threading.Thread(target=lambda room=room: results.append(bool(notifier.send("x", tag=room)))) for room in rooms
        ]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [True] * 8
    assert time.monotonic() - began < 2.5


def test_the_interpreter_lock_is_free_while_a_call_waits(community: FakeCommunity) -> None:
    community.fail("slow", 201, delay=1)
    ticks = 0
    thread = threading.Thread(target=ackpost.send, args=(community.url("slow"), "x"))
    thread.start()
    while thread.is_alive():
        ticks += 1
        time.sleep(0.01)
    assert ticks > 30


@pytest.mark.parametrize("call", ["ackpost.send(url, 'x')", "asyncio.run(ackpost.asend(url, 'x'))"])
def test_ctrl_c_stops_a_call_at_once(community: FakeCommunity, run_code: Any, call: str) -> None:
    community.fail("slow", 201, delay=10)
    code = f"""
        import asyncio, os, signal, sys, threading, time, ackpost
        url = sys.argv[1]
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        began = time.monotonic()
        try:
            {call}
        except KeyboardInterrupt:
            print(time.monotonic() - began)
    """
    ended = run_code(code, community.url("slow"))
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout) < 1.5


def test_a_signal_handler_that_does_not_raise_lets_the_call_go_on(community: FakeCommunity) -> None:
    community.fail("slow", 201, delay=0.5)
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: seen.append(number))
    try:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        assert ackpost.send(community.url("slow"), "x")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1]


def test_cancellation_stops_the_call(community: FakeCommunity) -> None:
    community.fail("slow", 201, times=1, delay=5)

    async def main() -> None:
        began = time.monotonic()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ackpost.asend(community.url("slow"), "x"), 0.3)
        assert time.monotonic() - began < 2
        assert len(asyncio.all_tasks()) == 1
        assert await ackpost.asend(community.url("lobby"), "y")

    asyncio.run(main())


def test_nothing_is_left_open(community: FakeCommunity) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def several() -> None:
        await asyncio.gather(*(ackpost.asend(community.url("lobby"), "x") for _ in range(5)))

    asyncio.run(several())
    time.sleep(0.3)
    before = descriptors()
    for _ in range(10):
        asyncio.run(several())
    deadline = time.monotonic() + 5
    while descriptors() > before + 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert descriptors() <= before + 2


def test_a_thousand_awaits_run_together(community: FakeCommunity) -> None:
    # A separate room for each: a community limits how many messages a room takes in a time.
    async def main() -> float:
        async with AsyncNotifier() as notifier:
            for n in range(1000):
                # The server of the test has one thread at a time for all of them.
                notifier.add(f"{community.url(f'room{n}')}&rto=60", tag=f"t{n}")
            began = time.monotonic()
            reports = await asyncio.gather(*(notifier.send("x", tag=f"t{n}") for n in range(1000)))
            assert all(reports)
            return time.monotonic() - began

    assert asyncio.run(main()) < 40
    assert len(community.messages) == 1000


def _with_uvloop() -> Callable[[Any], Any]:
    uvloop = pytest.importorskip("uvloop")

    def run(main: Any) -> Any:
        loop = uvloop.new_event_loop()
        try:
            return loop.run_until_complete(main)
        finally:
            loop.close()

    return run


def test_uvloop(community: FakeCommunity) -> None:
    run = _with_uvloop()
    assert run(ackpost.asend(community.url("lobby"), "x"))
    assert run(ackpost.asend(community.url("lobby"), "x"))


def test_many_loops_in_many_threads(community: FakeCommunity) -> None:
    results: list[bool] = []

    def work() -> None:
        for _ in range(5):
            results.append(bool(asyncio.run(ackpost.asend(community.url("lobby"), "x"))))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 20


def test_a_blocking_call_works_inside_a_running_loop(
    community: FakeCommunity, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> bool:
        return bool(ackpost.send(community.url("lobby"), "x"))

    monkeypatch.setattr("ackpost._bridge._warned", False)
    with caplog.at_level("DEBUG", logger="ackpost"):
        assert asyncio.run(main())
        assert asyncio.run(main())
    assert sum("running event loop" in record.message for record in caplog.records) == 1
