"""asyncio: python alarm.py URL…"""

import asyncio
import logging
import sys

import ackpost

log = logging.getLogger("alarm")


async def alarm(text: str) -> None:
    async with asyncio.timeout(20):
        report = await ackpost.asend(sys.argv[1:], text, title="Alarm", kind="failure")
    log.info("told %d of %d", len(report.delivered), len(report))


logging.basicConfig(level=logging.INFO)
asyncio.run(alarm("disk full"))
