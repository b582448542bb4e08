"""Every vector of `vectors/apprise` that a call can express gives the same through the package and through the program.

What each vector has to give is checked by the tests of the program; here the two must agree.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest

import ackpost
from ackpost.session import Identity, JoinLink, Server, is_same_account
from ackpost.testing import FakeCommunity, FakeXmpp

VECTORS = Path(__file__).resolve().parents[2] / "vectors/apprise"
KNOWN = (VECTORS / "known-differences.toml").read_text()
PROGRAM = ackpost.find_ackpost_bin()
# The server of the vectors, whose secret nobody has.
VECTOR_KEY = "a03c383cf63c3c4efe67acc52112a6dd734b3a946b9545f488aaa93da7991238"
V = dict[str, Any]
T = TypeVar("T")


def vectors(*names: str) -> list[V]:
    """Returns the vectors of some files."""
    lines = [line for name in names for line in (VECTORS / f"{name}.jsonl").read_text().split("\n")]
    return [json.loads(line) for line in lines if line]


def program(*arguments: str, stdin: str = "") -> tuple[str, str]:
    """Returns what the program prints, and what it says on standard error."""
    command = [PROGRAM, "--json", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50, input=stdin)
    assert ran.returncode in (0, 1, 2, 3, 4), ran.stderr
    return ran.stdout, ran.stderr


def at_once(work: Callable[[V], T], several: list[V]) -> list[T]:
    """Does something with each vector, four at a time."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(work, several))


def preview(*arguments: str) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """Returns the masked URLs and tags of the services, and the problems, as the program sees them."""
    shown = json.loads(program("preview", "-b", "x", *arguments)[0])
    return [(one["url"], sorted(one["tags"])) for one in shown["services"]], shown["errors"]


def loaded(notifier: ackpost.Notifier) -> list[tuple[str, list[str]]]:
    """Returns the same of a notifier."""
    return [(url, sorted(tags)) for url, tags in notifier.services()]


def test_urls() -> None:
    def agree(vector: V) -> str | None:
        url = vector["input"]["url"]
        notifier = ackpost.Notifier()
        with suppress(ackpost.ConfigError):
            notifier.add(url)
        problems = notifier.problems
        services, errors = preview("--", url)
        if not url.strip():
            # The program asks for a URL instead.
            return None if not loaded(notifier) else vector["id"]
        same = loaded(notifier) == services and len(problems) == len(errors)
        return None if same and all(one in error for one, error in zip(problems, errors, strict=True)) else f"{vector['id']}: {problems} {errors}"

    assert [problem for problem in at_once(agree, vectors("url", "params")) if problem] == []


def test_configurations(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    several = vectors("config-text", "config-yaml")

    def written(vector: V) -> str:
        folder = tmp_path / vector["id"]
        for name, text in vector["input"]["files"].items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o600)
        return str(folder / vector["input"]["main"])

    def by_the_program(vector: V) -> tuple[list[tuple[str, list[str]]], list[str]]:
        return preview("-g", "all", "-R", str(vector["input"]["recursion"]), "-c", written(vector))

    expected = at_once(by_the_program, several)
    differing = []
    for vector, (services, errors) in zip(several, expected, strict=True):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "ackpost"):
            try:
                notifier = ackpost.Notifier(config=written(vector), recursion=vector["input"]["recursion"])
                found, said = loaded(notifier), caplog.messages
            except ackpost.ConfigError as error:
                found, said = [], [*error.problems]
        if any("template" in one for one in vector["expected"]["services"]):
            # The program fills templates before it shows them, the package when it sends.
            found, services = [(url.split("@")[0], tags) for url, tags in found], [(url, tags) for url, tags in services]
            services = [(known[0], tags) for (_, tags), known in zip(services, found, strict=True)]
        # The program refuses to send to nobody.
        errors = [error for error in errors if not error.startswith("no service is given")]
        if found != services or not set(errors) <= {*said}:
            differing.append(f"{vector['id']}: {services} {found} {errors} {said}")
    assert differing == [], '\n'.join(differing)


