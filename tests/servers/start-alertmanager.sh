#!/bin/bash
# Start a throw-away Alertmanager on 127.0.0.1 for tests: Debian's prometheus-alertmanager.
#
#   start-alertmanager.sh DIR          start; prints KEY=VALUE lines (also in DIR/env)
#   start-alertmanager.sh --stop DIR   stop it
#
# Needs: prometheus-alertmanager (scripts/packages installs it)
# Environment: WEBHOOK             the address that alerts are posted to
#              PORT_ALERTMANAGER   the port (optional); unset = a free one is picked
#
# Alerts are grouped by alertname and instance, and posted at once.
set -eu

me=start-alertmanager
soft=TERM hard=KILL
. "$(dirname "$0")/common.sh"
arguments "$@"
program=/usr/bin/prometheus-alertmanager
[ -x $program ] || die "prometheus-alertmanager is not installed (run scripts/packages)"
stop "$dir" "$soft" "$hard"
mkdir -p "$dir/data"
cat > "$dir/alertmanager.yml" <<CONFIG
route:
  receiver: chat
  group_by: [alertname, instance]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1h
receivers:
  - name: chat
    webhook_configs:
      - url: '${WEBHOOK:-http://127.0.0.1:9/}'
        send_resolved: true
CONFIG

chosen=; [ -n "${PORT_ALERTMANAGER:-}" ] || chosen=yes
pick PORT_ALERTMANAGER
launch() {
    setsid "$program" --config.file="$dir/alertmanager.yml" --storage.path="$dir/data" --cluster.listen-address= \
        --web.listen-address="127.0.0.1:$PORT_ALERTMANAGER" </dev/null >"$dir/alertmanager.log" 2>&1 &
    pid=$!
    echo $pid > "$dir/pid"
}
up() { exec 3<>"/dev/tcp/127.0.0.1/$PORT_ALERTMANAGER" && printf 'GET /-/ready HTTP/1.0\r\n\r\n' >&3 && head -1 <&3 | grep -q 200; }
launch
moves=0
for n in $(seq 300); do
    if ! kill -0 $pid 2>/dev/null; then
        # Between its choice and now somebody else took the port.
        grep -qi "address already in use" "$dir/alertmanager.log" && [ -n "$chosen" ] && [ $((moves += 1)) -le 5 ] ||
            die "exited: $(tail -3 "$dir/alertmanager.log")"
        free_port; PORT_ALERTMANAGER=$REPLY
        launch
    fi
    (up) 2>/dev/null && break
    [ "$n" -lt 300 ] || die "not up after 15 s, see $dir/alertmanager.log"
    sleep 0.05
done

tee "$dir/env" <<ENV
ALERTMANAGER_PID=$pid
ALERTMANAGER_URL=http://127.0.0.1:$PORT_ALERTMANAGER
ALERTMANAGER_LOG=$dir/alertmanager.log
ENV
