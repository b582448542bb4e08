"""The integration in Home Assistant's own test harness."""

from __future__ import annotations

import asyncio
import json
import pathlib
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import ackpost
import pytest
from homeassistant.config_entries import SOURCE_USER, ConfigEntryState
from homeassistant.core import Event, HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.ackpost import hub
from custom_components.ackpost.const import DOMAIN

from .conftest import Community

FOLDER = pathlib.Path(__file__).parents[1] / "custom_components/ackpost"


async def setup(hass: HomeAssistant, url: str, receive: bool = False) -> MockConfigEntry:
    """Set up an entry."""
    entry = MockConfigEntry(domain=DOMAIN, title="Ops", data={"url": url}, options={"receive": receive})
    entry.add_to_hass(hass)
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    return entry


async def until(condition: Callable[[], Any]) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.05)


async def notify(hass: HomeAssistant, message: str, title: str | None = None) -> None:
    """Send by the notify entity."""
    data = {"entity_id": "notify.ops", "message": message} | ({"title": title} if title else {})
    await hass.services.async_call("notify", "send_message", data, blocking=True)


async def test_the_dialogue_makes_an_entry(hass: HomeAssistant, community: Community) -> None:
    flow = await hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_USER})
    assert flow["type"] is FlowResultType.FORM
    wrong = {"name": "Ops", "url": "xmpps://nobody", "receive": False}
    flow = await hass.config_entries.flow.async_configure(flow["flow_id"], wrong)
    assert flow["errors"] == {"url": "unusable_url"}
    assert flow["description_placeholders"]["problem"]
    half = {"name": "Ops", "url": community.url("lobby", "a.b"), "receive": False}
    flow = await hass.config_entries.flow.async_configure(flow["flow_id"], half)
    assert "a.b" in flow["description_placeholders"]["problem"]
    right = {"name": "Ops", "url": community.url("lobby"), "receive": True}
    made = await hass.config_entries.flow.async_configure(flow["flow_id"], right)
    await hass.async_block_till_done()
    assert made["type"] is FlowResultType.CREATE_ENTRY
    assert made["title"] == "Ops"
    assert made["options"] == {"receive": True}
    assert hass.states.get("event.ops_messages") is not None
    again = await hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_USER})
    again = await hass.config_entries.flow.async_configure(again["flow_id"], right)
    assert again["reason"] == "already_configured"


async def test_the_notify_entity_delivers(hass: HomeAssistant, community: Community) -> None:
    entry = await setup(hass, community.url("lobby"))
    assert entry.state is ConfigEntryState.LOADED
    await notify(hass, "the door is open", "Door")
    assert community.do("messages")[0][:2] == ["lobby", "Door\r\nthe door is open"]


async def test_a_refusal_is_an_error_with_its_cause(hass: HomeAssistant, community: Community) -> None:
    community.do("fail", room="closed", status=403)
    await setup(hass, community.url("lobby", "closed"))
    with pytest.raises(HomeAssistantError) as raised:
        await notify(hass, "x")
    report = raised.value.translation_placeholders["report"]
    assert "refused" in report
    assert "delivered, confirmed by server" in report
    assert "0123456789abcdef" not in report


async def test_the_action_returns_the_report(hass: HomeAssistant, community: Community, tmp_path: pathlib.Path) -> None:
    community.do("fail", room="closed", status=403)
    entry = await setup(hass, community.url("lobby", "closed"))
    (tmp_path / "door.jpg").write_bytes(b"jpeg")
    call = {"config_entry_id": entry.entry_id, "message": "**x**", "format": "markdown", "attach": [str(tmp_path / "door.jpg")]}
    with pytest.raises(ServiceValidationError):
        await hass.services.async_call(DOMAIN, "send", call, blocking=True, return_response=True)
    hass.config.allowlist_external_dirs = {str(tmp_path)}
    answer = await hass.services.async_call(DOMAIN, "send", call, blocking=True, return_response=True)
    assert answer is not None
    assert answer["status"] == "FAILURE"
    assert sorted(target["outcome"] for target in answer["targets"]) == ["delivered", "refused"]
    assert "door.jpg" in community.do("files")
    with pytest.raises(HomeAssistantError):
        await hass.services.async_call(DOMAIN, "send", call, blocking=True)
    with pytest.raises(ServiceValidationError):
        await hass.services.async_call(DOMAIN, "send", {**call, "config_entry_id": "none"}, blocking=True)


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ("/etc/hostname", "path_not_allowed"),
        ("file:///etc/hostname", "path_not_allowed"),
        ("FILE:///etc/hostname", "path_not_allowed"),
        ("file://localhost/etc/hostname", "path_not_allowed"),
        ("file:///tmp/%2e%2e/etc/hostname", "path_not_allowed"),
        ("memory://x", "path_not_allowed"),
        ("http://127.0.0.1:9/x", "url_not_allowed"),
    ],
)
async def test_only_what_home_assistant_allows_is_attached(
    hass: HomeAssistant, community: Community, place: str, key: str
) -> None:
    entry = await setup(hass, community.url("lobby"))
    data = {"config_entry_id": entry.entry_id, "message": "x", "attach": [place]}
    with pytest.raises(ServiceValidationError) as caught:
        await hass.services.async_call(DOMAIN, "send", data, blocking=True, return_response=True)
    assert caught.value.translation_key == key


