"""Sending: single calls, and notifiers that keep their connections."""

from __future__ import annotations

import os
from _thread import allocate_lock

from . import _core
from ._bridge import environment, remark_on_loop, set_level, wait, wait_async
from .errors import ConfigError

# See `_bridge` for the imports inside functions.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Mapping
    from types import TracebackType
    from typing import Any, Literal

    from typing_extensions import Self

    from ._message import File, Format, Kind, Message, Seconds
    from ._report import Report

    Foreign = Literal["apprise", "skip", "fail"]


# Held while the first thread of a forked child opens connections of its own.
_opening = allocate_lock()


def _renew_lock() -> None:
    global _opening
    _opening = allocate_lock()


if hasattr(os, "register_at_fork"):
    # A thread of the parent may have held it.
    os.register_at_fork(after_in_child=_renew_lock)


def _encode(
    tag: str | Iterable[str] | None,
    body: str | Message,
    title: str,
    kind: Kind,
    format: Format | None,
    attach: File | Iterable[File],
    escapes: bool,
    emojis: bool | None,
) -> tuple[str, list[bytes]]:
    from ._message import Message, encode, files

    if not isinstance(body, Message):
        body = Message(body, title, kind, format, files(attach), escapes, emojis)
    return encode(body, tag)


def _report(raw: dict[str, Any], check: bool) -> Report:
    from ._report import report_from

    report = report_from(raw)
    return report.check() if check else report


def _urls(urls: str | Iterable[str] | None) -> list[str] | None:
    from ._message import one_or_many

    return None if urls is None else one_or_many(urls)


def _warn(problems: list[str]) -> None:
    if problems:
        import logging

        for text in problems:
            logging.getLogger("ackpost").warning("%s", text)


