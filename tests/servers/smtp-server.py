#!/usr/bin/env python3
"""A mail server for tests on 127.0.0.1: aiosmtpd (Debian: python3-aiosmtpd). It ends when its standard input ends.

    smtp-server.py [--tls none|starttls|ssl] [--certificate PEM] [--key PEM] [--login USER:PASSWORD] [--size BYTES]

The first line on standard output is the port. Every message that it takes is one line of JSON: envelope, decoded headers,
and the parts as Python's own reader understands them.
"""
import argparse
import asyncio
import base64
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


def parts(message):
    for part in message.walk():
        if part.is_multipart():
            continue
        content = part.get_payload(decode=True) or b""
        one = {"type": part.get_content_type(), "file": part.get_filename()}
        if part.get_content_maintype() == "text" and one["file"] is None:
            one["text"] = content.decode(part.get_content_charset() or "utf-8")
        else:
            one["base64"] = base64.b64encode(content).decode()
        yield one


class Handler:
    def __init__(self, encrypted):
        self.encrypted = encrypted

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        print(json.dumps({
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "encrypted": self.encrypted or session.ssl is not None,
            "login": getattr(session, "login_name", None),
            "headers": [[name, str(value)] for name, value in message.items()],
            "structure": [part.get_content_type() for part in message.walk()],
            "parts": list(parts(message)),
            "defects": [str(defect) for part in message.walk() for defect in part.defects],
            "raw": base64.b64encode(envelope.content).decode(),
        }), flush=True)
        return "250 2.0.0 Ok: queued as 4F1E2D3C4B5A"


async def main():
    options = argparse.ArgumentParser()
    options.add_argument("--tls", default="none", choices=["none", "starttls", "ssl"])
    options.add_argument("--certificate")
    options.add_argument("--key")
    options.add_argument("--login")
    options.add_argument("--size", type=int, default=33554432)
    options = options.parse_args()
    context = None
    if options.tls != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.certificate, options.key)

    def authenticate(server, session, envelope, mechanism, data):
        name = data.login.decode()
        session.login_name = name
        return AuthResult(success=f"{name}:{data.password.decode()}" == options.login, handled=False)

    def make():
        return SMTP(
            Handler(options.tls == "ssl"), hostname="localhost", data_size_limit=options.size,
            tls_context=context if options.tls == "starttls" else None, require_starttls=options.tls == "starttls",
            authenticator=authenticate if options.login else None, auth_required=bool(options.login),
            auth_require_tls=options.tls == "starttls",
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(make, "127.0.0.1", 0, ssl=context if options.tls == "ssl" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


asyncio.run(main())