def test_messages(community: FakeCommunity) -> None:
    """Sent requests, and the reports."""
    with FakeXmpp() as server:

        def sent(vector: V, by: str) -> tuple[list[tuple[str, str]], list[V], tuple[str, ...]]:
            """Sends a vector. Returns what came, the report without what differs between two sends, and problems."""
            given = vector["input"]
            query = urlsplit(given["url"]).query
            name = f"{vector['id']}-{by}"
            url = (community if given["url"].startswith("session:") else server).url(name) + "&" + query
            # The program takes a text unless it is told, the package takes the message as it is.
            kind: Any = given["input_format"] or "text"
            body = given["body"]
            if by == "package":
                options = {key: given[key] for key in ("escapes", "emojis") if key in given}
                try:
                    report = ackpost.send(url, body, title=given["title"], format=kind, **options)
                    rows, problems = report.as_dict()["targets"], report.problems
                except ackpost.ConfigError as error:
                    rows, problems = [], (error.cause,)
            else:
                flags = ["-i", kind, f"--title={given['title']}"]
                flags += ["-e"] if given.get("escapes") else []
                flags += ["-j"] if given.get("emojis") else []
                # An argument has at most 128 KiB.
                is_long = len(body) > 100_000
                flags += [] if is_long else [f"--body={body}"]
                printed, said = program(*flags, url, stdin=body if is_long else "")
                rows, problems = [json.loads(line) for line in printed.split("\n") if line], (said,)
            came = [(one.text, "") for one in community.messages if one.room == name]
            came += [(one.text, one.subject or "") for one in server.messages if one.to.startswith(f"{name}@")]
            rows = [row for row in rows if row["target"] is not None]
            for row in rows:
                row.pop("elapsed_ms")
                row["id"] = None
                row["target"] = row["target"].replace(f"-{by}", "")
            return came, rows, problems

        def agree(vector: V) -> str | None:
            came, rows, problems = sent(vector, "package")
            came_there, rows_there, said = sent(vector, "program")
            if (came, rows) != (came_there, rows_there) or not all(one in said[0] for one in problems):
                return f"{vector['id']}: {str((came, rows, problems))[:800]} {str((came_there, rows_there, said))[:800]}"
            if vector["expected"]["chunks"] and not came and f'"{vector["id"]}"' not in KNOWN:
                return f"{vector['id']}: nothing came"
            return None

        differing = [problem for problem in at_once(agree, vectors("format", "overflow")) if problem]
        assert differing == [], "\n".join(differing)


LINES = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
for names in (["-b", "--body"], ["-t", "--title"], ["-n"], ["-i"], ["-SL"]):
    LINES.add_argument(*names)
for names in (["-g", "--tag"], ["-c"], ["-a"]):
    LINES.add_argument(*names, action="append", default=[])
for names in (["-e"], ["-j"], ["-Da"], ["-v"]):
    LINES.add_argument(*names, action="store_true")
LINES.add_argument("urls", nargs="*")
CODES = {"SUCCESS": 0, "FAILURE": 1, "NOMATCH": 3, "PARTIAL": 4}


def call_of(vector: V) -> argparse.Namespace | None:
    """Returns the call of the package that a command line stands for, or ``None`` if there is none."""
    given = vector["input"]
    if given.keys() & {"env", "xmpp_server", "stdin"}:
        return None
    try:
        line, unknown = LINES.parse_known_args(given["argv"])
    except argparse.ArgumentError:
        return None
    goes_here = all("127.0.0.1:{PORT}" in url for url in line.urls)
    # Without a tag, the program takes the services without one, and the package takes all. `1:a` and `a:1` are flags of the program.
    has_tags = not line.c or (line.tag and not any(":" in tag or "all" in tag for tag in line.tag))
    is_call = not unknown and line.body and goes_here and has_tags and bool(line.urls or line.c) and line.i != "bogus"
    return line if is_call else None


