#!/bin/bash
# Ackpost beside Apprise 2.2.0 + slixmpp and go-sendxmpp on one Prosody: one-shot sends by STARTTLS on loopback and
# through a relay of 100 ms, FAST over direct TLS, round trips, memory, and 1,000 messages to one target. The one-shot
# sends of Ackpost on ejabberd too, where a second answer proves a delivery. Prints medians and ratios, asserts nothing.
#
#   benches/compare-xmpp.sh [RUNS]        default 7 runs of each
#
# Environment: ACKPOST=path of the binary (else `cargo build --release`), PROFILE=cargo profile of the measuring
# program (default release), APPRISE_VENV=folder of a virtual environment that has apprise 2.2.0 and slixmpp (else a
# temporary one is made from PyPI; `none` measures the one-shot sends of Ackpost alone), ACKPOST_TEST_TRIXIE=Debian 13 tree for the lines with SASL2 (else they are left out).
# Needs Prosody, ejabberd and python3 with venv; go-sendxmpp is left out, and said so, when it is missing.
set -eu
cd "$(dirname "$0")/.."
runs=${1:-7}
work=$(mktemp -d "${TMPDIR:-/tmp}/ackpost-bench-XXXXXX")
newer=
cleanup() {
    [ ! -d "$work/prosody" ] || tests/servers/start-prosody.sh --stop "$work/prosody"
    [ ! -d "$work/ejabberd" ] || tests/servers/start-ejabberd.sh --stop "$work/ejabberd"
    if [ -n "$newer" ]; then
        CHROOT=$ACKPOST_TEST_TRIXIE tests/servers/start-prosody.sh --stop "$newer"
        rm -rf -- "$ACKPOST_TEST_TRIXIE$newer"
    fi
    rm -rf -- "$work"
}
trap cleanup EXIT

target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
if [ -z "${ACKPOST:-}" ]; then
    cargo build --release --quiet --package ackpost
    ACKPOST=$target/release/ackpost
fi
measure=
if [ "${APPRISE_VENV:-}" != none ]; then
    profile=${PROFILE:-release}
    cargo build --profile "$profile" --quiet --package ackpost-xmpp --example measure
    folder=$profile; [ "$profile" != dev ] || folder=debug
    measure=$target/$folder/examples/measure
fi
if [ -z "${APPRISE_VENV:-}" ]; then
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" --quiet --disable-pip-version-check install apprise==2.2.0 slixmpp==1.17.0 cryptography
    APPRISE_VENV=$work/venv
fi
[ "$APPRISE_VENV" = none ] || "$APPRISE_VENV/bin/apprise" --version > /dev/null    # compiles its Python files once
tests/servers/start-prosody.sh "$work/prosody" > "$work/env"
tests/servers/start-ejabberd.sh "$work/ejabberd" > "$work/env-ejabberd"
if [ -n "${ACKPOST_TEST_TRIXIE:-}" ]; then
    newer=/tmp/$(basename "$work")
    CHROOT=$ACKPOST_TEST_TRIXIE tests/servers/start-prosody.sh "$newer" > "$work/env-newer"
fi

python3 - "$ACKPOST" "$APPRISE_VENV/bin/apprise" "$measure" "$runs" "$work" <<'PY'
import asyncio, os, re, shutil, statistics, subprocess, sys, threading, time

ackpost, apprise, measure, runs, work = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]
server = dict(line.rstrip("\n").split("=", 1) for line in open(f"{work}/env"))
env = {"HOME": work, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "SSL_CERT_FILE": server["XMPP_CA"]}
own_only = apprise.startswith("none/")
go = None if own_only else shutil.which("go-sendxmpp")

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
    if text: return time.perf_counter() - start, 0, child.returncode, out
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, child.returncode, out

