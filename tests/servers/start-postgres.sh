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

me=start-postgres
soft=INT hard=QUIT    # a fast shutdown does not wait for clients
. "$(dirname "$0")/common.sh"
arguments "$@"
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
[ -x "$bin/postgres" ] || bin=$(dirname "$(command -v postgres || echo /none)")
[ -x "$bin/initdb" ] || die "no PostgreSQL server (apt-get install postgresql)"
stop "$dir" "$soft" "$hard"
mkdir -p "$dir"

as=()
if [ "$(id -u)" = 0 ]; then
    owner=postgres; id postgres >/dev/null 2>&1 || owner=nobody
    chown "$owner" "$dir"
    as=(setpriv --reuid="$owner" --regid="$(id -g "$owner")" --clear-groups)
fi

chosen=; [ -n "${PORT_PG:-}" ] || chosen=yes    # here, not by who calls
pick PORT_PG

cd "$dir"
if [ ! -f "$dir/data/PG_VERSION" ]; then
    "${as[@]}" "$bin/initdb" -D "$dir/data" -U ackpost --auth=trust -E UTF8 --locale=C.UTF-8 --no-sync --no-instructions \
        >"$dir/initdb.log" 2>&1 || die "initdb failed: $(tail -3 "$dir/initdb.log")"
fi
launch() {
    # setsid and setpriv exec in place, so $! is the server itself
    setsid "${as[@]}" "$bin/postgres" -D "$dir/data" -c listen_addresses=127.0.0.1 -c port="$PORT_PG" \
        -c unix_socket_directories="$dir" -c fsync=off -c synchronous_commit=off -c full_page_writes=off \
        -c max_connections=200 -c shared_buffers=64MB </dev/null >"$dir/postgres.log" 2>&1 &
    pid=$!
    echo $pid > "$dir/pid"
}
# Asked over its own socket: on the port another server may answer, and this one cannot have it then.
up() { "$bin/psql" -qAtX -h "$dir" -p "$PORT_PG" -U ackpost -d postgres -c 'select 1' >/dev/null 2>&1; }
launch
moves=0
for n in $(seq 1200); do
    if ! kill -0 $pid 2>/dev/null; then
        # Between its choice and now somebody else took the port.
        grep -q "Address already in use" "$dir/postgres.log" && [ -n "$chosen" ] && [ $((moves += 1)) -le 5 ] ||
            die "exited: $(tail -3 "$dir/postgres.log")"
        free_port; PORT_PG=$REPLY
        launch
    fi
    up && break
    [ "$n" -lt 1200 ] || die "not up after 60 s, see $dir/postgres.log"
    sleep 0.05
done

tee "$dir/env" <<ENV
PG_VERSION=$("$bin/postgres" --version | sed 's/.* \([0-9.]*\).*/\1/')
PG_PID=$pid
PG_PORT=$PORT_PG
PG_BIN=$bin
PG_URL=postgres://ackpost@127.0.0.1:$PORT_PG/postgres
PG_LOG=$dir/postgres.log
ENV
