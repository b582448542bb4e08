"""Plugin file of Apprise: `apprise --plugin-path`, or a copy in `/var/lib/apprise/plugins/`."""

from apprise.decorators import notify

import ackpost_apprise

ackpost_apprise.register()


@notify(on="ackpost-is-active")
def _marker(body, title, notify_type, *args, **kwargs):
    # Apprise unloads a plugin file without a service.
    return False
