"""Runs at every start of the interpreter: waits for the import of Apprise, and loads nothing before.

ACKPOST_APPRISE_HOOK=off switches it off.
"""

import sys

problem = None
"""Why the hook is not active, if something failed."""


class Finder:
    """Notices the import of `apprise`, once."""

    def find_spec(self, name, path=None, target=None):
        if name != "apprise":
            return None
        global problem
        try:
            sys.meta_path.remove(self)
            from importlib.util import find_spec

            spec = find_spec("apprise")
            if spec is None or spec.loader is None:
                return spec
            run = spec.loader.exec_module

            def exec_module(module):
                global problem
                run(module)
                try:
                    from ackpost_apprise import _hook

                    _hook.install()
                except Exception as error:
                    problem = repr(error)
                    import logging

                    logging.getLogger("ackpost.apprise").warning("Ackpost's hook for Apprise is not active: %r", error)

            spec.loader.exec_module = exec_module
            return spec
        except Exception as error:
            problem = repr(error)
            return None


def start():
    """Called by the `.pth` or `.start` file."""
    global problem
    try:
        import os

        if os.environ.get("ACKPOST_APPRISE_HOOK", "").lower() in ("off", "no", "0", "false"):
            problem = "ACKPOST_APPRISE_HOOK switches it off"
            return
        if not any(isinstance(finder, Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, Finder())
    except Exception as error:
        problem = repr(error)
