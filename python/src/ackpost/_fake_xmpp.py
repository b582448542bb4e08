"""An XMPP server for tests: see :mod:`ackpost.testing`."""

from __future__ import annotations

import base64
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

_CLIENT = "{jabber:client}"
_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
_BIND = "urn:ietf:params:xml:ns:xmpp-bind"
_STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
_MUC_USER = "http://jabber.org/protocol/muc#user"
_MAX_STANZA = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReceivedXmpp:
    """A message that a fake XMPP server got."""

    to: str
    """The address of the recipient or room."""
    text: str
    room: bool
    """True if it was written to a room."""
    sender: str
    subject: str | None
    id: str
    xml: str
    """The whole message."""


class FakeXmpp:
    """An XMPP server on a port of this machine, for tests.

    Every account of ``localhost`` has the same password, every room of ``conference.localhost`` exists, and everyone may
    enter. There is no TLS. A message to an account that is connected reaches it; others are remembered alone.
    """

    def __init__(self, *, password: str = "secret") -> None:
        self.messages: list[ReceivedXmpp] = []
        """Sent messages, in order."""
        self.password = password
        self._faults: dict[str, str] = {}
        self._lock = threading.RLock()
        self._clients: list[_Client] = []
        self._numbers = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closed = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return int(self._listener.getsockname()[1])

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of :class:`ackpost.xmpp.Account` behind the address."""
        return {"password": self.password, "host": "127.0.0.1", "port": self.port, "tls": False}

    def url(self, *recipients: str, user: str = "bot") -> str:
        """Returns a URL that sends to these addresses: ``"jane"``, ``"#ops"`` for a room, or whole addresses."""
        path = "/".join(quote(_whole(one), safe="@") for one in recipients)
        return f"xmpp://{user}:{quote(self.password, safe='')}@localhost:{self.port}/{path}?xmpp=127.0.0.1"

    def say(self, to: str, text: str, *, sender: str = "jane") -> None:
        """Writes to a connected account as somebody else, or to a room (``"#ops"``) as its occupant ``sender``."""
        address = _whole(to)
        if address.startswith("#"):
            self._to_room(address[1:], sender, f"<body>{escape(text)}</body>", self._next())
            return
        person = _whole(sender)
        for client in self._of(address):
            client.write(
                f"<message type='chat' from={quoteattr(person + '/fake')} to={quoteattr(client.jid)} id='{self._next()}'>"
                f"<body>{escape(text)}</body></message>"
            )

    def occupants(self, room: str) -> list[str]:
        """Returns the nicks in a room, such as ``"#ops"``."""
        address = _whole(room).removeprefix("#")
        with self._lock:
            return [client.rooms[address] for client in self._clients if address in client.rooms]

    def fail(self, to: str, condition: str = "service-unavailable") -> None:
        """Lets messages to an address, or entering a room (``"#ops"``), fail with a condition of RFC 6120.

        ``"forbidden"`` is permanent, and ``"resource-constraint"`` passes.
        """
        self._faults[_whole(to).removeprefix("#")] = condition

    def disconnect(self) -> None:
        """Breaks every connection."""
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            client.close()

    def close(self) -> None:
        """Stops the server."""
        self._closed = True
        # An accepting thread wakes up only by a connection.
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            pass
        self._threads[0].join()
        self._listener.close()
        self.disconnect()
        for thread in self._threads[1:]:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- The protocol ---

    def _next(self) -> str:
        with self._lock:
            self._numbers += 1
            return f"fake-{self._numbers}"

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._closed:
                connection.close()
                return
            thread = threading.Thread(target=_Client(self, connection).serve, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _of(self, address: str) -> list[_Client]:
        with self._lock:
            return [client for client in self._clients if client.jid.partition("/")[0] == address]

    def _in(self, room: str) -> list[_Client]:
        with self._lock:
            return [client for client in self._clients if room in client.rooms]

    def _to_room(self, room: str, nick: str, inner: str, id: str) -> None:
        sender = quoteattr(f"{room}/{nick}")
        for client in self._in(room):
            client.write(
                f"<message type='groupchat' from={sender} to={quoteattr(client.jid)} id={quoteattr(id)}>{inner}</message>"
            )


def _whole(address: str) -> str:
    """An address with its domain; rooms begin with ``#``."""
    if "@" in address:
        return address
    return f"{address}@{'conference.' if address.startswith('#') else ''}localhost"


