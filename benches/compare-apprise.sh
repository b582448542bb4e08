#!/bin/bash
# Ackpost beside Apprise 2.2.0: start-up, one dry run, one real send. Prints medians and ratios, asserts nothing.
#
#   benches/compare-apprise.sh [RUNS]        default 15 runs of each
#
# Environment: ACKPOST=path of the binary (else `cargo build --release`), APPRISE_VENV=folder of a virtual environment
# that has apprise 2.2.0 (else a temporary one is made from PyPI).
# Needs python3 with venv and GNU time (Debian: time); Prosody for the XMPP line (left out, and said so, when it is missing).
set -eu
[ -x /usr/bin/time ] || { echo "needs GNU time (Debian: apt-get install time)" >&2; exit 1; }
cd "$(dirname "$0")/.."
runs=${1:-15}
work=$(mktemp -d "${TMPDIR:-/tmp}/ackpost-bench-XXXXXX")
server=
cleanup() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ ! -d "$work/prosody" ] || tests/servers/start-prosody.sh --stop "$work/prosody"
    rm -rf -- "$work"
}
trap cleanup EXIT

if [ -z "${ACKPOST:-}" ]; then
    cargo build --release --quiet --package ackpost
    target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
    ACKPOST=$target/release/ackpost
fi
if [ -z "${APPRISE_VENV:-}" ]; then
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" --quiet --disable-pip-version-check install apprise==2.2.0 slixmpp==1.17.0 cryptography
    APPRISE_VENV=$work/venv
fi
apprise=$APPRISE_VENV/bin/apprise
"$apprise" --version >/dev/null    # compiles its Python files once

# A community that takes unblinded ids too, because Apprise knows no others.
"$ACKPOST" server init "$work/community" >/dev/null 2>&1
sed -i 's/^#require_blind_keys = true/require_blind_keys = false/' "$work/community/server.toml"
"$ACKPOST" server room add --dir "$work/community" bench --name Bench >/dev/null 2>&1
"$ACKPOST" --json server run "$work/community" --listen 127.0.0.1:0 >"$work/server.json" 2>"$work/server.log" &
server=$!
for _ in $(seq 100); do [ -s "$work/server.json" ] && break; sleep 0.05; done

python3 - "$ACKPOST" "$apprise" "$runs" "$work" <<'PY'
import json, os, statistics, subprocess, sys, time

ackpost, apprise, runs, work = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
server = json.loads(open(f"{work}/server.json").readline())
seed = "00112233445566778899aabbccddeeff" * 2
host = server["url"].split("://")[1].rstrip("/")
sogs = f"session://{server['public_key']}:{seed}@{host}/bench"
env = {"HOME": work, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}

def peak(argv, extra):
    """Peak memory (MiB) of one run. What a process that *we* start reports is at least our own size, because the kernel
    counts the moment before exec as well; GNU time is small."""
    out = f"{work}/peak"
    subprocess.run(["/usr/bin/time", "-o", out, "-f", "%M", *argv], env={**env, **extra}, check=True,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return int(open(out).read()) / 1024

def once(argv, extra):
    """Wall seconds and CPU seconds of one run, and the peak memory (MiB) of another."""
    start = time.perf_counter()
    child = subprocess.Popen(argv, env={**env, **extra}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    err = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{argv[0]} {argv[1]}: exit {child.returncode}: {err.decode(errors='replace')[-500:]}")
    return wall, usage.ru_utime + usage.ru_stime, peak(argv, extra)

def compare(name, ours, theirs, pause=0.0, extra={}):
    sets = ([], [])
    once(ours, extra)                       # both warm
    for _ in range(runs):                   # interleaved, so that the machine treats both alike
        for argv, results in ((ours, sets[0]), (theirs, sets[1])):
            if argv:
                results.append(once(argv, extra))
                time.sleep(pause)
    def medians(results):
        return [statistics.median(r[i] for r in results) for i in range(3)]
    a = medians(sets[0])
    line = f"{name:<28} ackpost {a[0]*1000:7.1f} ms {a[1]*1000:6.1f} ms CPU {a[2]:6.1f} MiB"
    if sets[1]:
        b = medians(sets[1])
        line += f"   apprise {b[0]*1000:7.1f} ms {b[1]*1000:7.1f} ms CPU {b[2]:6.1f} MiB"
        line += f"   ratio {b[0]/a[0]:6.1f}x wall {b[1]/max(a[1],1e-4):6.1f}x CPU {b[2]/a[2]:5.1f}x memory"
    print(line, flush=True)

print(f"{runs} runs of each, medians; binary {os.path.getsize(ackpost)/2**20:.1f} MiB")
compare("--version", [ackpost, "--version"], [apprise, "--version"])
compare("dry run", [ackpost, "-d", "-b", "x", sogs], [apprise, "-d", "-b", "x", sogs])
# The server allows five posts in 16 s for each user and room: a pause would measure nothing, so every run is another user.
def user(n):
    return sogs.replace(seed, f"{n:064x}")
walls = {"ackpost": [], "apprise": []}
for n in range(runs):
    for name, program in (("ackpost", ackpost), ("apprise", apprise)):
        walls[name].append(once([program, "-b", f"bench {n}", user(1000 + 2 * n + (name == "apprise"))], {}))
med = {k: [statistics.median(r[i] for r in v) for i in range(3)] for k, v in walls.items()}
a, b = med["ackpost"], med["apprise"]
print(f"{'send to a community':<28} ackpost {a[0]*1000:7.1f} ms {a[1]*1000:6.1f} ms CPU {a[2]:6.1f} MiB   apprise {b[0]*1000:7.1f} ms {b[1]*1000:7.1f} ms CPU {b[2]:6.1f} MiB"
      f"   ratio {b[0]/a[0]:6.1f}x wall {b[1]/max(a[1],1e-4):6.1f}x CPU {b[2]/a[2]:5.1f}x memory", flush=True)

script = "tests/servers/start-prosody.sh"
try:
    out = subprocess.run([script, f"{work}/prosody"], capture_output=True, text=True, check=True).stdout
except subprocess.CalledProcessError as e:
    print(f"send to Prosody              left out: {e.stderr.strip()}")
    raise SystemExit
port = dict(l.split("=", 1) for l in out.splitlines())["XMPP_PORT"]
xmpp = f"xmpps://alice:alicepass@localhost:{port}/bob?verify=no&xmpp=127.0.0.1"
compare("send by XMPP STARTTLS", [ackpost, "-b", "x", xmpp], [apprise, "-b", "x", xmpp])
PY
