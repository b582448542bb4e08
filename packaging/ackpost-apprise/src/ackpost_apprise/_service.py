"""Services of Apprise whose messages Ackpost delivers."""

from __future__ import annotations

import copy
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import ackpost

log = logging.getLogger("ackpost.apprise")

SESSION = ("session", "sessions", "sogs")
XMPP = ("xmpp", "xmpps")
# Apprise has done these before a message comes here: it splits, renders, and repeats.
DONE_BEFORE = frozenset({"overflow", "format", "retry", "wait", "emojis", "tz"})

_lock = threading.Lock()
_engine: tuple[int, ackpost.Notifier] | None = None


def engine() -> ackpost.Notifier:
    """Returns the notifier of this process, which keeps its connections."""
    global _engine
    with _lock:
        if _engine is None or _engine[0] != os.getpid():
            _engine = (os.getpid(), ackpost.Notifier(foreign="fail"))
        return _engine[1]


def engine_url(url: str, extra: dict[str, str]) -> str:
    """The URL of one message for the engine."""
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in DONE_BEFORE]
    known = {name for name, _ in query}
    query += [(name, value) for name, value in extra.items() if name not in known]
    return urlunsplit(parts._replace(query=urlencode(query, quote_via=quote)))


def files_of(attach: Any) -> list[ackpost.Attachment]:
    """The files of a message. Raises `OSError` for one that cannot be had."""
    files = []
    for one in attach or ():
        # A call downloads or opens it.
        if not one:
            raise OSError(f"the file {one.url(privacy=True)} cannot be read")
        files.append(ackpost.Attachment(one.path, one.name, one.mimetype))
    return files


class Delivering:
    """Delivers by Ackpost. Mixed into a service of Apprise, whose URLs, identifiers and settings stay as they are."""

    is_ackpost = True
    enabled = True
    requirements: dict[str, Any] = {}
    attachment_support = True
    # The names of Apprise's class are used: `logger`, `url`, `is_delivered`, `mark_delivered`.
    logger: Any
    url: Any

    @staticmethod
    def runtime_deps() -> tuple[str, ...]:
        """Apprise's own library for the service is not needed."""
        return ()

    def _recipients(self) -> dict[str, Any]:
        """Apprise's name of each recipient, by the engine's."""
        raise NotImplementedError

    def _url_for(self, recipients: list[Any]) -> str:
        """The URL that names these recipients alone."""
        raise NotImplementedError

    def _extra(self) -> dict[str, str]:
        return getattr(self, "_ackpost_extra", {})

    def _had(self, recipient: Any) -> bool:
        known = getattr(self, "is_delivered", None)
        return bool(known(recipient)) if known is not None else False

    def send(self, body: str, title: str = "", notify_type: Any = None, attach: Any = None, **_options: Any) -> bool:
        """Sends one piece to every recipient that does not have it. Returns true only if each confirmed it."""
        everyone = self._recipients()
        # A repetition by Apprise leaves out who has the message.
        waiting = [recipient for recipient in everyone.values() if not self._had(recipient)]
        if everyone and not waiting:
            return not self._had("ackpost: taken in part")
        url = engine_url(self._url_for(waiting), self._extra())
        kind = str(getattr(notify_type, "value", notify_type) or "info")
        try:
            message = ackpost.Message(body, title, kind, attach=tuple(files_of(attach)))  # type: ignore[arg-type]
            report = engine().send(message, urls=[url])
        except (ackpost.AckpostError, OSError) as error:
            self.logger.warning("%s", error)
            return False
        for problem in report.problems:
            self.logger.warning("%s", problem)
        for target in report:
            if target.delivered:
                self.logger.info("%s: %s, confirmed by %s", target.target, target.outcome, target.confirmed_by)
            else:
                self.logger.warning("%s: %s: %s; %s", target.target, target.outcome, target.reason, target.remedy)
        self._mark(report, everyone)
        return bool(report)

    def _mark(self, report: ackpost.Report, everyone: dict[str, Any]) -> None:
        mark = getattr(self, "mark_delivered", None)
        if mark is None:
            return
        for target in report:
            if target.taken and target.address in everyone:
                mark(everyone[target.address])
                if not target.delivered:
                    mark("ackpost: taken in part")


def _extra_of(cls: Any, results: dict[str, Any] | None) -> dict[str, str]:
    """The parameters of a URL that Apprise does not know."""
    known = set(cls.template_args) | set(cls.template_tokens)
    query = (results or {}).get("qsd") or {}
    return {name: value for name, value in query.items() if name not in known and name not in DONE_BEFORE}