class _Client:
    """A connection."""

    def __init__(self, fake: FakeXmpp, connection: socket.socket) -> None:
        self._fake = fake
        self._connection = connection
        self._writing = threading.Lock()
        self.jid = ""
        self.rooms: dict[str, str] = {}
        """The nick in each room."""

    def write(self, text: str) -> None:
        with self._writing, suppress(OSError):
            self._connection.sendall(text.encode())

    def close(self) -> None:
        # It may have ended by itself.
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        """Reads until the stream ends."""
        with self._fake._lock:
            self._fake._clients.append(self)
        try:
            with suppress(OSError, ElementTree.ParseError):
                while self._stream():
                    pass
        finally:
            with self._fake._lock:
                self._fake._clients.remove(self)
            for room in list(self.rooms):
                self._leave(room)
            self._connection.close()

    def _stream(self) -> bool:
        """Reads one stream. Returns true if another one follows on the connection, after the login."""
        parser: Any = ElementTree.XMLPullParser(("start", "end"))
        depth = size = 0
        while data := self._connection.recv(65536):
            size += len(data)
            if size > _MAX_STANZA:
                return False
            parser.feed(data)
            for event, element in parser.read_events():
                depth += 1 if event == "start" else -1
                if event == "start" and depth == 1:
                    self._greet()
                elif event == "end" and depth == 1:
                    size = 0
                    if element.tag == f"{{{_SASL}}}auth":
                        if self._login(element):
                            return True
                    else:
                        self._stanza(element)
                    element.clear()
                elif event == "end" and depth == 0:
                    self.write("</stream:stream>")
                    return False
        return False

    def _greet(self) -> None:
        features = f"<mechanisms xmlns='{_SASL}'><mechanism>PLAIN</mechanism></mechanisms>"
        if self.jid:
            features = f"<bind xmlns='{_BIND}'/>"
        self.write(
            "<?xml version='1.0'?><stream:stream from='localhost' id='fake' version='1.0' xmlns='jabber:client' "
            f"xmlns:stream='http://etherx.jabber.org/streams'><stream:features>{features}</stream:features>"
        )

    def _login(self, auth: ElementTree.Element) -> bool:
        user, _, password = base64.b64decode(auth.text or "").decode(errors="replace").partition("\0")[2].partition("\0")
        if password != self._fake.password:
            self.write(f"<failure xmlns='{_SASL}'><not-authorized/></failure>")
            return False
        self.jid = f"{user}@localhost/{self._fake._next()}"
        self.write(f"<success xmlns='{_SASL}'/>")
        return True

    def _stanza(self, stanza: ElementTree.Element) -> None:
        name = stanza.tag.removeprefix(_CLIENT)
        to, id = stanza.get("to", ""), quoteattr(stanza.get("id", ""))
        if not self.jid:
            return
        if name == "iq" and stanza.get("type") in ("get", "set"):
            inner = ""
            if stanza.find(f"{{{_BIND}}}bind") is not None:
                inner = f"<bind xmlns='{_BIND}'><jid>{escape(self.jid)}</jid></bind>"
            sender = f" from={quoteattr(to)}" if to else ""
            self.write(f"<iq type='result' id={id}{sender} to={quoteattr(self.jid)}>{inner}</iq>")
        elif name == "presence" and to:
            self._presence(stanza, to, id)
        elif name == "message":
            self._message(stanza, to, id)

    def _error(self, name: str, to: str, id: str) -> bool:
        """Answers with the error that a test wants."""
        condition = self._fake._faults.get(to.partition("/")[0])
        if condition is None:
            return False
        kind = "wait" if condition in ("resource-constraint", "remote-server-timeout", "internal-server-error") else "cancel"
        self.write(
            f"<{name} type='error' from={quoteattr(to)} to={quoteattr(self.jid)} id={id}>"
            f"<error type='{kind}'><{condition} xmlns='{_STANZAS}'/></error></{name}>"
        )
        return True

    def _presence(self, stanza: ElementTree.Element, to: str, id: str) -> None:
        room, _, nick = to.partition("/")
        if stanza.get("type") == "unavailable":
            self._leave(room)
            return
        if stanza.get("type") is not None or self._error("presence", to, id):
            return
        others = [(client, client.rooms[room]) for client in self._fake._in(room) if client is not self]
        for other, known in others:
            self._show(room, known, "")
            other._show(room, nick, "")
        self.rooms[room] = nick
        self._show(room, nick, "<status code='110'/>")
        self.write(f"<message type='groupchat' from={quoteattr(room)} to={quoteattr(self.jid)}><subject/></message>")

    def _show(self, room: str, nick: str, codes: str, kind: str = "") -> None:
        """Tells this client of an occupant."""
        self.write(
            f"<presence{kind} from={quoteattr(f'{room}/{nick}')} to={quoteattr(self.jid)}>"
            f"<x xmlns='{_MUC_USER}'><item affiliation='none' role='participant'/>{codes}</x></presence>"
        )

    def _leave(self, room: str) -> None:
        nick = self.rooms.pop(room, None)
        if nick is None:
            return
        self._show(room, nick, "<status code='110'/>", " type='unavailable'")
        for other in self._fake._in(room):
            other._show(room, nick, "", " type='unavailable'")

    def _message(self, stanza: ElementTree.Element, to: str, id: str) -> None:
        in_room = stanza.get("type") == "groupchat"
        body, subject = stanza.findtext(f"{_CLIENT}body"), stanza.findtext(f"{_CLIENT}subject")
        if stanza.get("type") == "error" or self._error("message", to, id):
            return
        inner = "".join(ElementTree.tostring(child, encoding="unicode") for child in stanza)
        plain_id = stanza.get("id", "")
        if body is not None:
            received = ReceivedXmpp(
                to.partition("/")[0],
                body,
                in_room,
                self.jid.partition("/")[0],
                subject,
                plain_id,
                ElementTree.tostring(stanza, encoding="unicode"),
            )
            with self._fake._lock:
                self._fake.messages.append(received)
        if in_room:
            self._fake._to_room(to, self.rooms.get(to, ""), inner, plain_id)
            return
        for client in self._fake._of(to.partition("/")[0]):
            kind = quoteattr(stanza.get("type", "normal"))
            sender = quoteattr(self.jid)
            client.write(f"<message type={kind} from={sender} to={quoteattr(client.jid)} id={id}>{inner}</message>")
