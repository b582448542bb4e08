#!/usr/bin/env python3
"""Writes the seed corpus of the targets from the reference vectors: fuzz/corpus/TARGET/ID."""

import base64
import hashlib
import json
import pathlib

root = pathlib.Path(__file__).resolve().parent.parent
vectors = root / "vectors" / "apprise"
corpus = root / "fuzz" / "corpus"


def seed(target, name, text):
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))


for kind in ("url", "params", "format", "overflow", "config-text", "config-yaml"):
    for line in (vectors / f"{kind}.jsonl").read_text(encoding="utf-8").split("\n"):
        if not line:
            continue
        vector = json.loads(line)
        given = vector["input"]
        if "url" in given:
            seed("url", vector["id"], given["url"])
        if "body" in given:
            seed("html", vector["id"], given["body"][:4096])
        for name, text in given.get("files", {}).items():
            target = "yaml_config" if kind == "config-yaml" else "text_config"
            seed(target, f"{vector['id']}-{name.replace('/', '_')}", text)


def texts(value):
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts(item)


def decoded(text):
    """The bytes that a text stands for, as hexadecimal or base64."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        pass
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def seed_bytes(target, data):
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


sogs = root / "vectors" / "sogs"
for text in texts(json.loads((sogs / "vectors.json").read_text(encoding="utf-8"))):
    if 16 <= len(data := decoded(text)) <= 65536:
        for target in ("onion", "content", "bencode", "dm"):
            seed_bytes(target, data)
for data in (b"l3:abc4:defge", b"l0:e", b"l2:{}e"):
    seed_bytes("bencode", data)
# The first byte chooses the status.
for exchange in json.loads((sogs / "pysogs-transcript.json").read_text(encoding="utf-8")):
    seed_bytes("answers", b"\0" + json.dumps(exchange["body"]).encode()[:65000])

for text in texts(json.loads((root / "crates" / "omemo" / "vectors" / "vectors.json").read_text(encoding="utf-8"))):
    if text.startswith(("<", "aesgcm:")):
        seed("omemo_xml", hashlib.sha256(text.encode()).hexdigest()[:16], text)
    elif 16 <= len(data := decoded(text)) <= 4096:
        seed_bytes("omemo_message", data)

network = json.loads((root / "crates" / "session-protocol" / "vectors" / "session-network.json").read_text(encoding="utf-8"))
for text in texts(network):
    if 16 <= len(data := decoded(text)) <= 65536:
        seed_bytes("session_network", data)
for answer in (network["swarm"], *(item["response"] for item in network["store_receipts"])):
    seed_bytes("session_network", json.dumps(answer).encode())
for item in network["onion"]:
    seed_bytes("session_network", json.dumps(item["reply_opened"]).encode())
seed_bytes("session_network", json.dumps({"messages": [
    {"hash": item["hash"], "timestamp": 1, "expiration": 2, "data": base64.b64encode(bytes.fromhex(item["data"])).decode()}
    for item in network["message_hash"]
], "more": False}).encode())

for mail in (
    b"Subject: =?utf-8?q?Pr=C3=BCfung?=\r\nTo: ops@example.org\r\n\r\ntext\r\n",
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/alternative; boundary=y\r\n\r\n--y\r\n"
    b"\r\nplain\r\n--y\r\nContent-Type: text/html\r\n\r\n<b>rich</b>\r\n--y--\r\n--x\r\nContent-Type: image/png; name=a.png\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\niVBORw==\r\n--x--\r\n",
    b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nSubject:=20s\r\n\r\n=C3=BC=\r\n",
    b"Content-Type: multipart/digest; boundary=\"a b\"\r\n\r\n--a b\r\n\r\nSubject: one\r\n\r\none\r\n--a b--",
):
    seed_bytes("mime", mail)
for talk in (
    b"<tag+ops@example.org> SIZE=10\r\n",
    b"<@a,@b:\"a b>\\\"\"@x.example>\r\n",
    b"Subject: s\r\n\r\n..dots\r\n.\r\nQUIT\r\n",
    b"a\n.\r\nMAIL FROM:<x>\r\n.\r\n",
):
    seed_bytes("smtp", talk)
seed("url", "sessiondm", f"sessiondm://05{'1b' * 32}?seed={'cd' * 32}&name=Bot&mode=direct&ttl=1h&expire=1d")
