"""Ends programs right after one message, with every Python that is found, and counts those that crash.

scripts/python --ends COUNT
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile

from ackpost.testing import FakeCommunity

PROGRAMS = {
    "blocking": "import sys, ackpost; sys.exit(not ackpost.send(sys.argv[1], 'x'))",
    "async": "import asyncio, sys, ackpost; sys.exit(not asyncio.run(ackpost.asend(sys.argv[1], 'x')))",
}


def pythons() -> list[str]:
    """The interpreters of PATH and of pyenv that the wheel is made for, one for each version."""
    folders = [pathlib.Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    folders += sorted((pathlib.Path(os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))) / "versions").glob("*/bin"))
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted(folder.glob("python3.1[0-9]")):
            asked = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
            if asked.returncode == 0 and asked.stdout.strip() not in found:
                found[asked.stdout.strip()] = str(path)
    return list(found.values())


def main() -> int:
    """Returns the exit code: 1 if a program crashed."""
    wheel = next(pathlib.Path(sys.argv[1]).glob("*.whl"))
    count = int(sys.argv[2])
    crashed = 0
    with FakeCommunity() as community, tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, wheel], check=True
        )
        environment = {"HOME": folder, "PATH": os.environ["PATH"], "PYTHONPATH": folder}
        for python in pythons():
            version = subprocess.check_output([python, "--version"], text=True).strip()
            for form, code in PROGRAMS.items():
                codes = [
                    subprocess.run([python, "-c", code, community.url(f"r{n}")], env=environment, check=False).returncode
                    for n in range(count)
                ]
                bad = [code for code in codes if code]
                crashed += len(bad)
                print(f"{version} {form}: {count} programs, {len(bad)} with another exit code than 0 {bad[:5]}", flush=True)
    return bool(crashed)


if __name__ == "__main__":
    sys.exit(main())
