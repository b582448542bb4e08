#!/bin/bash
# Ackpost beside Apprise 2.2.0 + slixmpp and go-sendxmpp on one Prosody: one-shot sends by STARTTLS on loopback and
# through a relay of 100 ms, round trips, and 1,000 messages to one target. Prints medians and ratios, asserts nothing.
#
#   benches/compare-xmpp.sh [RUNS]        default 7 runs of each
#
# Environment: ACKPOST=path of the binary (else `cargo build --release`), PROFILE=cargo profile of the measuring
# program (default release), APPRISE_VENV=folder of a virtual environment that has apprise 2.2.0 and slixmpp (else a
# temporary one is made from PyPI), ACKPOST_TEST_TRIXIE=Debian 13 tree for the lines with SASL2 (else they are left out).
# Needs Prosody and python3 with venv; go-sendxmpp is left out, and said so, when it is missing.
set -eu
cd "$(dirname "$0")/.."
runs=${1:-7}
work=$(mktemp -d "${TMPDIR:-/tmp}/ackpost-bench-XXXXXX")
cleanup() {
    [ ! -d "$work/prosody" ] || tests/servers/start-prosody.sh --stop "$work/prosody"
    rm -rf -- "$work"
}
trap cleanup EXIT

target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
if [ -z "${ACKPOST:-}" ]; then
    cargo build --release --quiet --package ackpost
    ACKPOST=$target/release/ackpost
fi
profile=${PROFILE:-release}
cargo build --profile "$profile" --quiet --package xmpp-client --example measure
folder=$profile; [ "$profile" != dev ] || folder=debug
measure=$target/$folder/examples/measure
if [ -z "${APPRISE_VENV:-}" ]; then
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" --quiet --disable-pip-version-check install apprise==2.2.0 slixmpp==1.17.0 cryptography
    APPRISE_VENV=$work/venv
fi
"$APPRISE_VENV/bin/apprise" --version > /dev/null    # compiles its Python files once
tests/servers/start-prosody.sh "$work/prosody" > "$work/env"

python3 - "$ACKPOST" "$APPRISE_VENV/bin/apprise" "$measure" "$runs" "$work" <<'PY'
import asyncio, os, re, shutil, statistics, subprocess, sys, threading, time

ackpost, apprise, measure, runs, work = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]
server = dict(line.rstrip("\n").split("=", 1) for line in open(f"{work}/env"))
env = {"HOME": work, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "SSL_CERT_FILE": server["XMPP_CA"]}
go = shutil.which("go-sendxmpp")

class Relay:
    """Carries connections to a port, every byte later by `delay` seconds one way; counts turns."""
    def __init__(self, target, delay):
        self.target, self.delay, self.turns, self.spoke = target, delay, 0, False
        ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self.serve(ready)), daemon=True).start()
        ready.wait()
    async def serve(self, ready):
        server = await asyncio.start_server(self.carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await server.serve_forever()
    async def carry(self, reader, writer):
        reader2, writer2 = await asyncio.open_connection("127.0.0.1", self.target)
        for w in (writer, writer2):
            w.get_extra_info("socket").setsockopt(6, 1, 1)
        await asyncio.gather(self.pump(reader, writer2, True), self.pump(reader2, writer, False))
    async def pump(self, reader, writer, up):
        loop, queue = asyncio.get_running_loop(), asyncio.Queue()
        async def out():
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0, due - loop.time()))
                try:
                    if data is None: return writer.write_eof()
                    writer.write(data); await writer.drain()
                except Exception: return
        task = asyncio.create_task(out())
        try:
            while data := await reader.read(65536):
                if up: self.spoke = True
                elif self.spoke: self.spoke, self.turns = False, self.turns + 1
                queue.put_nowait((loop.time() + self.delay, data))
        except Exception: pass
        queue.put_nowait((loop.time() + self.delay, None)); await task

def once(argv, text=None):
    start = time.perf_counter()
    child = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = child.communicate(text.encode() if text else None) if text else (child.stdout.read(), None)
    if text: return time.perf_counter() - start, 0, 0, child.returncode, out
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, child.returncode, out

def programs(port):
    url = f"xmpps://alice:alicepass@localhost:{port}/bob?verify=no&xmpp=127.0.0.1&cto=20&rto=20"
    found = {"ackpost": [ackpost, "-b", "x", url], "apprise": [apprise, "-b", "x", url]}
    if go:
        found["go-sendxmpp"] = ["sh", "-c", f"echo x | {go} -n -u alice@localhost -p alicepass -j 127.0.0.1:{port} bob@localhost"]
    return found

def compare(title, port, count):
    results = {}
    for name, argv in programs(port).items():
        once(argv)
        good = [r for r in (once(argv) for _ in range(count)) if r[3] == 0]
        results[name] = good
    base = results["ackpost"]
    print(f"{title} ({count} runs each, medians)")
    for name, good in results.items():
        if not good:
            print(f"  {name:<12} failed"); continue
        wall, cpu, memory = (statistics.median(r[i] for r in good) for i in range(3))
        ratio = wall / statistics.median(r[0] for r in base) if base else float("nan")
        print(f"  {name:<12} {wall*1000:8.1f} ms wall {cpu*1000:8.1f} ms CPU {memory:7.1f} MiB   {ratio:6.1f}x", flush=True)

port, tls = int(server["XMPP_PORT"]), int(server["XMPP_TLS_PORT"])
if not go: print("go-sendxmpp left out: not installed")
compare("one-shot, STARTTLS, loopback", port, runs)
slow = Relay(port, 0.05)
compare("one-shot, STARTTLS, 100 ms away", slow.port, max(3, runs // 2))

print("round trips of one confirmed send, TCP not counted")
for mode, target in (("starttls", port), ("tls", tls)):
    relay = Relay(target, 0.05)
    once([measure, "127.0.0.1", str(relay.port), mode, "alice@localhost", "alicepass", "bob@localhost", "once", "1"])
    print(f"  ackpost {mode:<9} {relay.turns}", flush=True)
for name, argv in programs(0).items():
    relay = Relay(port, 0.05)
    once(programs(relay.port)[name])
    print(f"  {name:<17} {relay.turns}   (STARTTLS, its whole session)", flush=True)

print("inside one process, loopback")
for what, count in (("once", 30), ("kept", 1000)):
    out = once([measure, "127.0.0.1", str(port), "starttls", "alice@localhost", "alicepass", "bob@localhost", what, str(count)])
    print("  " + out[4].decode().strip(), flush=True)
if go:
    def arrived():
        return open(server["XMPP_LOG"], errors="replace").read().count("Received[c2s]: <message")
    before, text = arrived(), "".join(f"message {n}\n" for n in range(1000))
    took = once([go, "-n", "-i", "-u", "alice@localhost", "-p", "alicepass", "-j", f"127.0.0.1:{port}", "bob@localhost"], text)[0]
    time.sleep(5)
    print(f"  go-sendxmpp: {arrived() - before} of 1000 lines reached the server, none confirmed, in {took*1000:.1f} ms with login")
PY
