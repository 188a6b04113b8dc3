"""`python ray_on_loopback.py start ...`: Ray's own command, which leaves `--node-ip-address=127.0.0.1` as it is.

`ray start` turns 127.0.0.1 into this machine's address on the network wherever there is a default route: Ray would
listen on every interface, and its head, which reaches this node through SSH alone, would not find it. On the head
RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 prevents that; with it a worker's `ray start` refuses.
"""

from ray._private import services
from ray.scripts.scripts import main


def _as_given(host: str) -> str:
    return host


if __name__ == "__main__":
    services.resolve_ip_for_localhost = _as_given
    main()
