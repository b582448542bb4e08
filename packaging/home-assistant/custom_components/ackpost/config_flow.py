"""The dialogues: a URL, and whether its messages are received."""

from __future__ import annotations

from typing import Any

import voluptuous as vol
from ackpost import ConfigError, Notifier
from homeassistant.config_entries import ConfigEntry, ConfigFlow, ConfigFlowResult, OptionsFlow
from homeassistant.const import CONF_NAME, CONF_URL
from homeassistant.core import callback
from homeassistant.helpers.selector import TextSelector, TextSelectorConfig, TextSelectorType

from .const import CONF_RECEIVE, DOMAIN
from .hub import can_receive

_URL = TextSelector(TextSelectorConfig(type=TextSelectorType.PASSWORD))


def _problem(url: str) -> str | None:
    """Return why a URL cannot be used."""
    try:
        # Nothing is connected.
        notifier = Notifier(url)
        return "; ".join(notifier.problems) or (None if len(notifier) else "the URL has no recipient")
    except ConfigError as error:
        return str(error)


class AckpostConfigFlow(ConfigFlow, domain=DOMAIN):
    """Adds a URL, or changes it."""

    VERSION = 1

    async def async_step_user(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask for a name and a URL."""
        return await self._ask("user", user_input, None)

    async def async_step_reconfigure(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask for another URL."""
        return await self._ask("reconfigure", user_input, self._get_reconfigure_entry())

    async def _ask(
        self, step: str, user_input: dict[str, Any] | None, entry: ConfigEntry | None
    ) -> ConfigFlowResult:
        errors: dict[str, str] = {}
        problem = ""
        if user_input is not None:
            url = user_input[CONF_URL].strip()
            found = await self.hass.async_add_executor_job(_problem, url)
            if found is None:
                if entry is not None:
                    return self.async_update_reload_and_abort(entry, data={CONF_URL: url})
                self._async_abort_entries_match({CONF_URL: url})
                receive = user_input[CONF_RECEIVE] and can_receive(url)
                return self.async_create_entry(
                    title=user_input[CONF_NAME], data={CONF_URL: url}, options={CONF_RECEIVE: receive}
                )
            errors[CONF_URL], problem = "unusable_url", found
        fields: dict[Any, Any] = {vol.Required(CONF_URL): _URL}
        if entry is None:
            fields = {
                vol.Required(CONF_NAME, default="Ackpost"): str,
                **fields,
                vol.Required(CONF_RECEIVE, default=False): bool,
            }
        schema = self.add_suggested_values_to_schema(vol.Schema(fields), user_input or {})
        return self.async_show_form(
            step_id=step, data_schema=schema, errors=errors, description_placeholders={"problem": problem}
        )

    @staticmethod
    @callback
    def async_get_options_flow(config_entry: ConfigEntry) -> OptionsFlow:
        """Return the dialogue of the options."""
        return AckpostOptionsFlow()


class AckpostOptionsFlow(OptionsFlow):
    """Switches receiving on or off."""

    async def async_step_init(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask whether messages are received."""
        errors = {}
        if user_input is not None:
            if not user_input[CONF_RECEIVE] or can_receive(self.config_entry.data[CONF_URL]):
                return self.async_create_entry(data=user_input)
            errors[CONF_RECEIVE] = "cannot_receive"
        now = self.config_entry.options.get(CONF_RECEIVE, False)
        return self.async_show_form(
            step_id="init", data_schema=vol.Schema({vol.Required(CONF_RECEIVE, default=now): bool}), errors=errors
        )