def peak(argv):
    """The largest resident size in MiB, without this program: a child forked here inherits our own as its peak."""
    file = f"{work}/peak"
    subprocess.run(["/usr/bin/time", "-f", "%M", "-o", file, *argv], env=env, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return int(open(file).read().split()[-1]) / 1024

def url(port, user="alice", target="bob", more=""):
    return f"xmpps://{user}:{user}pass@localhost:{port}/{target}?verify=no&xmpp=127.0.0.1&cto=20&rto=20{more}"

def programs(port):
    found = {"ackpost": [ackpost, "-b", "x", url(port)]}
    if not own_only:
        found["apprise"] = [apprise, "-b", "x", url(port)]
    if go:
        found["go-sendxmpp"] = ["sh", "-c", f"echo x | {go} -n -u alice@localhost -p alicepass -j 127.0.0.1:{port} bob@localhost"]
    return found

def median(good, what):
    return statistics.median(r[what] for r in good)

def line(name, good, base, memory):
    if not good: return print(f"  {name:<12} failed", flush=True)
    ratio = f"   {median(good, 0) / base:6.1f}x" if base else ""
    print(f"  {name:<12} {median(good, 0)*1000:8.1f} ms wall {median(good, 1)*1000:8.1f} ms CPU {memory:7.1f} MiB{ratio}", flush=True)

def compare(title, port, count):
    """Every program in turn, so that what else goes on here meets all of them alike."""
    argvs = programs(port)
    results = {name: [] for name in argvs}
    memory = {name: peak(argv) for name, argv in argvs.items()}
    for _ in range(count):
        for name, argv in argvs.items():
            ran = once(argv)
            if ran[2] == 0: results[name].append(ran)
    base = median(results["ackpost"], 0) if results["ackpost"] else None
    print(f"{title} ({count} runs each, medians; go-sendxmpp waits for no confirmation)")
    for name, good in results.items(): line(name, good, base, memory[name])
    return {name: median(good, 0) for name, good in results.items() if good}

port, tls = int(server["XMPP_PORT"]), int(server["XMPP_TLS_PORT"])
ejabberd = dict(line.rstrip("\n").split("=", 1) for line in open(f"{work}/env-ejabberd"))
ejabberd = int(ejabberd["XMPP_PORT"])
if not go: print("go-sendxmpp left out" + ("" if own_only else ": not installed"))
one = compare("one-shot, STARTTLS, confirmed by the server, loopback", port, runs)
slow = Relay(port, 0.05)
compare("one-shot, STARTTLS, confirmed by the server, 100 ms away", slow.port, max(3, runs // 2))

def alone(title, port, more, count, user="alice"):
    argv = [ackpost, "-b", "x", url(port, user=user, more=more)]
    memory = peak(argv)
    good = [r for r in (once(argv) for _ in range(count)) if r[2] == 0]
    print(title)
    line("ackpost", good, None, memory)

alone("one-shot on ejabberd, STARTTLS, confirmed by its second answer, loopback", ejabberd, "", runs)
alone("the same, 100 ms away", Relay(ejabberd, 0.05).port, "", max(3, runs // 2))
alone("one-shot, direct TLS, 100 ms away", Relay(tls, 0.05).port, "&mode=tls", max(3, runs // 2))
newer = f"{work}/env-newer"
if os.path.exists(newer):
    newer = dict(l.rstrip("\n").split("=", 1) for l in open(newer))
    newer_tls = int(newer["XMPP_TLS_PORT"])
    alone(f"the same on {newer['XMPP_SERVER']}: SASL2, each login by password", Relay(newer_tls, 0.05).port, "&mode=tls", max(3, runs // 2))
    # The first run, which memory is measured by, leaves the token.
    alone("the same by FAST token (fast=yes)", Relay(newer_tls, 0.05).port, "&mode=tls&fast=yes", max(3, runs // 2), user="carol")
else:
    print("SASL2 and FAST left out: ACKPOST_TEST_TRIXIE names no Debian 13 tree")

print("round trips of one confirmed send, TCP not counted")
def trips(name, argv_of, target, words=""):
    relay = Relay(target, 0.05)
    ran = once(argv_of(relay.port))
    print(f"  {name:<12} {words:<28} {relay.turns if ran[2] == 0 else 'failed'}", flush=True)
own = lambda more, user="alice": lambda port: [ackpost, "-b", "x", url(port, user=user, more=more)]
trips("ackpost", own("&mode=starttls"), port, "STARTTLS")
trips("ackpost", own("&mode=starttls&confirm=sent"), port, "STARTTLS, without proof")
trips("ackpost", own("&mode=starttls"), ejabberd, "STARTTLS, ejabberd")
trips("ackpost", own("&mode=starttls&confirm=sent"), ejabberd, "the same, without proof")
trips("ackpost", own("&mode=tls"), tls, "direct TLS")
if isinstance(newer, dict):
    for mode, target in (("starttls", int(newer["XMPP_PORT"])), ("tls", newer_tls)):
        name = "STARTTLS" if mode == "starttls" else "direct TLS"
        trips("ackpost", own(f"&mode={mode}"), target, f"{name}, SASL2")
        # A token belongs to the server and port of the URL, so each mode through one relay, twice.
        relay = Relay(target, 0.05)
        argv = own(f"&mode={mode}&fast=yes", "carol")(relay.port)
        once(argv); before = relay.turns; ran = once(argv)
        print(f"  {'ackpost':<12} {name + ', SASL2 and FAST':<28} {relay.turns - before if ran[2] == 0 else 'failed'}", flush=True)
for name in programs(0):
    if name != "ackpost": trips(name, lambda port, name=name: programs(port)[name], port, "STARTTLS, its whole session")

if own_only: sys.exit()
print("1,000 messages to one target over one session, loopback")
out = once([measure, "127.0.0.1", str(port), "starttls", "alice@localhost", "alicepass", "bob@localhost", "kept", "1000"])
print("  ackpost " + out[3].decode().strip(), flush=True)
minute = float(re.search(r"(\d+) a minute", out[3].decode())[1])
print("  the same, the memory of that process: %.1f MiB" % peak([measure, "127.0.0.1", str(port), "starttls", "alice@localhost", "alicepass", "bob@localhost", "kept", "1000"]))
KEPT = """
import asyncio, slixmpp, ssl, sys, time
class Bot(slixmpp.ClientXMPP):
    def __init__(self):
        super().__init__("alice@localhost", "alicepass")
        self.register_plugin("xep_0199")
        self.add_event_handler("session_start", self.begin)
        self.ssl_context.check_hostname, self.ssl_context.verify_mode = False, ssl.CERT_NONE
    async def begin(self, event):
        start = time.perf_counter()
        for n in range(1000): self.send_message(mto="bob@localhost", mbody=f"message {n}", mtype="chat")
        await self["xep_0199"].send_ping("localhost", timeout=60)
        print(time.perf_counter() - start, flush=True)
        self.disconnect()
bot = Bot()
bot.connect("127.0.0.1", int(sys.argv[1]))
bot.loop.run_until_complete(bot.disconnected)
"""
ran = once([os.path.join(os.path.dirname(apprise), "python"), "-c", KEPT, str(port)])
try:
    seconds = float(ran[3].decode().strip().splitlines()[-1])
    print(f"  slixmpp: 1000 sent and one ping behind them in {seconds*1000:.1f} ms, {60000/seconds:.0f} a minute ({minute*seconds/60000:.1f}x)", flush=True)
except (ValueError, IndexError):
    print("  slixmpp: failed: " + ran[3].decode()[-300:])
if "apprise" in one:
    print(f"  apprise: one session for each message: {60/one['apprise']:.0f} a minute ({minute*one['apprise']/60:.0f}x)")
if go:
    def arrived():
        return open(server["XMPP_LOG"], errors="replace").read().count("Received[c2s]: <message")
    before, text = arrived(), "".join(f"message {n}\n" for n in range(1000))
    took = once([go, "-n", "-i", "-u", "alice@localhost", "-p", "alicepass", "-j", f"127.0.0.1:{port}", "bob@localhost"], text)[0]
    time.sleep(5)
    print(f"  go-sendxmpp: {arrived() - before} of 1000 lines reached the server, none confirmed, in {took*1000:.1f} ms with login")
PY
