"""Common parts of the entities of a URL."""

from __future__ import annotations

from homeassistant.helpers.device_registry import DeviceEntryType, DeviceInfo
from homeassistant.helpers.entity import Entity

from .const import DOMAIN
from .hub import Hub


class AckpostEntity(Entity):
    """An entity of a config entry."""

    _attr_has_entity_name = True
    _attr_should_poll = False

    def __init__(self, entry_id: str, title: str, hub: Hub, key: str) -> None:
        """Make the entity of an entry."""
        self._hub = hub
        self._attr_unique_id = f"{entry_id}-{key}"
        self._attr_device_info = DeviceInfo(
            identifiers={(DOMAIN, entry_id)}, name=title, manufacturer="Ackpost", entry_type=DeviceEntryType.SERVICE
        )