def _is_secret(name: str) -> bool:
    """Returns whether a parameter may hold a secret. The name of a file is none."""
    words = ("pass", "secret", "seed", "token", "key")
    return any(word in name.lower() for word in words) and not name.lower().endswith("_file")


def _subclass(base: Any) -> Any:
    """The class of one of Apprise's services, delivering by Ackpost."""

    class Service(Delivering, base):  # type: ignore[misc,valid-type]
        def __init__(self, *args: Any, ackpost_extra: dict[str, str] | None = None, **options: Any) -> None:
            super().__init__(*args, **options)
            self._ackpost_extra = ackpost_extra or {}

        @staticmethod
        def parse_url(url: str, *args: Any, **options: Any) -> Any:
            results = base.parse_url(url, *args, **options)
            extra = _extra_of(base, results)
            if extra:
                results["ackpost_extra"] = extra
            return results

        def url(self, privacy: bool = False, *args: Any, **options: Any) -> str:
            text = super().url(privacy, *args, **options)
            extra = self._extra()
            if extra:
                shown = {name: "****" if privacy and _is_secret(name) else value for name, value in extra.items()}
                text += ("&" if "?" in text else "?") + urlencode(shown, quote_via=quote)
            return str(text)

    Service.__name__ = base.__name__
    Service.__qualname__ = base.__qualname__
    Service.__doc__ = base.__doc__
    return Service


def _xmpp(base: Any) -> Any:
    service = _subclass(base)

    def recipients(self: Any) -> dict[str, Any]:
        return {("#" if kind == "groupchat" else "") + jid: (kind, jid) for kind, jid in self.targets}

    def url_for(self: Any, wanted: list[Any]) -> str:
        alone = copy.copy(self)
        alone.targets = list(wanted)
        # Its destructor closes the session of Apprise's library, which is not used.
        alone._adapter = None
        return str(base.url(alone, privacy=False))

    service._recipients = recipients
    service._url_for = url_for
    return service


def _session(base: Any) -> Any:
    service = _subclass(base)

    def recipients(self: Any) -> dict[str, Any]:
        return {room: room for room in self.rooms}

    def url_for(self: Any, wanted: list[Any]) -> str:
        alone = copy.copy(self)
        alone.rooms = list(wanted)
        alone.invalid_rooms = []
        return str(base.url(alone, privacy=False))

    service._recipients = recipients
    service._url_for = url_for
    return service


def _own(names: tuple[str, ...], title: str) -> Any:
    """The service for versions of Apprise that have none: it keeps the URL as it was written."""
    from apprise.plugins.base import NotifyBase

    class Service(Delivering, NotifyBase):  # type: ignore[misc]
        service_name = title
        service_url = "https://getsession.org/" if "sogs" in names else "https://xmpp.org/"
        setup_url = "https://appriseit.com/services/" + names[-1]
        protocol = names[0]
        secure_protocol = names[1:]
        title_maxlen = 0
        body_maxlen = 2000 if "sogs" in names else 32768
        templates = ("{schema}://{user}:{password}@{host}/{targets}",)
        template_tokens = dict(
            NotifyBase.template_tokens,
            host={"name": "Hostname", "type": "string", "required": True},
            user={"name": "User", "type": "string"},
            password={"name": "Password", "type": "string", "private": True},
            targets={"name": "Targets", "type": "list:string"},
        )

        def __init__(self, written: str = "", **options: Any) -> None:
            super().__init__(**options)
            self._written = written
            try:
                self._masked = ackpost.Notifier(written, foreign="fail").services()[0][0]
            except ackpost.ConfigError as error:
                raise TypeError(str(error)) from None

        @property
        def url_identifier(self) -> tuple[Any, ...]:
            return (self.secure, self.user, self.password, self.host, self.port)

        def url(self, privacy: bool = False, *args: Any, **options: Any) -> str:
            return self._masked if privacy else self._written

        def _recipients(self) -> dict[str, Any]:
            return {}

        def _url_for(self, recipients: list[Any]) -> str:
            return self._written

        @staticmethod
        def parse_url(url: str, *args: Any, **options: Any) -> Any:
            results = NotifyBase.parse_url(url, verify_host=False)
            if results:
                results["written"] = url
            return results

    Service.__doc__ = title
    return Service


def service_classes(schemas: dict[str, Any]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Returns each class with its schemas, made from the classes that Apprise has for them."""
    yield (_xmpp(schemas["xmpp"]) if "xmpp" in schemas else _own(XMPP, "XMPP")), XMPP
    own = "session" not in schemas
    yield (_own(SESSION, "Session Open Group Server") if own else _session(schemas["session"])), SESSION
