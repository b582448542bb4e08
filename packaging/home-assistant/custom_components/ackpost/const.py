"""Names of the integration."""

DOMAIN = "ackpost"

CONF_RECEIVE = "receive"
"""True if messages that come in are wanted."""

EVENT_MESSAGE = "ackpost_message"
"""The event on the bus for each message that comes in."""

SERVICE_SEND = "send"

ATTR_ATTACH = "attach"
ATTR_ENTRY = "config_entry_id"
ATTR_FORMAT = "format"
ATTR_KIND = "kind"

KINDS = ["info", "success", "warning", "failure"]
FORMATS = ["text", "markdown", "html"]
