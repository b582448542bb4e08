"""Reads a Session community: python read.py 'https://chat.example.org/lobby?public_key=…'"""

import sys

from ackpost.session import JoinLink, Server

server = Server(JoinLink(sys.argv[1]))  # no identity: reading only
for m in server.room("lobby").recent(20):
    print(m.time, m.author.short, m.text if m.verified else f"[{m.problem}]")
