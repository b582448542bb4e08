"""Fixtures of all tests. Everything listens on this machine alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ackpost.testing import FakeCommunity
from swarm import Swarm

RunCode = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate home, so that no test finds another's identities, configurations or state."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in list(os.environ):
        if name.startswith(("XDG_", "APPRISE_")) or name.lower().endswith("_proxy") or name == "STATE_DIRECTORY":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def community() -> Iterator[FakeCommunity]:
    """A fake community."""
    with FakeCommunity() as running:
        yield running


@pytest.fixture
def run_code() -> RunCode:
    """Runs a program in its own interpreter."""

    def run(code: str, *arguments: str, timeout: float = 50) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def swarm() -> Iterator[Swarm]:
    """A fake storage network with five nodes; `scripts/python` builds it."""
    built = Path(__file__).resolve().parents[2] / "target/debug/fake-swarm"
    program = os.environ.get("ACKPOST_FAKE_SWARM", built)
    with subprocess.Popen([program, "5"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Swarm(process)


@pytest.fixture(scope="session")
def prosody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The settings of a real Prosody: the one of the whole run, or one that is started for these tests."""
    script = Path(__file__).resolve().parents[2] / "tests/servers/start-prosody.sh"
    shared = os.environ.get("ACKPOST_TEST_PROSODY")
    # Prosody runs as another user when we are root.
    folder = Path(shared) if shared else Path(tempfile.mkdtemp(prefix="ackpost-prosody-"))
    folder.chmod(0o755)
    if not shared:
        subprocess.run([script, folder / "prosody"], check=True, capture_output=True)
        folder = folder / "prosody"
    lines = (folder / "env").read_text().splitlines()
    yield dict(line.removeprefix("export ").split("=", 1) for line in lines if "=" in line)
    if not shared:
        subprocess.run([script, "--stop", folder], check=True, capture_output=True)
        shutil.rmtree(folder.parent)
