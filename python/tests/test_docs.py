"""Every example of the guides runs.

A comment `<!-- run: NAME… -->` before a block says which names the example expects. A block without one is an error.
"""

from __future__ import annotations

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from ackpost.session import Identity, direct
from ackpost.testing import FakeCommunity

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / f"docs/guide/{name}.md" for name in ("python", "python-session", "python-xmpp")]
BLOCK = re.compile(r"(?:<!-- (?P<how>run|show)(?P<names>:[^>]*)? -->\n)?```python\n(?P<code>.*?)^```$", re.S | re.M)


def examples() -> list[Any]:
    """Every block, named by its page and line."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for block in BLOCK.finditer(text):
            line = text.count("\n", 0, block.start("code")) + 1
            found.append(pytest.param(block, page, line, id=f"{page.name}:{line}"))
    return found


@pytest.mark.parametrize(("block", "page", "line"), examples())
def test_example(
    block: re.Match[str],
    page: pathlib.Path,
    line: int,
    community: FakeCommunity,
    tmp_path: pathlib.Path,
    request: pytest.FixtureRequest,
) -> None:
    assert block["how"] == "run", f"{page.name}:{line}: say with <!-- run: … --> what the example needs"
    community.fail("down", 503)
    config = tmp_path / "apprise.yml"
    config.write_text(f"urls:\n  - {community.url('lobby')}:\n      tag: ops\n")
    config.chmod(0o600)
    report = tmp_path / "report.pdf"
    report.write_bytes(b"%PDF")
    known: dict[str, Any] = {
        "url": community.url("lobby"),
        "down": community.url("down"),
        "config": config,
        "report_pdf": report,
        "log_bytes": b"lines",
        "link": community.link("lobby"),
        "me": Identity.generate(),
        "phrase_file": tmp_path / "phrase.txt",
        "chart_png": report,
        "seen_json": tmp_path / "seen.json",
        "stop": lambda: True,
        "helper_db": tmp_path / "helper.db",
        "state": tmp_path / "state",
        "bot_runs": None,
    }
    community.say("lobby", "hello", name="Jane")
    if "host" in (block["names"] or ""):
        prosody = request.getfixturevalue("prosody")
        (tmp_path / "pw").write_text("alicepass")
        known |= {
            "address": "alice@localhost",
            "password_file": tmp_path / "pw",
            "options": {"host": "127.0.0.1", "port": int(prosody["XMPP_PORT"]), "ca_file": prosody["XMPP_CA"]},
            "recipient": "bob@localhost",
            "room_address": "open@conference.localhost",
            "status": lambda: "all is well",
            "host": None,
        }
    if "network" in (block["names"] or ""):
        swarm = request.getfixturevalue("swarm")
        recipient = Identity.generate()
        known |= {
            "recipient": recipient.session_id,
            "network": {"network": swarm.seeds, "hidden": False, "proxies": False, "state_folder": tmp_path / "state"},
        }
        writer = direct.Mailbox(recipient, network=swarm.seeds, hidden=False, state_folder=tmp_path / "writer")
        writer.send(known["me"].session_id, "status")
    if "bot_runs" in (block["names"] or ""):
        # Somebody stops it, as Ctrl-C does.
        threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    given = {name: known[name] for name in (block["names"] or ":")[1:].split()}
    code = compile("\n" * (line - 1) + block["code"], str(page), "exec")
    exec(code, {"__name__": "example", **given})


def test_bot_page(tmp_path: pathlib.Path) -> None:
    """The commands of the worked page run in order, in one shell; a block that does not run says why."""
    text = (ROOT / "docs/guide/a-bot.md").read_text()
    blocks = re.findall(r"(<!-- not run: [^\n]+ -->\n)?```(\w+)\n(.*?)^```$", text, re.S | re.M)
    assert all(language == "sh" or reason for reason, language, _ in blocks)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    commands = "\n".join(code for _, language, code in blocks if language == "sh").replace("8080", str(port))
    programs = pathlib.Path(sys.executable).parent
    ran = subprocess.run(
        ["bash", "-euc", f"trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{commands}"],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": f"{programs}:/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = ran.stdout + ran.stderr + "".join(log.read_text() for log in tmp_path.glob("*.log"))
    assert ran.returncode == 0, said
    assert "milk and bread" in ran.stdout.split("!note")[1], said
    assert "Rolls a die." in ran.stdout, said
