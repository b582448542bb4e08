"""Errors, each with its cause and a remedy."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from typing import Any

    from ._report import Report, Target

__all__ = [
    "AckpostError",
    "ConfigError",
    "Deferred",
    "InDoubt",
    "InternalError",
    "NotDelivered",
    "OutboxError",
    "Partial",
    "Refused",
]


class AckpostError(Exception):
    """Base class of all errors of Ackpost.

    ``cause`` says what went wrong and ``remedy`` says what to do about it. If ``permanent`` is true, the same call
    would fail again. ``retry_after`` is the time that the other side asked to wait.
    """

    permanent: bool = True

    def __init__(self, cause: str, remedy: str = "", *, retry_after: timedelta | None = None) -> None:
        super().__init__(cause, remedy)
        self.cause = cause
        self.remedy = remedy
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.cause}; {self.remedy}" if self.remedy else self.cause

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.cause, self.remedy), self.__dict__)


class ConfigError(AckpostError, ValueError):
    """A URL, a configuration file or an argument cannot be used.

    ``problems`` lists every problem as one line of text.
    """

    def __init__(self, cause: str, remedy: str = "", *, problems: tuple[str, ...] = ()) -> None:
        super().__init__(cause, remedy)
        self.problems = problems or ((str(self),) if cause else ())


class _ForTarget(AckpostError):
    """Base class of the errors that concern one recipient."""

    def __init__(
        self,
        cause: str,
        remedy: str = "",
        *,
        retry_after: timedelta | None = None,
        target: Target | None = None,
    ) -> None:
        super().__init__(cause, remedy, retry_after=retry_after)
        self.target = target

    def __str__(self) -> str:
        text = super().__str__()
        return f"{self.target.target}: {text}" if self.target is not None else text


class Refused(_ForTarget):
    """The other side refused, and would refuse the same attempt again."""


class Deferred(_ForTarget):
    """A temporary failure: a later attempt may succeed."""

    permanent = False


class Partial(_ForTarget):
    """The other side has the message, but something is missing. Do not send it again."""


class InDoubt(_ForTarget):
    """The answer was lost, and the other side may have the message. Look for it before you send it again."""


class OutboxError(AckpostError):
    """The durable queue cannot be used. Nothing was half done. If it is not ``permanent``, a later call may succeed."""


class InternalError(AckpostError, RuntimeError):
    """Ackpost failed with an internal error."""


if sys.version_info >= (3, 11):
    _Group = ExceptionGroup
else:

    class _Group(Exception):
        """The part of ``ExceptionGroup`` of Python 3.11 that is used here."""

        def __class_getitem__(cls, _item: object) -> type:
            return cls

        def __init__(self, message: str, exceptions: tuple[Exception, ...]) -> None:
            super().__init__(message, exceptions)
            self.message = message
            self.exceptions = tuple(exceptions)

        def __str__(self) -> str:
            return f"{self.message} ({len(self.exceptions)} sub-exceptions)"


class NotDelivered(_Group[AckpostError]):
    """Not every recipient has the message as it was asked for.

    An ``ExceptionGroup`` (Python 3.11 and later) with one :class:`Refused`, :class:`Deferred` or :class:`Partial` for
    each recipient, and one :class:`ConfigError` for each problem of a URL or configuration. In Python 3.10 it is a
    plain exception with the same attribute ``exceptions``.
    """

    report: Report

    if sys.version_info >= (3, 11):

        def derive(self, excs: Sequence[Any], /) -> Any:
            group = NotDelivered(self.message, excs)
            group.report = self.report
            return group

    @property
    def permanent(self) -> bool:
        """True if the same attempt would fail again for each recipient."""
        return not any(isinstance(error, Deferred) for error in self.exceptions)

    @property
    def retry_after(self) -> timedelta | None:
        """The longest time that a recipient's server asked to wait."""
        times = [
            error.retry_after
            for error in self.exceptions
            if isinstance(error, AckpostError) and error.retry_after is not None
        ]
        return max(times, default=None)
