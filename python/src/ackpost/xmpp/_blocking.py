"""XMPP accounts and rooms with calls that block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

from .. import _core
from .._bridge import remark_on_loop, wait
from .._message import File
from ..errors import AckpostError, Deferred, Refused
from ._account import (
    ENDED,
    AccountBase,
    Heard,
    calls_of,
    entered,
    is_about_entering,
    is_of_room,
    is_private,
    partly_sent,
    sent_all,
    sent_from,
)
from ._events import Event, Message, Sent, event_from

if TYPE_CHECKING:
    from typing_extensions import Self


class _Listener(Iterator[Event]):
    """Events that one part of the program wants, in order. Waiting for one reads the stream for all."""

    def __init__(self, account: BlockingAccount, wanted: Callable[[Event], bool], says_lost: bool) -> None:
        self._account = account
        self._heard = Heard(wanted, says_lost)

    def hear(self, event: Event) -> None:
        self._heard.hear(event)

    def __next__(self) -> Event:
        while True:
            with self._account._reading:
                if (event := self._heard.take()) is not None:
                    return event
                if not self._account._read():
                    raise StopIteration

    def __iter__(self) -> Self:
        return self


class BlockingAccount(AccountBase):
    """The blocking form of :class:`Account`. Use it in a ``with`` block.

    Events are read while the program waits for one. Threads may share an account: one of them reads for all.
    """

    def _begin(self) -> None:
        self._listeners: WeakSet[_Listener] = WeakSet()
        self._reading = threading.Lock()
        self._pending: _core.Pending | None = None
        self._opened = False
        self._over: BaseException | None = None

    def _do(self, call: str, parts: Iterable[bytes] = (), **arguments: Any) -> Any:
        remark_on_loop()
        return wait(self._start(call, parts, **arguments))[0]

    def _read(self) -> bool:
        """Waits for the next event and hands it to those who want it. Returns false at the end of the session."""
        if self._over is not None:
            raise self._over
        # The answer of a wait that was interrupted is not lost.
        if self._pending is None:
            self._pending = self._start("next")
        try:
            raw = wait(self._pending, cancel=False)[0]
        except AckpostError as error:
            self._over = error
            raise
        self._pending = None
        if raw is None:
            return False
        if raw["kind"] == "ended":
            self._over = (Refused if raw["permanent"] else Deferred)(raw["reason"], raw["remedy"])
            raise self._over
        event = event_from(raw)
        for listener in list(self._listeners):
            listener.hear(event)
        return True

    def _hear(self, wanted: Callable[[Event], bool], says_lost: bool = False) -> _Listener:
        listener = _Listener(self, wanted, says_lost)
        self._listeners.add(listener)
        return listener

    def open(self) -> Self:
        """Logs in."""
        if not self._opened:
            self.jid = self._do("open")
            self._opened = True
        return self

    def close(self) -> None:
        """Ends the session in good order."""
        if self._opened:
            self._opened = False
            with suppress(AckpostError):
                self._do("close")

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def events(self) -> Iterator[Event]:
        """Returns everything that happens from now on. Ends when the session is closed."""
        return self._hear(lambda _event: True, says_lost=True)

    def messages(self) -> Iterator[Message]:
        """Returns the messages that people write to this account from now on."""
        return cast("Iterator[Message]", self._hear(is_private))

    def send(
        self,
        to: str,
        text: str = "",
        *,
        subject: str | None = None,
        reply_to: Message | None = None,
        replaces: Message | Sent | str | None = None,
        file: File | None = None,
    ) -> Sent:
        """Sends a message to a person and waits for its confirmation; see :meth:`Account.send`."""
        return self._send(to, False, text, subject, reply_to, replaces, file)

    def _send(
        self,
        to: str,
        room: bool,
        text: str,
        subject: str | None,
        reply_to: Message | None,
        replaces: Message | Sent | str | None,
        file: File | None,
    ) -> Sent:
        raws: list[dict[str, Any]] = []
        for call, parts, arguments in calls_of(to, room, text, subject, reply_to, replaces, file):
            try:
                raws.append(self._do(call, parts, **arguments))
            except AckpostError as error:
                if not raws:
                    raise
                raise partly_sent(error) from error
        return sent_all(raws)

    def join(
        self, room: str, *, nick: str | None = None, password: str | None = None, create: bool = False
    ) -> BlockingRoom:
        """Returns a room. Enter it with ``with``, or by :meth:`BlockingRoom.enter`."""
        return BlockingRoom(self, room, nick, password, create)


class BlockingRoom:
    """A room of a :class:`BlockingAccount`."""

    def __init__(
        self, account: BlockingAccount, address: str, nick: str | None, password: str | None, create: bool
    ) -> None:
        self.account = account
        self.address = address.partition("/")[0]
        self.nick = nick
        """The nick; once the account is in the room, the one that the room gave."""
        self._password = password
        self._create = create

    def enter(self) -> Self:
        """Enters the room and stays in it, also after a break of the connection.

        Raises :class:`ackpost.Refused` or :class:`ackpost.Deferred` if the room does not let the account in.
        """
        # The events name the room in its normal form, which is known when the call returns.
        listener = self.account._hear(is_about_entering)
        self.address = self.account._do(
            "join", room=self.address, nick=self.nick, password=self._password, create=self._create
        )
        for event in listener:
            nick = entered(event, self.address)
            if nick is not None:
                self.nick = nick
                return self
        raise Deferred(*ENDED)

    def leave(self) -> None:
        """Leaves the room."""
        self.account._do("leave", room=self.address)

    def __enter__(self) -> Self:
        return self.enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.account._over is None:
            self.leave()

    def messages(self, history: int = 0) -> Iterator[Message]:
        """Returns the messages of the room from now on; see :meth:`Room.messages`."""
        return cast("Iterator[Message]", self.account._hear(is_of_room(self.address, history)))

    def send(
        self,
        text: str = "",
        *,
        reply_to: Message | None = None,
        replaces: Message | Sent | str | None = None,
        file: File | None = None,
    ) -> Sent:
        """Sends a message to the room, and waits until the room shows it."""
        return self.account._send(self.address, True, text, None, reply_to, replaces, file)

    def react(self, message: Message, *emoji: str) -> Sent:
        """Reacts to a message. The emoji replace earlier ones of this account; none takes them back."""
        return sent_from(
            self.account._do("react", to=self.address, room=True, id=message.id or "", emoji=[*emoji])
        )

    def retract(self, message: Message) -> Sent:
        """Takes one's own message back."""
        return sent_from(self.account._do("retract", to=self.address, room=True, id=message.id or ""))

    def __repr__(self) -> str:
        return f"<BlockingRoom {self.address}>"
