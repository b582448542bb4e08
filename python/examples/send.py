"""One line, and an answer that is true: python send.py xmpps://bot:secret@example.org/jane"""

import sys

import ackpost

report = ackpost.send(sys.argv[1], "disk full on db1", title="db1")
if not report:
    for target in report.failed:
        print(target.url, target.outcome, target.reason, "→", target.remedy)
    for problem in report.problems:
        print(problem)
    sys.exit(1)
