"""`ackpost-apprise status`: says whether Ackpost is under Apprise in this interpreter, and why not."""

from __future__ import annotations

import os
import sys


def status() -> tuple[bool, list[str]]:
    """Returns whether it is active, and lines about it."""
    import ackpost

    lines = [f"interpreter  {sys.executable}", f"ackpost      {ackpost.__version__}"]
    start = sys.modules.get("_ackpost_apprise_start")
    if start is None:
        lines.append("hook         not read at the start (python -S, or installed outside of site-packages)")
    elif start.problem:
        lines.append(f"hook         not active: {start.problem}")
    else:
        lines.append("hook         read at the start")
    try:
        import apprise
        from apprise.manager_plugins import NotificationManager
    except ImportError as error:
        lines.append(f"apprise      not usable here: {error}")
        return False, lines
    lines.append(f"apprise      {apprise.__version__}")
    manager = NotificationManager()
    manager.load_modules()
    active = True
    for name in ("xmpp", "xmpps", "session", "sessions", "sogs"):
        ours = bool(getattr(manager._schema_map.get(name), "is_ackpost", False))
        active = active and ours
        lines.append(f"{name + '://':<12} {'Ackpost' if ours else 'Apprise'}")
    return active, lines


def main() -> None:
    """Prints the status; exit code 0 if Ackpost delivers in this interpreter, else 1."""
    if sys.argv[1:] not in ([], ["status"]):
        sys.exit("usage: ackpost-apprise status")
    active, lines = status()
    sys.stdout.write("\n".join(lines) + os.linesep)
    sys.exit(0 if active else 1)


if __name__ == "__main__":
    main()
