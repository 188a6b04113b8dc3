#!/usr/bin/env bash
# Start the head with the autoscaler, and what was collected before. `ray up` runs it, as often as one likes.
set -euo pipefail
export PATH=$HOME/midas-env/bin:$PATH RAY_AUTH_MODE=token
config=$HOME/ray_bootstrap_config.yaml
setting() { python -c 'import json, sys; print(json.load(open(sys.argv[1]))["provider"].get(sys.argv[2]) or sys.argv[3])' "$config" "$1" "${2:-}"; }
chmod 700 ~/.midas 2>/dev/null || true
data_dir=$(setting data_dir '~/midas-data')
# For commands by ray exec: midas vast cost, midas stats.
sed -i '/^export VAST_URL=/d' ~/.bashrc
sed -i "1i export VAST_URL=$(setting vast_url https://console.vast.ai) DATA_DIR=${data_dir/#\~/$HOME}" ~/.bashrc
cd
if [ "$(setting head)" = rented ]; then # the whole cluster is this machine: nothing more is rented
    exec midas up --symbols "" --data-dir "${data_dir/#\~/$HOME}" --dashboard-port "$(setting dashboard_port 8265)"
fi
# Nothing new to collect; what the plan holds goes on.
marker=$(mktemp)
trap 'rm -f "$marker"' EXIT
start() {
    midas up --symbols "" --data-dir "${data_dir/#\~/$HOME}" --dashboard-port "$(setting dashboard_port 8265)" --autoscaling-config "$config"
}
# Ray gives its own processes 30 s to start, which on a busy machine is too little: then once more. 2 is bad input: not again.
for left in 3 2 1 0; do
    code=0
    start || code=$?
    [ "$code" = 1 ] && [ "$left" != 0 ] || break
    echo "start_head: once more" >&2
done
[ "$code" = 0 ] || exit "$code"

# The autoscaler gives a sign of life each second. It is a process of its own: without it no node would ever come or go.
for _ in $(seq 120); do
    [ -z "$(find ~/.midas/clusters/*/alive -newer "$marker" 2>/dev/null)" ] || exit 0
    sleep 0.5
done
echo "start_head: expected the autoscaler to run, found: $(cat /tmp/ray-midas-*/session_latest/logs/monitor.err | tail -n 1)" >&2
exit 1
