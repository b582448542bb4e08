"""The notify entity: `notify.send_message` succeeds only if every recipient has the message."""

from __future__ import annotations

from homeassistant.components.notify import NotifyEntity, NotifyEntityFeature
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddEntitiesCallback

from . import AckpostConfigEntry
from .entity import AckpostEntity


async def async_setup_entry(
    hass: HomeAssistant, entry: AckpostConfigEntry, async_add_entities: AddEntitiesCallback
) -> None:
    """Add the entity of a URL."""
    async_add_entities([AckpostNotifyEntity(entry.entry_id, entry.title, entry.runtime_data, "notify")])


class AckpostNotifyEntity(AckpostEntity, NotifyEntity):
    """Sends to the recipients of a URL."""

    _attr_name = None
    _attr_supported_features = NotifyEntityFeature.TITLE

    async def async_send_message(self, message: str, title: str | None = None) -> None:
        """Send a message."""
        await self._hub.send_or_raise(message, title)
