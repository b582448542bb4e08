"""One configured URL: sends, and receives where its service can."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from ackpost import AckpostError, AsyncNotifier, Report
from ackpost import session, xmpp
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError

from .const import DOMAIN, EVENT_MESSAGE

_LOGGER = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 300.0
_SESSION_SCHEMES = ("session", "sessions", "sogs")
_XMPP_SCHEMES = ("xmpp", "xmpps")


def can_receive(url: str) -> bool:
    """Return whether messages can be received with a URL."""
    return url.partition("://")[0].lower() in (*_SESSION_SCHEMES, *_XMPP_SCHEMES)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message that came in."""

    service: str
    room: str | None
    sender: str
    sender_name: str
    text: str
    verified: bool
    """True if a signature, or the server of the account, says who wrote it."""
    id: str


class Hub:
    """The notifier of a config entry, and what listens to its messages."""

    def __init__(self, hass: HomeAssistant, entry_id: str, url: str) -> None:
        """Open the URL. Raises ackpost.ConfigError if it cannot be used."""
        self._hass = hass
        self._entry_id = entry_id
        self._url = url
        self._notifier = AsyncNotifier(url)
        self._listeners: list[Callable[[Incoming], None]] = []
        # Room messages from before this time are old.
        self._since = datetime.now(timezone.utc)

    @property
    def masked_url(self) -> str:
        """The URL without its secrets."""
        return ", ".join(url for url, _ in self._notifier.services())

    async def send(self, body: str, title: str | None = None, **options: Any) -> Report:
        """Send a message, and return the result at each recipient."""
        try:
            return await self._notifier.send(body, title=title or "", **options)
        except AckpostError as error:
            # An attachment that cannot be read, for instance.
            raise ServiceValidationError(str(error)) from error

    async def send_or_raise(self, body: str, title: str | None = None, **options: Any) -> Report:
        """Send a message. Raise an error with cause and remedy unless every recipient has it."""
        report = await self.send(body, title, **options)
        if not report:
            raise HomeAssistantError(
                translation_domain=DOMAIN, translation_key="not_delivered", translation_placeholders={"report": str(report)}
            )
        return report

    async def close(self) -> None:
        """End the kept connections."""
        await self._notifier.close()

    @callback
    def listen(self, listener: Callable[[Incoming], None]) -> Callable[[], None]:
        """Call a function for each message that comes in, until the returned function is called."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def receive(self) -> None:
        """Receive messages until the task is cancelled, or until the server refuses for good."""
        pause = _FIRST_PAUSE
        self._since = datetime.now(timezone.utc)
        while True:
            begun = time.monotonic()
            try:
                async for message in self._incoming():
                    self._hass.bus.async_fire(EVENT_MESSAGE, {"config_entry_id": self._entry_id, **asdict(message)})
                    for listener in list(self._listeners):
                        listener(message)
                _LOGGER.warning("The connection of %s has ended; it is opened again", self.masked_url)
            except AckpostError as error:
                if error.permanent:
                    _LOGGER.error("Messages of %s are no longer received: %s", self.masked_url, error)
                    return
                _LOGGER.warning("Messages of %s are not received at present: %s", self.masked_url, error)
            except Exception:
                _LOGGER.exception("Receiving messages of %s failed; it is tried again", self.masked_url)
            if time.monotonic() - begun > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _incoming(self) -> AsyncIterator[Incoming]:
        if self._url.partition("://")[0].lower() in _XMPP_SCHEMES:
            return self._from_xmpp()
        return self._from_session()

    async def _from_xmpp(self) -> AsyncIterator[Incoming]:
        async with xmpp.Account(self._url) as account:
            async for event in account.events():
                if isinstance(event, xmpp.Offline):
                    _LOGGER.warning("Offline: %s; %s", event.reason, event.remedy)
                if not isinstance(event, xmpp.Message) or isinstance(event, xmpp.Edited) or event.own:
                    continue
                if event.in_room and event.time is not None and event.time < self._since:
                    # A room shows what was written before. What was written during a break is new.
                    continue
                yield Incoming("xmpp", event.room, event.sender, event.nick, event.text, True, event.id or "")

    async def _from_session(self) -> AsyncIterator[Incoming]:
        server = session.AsyncServer.from_url(self._url)
        async for event in server.events(server.url_rooms, direct=False):
            if isinstance(event, session.Interrupted):
                _LOGGER.warning("Offline: %s; %s", event.reason, event.remedy)
            if not isinstance(event, session.NewMessage) or event.message.own:
                continue
            message = event.message
            yield Incoming(
                "session",
                event.room,
                message.author.id,
                str(message.author),
                message.text,
                message.verified,
                str(message.id),
            )
