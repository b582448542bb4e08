#!/bin/bash
# Start a throw-away PostgreSQL on 127.0.0.1 for tests, from the Debian package only.
#
#   start-postgres.sh DIR          start; prints KEY=VALUE lines (also in DIR/env)
#   start-postgres.sh --stop DIR   stop it
#
# Needs: apt-get install postgresql
# Environment (optional): PORT_PG   the port; unset = a free one is picked
#
# Superuser ackpost, no password (loopback only), nothing is synced to disk. PostgreSQL refuses
# to run as root, so root hands the directory to the user postgres (or nobody).
set -eu

die() { echo "start-postgres: $*" >&2; exit 1; }

stop() {
    local pid; pid=$(cat "$1/pid" 2>/dev/null) || return 0
    # a stale file may name someone else's process by now
    tr '\0' ' ' < "/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$1/" || return 0
    kill -INT "$pid" 2>/dev/null || return 0    # fast shutdown: does not wait for clients
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -QUIT "$pid" 2>/dev/null || true
    rm -f "$1/pid"
}

[ "${1:-}" = --stop ] && { stop "${2:?DIR}"; exit 0; }
dir=${1:?usage: start-postgres.sh [--stop] DIR}
case $dir in /*) ;; *) dir=$PWD/$dir ;; esac
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
[ -x "$bin/postgres" ] || bin=$(dirname "$(command -v postgres || echo /none)")
[ -x "$bin/initdb" ] || die "no PostgreSQL server (apt-get install postgresql)"
stop "$dir"
mkdir -p "$dir"

as=()
if [ "$(id -u)" = 0 ]; then
    owner=postgres; id postgres >/dev/null 2>&1 || owner=nobody
    chown "$owner" "$dir"
    as=(setpriv --reuid="$owner" --regid="$(id -g "$owner")" --clear-groups)
fi

free_port() {  # a port nothing listens on
    while :; do
        REPLY=$(shuf -i 20000-29999 -n 1)
        (exec 3<>"/dev/tcp/127.0.0.1/$REPLY") 2>/dev/null || break
    done
}
[ -n "${PORT_PG:-}" ] || { free_port; PORT_PG=$REPLY; }

cd "$dir"
if [ ! -f "$dir/data/PG_VERSION" ]; then
    "${as[@]}" "$bin/initdb" -D "$dir/data" -U ackpost --auth=trust -E UTF8 --locale=C.UTF-8 --no-sync --no-instructions \
        >"$dir/initdb.log" 2>&1 || die "initdb failed: $(tail -3 "$dir/initdb.log")"
fi
: > "$dir/postgres.log"
# setsid and setpriv exec in place, so $! is the server itself
setsid "${as[@]}" "$bin/postgres" -D "$dir/data" -c listen_addresses=127.0.0.1 -c port="$PORT_PG" \
    -c unix_socket_directories="$dir" -c fsync=off -c synchronous_commit=off -c full_page_writes=off \
    -c max_connections=200 -c shared_buffers=64MB </dev/null >"$dir/postgres.log" 2>&1 &
pid=$!
echo $pid > "$dir/pid"
up() { "$bin/psql" -qAtX -h 127.0.0.1 -p "$PORT_PG" -U ackpost -d postgres -c 'select 1' >/dev/null 2>&1; }
for _ in $(seq 300); do
    kill -0 $pid 2>/dev/null || die "exited: $(tail -3 "$dir/postgres.log")"
    up && break
    sleep 0.05
done
up || die "not up after 15 s, see $dir/postgres.log"

tee "$dir/env" <<ENV
PG_VERSION=$("$bin/postgres" --version | sed 's/.* \([0-9.]*\).*/\1/')
PG_PID=$pid
PG_PORT=$PORT_PG
PG_BIN=$bin
PG_URL=postgres://ackpost@127.0.0.1:$PORT_PG/postgres
PG_LOG=$dir/postgres.log
ENV
