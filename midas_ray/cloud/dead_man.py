"""The dead-man timer of a rented node: it destroys itself when its head is gone, and after its hours whatever happens.

It runs from the instance's start on, before SSH ever works, and needs nothing of MIDAS on the node: bash and curl, or
python3. Vast.ai gives every instance a key that may destroy that instance alone (CONTAINER_API_KEY): only that is used.
Time is the machine's uptime: no clock that is set can stop it.
"""

HEARTBEAT = "/tmp/.midas-heartbeat"
"""On the node: uptime in seconds at the head's last sign of life."""
CHECK_S = 15
ONSTART_LIMIT = 4048
"""Characters that the API takes."""

_SCRIPT = r"""#!/bin/bash
export HOME=${HOME:-/root}
mkdir -p "$HOME/.ssh" && chmod 700 "$HOME/.ssh" && touch "$HOME/.ssh/authorized_keys"
grep -qF '@KEY@' "$HOME/.ssh/authorized_keys" || echo '@KEY@' >> "$HOME/.ssh/authorized_keys"
cat > "$HOME/.midas-dead-man" <<'END'
#!/bin/bash
up() { cut -d. -f1 /proc/uptime; }
die() {
  echo "$(date -u) $1: this instance destroys itself"
  while :; do
    if command -v curl >/dev/null; then
      printf 'header = "Authorization: Bearer %s"\n' "$CONTAINER_API_KEY" |
        curl -fsS -m 20 -K - -X DELETE "@URL@/api/v0/instances/$CONTAINER_ID/"
    else
      python3 -c 'import os,urllib.request as u
u.urlopen(u.Request("@URL@/api/v0/instances/%s/" % os.environ["CONTAINER_ID"], method="DELETE",
headers={"Authorization": "Bearer " + os.environ["CONTAINER_API_KEY"]}), timeout=20)'
    fi
    sleep @CHECK_S@
  done
}
began=$(up)
while :; do
  now=$(up)
  [ $((now - began)) -ge @LIFE_S@ ] && die "its @LIFE_S@ s are over"
  last=$(cat @BEAT@ 2>/dev/null)
  [ "${last:-0}" -gt "$began" ] 2>/dev/null || last=$began
  [ @SILENCE_S@ -gt 0 ] && [ $((now - last)) -ge @SILENCE_S@ ] && die "no sign of the head for @SILENCE_S@ s"
  sleep @CHECK_S@
done
END
rm -f @BEAT@
setsid nohup bash "$HOME/.midas-dead-man" >"$HOME/.midas-dead-man.log" 2>&1 </dev/null &
"""


def onstart(vast_url: str, public_key: str, life_s: float, silence_s: float, check_s: float = CHECK_S) -> str:
    """The script an instance runs at its start. silence_s 0: it hears from no head (it is one).

    public_key: let in beside those that the image puts there; some put none. Raises ValueError where it is longer than
    the API takes.
    """
    values = {
        "KEY": public_key.strip().replace("'", ""),
        "URL": vast_url.rstrip("/"),
        "LIFE_S": str(int(life_s)),
        "SILENCE_S": str(int(silence_s)),
        "CHECK_S": str(check_s),
        "BEAT": HEARTBEAT,
    }
    script = _SCRIPT
    for name, value in values.items():
        script = script.replace(f"@{name}@", value)
    if len(script) > ONSTART_LIMIT:
        raise ValueError(f"the start script of a node: expected {ONSTART_LIMIT} characters at most, got {len(script)}")
    return script


LISTEN = (
    "echo $PPID > /tmp/.midas-link-sshd; echo linked; "
    f"while read -r -t 120 beat; do cut -d. -f1 /proc/uptime > {HEARTBEAT}; echo ok; done"
)
"""What the head runs on the node, over the connection that carries the ports: each line it sends is a sign of life."""

FREE_PORTS = "kill $(cat /tmp/.midas-link-sshd) 2>/dev/null; rm -f /tmp/.midas-link-sshd"
"""Ends the connection before this one, whose end the node may not have noticed: it would still hold the ports."""