async def test_receiving_goes_on_after_failures(hass: HomeAssistant, community: Community) -> None:
    attempts: list[int] = []

    async def incoming(_hub: hub.Hub) -> Any:
        attempts.append(1)
        if len(attempts) == 1:
            raise ackpost.Deferred("the server is away", "wait")
        if len(attempts) == 2:
            raise RuntimeError("something else")
        if len(attempts) == 4:
            raise ackpost.Refused("wrong password", "correct it")
        yield hub.Incoming("xmpp", None, "jane@localhost", "jane", "hello", True, "1")

    heard: list[Event] = []
    hass.bus.async_listen("ackpost_message", heard.append)
    with patch.object(hub, "_FIRST_PAUSE", 0.01), patch.object(hub.Hub, "_incoming", incoming):
        await setup(hass, community.url("lobby"), receive=True)
        await until(lambda: len(attempts) == 4)
    assert [event.data["text"] for event in heard] == ["hello"]


async def test_messages_become_events(hass: HomeAssistant, community: Community) -> None:
    events: list[Event] = []
    hass.bus.async_listen("ackpost_message", events.append)
    entry = await setup(hass, community.url("lobby"), receive=True)
    before = community.do("requests")
    await until(lambda: community.do("requests") > before + 1)
    await hass.async_add_executor_job(lambda: community.do("say", room="lobby", text="open the door"))
    await until(lambda: events)
    # Its own messages are not events.
    await notify(hass, "done")
    assert events[0].data["text"] == "open the door"
    assert events[0].data["sender_name"] == "Jane"
    assert events[0].data["room"] == "lobby"
    assert events[0].data["verified"] is True
    assert events[0].data["config_entry_id"] == entry.entry_id
    await hass.async_block_till_done()
    state = hass.states.get("event.ops_messages")
    assert state is not None
    assert state.attributes["event_type"] == "message"
    assert state.attributes["text"] == "open the door"
    assert await hass.config_entries.async_unload(entry.entry_id)
    await hass.async_block_till_done()
    assert entry.state is ConfigEntryState.NOT_LOADED
    assert len(events) == 1


async def test_the_options_switch_receiving_on(hass: HomeAssistant, community: Community) -> None:
    entry = await setup(hass, community.url("lobby"))
    assert hass.states.get("event.ops_messages") is None
    flow = await hass.config_entries.options.async_init(entry.entry_id)
    flow = await hass.config_entries.options.async_configure(flow["flow_id"], {"receive": True})
    assert flow["type"] is FlowResultType.CREATE_ENTRY
    await hass.async_block_till_done()
    assert hass.states.get("event.ops_messages") is not None


async def test_another_service_cannot_be_received(hass: HomeAssistant) -> None:
    entry = await setup(hass, "ntfy://127.0.0.1:9/topic")
    flow = await hass.config_entries.options.async_init(entry.entry_id)
    flow = await hass.config_entries.options.async_configure(flow["flow_id"], {"receive": True})
    assert flow["errors"] == {"receive": "cannot_receive"}


async def test_the_url_can_be_changed(hass: HomeAssistant, community: Community) -> None:
    entry = await setup(hass, community.url("lobby"))
    flow = await entry.start_reconfigure_flow(hass)
    flow = await hass.config_entries.flow.async_configure(flow["flow_id"], {"url": community.url("ops")})
    assert flow["reason"] == "reconfigure_successful"
    await hass.async_block_till_done()
    await notify(hass, "x")
    assert community.do("messages")[0][0] == "ops"


async def test_a_url_that_became_unusable_says_why(hass: HomeAssistant) -> None:
    entry = await setup(hass, "xmpps://nobody")
    assert entry.state is ConfigEntryState.SETUP_ERROR
    assert entry.reason


async def test_diagnostics_hold_no_secret(hass: HomeAssistant, community: Community) -> None:
    from custom_components.ackpost.diagnostics import async_get_config_entry_diagnostics

    entry = await setup(hass, community.url("lobby"))
    text = json.dumps(await async_get_config_entry_diagnostics(hass, entry))
    assert "127.0.0.1" in text
    assert "0123456789abcdef" not in text


def test_every_text_is_translated() -> None:
    def keys(value: Any) -> Any:
        return {name: keys(inner) for name, inner in value.items()} if isinstance(value, dict) else None

    strings = json.loads((FOLDER / "strings.json").read_text())
    for language in (FOLDER / "translations").glob("*.json"):
        assert keys(json.loads(language.read_text())) == keys(strings), language.name
