"""Servers for the tests of programs that send: they listen on this machine and remember what they got.

    def test_alarm():
        with ackpost.testing.FakeCommunity() as community:
            assert ackpost.send(community.url("lobby"), "disk full").delivered
            assert community.messages[-1].text == "disk full"

:class:`FakeCommunity` speaks the part of the protocol of Session communities that posting, reading and bots need. It
checks no signature. :class:`FakeXmpp` is an XMPP server with accounts and rooms. Their method ``fail`` makes them refuse.
"""

from __future__ import annotations

import base64
import json
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from . import _core
from ._fake_xmpp import FakeXmpp, ReceivedXmpp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self

    from .session import Identity, Posted

__all__ = ["FakeCommunity", "FakeXmpp", "ReceivedFile", "ReceivedMessage", "ReceivedXmpp"]

SEED = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
_MAX_BODY = 64 * 1024 * 1024


@dataclass(slots=True)
class ReceivedMessage:
    """A message that a fake got."""

    room: str
    id: int
    author: str
    """The id of the author, as the community shows it."""
    text: str
    name: str
    """The display name, or an empty text."""
    files: tuple[int, ...]
    """Numbers of the attached files; see :attr:`FakeCommunity.files`."""
    reactions: dict[str, list[str]]
    """The authors of the reactions, by emoji."""
    deleted: bool = False
    pinned: bool = False
    _row: Any = None


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file that was uploaded to a fake."""

    room: str
    name: str
    data: bytes


class FakeCommunity:
    """A Session community server on a port of this machine, for tests.

    Every room exists. Everyone may read and write, and nobody is a moderator except the ids in ``moderators``.
    """

    def __init__(self, *, moderators: tuple[str, ...] = ()) -> None:
        self.messages: list[ReceivedMessage] = []
        """Posts, in order."""
        self.files: dict[int, ReceivedFile] = {}
        """Uploaded files, by number."""
        self.moderators: set[str] = set(moderators)
        self.requests = 0
        """Number of requests."""
        self.user_agents: list[str] = []
        self._key = _core.FakeKey()
        self.public_key = self._key.public()
        """The key to which requests over plain http are sealed."""
        self._faults: dict[str, tuple[int, int, float]] = {}
        self._lock = threading.RLock()
        self._ids = 0
        self._seqnos: dict[str, int] = {}
        self._infos: dict[str, int] = {}
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self._server.connections = set()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return int(self._server.server_address[1])

    def url(self, *rooms: str) -> str:
        """Returns a URL that sends to these rooms."""
        return f"session://{self.public_key}:{SEED}@127.0.0.1:{self.port}/{'/'.join(rooms)}?encrypt=no"

    def link(self, room: str) -> str:
        """Returns the join link of a room."""
        return f"http://127.0.0.1:{self.port}/{room}?public_key={self.public_key}"

    def say(self, room: str, text: str, *, identity: Identity | None = None, name: str | None = None) -> Posted:
        """Posts a message as somebody else would, signed by an identity (a new one by default)."""
        from .session import Identity, Server

        server = Server(self.link(room), identity or Identity.generate(), proxies=False)
        return server.room(room).post(text, name=name)

    def fail(self, room: str, status: int = 500, *, times: int = 1_000_000, delay: float = 0) -> None:
        """Lets the next posts to a room fail with an HTTP status, after a delay in seconds.

        With ``status=201`` they succeed after the delay.
        """
        with self._lock:
            self._faults[room] = (status, times, delay)

    def close(self) -> None:
        """Stops the server."""
        self._server.shutdown()
        for connection in list(self._server.connections):
            # It may have ended by itself.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()

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

    def _answer_sealed(self, body: bytes) -> tuple[int, Any]:
        try:
            method, path, headers, inner, seal = self._key.open(body)
        except ValueError:
            return 400, {}
        status, answer = self._answer(method, path, inner or b"", {name.lower(): value for name, value in headers})
        raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        kind = "application/octet-stream" if isinstance(answer, bytes) else "application/json"
        return 200, seal.seal(status, [("content-type", kind)], raw)

    def _next(self, room: str) -> int:
        self._seqnos[room] = self._seqnos.get(room, 0) + 1
        return self._seqnos[room]

    def _answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        author = headers.get("x-sogs-pubkey", "")
        parts = urlsplit(path)
        if method == "POST" and parts.path == "/oxen/v4/lsrpc":
            return self._answer_sealed(body)
        words = [unquote(word) for word in parts.path.strip("/").split("/")]
        query = dict(parse_qsl(parts.query))
        if words == ["capabilities"]:
            return 200, {"capabilities": ["blind", "reactions", "sogs"]}
        if words in (["batch"], ["sequence"]) and method == "POST":
            return 200, [self._part(part, headers) for part in json.loads(body)]
        if words == ["rooms"]:
            names = {message.room for message in self.messages} | set(self._seqnos)
            return 200, [self._info(name, author) for name in sorted(names)]
        if words[0] in ("inbox", "outbox"):
            return 200, []
        if words[0] != "room" or len(words) < 2:
            return 404, {}
        room, rest = words[1], words[2:]
        if not rest:
            return 200, self._info(room, author)
        with self._lock:
            return self._in_room(method, room, rest, body, headers, author, query)

    def _part(self, part: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        raw = json.dumps(part["json"]).encode() if "json" in part else base64.b64decode(part.get("b64", ""))
        status, answer = self._answer(part["method"], part["path"], raw, {**headers, **part.get("headers", {})})
        return {"code": status, "headers": {"content-type": "application/json"}, "body": answer}

    def _info(self, room: str, author: str) -> dict[str, Any]:
        mods = sorted(self.moderators)
        pinned = [
            {"id": message.id, "pinned_at": 1.0, "pinned_by": message.author}
            for message in self.messages
            if message.room == room and message.pinned
        ]
        return {
            "token": room,
            "name": room,
            "info_updates": self._infos.get(room, 0),
            "message_sequence": self._seqnos.get(room, 0),
            "created": 1_700_000_000.0,
            "active_users": 1,
            "active_users_cutoff": 604_800.0,
            "pinned_messages": pinned,
            "moderators": mods,
            "admins": [],
            "moderator": author in self.moderators,
            "admin": author in self.moderators,
            "read": True,
            "write": True,
            "upload": True,
        }

    def _in_room(
        self,
        method: str,
        room: str,
        rest: list[str],
        body: bytes,
        headers: dict[str, str],
        author: str,
        query: dict[str, str],
    ) -> tuple[int, Any]:
        limit = int(query.get("limit", "100"))
        mine = [message for message in self.messages if message.room == room]
        if rest[0] == "pollInfo":
            info = self._info(room, author)
            poll = {key: info[key] for key in ("token", "active_users", "read", "write", "upload", "moderator", "admin")}
            if info["info_updates"] != int(rest[1]):
                poll["details"] = info
            return 200, poll
        if rest == ["messages", "recent"]:
            return 200, [message._row for message in reversed(mine) if not message.deleted][:limit]
        if rest[:2] == ["messages", "before"]:
            older = [message for message in reversed(mine) if message.id < int(rest[2]) and not message.deleted]
            return 200, [message._row for message in older][:limit]
        if rest[:2] == ["messages", "since"]:
            since, sparse = int(rest[2]), query.get("t") == "r"
            rows = [_row_since(message._row, since, sparse) for message in mine if message._row["seqno"] > since]
            return 200, sorted(rows, key=lambda row: int(row["seqno"]))[:limit]
        if rest == ["message"] and method == "POST":
            return self._post(room, body, author)
        if rest == ["file"] and method == "POST":
            name = headers.get("content-disposition", "").partition("''")[2]
            self._ids += 1
            self.files[self._ids] = ReceivedFile(room, unquote(name), body)
            return 201, {"id": self._ids}
        if rest[0] == "file" and method == "GET":
            file = self.files.get(int(rest[1]))
            return (200, file.data) if file else (404, {})
        if rest[0] == "unpin" and rest[1:] == ["all"]:
            pinned = [message for message in mine if message.pinned]
            for message in pinned:
                message.pinned = False
            return 200, {"unpinned": len(pinned), "info_updates": self._changed(room)}
        found = [message for message in mine if len(rest) > 1 and str(message.id) == rest[1] and not message.deleted]
        if not found:
            return 404, {}
        return self._with_message(method, found[0], rest, body, author)

    def _changed(self, room: str) -> int:
        self._infos[room] = self._infos.get(room, 0) + 1
        return self._infos[room]

    def _post(self, room: str, body: bytes, author: str) -> tuple[int, Any]:
        status, times, delay = self._faults.get(room, (201, 0, 0.0))
        if times:
            self._faults[room] = (status, times - 1, delay)
            if delay:
                # Other requests go on meanwhile.
                self._lock.release()
                try:
                    time.sleep(delay)
                finally:
                    self._lock.acquire()
            if status >= 300:
                return status, {}
        posted = json.loads(body)
        text, name = _text_and_name(base64.b64decode(posted["data"]))
        self._ids += 1
        row = {
            "id": self._ids,
            "seqno": self._next(room),
            "session_id": author,
            "posted": time.time(),
            "data": posted["data"],
            "signature": posted["signature"],
            "reactions": {},
        }
        row["data_seqno"] = row["seqno"]
        files = tuple(int(number) for number in posted.get("files") or ())
        self.messages.append(ReceivedMessage(room, self._ids, author, text, name, files, {}, _row=row))
        return 201, row

    def _with_message(
        self, method: str, message: ReceivedMessage, rest: list[str], body: bytes, author: str
    ) -> tuple[int, Any]:
        row, room = message._row, message.room
        moderates = author in self.moderators
        if rest[0] == "message" and method == "GET":
            return 200, row
        if rest[0] == "message":
            if author != message.author and not (method == "DELETE" and moderates):
                return 403, {}
            row["seqno"] = row["data_seqno"] = self._next(room)
            row["edited"] = time.time()
            if method == "DELETE":
                message.deleted = True
                row.update(deleted=True, data=None, signature=None)
                return 200, {}
            posted = json.loads(body)
            message.text, message.name = _text_and_name(base64.b64decode(posted["data"]))
            row.update(data=posted["data"], signature=posted["signature"])
            return 200, {}
        if rest[0] in ("pin", "unpin"):
            if not moderates:
                return 403, {}
            was, message.pinned = message.pinned, rest[0] == "pin"
            return 200, {"unpinned": was and not message.pinned, "info_updates": self._changed(room)}
        if rest[0] == "reaction":
            people = message.reactions.setdefault(rest[2], [])
            had = author in people
            if method == "PUT" and not had:
                people.append(author)
            if method == "DELETE" and had:
                people.remove(author)
            if not people:
                del message.reactions[rest[2]]
            row["seqno"] = self._next(room)
            row["reactions"] = {
                emoji: {"index": at, "count": len(who), "reactors": who}
                for at, (emoji, who) in enumerate(message.reactions.items())
            }
            return 200, {"added": not had, "removed": had, "seqno": row["seqno"]}
        return 404, {}


def _row_since(row: dict[str, Any], since: int, sparse: bool) -> dict[str, Any]:
    """A row, or its reactions alone if nothing else changed."""
    if sparse and row["data_seqno"] <= since:
        return {name: row[name] for name in ("id", "seqno", "reactions")}
    return row


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    fake: FakeCommunity
    connections: set[socket.socket]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing about clients that went away, for instance at a time limit."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536

    def setup(self) -> None:
        super().setup()
        cast("_Server", self.server).connections.add(self.connection)

    def finish(self) -> None:
        cast("_Server", self.server).connections.discard(self.connection)
        super().finish()

    def _serve(self) -> None:
        length = min(int(self.headers.get("content-length") or 0), _MAX_BODY)
        body = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        fake = cast("_Server", self.server).fake
        fake.requests += 1
        fake.user_agents.append(headers.get("user-agent", ""))
        del fake.user_agents[:-1000]
        status, answer = fake._answer(self.command, self.path, body, headers)
        raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(answer, bytes) else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def log_message(self, format: str, *args: Any) -> None:
        """Prints nothing."""


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a protobuf message that have a length."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while at < len(data):
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        return value

    while at < len(data):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            varint()
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            length = varint()
            yield tag >> 3, data[at : at + length]
            at += length
        else:
            return


def _text_and_name(padded: bytes) -> tuple[str, str]:
    """The text and the display name in the content of a post."""
    content = padded.rstrip(b"\0")
    content = content[:-1] if content.endswith(b"\x80") else padded
    text = name = ""
    for number, value in _fields(content):
        if number != 1:
            continue
        for inner, part in _fields(value):
            if inner == 1:
                text = part.decode(errors="replace")
            if inner == 101:
                name = next((n.decode(errors="replace") for at, n in _fields(part) if at == 1), "")
    return text, name
