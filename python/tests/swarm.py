"""A fake storage network for tests."""

from __future__ import annotations

import json
import subprocess
from typing import Any


class Swarm:
    """The fake network of `crates/ackpost-testkit`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        started = json.loads(self._stdout.readline())
        self.seeds: list[str] = started["seeds"]
        self.file_server: str = started["file_server"]

    def do(self, command: str) -> Any:
        """Carries out a command."""
        self._stdin.write(command + "\n")
        self._stdin.flush()
        return json.loads(self._stdout.readline())
