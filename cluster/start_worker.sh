#!/usr/bin/env bash
# Start Ray on a rented node, at its place in the mesh. The head's autoscaler runs it and sets MIDAS_RAY_FLAGS.
set -euo pipefail
export PATH=$HOME/midas-env/bin:$PATH RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.ray/auth_token RAY_USAGE_STATS_ENABLED=0
export RAY_gcs_rpc_server_reconnect_timeout_s=600 # as long as the head's restart may take
ray stop --force >/dev/null 2>&1 || true # a Ray of an earlier head
# shellcheck disable=SC2086 (several flags)
exec python "$(dirname "$0")/ray_on_loopback.py" start --address="$MIDAS_HEAD_ADDRESS" $MIDAS_RAY_FLAGS --disable-usage-stats --log-style record --log-color false
