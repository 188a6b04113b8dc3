#!/usr/bin/env bash
# Start the head with the autoscaler, and what was collected before. `ray up` runs it, as often as one likes.
set -euo pipefail
export PATH=$HOME/midas-env/bin:$PATH RAY_AUTH_MODE=token
config=$HOME/ray_bootstrap_config.yaml
setting() { python -c 'import json, sys; print(json.load(open(sys.argv[1]))["provider"].get(sys.argv[2]) or sys.argv[3])' "$config" "$1" "$2"; }
data_dir=$(setting data_dir '~/midas-data')
cd
# Nothing new to collect; what the plan holds goes on.
exec midas up --symbols "" --data-dir "${data_dir/#\~/$HOME}" --dashboard-port "$(setting dashboard_port 8265)" --autoscaling-config "$config"
