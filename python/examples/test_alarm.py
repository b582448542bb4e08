"""The test of a program that sends, without a network: pytest test_alarm.py"""

import ackpost.testing


def test_alarm() -> None:
    with ackpost.testing.FakeCommunity() as c:
        assert ackpost.send(c.url("lobby"), "x").delivered
        assert c.messages[-1].text == "x"
