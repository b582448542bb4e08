"""The package and the program give the same report for the same input."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import ackpost
from ackpost.testing import FakeCommunity

Row = dict[str, Any]


def plain(rows: list[Row]) -> list[Row]:
    """Without what differs between two sends of one message."""
    for row in rows:
        assert row.pop("elapsed_ms") >= 0
        if row["id"] is not None:
            row["id"] = "a number"
    return rows


def program(*arguments: str) -> tuple[int, list[Row], str]:
    ran = subprocess.run(
        [ackpost.find_ackpost_bin(), "--json", *arguments], capture_output=True, text=True, check=False, timeout=50
    )
    return ran.returncode, [json.loads(line) for line in ran.stdout.splitlines()], ran.stderr


CASES: dict[str, tuple[list[list[str]], dict[str, Any], list[str]]] = {
    "delivered": ([["lobby"]], {"title": "db1"}, ["-t", "db1"]),
    "two rooms": ([["lobby", "ops"]], {}, []),
    "refused": ([["closed"]], {}, []),
    "deferred": ([["down"]], {}, []),
    "partly": ([["lobby"], ["closed", "down"]], {}, []),
    "markdown": ([["lobby"]], {"format": "markdown"}, ["-i", "markdown"]),
    "failure": ([["lobby"]], {"kind": "failure"}, ["-n", "failure"]),
    "escapes": ([["lobby"]], {"escapes": True}, ["-e"]),
    "emoji": ([["lobby"]], {"emojis": True}, ["-j"]),
}
BODIES = ["disk full", "**bold** and\\n:smile: <b>x</b>", "ünï 🎉 \u202e", "long " * 700]
CODES = {"SUCCESS": 0, "FAILURE": 1, "PARTIAL": 4}


@pytest.mark.parametrize("case", CASES)
def test_reports_are_equal(community: FakeCommunity, case: str) -> None:
    rooms, options, flags = CASES[case]
    community.fail("closed", 403)
    community.fail("down", 503)
    urls = [community.url(*group) for group in rooms]
    for body in BODIES:
        texts: list[list[str]] = []
        before = len(community.messages)
        report = ackpost.send(urls, body, **options)
        texts.append(sorted(message.text for message in community.messages[before:]))
        before = len(community.messages)
        code, rows, _ = program(*flags, "-b", body, *urls)
        texts.append(sorted(message.text for message in community.messages[before:]))
        assert plain(report.as_dict()["targets"]) == plain(rows)
        assert CODES[str(report.status)] == code
        assert texts[0] == texts[1]


URLS = [line for line in Path(__file__).with_name("bad-urls.txt").read_text().splitlines() if line]


@pytest.mark.parametrize("url", URLS)
def test_problems_are_equal(url: str) -> None:
    report = ackpost.send(url, "x")
    code, rows, _ = program("-b", "x", url)
    assert code == CODES[str(report.status)]
    # The program prints a row without a target for each problem.
    problems = [f"{row['reason']}; {row['remedy']}" for row in rows if row["target"] is None]
    assert report.problems
    assert len(problems) == len(report.problems)
    assert all(written.endswith(problem) for written, problem in zip(report.problems, problems, strict=True))
