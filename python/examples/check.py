"""Raises instead of asking: python check.py URL…"""

import sys

import ackpost

try:
    ackpost.send(sys.argv[1:], "backup done", check=True)
except* ackpost.Refused as refused:
    for error in refused.exceptions:
        print("gave up:", error)
except* ackpost.Deferred as deferred:
    for later in deferred.exceptions:
        print("try again later:", later)
