"""Fixtures: Home Assistant as its own tests have it, and a fake community."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

FOLDER = pathlib.Path(__file__).parent


class Community:
    """The fake community of the other process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def do(self, command: str, **arguments: Any) -> Any:
        """Carry out a command."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def url(self, *rooms: str) -> str:
        """Return a URL that sends to these rooms, and does not repeat failures."""
        return f"{self.do('url', rooms=rooms)}&retry=0"


@pytest.fixture
def community() -> Iterator[Community]:
    """A fake community."""
    command = [sys.executable, FOLDER / "community.py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Community(process)


@pytest.fixture(autouse=True)
def _custom(enable_custom_integrations: None, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """Let Home Assistant find the integration, and keep state out of the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
