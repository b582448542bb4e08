#!/bin/bash
# Start a throw-away S3-compatible server on 127.0.0.1 for tests: s3s-fs from crates.io.
#
#   start-s3.sh DIR          start; prints KEY=VALUE lines (also in DIR/env)
#   start-s3.sh --stop DIR   stop it
#
# Needs: cargo (install-s3.sh builds the server once)
# Environment (optional): PORT_S3   the port; unset = a free one is picked
#
# Objects are files below DIR/data; the bucket "files" exists. The keys are made up anew for each folder.
set -eu

me=start-s3
soft=TERM hard=KILL
. "$(dirname "$0")/common.sh"
arguments "$@"
program=$("$(dirname "$0")/install-s3.sh") || die "the S3-compatible server cannot be installed (cargo install s3s-fs)"
stop "$dir" "$soft" "$hard"
mkdir -p "$dir/data/files"
[ -f "$dir/keys" ] || (umask 077; printf 'aws_access_key_id = test\naws_secret_access_key = %s\n' \
    "$(openssl rand -hex 16)" > "$dir/keys")
secret=$(sed -n 's/^aws_secret_access_key = //p' "$dir/keys")

chosen=; [ -n "${PORT_S3:-}" ] || chosen=yes
pick PORT_S3
launch() {
    RUST_LOG=error setsid "$program" --host 127.0.0.1 --port "$PORT_S3" --access-key test --secret-key "$secret" \
        "$dir/data" </dev/null >"$dir/s3.log" 2>&1 &
    pid=$!
    echo $pid > "$dir/pid"
}
# Without a signature the answer is 403.
up() { exec 3<>"/dev/tcp/127.0.0.1/$PORT_S3" && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && head -1 <&3 | grep -q 403; }
launch
moves=0
for n in $(seq 1200); do
    if ! kill -0 $pid 2>/dev/null; then
        # Between its choice and now somebody else took the port.
        grep -qi "address already in use\|AddrInUse" "$dir/s3.log" && [ -n "$chosen" ] && [ $((moves += 1)) -le 5 ] ||
            die "exited: $(tail -3 "$dir/s3.log")"
        free_port; PORT_S3=$REPLY
        launch
    fi
    (up) 2>/dev/null && break
    [ "$n" -lt 1200 ] || die "not up after 60 s, see $dir/s3.log"
    sleep 0.05
done

tee "$dir/env" <<ENV
S3_PID=$pid
S3_PORT=$PORT_S3
S3_ENDPOINT=http://127.0.0.1:$PORT_S3
S3_BUCKET=files
S3_KEYS=$dir/keys
S3_DATA=$dir/data
S3_LOG=$dir/s3.log
ENV