class _Base:
    """Common parts of the blocking and the asynchronous notifier."""

    _kept = True

    def __init__(
        self,
        urls: str | Iterable[str] | None = None,
        *,
        config: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
        timeout: Seconds | None = None,
        service_timeout: Seconds | None = 60,
        sequential: bool = False,
        require_proof: bool = False,
        foreign: Foreign = "apprise",
        variables: Mapping[str, str] | None = None,
        recursion: int = 1,
        state_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        import json

        from ._message import seconds

        settings = {
            "timeout": seconds(timeout),
            "service_timeout": seconds(service_timeout),
            "sequential": sequential,
            "require_proof": require_proof,
            "foreign": foreign,
            "variables": list((variables or {}).items()),
            "recursion": recursion,
            "kept": self._kept,
            "state_folder": None if state_folder is None else os.fspath(state_folder),
        }
        self._settings = json.dumps(settings)
        self._native = self._open()
        self._process = os.getpid()
        # The URLs and tags that were added, so that a forked child can open its own connections.
        self._added: list[tuple[str, str]] = []
        self._configs: list[tuple[str, bool]] = []
        self._loaded = 0
        # Configurations load one after the other: two at once would both load the same one.
        self._loading = allocate_lock()
        self._load_task: asyncio.Task[None] | None = None
        if config is not None:
            several = [config] if isinstance(config, (str, os.PathLike)) else list(config)
            for place in several:
                self._configs.append((os.path.expanduser(os.fspath(place)), False))
        if urls is not None:
            self._add(urls, None)
        self._begin()

    def _begin(self) -> None:
        """Called at the end of the construction."""

    def _open(self) -> _core.Notifier:
        set_level()
        return _core.Notifier(self._settings, environment())

    def _own(self) -> _core.Notifier:
        """Returns the native notifier of this process: the connections of a parent are not its own."""
        if self._process != os.getpid():
            with _opening:
                self._open_again()
        return self._native

    def _open_again(self) -> None:
        if self._process == os.getpid():
            # Another thread did it.
            return
        native = self._open()
        for urls, tags in self._added:
            native.add(urls, tags)
        self._native = native
        self._loaded = 0
        self._loading = allocate_lock()
        self._load_task = None
        self._process = os.getpid()

    def _add(self, urls: str | Iterable[str], tag: str | Iterable[str] | None) -> int:
        from ._message import one_or_many

        tags = "" if tag is None else ",".join(one_or_many(tag))
        loaded, problems = 0, []
        for text in one_or_many(urls):
            native = self._own()
            self._added.append((text, tags))
            known = len(native.problems())
            count, wrong = native.add(text, tags)
            loaded += count
            problems += wrong
            if not wrong:
                # A recipient that cannot be used does not take the others with it.
                _warn(native.problems()[known:])
        if problems:
            raise ConfigError("\n".join(problems), problems=tuple(problems))
        return loaded

    def _note_loaded(self, place: str, raw: dict[str, Any]) -> None:
        self._loaded += 1
        errors = [problem["text"] for problem in raw["problems"] if problem["error"]]
        warnings = [problem["text"] for problem in raw["problems"] if not problem["error"]]
        if errors and not raw["services"]:
            raise ConfigError("\n".join(errors), problems=tuple(errors))
        _warn(errors + warnings)

    def services(self) -> list[tuple[str, list[str]]]:
        """Returns the URL, with its secrets masked, and the tags of each service."""
        return self._own().services()

    @property
    def problems(self) -> tuple[str, ...]:
        """Unusable parts of the URLs and configurations. Every report contains them too, and is then not true."""
        return tuple(self._own().problems())

    def __len__(self) -> int:
        return len(self.services())

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {len(self)} services>"


class Notifier(_Base):
    """A list of services with tags. It keeps its connections until the end of its ``with`` block.

    ``urls`` and ``config`` say which services there are: Apprise URLs, and Apprise configuration files or their
    addresses. Times are in seconds or ``timedelta``; ``timeout`` limits a whole call and ``service_timeout`` (60
    seconds) one service, retries included. With ``require_proof``, a message that was handed over without proof counts
    as a failure. ``foreign`` handles URLs of other services. An installed Apprise delivers them
    (``"apprise"``), they are left out (``"skip"``) or count as failures (``"fail"``). ``variables`` are the values for
    ``${NAME}`` in configurations.

    Raises :class:`ConfigError` if a URL cannot be used, or if a configuration gives no service. Other unusable parts,
    such as one of several recipients, are logged and stay in ``problems``. A notifier may be used by several threads,
    and after a fork.
    """

    def _begin(self) -> None:
        self._load()

    def _load(self) -> None:
        native = self._own()
        with self._loading:
            for place, is_text in self._configs[self._loaded :]:
                self._note_loaded(place, wait(native.add_config(place, is_text))[0])

    def add(self, urls: str | Iterable[str], tag: str | Iterable[str] | None = None) -> int:
        """Adds URLs with tags, and returns how many services they gave.

        Raises :class:`ConfigError` if some cannot be used; the others stay, and every report names the problem.
        """
        return self._add(urls, tag)

    def add_config(self, config: str | os.PathLike[str]) -> None:
        """Adds a configuration file, or the configuration at an ``http(s)://`` address."""
        self._configs.append((os.path.expanduser(os.fspath(config)), False))
        self._own()
        self._load()

    def add_config_text(self, text: str) -> None:
        """Adds a configuration given as text, in Apprise's YAML or text form."""
        self._configs.append((text, True))
        self._own()
        self._load()

    def send(
        self,
        body: str | Message = "",
        *,
        title: str = "",
        tag: str | Iterable[str] | None = None,
        kind: Kind = "info",
        format: Format | None = None,
        attach: File | Iterable[File] = (),
        escapes: bool = False,
        emojis: bool | None = None,
        urls: str | Iterable[str] | None = None,
        check: bool = False,
    ) -> Report:
        """Sends a message and waits for the result at each recipient.

        ``tag`` chooses services: ``"a,b"`` wants both tags, a list wants either; without it, every service gets the
        message. With ``urls``, the message goes to these instead, over the kept connections. With ``check``, raises :class:`NotDelivered` unless every required recipient has the message.
        """
        message = _encode(tag, body, title, kind, format, attach, escapes, emojis)
        remark_on_loop()
        set_level()
        native = self._own()
        self._load()
        return _report(wait(native.send(*message, _urls(urls)))[0], check)

    def close(self) -> None:
        """Ends the kept connections in good order. A later message opens new ones."""
        if self._process == os.getpid():
            wait(self._native.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncNotifier(_Base):
    """The asynchronous form of :class:`Notifier`. Configurations load at the first call."""

    async def _load(self) -> None:
        native = self._own()
        while self._loaded < len(self._configs):
            import asyncio

            # All calls wait for one task, which goes on if one of them is cancelled.
            if self._load_task is None:
                self._load_task = asyncio.ensure_future(self._load_next(native))
            await asyncio.shield(self._load_task)

    async def _load_next(self, native: _core.Notifier) -> None:
        place, is_text = self._configs[self._loaded]
        try:
            raw, _ = await wait_async(native.add_config(place, is_text))
        finally:
            self._load_task = None
        self._note_loaded(place, raw)

    def add(self, urls: str | Iterable[str], tag: str | Iterable[str] | None = None) -> int:
        """Adds URLs with tags, and returns how many services they gave.

        Raises :class:`ConfigError` if some cannot be used; the others stay, and every report names the problem.
        """
        return self._add(urls, tag)

    async def add_config(self, config: str | os.PathLike[str]) -> None:
        """Adds a configuration file, or the configuration at an ``http(s)://`` address."""
        self._configs.append((os.path.expanduser(os.fspath(config)), False))
        await self._load()

    async def add_config_text(self, text: str) -> None:
        """Adds a configuration given as text, in Apprise's YAML or text form."""
        self._configs.append((text, True))
        await self._load()

    async def send(
        self,
        body: str | Message = "",
        *,
        title: str = "",
        tag: str | Iterable[str] | None = None,
        kind: Kind = "info",
        format: Format | None = None,
        attach: File | Iterable[File] = (),
        escapes: bool = False,
        emojis: bool | None = None,
        urls: str | Iterable[str] | None = None,
        check: bool = False,
    ) -> Report:
        """Sends a message and waits for the result at each recipient; see :meth:`Notifier.send`."""
        message = _encode(tag, body, title, kind, format, attach, escapes, emojis)
        set_level()
        native = self._own()
        await self._load()
        return _report((await wait_async(native.send(*message, _urls(urls))))[0], check)

    async def close(self) -> None:
        """Ends the kept connections in good order. A later message opens new ones."""
        if self._process == os.getpid():
            await wait_async(self._native.close())

    async def __aenter__(self) -> Self:
        await self._load()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class _Single(_Base):
    """A notifier for one call: it closes its connections behind it."""

    _kept = False


def _list_of(urls: str | Iterable[str]) -> _core.Notifier:
    """Makes a native list of services."""
    return _one_call(urls, None, False)


def _one_call(urls: str | Iterable[str], timeout: Seconds | None, require_proof: bool) -> _core.Notifier:
    """Makes a native notifier for one call. What is wrong with a URL is in the report."""
    from ._message import one_or_many

    notifier = _Single(timeout=timeout, require_proof=require_proof)
    for text in one_or_many(urls):
        notifier._native.add(text, "")
    return notifier._native


def send(
    urls: str | Iterable[str],
    body: str | Message = "",
    *,
    title: str = "",
    kind: Kind = "info",
    format: Format | None = None,
    attach: File | Iterable[File] = (),
    escapes: bool = False,
    emojis: bool | None = None,
    timeout: Seconds | None = None,
    require_proof: bool = False,
    check: bool = False,
) -> Report:
    """Sends one message to every recipient of some URLs, and returns the result at each.

    The report is true only if every recipient has the message. URLs that cannot be used are in ``report.problems``.
    With ``check``, raises :class:`NotDelivered` instead of returning a report that is false. Use a :class:`Notifier`
    to send several messages over the same connections.
    """
    message = _encode(None, body, title, kind, format, attach, escapes, emojis)
    remark_on_loop()
    native = _one_call(urls, timeout, require_proof)
    return _report(wait(native.send(*message, None))[0], check)


async def asend(
    urls: str | Iterable[str],
    body: str | Message = "",
    *,
    title: str = "",
    kind: Kind = "info",
    format: Format | None = None,
    attach: File | Iterable[File] = (),
    escapes: bool = False,
    emojis: bool | None = None,
    timeout: Seconds | None = None,
    require_proof: bool = False,
    check: bool = False,
) -> Report:
    """Sends one message without blocking the event loop; see :func:`send`. Cancellation stops the call."""
    message = _encode(None, body, title, kind, format, attach, escapes, emojis)
    native = _one_call(urls, timeout, require_proof)
    return _report((await wait_async(native.send(*message, None)))[0], check)
