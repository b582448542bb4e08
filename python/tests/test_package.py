"""The package itself: import, names, the program, the stubs."""

from __future__ import annotations

import ast
import importlib.metadata
import pathlib
import subprocess
import sys
from typing import Any

import pytest

import ackpost
from ackpost import _core


def test_the_version_is_the_one_of_the_program() -> None:
    assert ackpost.__version__ == importlib.metadata.version("ackpost")
    said = subprocess.run([ackpost.find_ackpost_bin(), "--version"], capture_output=True, text=True, check=True)
    assert ackpost.__version__ in said.stdout


def test_it_depends_on_nothing_but_by_extras() -> None:
    needs = importlib.metadata.requires("ackpost") or []
    assert [one.replace(" ", "") for one in needs] == ["ackpost-apprise>=0.1.0;extra=='apprise'"]


def test_the_module_runs_the_program() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "ackpost", "--json", "-b", "x", "bogus://x"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "bogus" in ran.stderr
    assert subprocess.run([sys.executable, "-m", "ackpost", "--help"], capture_output=True, check=False).returncode == 0


def test_a_missing_program_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(FileNotFoundError, match="install ackpost again"):
        ackpost.find_ackpost_bin()


def test_every_public_name_exists_and_has_a_docstring() -> None:
    for name in ackpost.__all__:
        value = getattr(ackpost, name)
        assert name.startswith("__") or value.__doc__, name
    assert set(ackpost.__all__) <= set(dir(ackpost))
    with pytest.raises(AttributeError, match="nonsense"):
        ackpost.nonsense  # noqa: B018


def test_the_stub_of_the_native_part_names_what_is_there() -> None:
    stub = pathlib.Path(ackpost.__file__).with_name("_core.pyi")
    tree = ast.parse(stub.read_text())
    written: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            written[node.name] = {inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)}
        elif isinstance(node, ast.FunctionDef):
            written[node.name] = None
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            written[node.target.id] = None
    present = {name for name in vars(_core) if not name.startswith("_")}
    assert set(written) == present
    for name, methods in written.items():
        if methods is not None:
            own = {method for method in vars(getattr(_core, name)) if not method.startswith("_")}
            assert {method for method in methods if not method.startswith("_")} == own, name


def test_importing_loads_little() -> None:
    code = "import sys, ackpost; print([n for n in ('asyncio', 'typing', 'json', 'logging', 'dataclasses', 're') if n in sys.modules])"
    loaded = subprocess.check_output([sys.executable, "-I", "-c", code], text=True)
    assert loaded.strip() == "[]"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no exception groups, which are on the page")
def test_the_reference_is_current() -> None:
    root = pathlib.Path(__file__).resolve().parents[2]
    made = subprocess.check_output([sys.executable, root / "scripts/python-reference"], text=True)
    written = (root / "docs/reference/python.md").read_text()
    assert made == written, "run: target/python/env/bin/python scripts/python-reference > docs/reference/python.md"
