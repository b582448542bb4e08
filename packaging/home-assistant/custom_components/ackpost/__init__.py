"""Ackpost for Home Assistant: notifications whose delivery is proven, and messages that come in."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import unquote, urlsplit

import voluptuous as vol
from ackpost import ConfigError
from homeassistant.components.notify import ATTR_MESSAGE, ATTR_TITLE
from homeassistant.config_entries import ConfigEntry, ConfigEntryState
from homeassistant.const import CONF_URL, Platform
from homeassistant.core import HomeAssistant, ServiceCall, ServiceResponse, SupportsResponse
from homeassistant.exceptions import ConfigEntryError, ServiceValidationError
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.typing import ConfigType

from .const import (
    ATTR_ATTACH,
    ATTR_ENTRY,
    ATTR_FORMAT,
    ATTR_KIND,
    CONF_RECEIVE,
    DOMAIN,
    FORMATS,
    KINDS,
    SERVICE_SEND,
)
from .hub import Hub, can_receive

type AckpostConfigEntry = ConfigEntry[Hub]

CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)
SEND_SCHEMA = vol.Schema(
    {
        vol.Required(ATTR_ENTRY): cv.string,
        vol.Required(ATTR_MESSAGE): cv.string,
        vol.Optional(ATTR_TITLE): cv.string,
        vol.Optional(ATTR_KIND, default="info"): vol.In(KINDS),
        vol.Optional(ATTR_FORMAT): vol.In(FORMATS),
        vol.Optional(ATTR_ATTACH, default=[]): vol.All(cv.ensure_list, [cv.string]),
    }
)


def _platforms(entry: AckpostConfigEntry) -> list[Platform]:
    return [Platform.NOTIFY, Platform.EVENT] if receives(entry) else [Platform.NOTIFY]


def receives(entry: AckpostConfigEntry) -> bool:
    """Return whether messages that come in are wanted and possible."""
    return bool(entry.options.get(CONF_RECEIVE)) and can_receive(entry.data[CONF_URL])


async def _allowed(hass: HomeAssistant, place: str) -> str:
    """Return a file or address that may be attached. Raise an error for every other one."""
    scheme, separator, _ = place.partition("://")
    if separator and scheme.lower() in ("http", "https"):
        if not hass.config.is_allowed_external_url(place):
            raise _not_allowed("url_not_allowed", place)
        return place
    if separator and scheme.lower() == "file":
        parts = urlsplit(place)
        if parts.netloc:
            raise _not_allowed("path_not_allowed", place)
        path = unquote(parts.path)
    elif separator:
        raise _not_allowed("path_not_allowed", place)
    else:
        path = place
    # Absolute, so that it is read as a path and as nothing else.
    path = os.path.abspath(path)
    if not await hass.async_add_executor_job(hass.config.is_allowed_path, path):
        raise _not_allowed("path_not_allowed", place)
    return path


def _not_allowed(key: str, place: str) -> ServiceValidationError:
    return ServiceValidationError(translation_domain=DOMAIN, translation_key=key, translation_placeholders={"path": place})


async def async_setup(hass: HomeAssistant, config: ConfigType) -> bool:
    """Register the action that returns the result at each recipient."""

    async def send(call: ServiceCall) -> ServiceResponse:
        entry = hass.config_entries.async_get_entry(call.data[ATTR_ENTRY])
        if entry is None or entry.domain != DOMAIN or entry.state is not ConfigEntryState.LOADED:
            raise ServiceValidationError(translation_domain=DOMAIN, translation_key="no_such_entry")
        files = [await _allowed(hass, place) for place in call.data[ATTR_ATTACH]]
        options: dict[str, Any] = {"kind": call.data[ATTR_KIND], "format": call.data.get(ATTR_FORMAT), "attach": files}
        hub: Hub = entry.runtime_data
        # With a response the caller decides what a failure means.
        deliver = hub.send if call.return_response else hub.send_or_raise
        report = await deliver(call.data[ATTR_MESSAGE], call.data.get(ATTR_TITLE), **options)
        return report.as_dict() if call.return_response else None

    hass.services.async_register(DOMAIN, SERVICE_SEND, send, SEND_SCHEMA, SupportsResponse.OPTIONAL)
    return True


async def async_setup_entry(hass: HomeAssistant, entry: AckpostConfigEntry) -> bool:
    """Set up a URL."""
    try:
        hub = Hub(hass, entry.entry_id, entry.data[CONF_URL])
    except ConfigError as error:
        raise ConfigEntryError(str(error)) from error
    entry.runtime_data = hub
    await hass.config_entries.async_forward_entry_setups(entry, _platforms(entry))
    if receives(entry):
        entry.async_create_background_task(hass, hub.receive(), "ackpost messages")
    entry.async_on_unload(entry.add_update_listener(_reload))
    return True


async def _reload(hass: HomeAssistant, entry: AckpostConfigEntry) -> None:
    await hass.config_entries.async_reload(entry.entry_id)


async def async_unload_entry(hass: HomeAssistant, entry: AckpostConfigEntry) -> bool:
    """End the connections of a URL."""
    # The platforms that were set up: the options may have changed meanwhile.
    platforms = [platform for platform in (Platform.NOTIFY, Platform.EVENT) if _is_loaded(hass, entry, platform)]
    unloaded = await hass.config_entries.async_unload_platforms(entry, platforms)
    if unloaded:
        await entry.runtime_data.close()
    return unloaded


def _is_loaded(hass: HomeAssistant, entry: AckpostConfigEntry, platform: Platform) -> bool:
    from homeassistant.helpers.entity_platform import async_get_platforms

    return any(
        one.domain == platform and one.config_entry is entry for one in async_get_platforms(hass, DOMAIN)
    )
