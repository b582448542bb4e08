"""The programs of python/examples run as they are written."""

from __future__ import annotations

import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ackpost.session import Identity
from ackpost.testing import FakeCommunity

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples"
pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="some examples use the syntax of Python 3.11")


@pytest.fixture
def folder(tmp_path: pathlib.Path, home: pathlib.Path, community: FakeCommunity) -> pathlib.Path:
    """The folder in which the programs run, with the files that they name."""
    me = Identity.generate()
    (tmp_path / "bot.txt").write_text(str(me.expose_phrase()))
    (tmp_path / "chart.png").write_bytes(b"\x89PNG")
    (tmp_path / "report.pdf").write_bytes(b"%PDF")
    config = home / ".config/apprise/apprise.yml"
    config.parent.mkdir(parents=True)
    config.write_text(f"urls:\n  - {community.url('lobby')}:\n      tag: ops\n")
    config.chmod(0o600)
    return tmp_path


def command_of(name: str, *arguments: str) -> list[str]:
    """The command that runs a program."""
    return [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]


def run(folder: pathlib.Path, name: str, *arguments: str) -> str:
    """Runs a program to its end, and returns what it printed."""
    ran = subprocess.run(command_of(name, *arguments), cwd=folder, capture_output=True, text=True, timeout=50, check=False)
    assert not ran.returncode, ran.stderr
    return ran.stdout + ran.stderr


class Running:
    """A program that runs until it is stopped."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def next_line(self) -> str:
        """Waits for a line of output."""
        return self._lines.get(timeout=20)

    def interrupt(self) -> None:
        """Presses Ctrl-C, and expects a clean end."""
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(20) == 0, self._process.stderr and self._process.stderr.read()


@contextmanager
def running(folder: pathlib.Path, name: str, *arguments: str) -> Iterator[Running]:
    """Starts a program, and ends it in any case."""
    process = subprocess.Popen(
        command_of(name, *arguments), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    with process:
        try:
            yield Running(process)
        finally:
            if process.poll() is None:
                process.kill()


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Waits until something is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_every_program_is_run_here() -> None:
    text = pathlib.Path(__file__).read_text()
    missing = [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in text]
    assert not missing


def test_send(folder: pathlib.Path, community: FakeCommunity) -> None:
    assert run(folder, "send.py", community.url("lobby")) == ""
    assert community.messages[-1].text == "db1\r\ndisk full on db1"
    community.fail("lobby", 503)
    command = command_of("send.py", community.url("lobby"))
    ran = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert ran.returncode == 1
    assert " deferred " in ran.stdout
    assert "→" in ran.stdout


def test_check(folder: pathlib.Path, community: FakeCommunity) -> None:
    community.fail("closed", 403)
    community.fail("down", 503)
    printed = run(folder, "check.py", *(community.url(room) for room in ("lobby", "closed", "down")))
    first, second = printed.splitlines()
    assert first.startswith("gave up: ")
    assert second.startswith("try again later: ")
    assert [message.room for message in community.messages] == ["lobby"]


def test_alarm(folder: pathlib.Path, community: FakeCommunity) -> None:
    community.fail("closed", 403)
    assert "told 1 of 2" in run(folder, "alarm.py", community.url("lobby"), community.url("closed"))


def test_nightly(folder: pathlib.Path, community: FakeCommunity) -> None:
    printed = run(folder, "nightly.py", community.url("ops"))
    assert printed.count("delivered, confirmed by server") == 2
    assert sorted(message.room for message in community.messages) == ["lobby", "ops"]
    assert {file.name for file in community.files.values()} == {"report.pdf", "log.txt"}


def test_durable(folder: pathlib.Path, community: FakeCommunity) -> None:
    first = run(folder, "durable.py", community.url("lobby")).splitlines()
    second = run(folder, "durable.py", community.url("lobby")).splitlines()
    assert first[1] == "waiting"
    # The same message again is collected, and reported once.
    assert second[1] == "collecting"
    assert not community.messages


def test_read(folder: pathlib.Path, community: FakeCommunity) -> None:
    community.say("lobby", "hello", name="Jane")
    assert run(folder, "read.py", community.link("lobby")).rstrip().endswith("hello")


def test_post(folder: pathlib.Path, community: FakeCommunity) -> None:
    run(folder, "post.py", community.link("lobby"))
    assert [message.text for message in community.messages] == ["numbers of today", "that is all"]
    assert list(community.messages[0].reactions) == ["📈"]
    assert [file.name for file in community.files.values()] == ["chart.png"]


def test_follow(folder: pathlib.Path, community: FakeCommunity) -> None:
    community.say("lobby", "before")
    with running(folder, "follow.py", community.link("lobby")) as program:
        until(lambda: community.requests > 3)
        community.say("lobby", "first")
        assert program.next_line() == "lobby first\n"
        community.say("lobby", "second")
        assert program.next_line() == "lobby second\n"
        program.interrupt()
    community.say("lobby", "meanwhile")
    with running(folder, "follow.py", community.link("lobby")) as program:
        # The event that the program was dealing with when it was stopped comes again.
        lines = [program.next_line()]
        if lines == ["lobby second\n"]:
            lines.append(program.next_line())
        assert lines[-1] == "lobby meanwhile\n"
        program.interrupt()


def test_bot(folder: pathlib.Path, community: FakeCommunity) -> None:
    def said(start: str) -> bool:
        return any(message.text.startswith(start) and message.name == "Helper" for message in community.messages)

    with running(folder, "bot.py", community.link("lobby")) as program:
        until(lambda: community.requests > 3)
        community.say("lobby", "!roll 1", name="Jane")
        until(lambda: said("1"))
        until(lambda: said("Welcome, Jane!"))
        community.say("lobby", "!roll zero", name="Jim")
        until(lambda: said("SIDES must be a whole number"))
        community.say("lobby", "!pin 1", name="Joe")
        until(lambda: said("Only a moderator may use !pin"))
        program.interrupt()


def test_xmpp_room(folder: pathlib.Path, prosody: dict[str, str]) -> None:
    """Another program of the package asks it."""
    (folder / "pw").write_text("alicepass")
    options = f"xmpp=127.0.0.1&ca_file={prosody['XMPP_CA']}"
    account = f"xmpps://alice@localhost:{prosody['XMPP_PORT']}/?{options}"
    asker = f"""
import asyncio, sys
from ackpost import xmpp
async def main():
    async with xmpp.Account("xmpps://bob:bobpass@localhost:{prosody['XMPP_PORT']}/?{options}") as me:
        events = me.events()
        async with me.join("open@conference.localhost", nick="asker") as room:
            helper = "helper"
            async for event in events:
                if isinstance(event, xmpp.Occupant) and event.nick == helper:
                    await room.send("!status")
                if isinstance(event, xmpp.Message) and event.nick == helper:
                    print(event.text)
                    return
asyncio.run(asyncio.wait_for(main(), 30))
"""
    with running(folder, "xmpp_room.py", account, "open@conference.localhost") as program:
        ran = subprocess.run([sys.executable, "-c", asker], capture_output=True, text=True, timeout=50, check=False)
        assert ran.stdout.strip().endswith("all is well"), ran.stderr
        program.interrupt()


def test_alarm_is_tested_without_a_network(folder: pathlib.Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLES / "test_alarm.py")]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50, check=False)
    assert not ran.returncode, ran.stdout + ran.stderr
    assert ran.stdout.startswith("."), ran.stdout
