"""Accepted now, delivered whatever happens: python durable.py URL

Something has to deliver what waits: `ackpost outbox run`, the gateway, or `ackpost.outbox().run()`.
"""

import sys

import ackpost

receipt = ackpost.enqueue(sys.argv[1], "invoice 4711 paid", ttl="2h", dedup="invoice-4711")
print(receipt.ids)
entry = ackpost.outbox().get(receipt.ids[0])
assert entry is not None
print(entry.state)  # waiting, delivered, dead, …
