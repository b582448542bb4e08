"""Apprise configuration, tags, files and kept connections: python nightly.py URL

The configuration is ~/.config/apprise/apprise.yml; the URL gets the tag "ops".
"""

import sys

from ackpost import Notifier

log_bytes = b"all is well\n"
with Notifier(config="~/.config/apprise/apprise.yml") as n:  # sessions stay open until the end of the block
    n.add(sys.argv[1], tag="ops")
    report = n.send("nightly", tag="ops", attach=["report.pdf", ("log.txt", log_bytes)], format="markdown")
    print(report)
