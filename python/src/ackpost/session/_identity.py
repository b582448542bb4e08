"""Session accounts."""

from __future__ import annotations

import os
from typing import Any

from .. import _core
from .._bridge import environment, result
from ._values import JoinLink


class Identity:
    """A Session account. ``repr`` and ``pickle`` never show its seed."""

    __slots__ = ("_phrase", "_seed", "session_id")

    session_id: str
    """The id that people give each other: ``05…``."""

    def __init__(self, seed: str) -> None:
        """Makes the account of a seed: 64 or 32 hexadecimal digits. Raises :class:`ackpost.ConfigError` for other text."""
        self._take(_found("seed", seed))

    def _take(self, raw: dict[str, Any]) -> None:
        self._seed: str = raw["seed"]
        self._phrase: str | None = raw["phrase"]
        self.session_id = raw["session_id"]

    @classmethod
    def _make(cls, source: str, text: str) -> Identity:
        made = cls.__new__(cls)
        made._take(_found(source, text))
        return made

    @classmethod
    def generate(cls) -> Identity:
        """Makes a new account. Store its :meth:`expose_phrase`, or the account is lost."""
        return cls._make("generate", "")

    @classmethod
    def from_seed(cls, seed: str) -> Identity:
        """Makes the account of a seed: 64 or 32 hexadecimal digits."""
        return cls._make("seed", seed)

    @classmethod
    def from_phrase(cls, phrase: str) -> Identity:
        """Makes the account of a recovery phrase of 13 words."""
        return cls._make("phrase", phrase)

    @classmethod
    def from_phrase_file(cls, path: str | os.PathLike[str]) -> Identity:
        """Reads the recovery phrase, or the seed, that a file holds."""
        return cls._make("file", os.path.expanduser(os.fspath(path)))

    @classmethod
    def stored(cls, name: str = "default") -> Identity:
        """Reads an identity that ``ackpost identity`` stores."""
        return cls._make("stored", name)

    def blinded_id(self, server: JoinLink | str) -> str:
        """Returns the id that a community shows for this account where ids are blinded: ``15…``.

        ``server`` is a join link, or the key of the server. Each server gives an account another id.
        """
        found: str = result(_core.blinded_id(self._seed, str(server)))
        return found

    def expose_seed(self) -> str:
        """Returns the seed. Anybody who has it controls this account."""
        return self._seed

    def expose_phrase(self) -> str | None:
        """Returns the recovery phrase, or ``None`` if the seed has none. Anybody who has it controls this account."""
        return self._phrase

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and other.session_id == self.session_id

    def __hash__(self) -> int:
        return hash(self.session_id)

    def __repr__(self) -> str:
        return f"<Identity {self.session_id}>"

    def __reduce__(self) -> Any:
        raise TypeError("an identity holds a secret and is not pickled; hand over its name or file instead")


def is_same_account(one: str, other: str, server: JoinLink | str) -> bool:
    """Returns true if two ids belong to one account in a community: ``05…``, ``15…`` or ``25…``.

    A bot that knows people by their ``05…`` ids finds them among the authors of messages with it. ``server`` is a join link,
    or the key of the server. Two ``25…`` ids are of one account only if they are equal. Raises :class:`ackpost.ConfigError`
    for text that is not an id.
    """
    found: bool = result(_core.is_same_account(one, other, str(server)))
    return found


def _found(source: str, text: str) -> dict[str, Any]:
    found: dict[str, Any] = result(_core.identity(source, text, environment()))
    return found
