"""Reports: what became of a message at each recipient."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

from .errors import AckpostError, ConfigError, Deferred, NotDelivered, Partial, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Word(str, Enum):
    """An enumeration whose members are equal to their words, as ``enum.StrEnum``."""

    def __str__(self) -> str:
        return str(self.value)


class Outcome(_Word):
    """The end of a message at one recipient."""

    DELIVERED = "delivered"
    """The other side said that it has the message."""
    HANDED_OVER = "handed-over"
    """The message was handed over, and nothing proves that it arrived."""
    WITHHELD = "withheld"
    """The other side has the message and shows it to nobody, for instance until a moderator approves it."""
    INCOMPLETE = "incomplete"
    """The text arrived without some of its files."""
    UNCONFIRMED = "unconfirmed"
    """The confirmation that was asked for did not come."""
    DEFERRED = "deferred"
    """Not delivered; a later attempt may succeed."""
    REFUSED = "refused"
    """Not delivered; the same attempt would fail again."""


class Status(_Word):
    """The verdict on a whole call, in Apprise's words."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    NO_MATCH = "NOMATCH"
    PARTIAL = "PARTIAL"
    TIMEOUT = "TIMEOUT"


@dataclass(frozen=True, slots=True)
class Target:
    """Result of a message at one recipient."""

    url: str
    """The URL of the service, with its secrets masked."""
    url_id: str
    """Short id of the service, the same as in Apprise."""
    target: str
    """The recipient in full, without secrets."""
    address: str
    """The bare address, such as ``lobby`` or ``jane@example.org``."""
    service: str
    """Name of the service, such as ``xmpp`` or ``sogs``."""
    outcome: Outcome
    delivered: bool
    """True if the other side has the message as it was asked for."""
    taken: bool
    """True if the other side has the message, so that it must not be sent again."""
    confirmed_by: str | None = None
    """The proof: ``sent``, ``apprise``, ``handed-over``, ``server``, ``room`` or ``receipt``."""
    id: str | None = None
    """Id of the message on the other side."""
    reason: str | None = None
    """Cause of the failure."""
    remedy: str | None = None
    """Remedy."""
    retry_after: timedelta | None = None
    """Time that the other side asked to wait."""
    notes: tuple[str, ...] = ()
    """Remarks that are not failures."""
    attempts: int = 0
    elapsed: timedelta = timedelta(0)
    tags: tuple[str, ...] = ()
    optional: bool = False
    """True if a failure here does not count (``optional=yes``)."""
    timed_out: bool = False

    def error(self) -> AckpostError | None:
        """Returns the error of this recipient, or ``None`` if it has the message as it was asked for."""
        if self.delivered:
            return None
        kind = {Outcome.REFUSED: Refused, Outcome.DEFERRED: Deferred}.get(self.outcome, Partial)
        return kind(self.reason or "", self.remedy or "", retry_after=self.retry_after, target=self)


@dataclass(frozen=True, slots=True)
class Report:
    """Result of a message. True only if every required recipient has it.

    ``len(report)`` is the number of recipients, and iteration gives a :class:`Target` for each.
    """

    status: Status
    targets: tuple[Target, ...]
    problems: tuple[str, ...] = ()
    """URLs and configuration entries that could not be used, as text with the remedy."""
    _raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __bool__(self) -> bool:
        return self.status is Status.SUCCESS

    def __len__(self) -> int:
        return len(self.targets)

    def __iter__(self) -> Iterator[Target]:
        return iter(self.targets)

    def __str__(self) -> str:
        lines = []
        for target in self.targets:
            lines.append(f"{target.target}: {target.outcome}")
            if target.confirmed_by:
                lines[-1] += f", confirmed by {target.confirmed_by}"
            if target.reason:
                lines[-1] += f": {target.reason}; {target.remedy}"
        return "\n".join([*lines, *self.problems]) or f"no recipient: {self.status}"

    @property
    def delivered(self) -> tuple[Target, ...]:
        """The recipients that have the message as it was asked for."""
        return tuple(target for target in self.targets if target.delivered)

    @property
    def failed(self) -> tuple[Target, ...]:
        """The required recipients that do not have the message as it was asked for."""
        return tuple(target for target in self.targets if not target.delivered and not target.optional)

    def as_dict(self) -> dict[str, Any]:
        """Returns the report as plain values, with the keys that ``ackpost --json`` prints."""
        keys = (
            "target",
            "service",
            "outcome",
            "confirmed_by",
            "id",
            "reason",
            "remedy",
            "notes",
            "attempts",
            "elapsed_ms",
        )
        targets = [{key: target[key] for key in keys} for target in self._raw.get("targets", ())]
        return {"status": str(self.status), "targets": targets, "problems": list(self.problems)}

    def check(self) -> Report:
        """Returns the report itself if it is a success.

        Raises :class:`NotDelivered` otherwise.
        """
        if self:
            return self
        errors: list[AckpostError] = [error for target in self.failed if (error := target.error())]
        errors += [ConfigError(problem) for problem in self.problems]
        if not errors:
            errors.append(ConfigError("no service matches the tags", "use a tag that a service has"))
        group = NotDelivered("the message was not delivered to every recipient", tuple(errors))
        group.report = self
        raise group


def _time(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def target_from(raw: dict[str, Any]) -> Target:
    """Makes a target from what the native part says."""
    return Target(
        url=raw["url"],
        url_id=raw["url_id"],
        target=raw["target"],
        address=raw["address"],
        service=raw["service"],
        outcome=Outcome(raw["outcome"]),
        delivered=raw["delivered"],
        taken=raw["taken"],
        confirmed_by=raw["confirmed_by"],
        id=raw["id"],
        reason=raw["reason"],
        remedy=raw["remedy"],
        retry_after=_time(raw["retry_after"]),
        notes=tuple(raw["notes"]),
        attempts=raw["attempts"],
        elapsed=timedelta(milliseconds=raw["elapsed_ms"]),
        tags=tuple(raw["tags"]),
        optional=raw["optional"],
        timed_out=raw["timed_out"],
    )


def report_from(raw: dict[str, Any]) -> Report:
    """Makes a report from what the native part says."""
    targets = tuple(target_from(target) for target in raw["targets"])
    return Report(Status(raw["status"]), targets, tuple(raw["problems"]), raw)
