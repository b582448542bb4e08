"""Data of a problem report: no secrets."""

from __future__ import annotations

from typing import Any

import ackpost
from homeassistant.core import HomeAssistant

from . import AckpostConfigEntry


async def async_get_config_entry_diagnostics(hass: HomeAssistant, entry: AckpostConfigEntry) -> dict[str, Any]:
    """Return the state of a URL."""
    return {"ackpost": ackpost.__version__, "url": entry.runtime_data.masked_url, "options": dict(entry.options)}
