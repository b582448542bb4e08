"""A fake community in its own process, because the harness of Home Assistant allows no threads of a test.

Reads commands as lines of JSON, and answers each with a line of JSON.
"""

from __future__ import annotations

import json
import sys

from ackpost.testing import FakeCommunity


def main() -> None:
    """Serve until the end of the input."""
    with FakeCommunity() as community:
        for line in sys.stdin:
            command = json.loads(line)
            answer: object = None
            if command["do"] == "url":
                answer = community.url(*command["rooms"])
            elif command["do"] == "fail":
                community.fail(command["room"], command["status"])
            elif command["do"] == "say":
                community.say(command["room"], command["text"], name="Jane")
            elif command["do"] == "messages":
                answer = [[one.room, one.text, one.name] for one in community.messages]
            elif command["do"] == "files":
                answer = [one.name for one in community.files.values()]
            elif command["do"] == "requests":
                answer = community.requests
            print(json.dumps(answer), flush=True)


main()
