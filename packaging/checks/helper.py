#!/usr/bin/env python3
"""What packaging/check needs beside the shell.

helper.py ask HOST PORT FILE     asks for /rooms over new and over kept connections until FILE exists; says what came of it
helper.py dns ADDRESS NAME       a name server on port 53 of ADDRESS that knows one name: 127.0.0.1
helper.py tls CERT KEY PORT TO   a TLS end on 127.0.0.1:PORT in front of 127.0.0.1:TO
"""
import http.client
import os
import socket
import ssl
import sys
import threading
import time


def ask(host, port, file):
    """Every request is to be answered: a refused or broken connection counts, a slow one does not."""
    counts, longest, failures, lock = {"new": 0, "kept": 0}, [0.0], [], threading.Lock()

    def loop(kind):
        kept = None
        while not os.path.exists(file):
            began = time.monotonic()
            try:
                connection = kept or http.client.HTTPConnection(host, int(port), timeout=60)
                connection.request("GET", "/rooms")
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200, answer.status
                kept = connection if kind == "kept" and not answer.will_close else None
                if kept is None:
                    connection.close()
                with lock:
                    counts[kind] += 1
                    longest[0] = max(longest[0], time.monotonic() - began)
            except Exception as error:  # any way to fail is a failure
                kept = None
                failures.append(f"{kind}: {error!r}")
            time.sleep(0.002)

    threads = [threading.Thread(target=loop, args=(kind,)) for kind in ("new", "new", "kept", "kept")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{counts['new']} requests on new and {counts['kept']} on kept connections, the slowest took "
          f"{longest[0] * 1000:.0f} ms, {len(failures)} failed")
    if failures:
        sys.exit("\n".join(failures[:5]))


def dns(address, name):
    """A record for the name, no such name for any other (RFC 1035)."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 53))
    print("ready", flush=True)
    known = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    while True:
        query, peer = sock.recvfrom(4096)
        end = query.index(b"\0", 12) + 1
        question, kind = query[12:end + 4], query[end:end + 2]
        found = question[:len(known)].lower() == known
        labels, at = [], 0
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode("latin-1"))
            at += 1 + question[at]
        print("asked", ".".join(labels), {b"\0\1": "A", b"\0\x1c": "AAAA"}.get(kind, kind.hex()), flush=True)
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + bytes([127, 0, 0, 1]) if found and kind == b"\0\1" else b""
        flags = b"\x81\x80" if found else b"\x81\x83"
        sock.sendto(query[:2] + flags + b"\0\1" + (b"\0\1" if answer else b"\0\0") + b"\0\0\0\0" + question + answer, peer)


def tls(cert, key, port, to):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    listener = socket.create_server(("127.0.0.1", int(port)))
    print("ready", flush=True)

    def pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            try:
                one.close()
            except OSError:
                pass

    def serve(plain):
        try:
            inner, outer = context.wrap_socket(plain, server_side=True), socket.create_connection(("127.0.0.1", int(to)))
        except OSError as error:
            print(error, flush=True)
            return
        print(inner.version(), inner.cipher()[0], flush=True)
        threading.Thread(target=pump, args=(inner, outer), daemon=True).start()
        pump(outer, inner)

    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    {"ask": ask, "dns": dns, "tls": tls}[sys.argv[1]](*sys.argv[2:])
