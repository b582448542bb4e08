"""The event entity: its state is the time of the last message that came in."""

from __future__ import annotations

from dataclasses import asdict

from homeassistant.components.event import EventEntity
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddEntitiesCallback

from . import AckpostConfigEntry
from .entity import AckpostEntity
from .hub import Incoming


async def async_setup_entry(
    hass: HomeAssistant, entry: AckpostConfigEntry, async_add_entities: AddEntitiesCallback
) -> None:
    """Add the entity of a URL."""
    async_add_entities([AckpostEventEntity(entry.entry_id, entry.title, entry.runtime_data, "messages")])


class AckpostEventEntity(AckpostEntity, EventEntity):
    """Messages that people write."""

    _attr_translation_key = "messages"
    _attr_event_types = ["message"]

    async def async_added_to_hass(self) -> None:
        """Listen from now on."""
        self.async_on_remove(self._hub.listen(self._heard))

    @callback
    def _heard(self, message: Incoming) -> None:
        self._trigger_event("message", asdict(message))
        self.async_write_ha_state()