def test_command_lines(community: FakeCommunity, tmp_path: Path) -> None:
    """The command lines that a call of the package can express give the same messages, the same report and the same exit code."""
    several = [(vector, call) for vector in vectors("cli") if (call := call_of(vector)) is not None]
    assert len(several) >= 60, len(several)
    differing = []
    for vector, call in several:
        folder = tmp_path / vector["id"]
        folder.mkdir()

        def here(text: str, vector: V = vector, folder: Path = folder) -> str:
            # Rooms of its own: both limit how many messages a room takes in a time. A room `e403` refuses.
            def renamed(match: re.Match[str]) -> str:
                rooms = [f"{room}x{vector['id']}" for room in match[2].split("/")]
                for room in rooms:
                    if status := re.match(r"e(\d{3})x", room):
                        community.fail(room, int(status[1]))
                return f"{match[1]}{'/'.join(rooms)}"

            text = text.replace(VECTOR_KEY, community.public_key)
            text = re.sub(r"(127\.0\.0\.1:\{PORT\}/)([A-Za-z0-9_/-]+)(?=$|[?,\s\"'!])", renamed, text)
            return text.replace("{PORT}", str(community.port)).replace("{DIR}", str(folder))

        for name, text in vector["input"].get("files", {}).items():
            (folder / name).write_text(here(text))
            (folder / name).chmod(0o600)
        before = len(community.messages)
        ran = subprocess.run(
            [PROGRAM, "--json", *map(here, vector["input"]["argv"])], capture_output=True, text=True, check=False, timeout=50
        )
        by_program = sorted((one.room, one.text) for one in community.messages[before:])
        rows = [json.loads(row) for row in ran.stdout.split("\n") if row.startswith("{")]
        before = len(community.messages)
        limit = 60 if call.SL is None else float(call.SL)
        notifier = ackpost.Notifier(sequential=call.Da, service_timeout=limit)
        for url in call.urls:
            with suppress(ackpost.ConfigError):
                notifier.add(here(url))
        for place in call.c:
            with suppress(ackpost.ConfigError):
                notifier.add_config(here(place))
        report = notifier.send(
            call.body,
            title=call.title or "",
            kind=call.n or "info",
            format=call.i or "text",
            escapes=call.e,
            emojis=True if call.j else None,
            attach=[here(place) for place in call.a],
            tag=call.tag if call.c else None,
        )
        by_package = sorted((one.room, one.text) for one in community.messages[before:])
        found = [by_package, CODES[str(report.status)], _plain(report.as_dict()["targets"])]
        expected = [by_program, ran.returncode, _plain([row for row in rows if row["target"] is not None])]
        if found != expected:
            differing.append(f"{vector['id']} {vector['input']['argv']}: {found} {expected} {ran.stderr[-300:]}")
    assert differing == [], "\n".join(differing)


def _plain(rows: list[V]) -> list[V]:
    """Returns rows without what differs between two sends of one message."""
    return [{name: value for name, value in row.items() if name not in ("elapsed_ms", "id")} for row in rows]


def test_emoji(community: FakeCommunity) -> None:
    with ackpost.Notifier() as notifier:
        for vector in vectors("emoji"):
            text = vector["input"]["text"]
            if text:
                assert notifier.send(text, urls=community.url(vector["id"]), emojis=True), vector["id"]
                assert community.messages[-1].text == vector["expected"]["text"].rstrip(), vector["id"]


SOGS = json.loads((VECTORS.parent / "sogs/vectors.json").read_text())


def test_accounts_and_phrases() -> None:
    for item in SOGS["identities"]["items"]:
        assert Identity(item["ed25519_seed"]).session_id == item["session_id"]
    for item in SOGS["mnemonics"]["items"]:
        phrase = item.get("mnemonic") or item["encoded"]
        if "seed16" not in item:
            with pytest.raises(ackpost.ConfigError):
                Identity.from_phrase(phrase)
            continue
        account = Identity.from_seed(item["seed16"])
        assert account.expose_phrase() == phrase
        assert Identity.from_phrase(phrase) == account
        assert account.session_id == item.get("session_id", account.session_id)


def test_blinded_ids() -> None:
    people = SOGS["blinding"]["items"]
    for item in people:
        me, key = Identity(item["seed"]), item["server_pk"]
        assert me.blinded_id(key) == item["id15"]
        assert me.blinded_id(f"https://example.org/lobby?public_key={key}") == item["id15"]
        own = [item["session_id"], item["id15"], item["id15_abs"], *item["id15_candidates_from_session_id"], item["id25"]]
        for one in own:
            for other in own:
                assert is_same_account(one, other, key), (one, other)
        for somebody in people:
            if somebody["seed"] != item["seed"]:
                for one in own:
                    for other in (somebody["session_id"], somebody["id15"], somebody["id25"]):
                        assert not is_same_account(one, other, key), (one, other)
        # On another server the account has another id.
        assert not is_same_account(item["session_id"], item["id15"], "1" * 64)
    for one, server in (("05", VECTOR_KEY), (people[0]["session_id"], "https://example.org/lobby"), ("", "")):
        with pytest.raises(ackpost.ConfigError):
            is_same_account(one, one, server)


def test_messages_of_the_reference_are_authentic(community: FakeCommunity) -> None:
    for n, item in enumerate(SOGS["messages"]["items"]):
        room = f"room{n}"
        community.say(room, "x")
        row = community.messages[-1]._row
        row |= {"data": item["data"], "signature": item["signature"], "session_id": item["poster_id"]}
        (message,) = Server(JoinLink(community.link(room))).room(room).recent(5)
        assert (message.text, message.author.name, message.author.id) == (item["body"], item["name"] or None, item["poster_id"])
        assert message.verified, message.problem
        other = SOGS["messages"]["items"][n - 1]
        row |= {"signature": other["signature"]}
        (message,) = Server(JoinLink(community.link(room))).room(room).recent(5)
        assert not message.verified
