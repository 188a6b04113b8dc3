#!/usr/bin/env bash
# node_setup.sh head|worker|node: a Python environment with the pinned packages, made once. `ray up` and the autoscaler run it.
#
# What is there already is used: an environment of its own (~/midas-env), the image's Python with all pins, or the image's
# torch, whose several GB are then not downloaded again. ~/midas-env/bin/python is what everything else uses.
set -euo pipefail

role=${1:?expected head or worker, or node for a machine in a network that is open}
repo=$(cd "$(dirname "$0")/.." && pwd)
env=$HOME/midas-env
say() { echo "node_setup ($role): $*" >&2; }

chmod 600 ~/.ray/auth_token ~/.midas/vast_api_key 2>/dev/null || true

want=${MIDAS_EXPECT_PYTHON:-3.11}
fits() { "$1" "$repo/cluster/check_versions.py" "$repo" >/dev/null 2>&1; }
is_python() { command -v "$1" >/dev/null && [ "$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" = "$want" ]; }

use() { # an environment that only calls a Python which has everything
    mkdir -p "$env/bin"
    for name in python ray midas; do
        found=$(dirname "$1")/$name
        [ "$name" != python ] || found=$1
        [ -x "$found" ] || continue
        # Not a link: a Python is told its environment by the path it is called by.
        printf '#!/bin/sh\nexec "%s" "$@"\n' "$found" > "$env/bin/$name"
        chmod +x "$env/bin/$name"
    done
}

if [ ! -x "$env/bin/python" ] || ! fits "$env/bin/python"; then
    for candidate in "${MIDAS_PYTHON:-}" "python$want" python3 /venv/main/bin/python /opt/conda/bin/python; do
        [ -n "$candidate" ] && is_python "$candidate" || continue
        candidate=$(command -v "$candidate")
        if fits "$candidate"; then
            say "all pinned packages are in $candidate"
            use "$candidate"
            break
        fi
        base=${base:-$candidate}
        if "$candidate" -c 'import torch' 2>/dev/null; then with_torch=${with_torch:-$candidate}; fi
    done
    if ! fits "$env/bin/python" 2>/dev/null; then
        base=${with_torch:-${base:-}}
        if [ -z "$base" ]; then
            found=$(python3 --version 2>&1 || echo none)
            say "expected Python $want as on the head, found $found: choose an image with it (node_config.image in cluster.yaml)"
            exit 1
        fi
        say "installing the pinned packages beside ${with_torch:+the torch of }$base"
        rm -rf "$env"
        "$base" -m venv ${with_torch:+--system-site-packages} "$env"
        pins=$repo/constraints.txt
        if [ -n "${with_torch:-}" ]; then
            pins=$HOME/.midas-constraints.txt
            { grep -v '^torch==' "$repo/constraints.txt"; echo "torch==$("$base" -c 'import torch; print(torch.__version__)')"; } > "$pins"
        fi
        "$env/bin/python" -m pip install --quiet --disable-pip-version-check -c "$pins" -e "$repo[cloud,eval]"
    fi
fi
"$env/bin/python" "$repo/cluster/check_versions.py" "$repo"
if ! grep -q 'midas-env/bin' ~/.bashrc 2>/dev/null; then
    # At the top: what follows in a .bashrc is often for terminals alone. The head's Ray is at 127.0.0.1, which Ray's own
    # commands take for this machine's address on the network unless told otherwise.
    line='export PATH=$HOME/midas-env/bin:$PATH RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0'
    [ "$role" != head ] || line="$line RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0"
    { echo "$line"; cat ~/.bashrc 2>/dev/null || true; } > ~/.bashrc.new
    mv ~/.bashrc.new ~/.bashrc
fi
say "ready: $("$env/bin/python" --version), Ray $("$env/bin/python" -c 'import importlib.metadata as m; print(m.version("ray"), "torch", m.version("torch"))')"
