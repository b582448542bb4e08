"""Posts as somebody, with a file and an answer: python post.py 'https://chat.example.org/lobby?public_key=…'

bot.txt holds the recovery phrase of the account.
"""

import sys

from ackpost.session import Identity, Server

me = Identity.from_phrase_file("bot.txt")  # or .generate(), .from_seed(), .stored("work")
room = Server(sys.argv[1], identity=me).room("lobby")
first = room.post("numbers of today", name="Report", files=["chart.png"])
room.react(first, "📈")
room.post("that is all", reply_to=first)
