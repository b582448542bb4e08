"""The hook, in separate programs, with the Apprise of this environment.

Run by scripts/python-apprise for several versions of Apprise.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ackpost.testing import FakeCommunity


@pytest.fixture
def community() -> Iterator[FakeCommunity]:
    with FakeCommunity() as running:
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Any:
    def run(code: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], **variables}
        command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=50, check=False)

    return run


def url(community: FakeCommunity, *rooms: str) -> str:
    return community.url(*rooms).replace("?encrypt=no", "?encrypt=no&retry=0")


def by_ackpost(community: FakeCommunity) -> bool:
    return bool(community.user_agents) and all("Ackpost" in agent for agent in community.user_agents)


LIBRARY = """
    import sys, apprise
    program = apprise.Apprise()
    assert program.add(sys.argv[1])
    sys.exit(not program.notify("disk full", title="db1"))
"""


def test_an_unchanged_program_sends_by_ackpost(community: FakeCommunity, run: Any) -> None:
    ended = run(LIBRARY, url(community, "lobby"))
    assert ended.returncode == 0, ended.stderr
    assert community.messages[0].text == "db1\r\ndisk full"
    assert by_ackpost(community)


def test_asynchronous_programs_too(community: FakeCommunity, run: Any) -> None:
    code = """
        import asyncio, sys, apprise
        program = apprise.Apprise()
        program.add(sys.argv[1])
        sys.exit(not asyncio.run(program.async_notify("x")))
    """
    assert run(code, url(community, "lobby")).returncode == 0
    assert by_ackpost(community)


def test_the_command_too(community: FakeCommunity, run: Any, tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("apprise"), "-b", "x", url(community, "lobby")]
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    assert by_ackpost(community)


def test_the_command_with_the_plugin_path(community: FakeCommunity, run: Any, tmp_path: Path) -> None:
    import ackpost_apprise

    command = [Path(sys.executable).with_name("apprise"), "-P", ackpost_apprise.plugin_path(), "-b", "x"]
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "ACKPOST_APPRISE_HOOK": "off"}
    assert subprocess.run([*command, url(community, "lobby")], env=environment, check=False).returncode == 0
    assert by_ackpost(community)


def test_register_in_a_program(community: FakeCommunity, run: Any) -> None:
    code = "import ackpost_apprise; ackpost_apprise.register()\n" + textwrap.dedent(LIBRARY)
    assert run(code, url(community, "lobby"), ACKPOST_APPRISE_HOOK="off").returncode == 0
    assert by_ackpost(community)


def test_a_refusal_is_a_failure_with_its_cause_in_the_log(community: FakeCommunity, run: Any) -> None:
    community.fail("closed", 403)
    code = "import logging; logging.basicConfig(level=logging.INFO)\n" + textwrap.dedent(LIBRARY)
    ended = run(code, url(community, "closed", "lobby"))
    assert ended.returncode == 1
    assert "refused" in ended.stderr
    assert "confirmed by server" in ended.stderr
    assert "0123456789abcdef0123456789abcdef" not in ended.stderr
    assert len(community.messages) == 1


def test_off_means_off(community: FakeCommunity, run: Any) -> None:
    code = """
        from apprise.manager_plugins import NotificationManager
        manager = NotificationManager()
        manager.load_modules()
        print([getattr(manager._schema_map.get(name), "is_ackpost", False) for name in ("session", "xmpp", "json")])
    """
    assert run(code).stdout.strip() == "[True, True, False]"
    assert run(code, ACKPOST_APPRISE_HOOK="off").stdout.strip() == "[False, False, False]"


def test_nothing_else_changes(run: Any) -> None:
    code = """
        from apprise.manager_plugins import NotificationManager
        manager = NotificationManager()
        manager.load_modules()
        ours = {"session", "sessions", "sogs", "xmpp", "xmpps"}
        print(sorted((name, service.__module__) for name, service in manager._schema_map.items() if name not in ours))
    """
    with_hook, without = run(code), run(code, ACKPOST_APPRISE_HOOK="off")
    assert with_hook.stdout == without.stdout
    assert len(with_hook.stdout) > 5000


def test_urls_stay_what_they_were(run: Any) -> None:
    code = """
        import apprise
        for text in (
            "xmpps://bot:hunter2@example.org/jane/%23ops@rooms.example.org?subject=yes",
            "xmpp://bot:hunter2@example.org:5222/jane?mode=none",
        ):
            made = apprise.Apprise.instantiate(text)
            if made is not None:
                print(made.url(), made.url(privacy=True), made.url_id(), made.title_maxlen)
    """
    with_hook, without = run(code), run(code, ACKPOST_APPRISE_HOOK="off")
    if without.stdout:
        assert with_hook.stdout == without.stdout
    else:
        # This Apprise has no such service.
        assert with_hook.stdout.count("xmpp") == 4
        assert with_hook.stdout.split()[1].count("hunter2") == 0


def test_no_masked_url_has_a_secret(run: Any) -> None:
    code = """
        import apprise
        for name in ("room_password", "PASSPHRASE", "omemo_key", "api_token", "client_secret", "my_seed"):
            made = apprise.Apprise.instantiate(f"xmpps://bot:hunter2@example.org/jane?{name}=hunter3&password_file=pw.txt")
            print(made.url(privacy=True) if made is not None else "", name)
    """
    said = run(code).stdout
    assert said.count("hunter") == 0, said


def test_parameters_of_ackpost_reach_it(community: FakeCommunity, run: Any) -> None:
    code = """
        import sys, apprise
        made = apprise.Apprise.instantiate(sys.argv[1])
        assert "encrypt=no" in made.url(), made.url()
        again = apprise.Apprise.instantiate(made.url())
        assert again.notify("x")
        assert not hasattr(made, "send_twice")
    """
    ended = run(code, url(community, "lobby"))
    assert ended.returncode == 0, ended.stderr


def test_lists_survive_unloading_and_pickling(community: FakeCommunity, run: Any) -> None:
    code = """
        import pickle, sys, apprise
        from apprise.manager_plugins import NotificationManager
        program = apprise.Apprise()
        program.add(sys.argv[1])
        again = pickle.loads(pickle.dumps(program))
        # A list of Apprise 2.2.0 itself cannot send after it was pickled: its services can.
        sender = again if apprise.__version__ != "2.2.0" else again[0]
        assert sender.notify("x")
        NotificationManager().unload_modules()
        later = apprise.Apprise()
        assert later.add(sys.argv[1])
        assert later.notify("y")
        assert any("Session" in str(service["service_name"]) for service in later.details()["schemas"])
    """
    ended = run(code, url(community, "lobby"))
    assert ended.returncode == 0, ended.stderr
    assert by_ackpost(community)
    assert pickle


def test_files_go_along(community: FakeCommunity, run: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text of the file")
    code = """
        import sys, apprise
        program = apprise.Apprise()
        program.add(sys.argv[1])
        sys.exit(not program.notify("x", attach=sys.argv[2]))
    """
    ended = run(code, url(community, "lobby"), str(tmp_path / "a.txt"))
    assert ended.returncode == 0, ended.stderr
    assert [file.data for file in community.files.values()] == [b"text of the file"]


def test_the_start_imports_nothing(run: Any) -> None:
    code = "import sys; print([n for n in ('ackpost', 'apprise', 'importlib.util', 'logging', 'json') if n in sys.modules])"
    assert run(code).stdout.strip() == "[]"


def test_a_broken_apprise_is_left_alone(run: Any, tmp_path: Path) -> None:
    (tmp_path / "apprise.py").write_text("value = 1\n")
    ended = run("import apprise; print(apprise.value)", PYTHONPATH=str(tmp_path))
    assert ended.stdout == "1\n"
    assert "not active" in ended.stderr


def test_status_says_where_it_is_active(run: Any) -> None:
    code = "import sys; sys.argv = ['x', 'status']; from ackpost_apprise.__main__ import main; main()"
    active = run(code)
    assert active.returncode == 0, active.stdout
    assert "xmpp://      Ackpost" in active.stdout
    off = run(code, ACKPOST_APPRISE_HOOK="off")
    assert off.returncode == 1
    assert "switches it off" in off.stdout
