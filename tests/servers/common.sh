# What the start scripts of this folder share; they set `me` and source it. Not run by itself.

die() { echo "$me: $*" >&2; exit 1; }
root=${CHROOT:-}
in_root() { if [ -n "$root" ]; then chroot "$root" "$@"; else "$@"; fi; }

# stop DIR [SOFT HARD]: ends the server whose folder this is, by two signals
stop() {
    local pid; pid=$(cat "$root$1/pid" 2>/dev/null) || return 0
    # a stale file may name someone else's process by now
    tr '\0' ' ' < "/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$1/" || return 0
    kill "-${2:-TERM}" "$pid" 2>/dev/null || return 0
    # an ejabberd that is killed loses what it has not written yet, so a busy machine gets its time
    for _ in $(seq 600); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill "-${3:-KILL}" "$pid" 2>/dev/null || true
    rm -f "$root$1/pid"
}

# arguments "$@": does `--stop DIR`, else sets `dir` to an absolute path
arguments() {
    if [ "${1:-}" = --stop ]; then stop "${2:?DIR}" "${soft:-}" "${hard:-}"; exit 0; fi
    dir=${1:?usage: $me.sh [--stop] DIR}
    case $dir in /*) ;; *) dir=$PWD/$dir ;; esac
}

# A port on which nothing listens. It stays reserved while the folder of this server exists, so that a server that is
# killed finds its port free when it is started again. The register serves all runs on this machine; the testkit's
# `reserve_port` keeps it too.
ports=/tmp/ackpost-ports-$(id -u)
free_port() {
    local p owner
    mkdir -p "$ports" "$root$dir"
    exec 8>"$ports/lock"; flock 8
    while :; do
        p=$(shuf -i 20000-29999 -n 1)
        owner=$(cat "$ports/$p" 2>/dev/null || true)
        [ -n "$owner" ] && [ -e "$owner" ] && continue
        (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || break
    done
    printf '%s\n' "$root$dir" >"$ports/$p"
    exec 8>&-
    REPLY=$p
}
pick() { if [ -z "${!1:-}" ]; then free_port; printf -v "$1" %s "$REPLY"; fi; }

# A private CA (ca.pem) and one certificate for every name used here (cert.pem, server.key), in $root$dir.
certificate() {
    [ ! -f "$root$dir/cert.pem" ] || return 0
    (
        cd "$root$dir"; umask 077
        openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=Test CA" \
            -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign \
            -keyout ca.key -out ca.pem
        openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout server.key -out server.csr
        printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\n' \
            "DNS:localhost,DNS:xmpp.test,DNS:conference.localhost,DNS:closed.xmpp.test,DNS:upload.localhost,DNS:im.xn--pl-wia.net,IP:127.0.0.1" > san
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 \
            -extfile san -out cert.pem
    ) >"$root$dir/openssl.log" 2>&1 || die "openssl failed, see $dir/openssl.log"
}

# xmpp_answers SERVER LOG [KEY=VALUE…]: how to reach the XMPP server that runs as $pid, printed and kept in DIR/env
xmpp_answers() {
    local server=$1 log=$2; shift 2
    {
        printf '%s\n' "XMPP_SERVER=$server" "XMPP_PID=$pid" XMPP_HOST=127.0.0.1 XMPP_DOMAIN=localhost \
            XMPP_STRICT_DOMAIN=xmpp.test XMPP_MUC=conference.localhost "XMPP_PORT=$PORT_C2S" "$@" \
            "XMPP_TLS_PORT=$PORT_TLS" "XMPP_HTTP_PORT=$PORT_HTTP" "XMPP_HTTPS_PORT=$PORT_HTTPS" \
            "XMPP_CA=$root$dir/ca.pem" "XMPP_LOG=$root$dir/$log"
    } | tee "$root$dir/env"
}
