"""
What the node of one L{side} needs besides itself: side A has the mediator, and with C{--relayed} a relay in a namespace that
has no name; both sides log in, and join.

    python bench/steward.py PID THE_ARGUMENTS_OF_SIDE

It ends, with all that it has started, when the process PID does.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import re
import secrets
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import attrs
from side import WG_PORT, Side, parse

from vnet.client.identity import loadIdentity, tunnelKey
from vnet.client.localclient import LocalClient
from vnet.errors import VnetError
from vnet.test.netlab import stop
from vnet.test.priv.daemons import environment, listens, waitUntil

__all__ = ["Steward", "main"]

NETWORK = "bench"
SECRET = "a secret that relay and mediator share"
#: The link to the relay: our end, and its own.
RELAY_LINK = ("10.9.77.1", "10.9.77.2")
_RELAY_PORT = 3478
_PATIENCE = 40.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
#: What a link does with trains of segments, as C{ethtool -k} names it, and as C{ethtool -K} does.
_OFFLOADS = {
    "generic-segmentation-offload": "gso",
    "tcp-segmentation-offload": "tso",
    "generic-receive-offload": "gro",
    "tx-udp-segmentation": "tx-udp-segmentation",
}

DIRECT = """
    table inet direct {{
        chain in {{ type filter hook input priority filter; policy accept;
            ip saddr {peer} udp dport != 3478-3479 drop
        }}
        chain out {{ type filter hook output priority filter; policy accept;
            ip daddr {peer} udp sport != 3478-3479 drop
        }}
    }}"""


def run(*argv: str, text: str | None = None) -> str:
    """
    Run a short command to its end.
    """
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise VnetError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _endWithParent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


@attrs.define
class Steward:
    """
    Minds one side.
    """

    side: Side
    _started: list[subprocess.Popen[str]] = attrs.field(factory=list, init=False)

    def arrange(self) -> None:
        """
        Do everything until the two nodes meet.
        """
        side = self.side
        if side.foreign:
            if side.name == "b":
                self._configureWireGuard()
        elif side.name == "a":
            relays = self._startRelay() if side.relayed else []
            self._startMediator(relays)
            self._found()
        else:
            if side.relayed:
                run("ip", "route", "replace", f"{RELAY_LINK[1]}/32", "via", side.peerOuter)
            self._join()

    def close(self) -> None:
        """
        End what was started.
        """
        stop(*self._started)

    def _start(self, state: Path, *argv: str) -> subprocess.Popen[str]:
        state.mkdir(mode=0o700, exist_ok=True)
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            env=environment(state),
            text=True,
            start_new_session=True,
            preexec_fn=_endWithParent,
        )
        self._started.append(process)
        return process

    def _startService(
        self, name: str, state: Path, *options: str, inside: Sequence[str] = ()
    ) -> subprocess.Popen[str]:
        twistd = str(Path(sys.executable).with_name("twistd"))
        return self._start(state, *inside, twistd, "-n", "--pidfile=", name, f"--state={state}", *options)

    def _startMediator(self, relays: Sequence[str]) -> None:
        side = self.side
        options = [f"--host={side.outer}", f"--pool={side.pool}", *relays]
        mediator = self._startService("vnet-mediator", side.mediator, *options)
        waitUntil(
            lambda: (side.mediator / "url").exists() and listens(mediator, 7443),
            _PATIENCE,
            "the mediator listens",
        )

    def _startRelay(self) -> list[str]:
        """
        @return: what the mediator is told.
        """
        side, state = self.side, self.side.work / "relay"
        secret = side.work / "relay-secret"
        secret.write_text(f"{SECRET}\n")
        run("nft", "-f", "-", text=DIRECT.format(peer=side.peerOuter))
        keeper = self._start(state, "unshare", "--net", "sleep", "infinity")
        place, own = f"/proc/{keeper.pid}/ns/net", os.stat("/proc/self/ns/net").st_ino
        waitUntil(lambda: os.stat(place).st_ino != own, _PATIENCE, "the relay has its namespace", 0.02)
        inside = ["nsenter", f"--net={place}"]
        self._connectRelay(keeper.pid, inside)
        options = [f"--secret-file={secret}", f"--listen={RELAY_LINK[1]}", "--tls-port=0"]
        options.append(f"--allow-peer={IPv4Network(f'{side.outer}/24', strict=False)}")
        options.append(f"--allow-peer={RELAY_LINK[1]}/32")
        relay = self._startService("vnet-relay", state, *options, inside=inside)
        waitUntil(lambda: listens(relay, _RELAY_PORT), _PATIENCE, "the relay listens")
        return [f"--relay=turn:{RELAY_LINK[1]}:{_RELAY_PORT}", f"--relay-secret-file={secret}"]

    def _connectRelay(self, pid: int, inside: Sequence[str]) -> None:
        link = "ip link add relay type veth peer name eth0 netns"
        run(*link.split(), str(pid))
        run("ip", "addr", "add", f"{RELAY_LINK[0]}/30", "dev", "relay")
        run("ip", "link", "set", "relay", "up")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        for words in (f"addr add {RELAY_LINK[1]}/30 dev eth0", "link set eth0 up", "link set lo up"):
            run(*inside, "ip", *words.split())
        run(*inside, "ip", "route", "add", "default", "via", RELAY_LINK[0])
        options = offloads(deviceTowards(self.side.peerOuter))
        run("ethtool", "-K", "relay", *options)
        run(*inside, "ethtool", "-K", "eth0", *options)

    def _client(self) -> LocalClient:
        return LocalClient(str(self.side.state / "control.sock"), timeout=_PATIENCE)

    def _ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        client = self._client()
        try:
            return client.call(verb, **arguments)
        finally:
            client.close()

    def _found(self) -> None:
        url = (self.side.mediator / "url").read_text().strip()
        waitUntil(lambda: self._ask("login", url=url), _PATIENCE, "side a is logged in")
        self._ask("create", network=NETWORK, password=secrets.token_hex(8))
        link = self.side.work / "link"
        link.with_suffix(".new").write_text(self._ask("invite", network=NETWORK)["link"])
        link.with_suffix(".new").rename(link)

    def _join(self) -> None:
        link = self.side.work / "link"
        waitUntil(link.exists, _PATIENCE, "side a has an invitation", 0.02)
        waitUntil(lambda: self._ask("join-invite", link=link.read_text()), _PATIENCE, "side b has joined")

    def _configureWireGuard(self) -> None:
        side = self.side
        ours, theirs = (loadIdentity(side.stateOf(name) / "identity.key") for name in "ba")
        private, public = ours.tunnelPrivateKey(), tunnelKey(theirs.publicKey)
        socket = Path(f"/var/run/wireguard/{side.device}.sock")
        waitUntil(socket.exists, _PATIENCE, "wireguard-go is ready", 0.02)
        options = ["private-key", "/dev/stdin", "listen-port", str(WG_PORT), "peer", _text(public)]
        options += ["allowed-ips", f"{side.peerInner}/32"]
        run("wg", "set", side.device, *options, text=_text(private))
        run("ip", "addr", "add", f"{side.inner}/24", "dev", side.device)
        run("ip", "link", "set", side.device, "mtu", "1420", "up")


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def deviceTowards(address: str) -> str:
    """
    The interface of the link below.
    """
    return str(json.loads(run("ip", "-json", "route", "get", address))[0]["dev"])


def offloads(device: str) -> list[str]:
    """
    What makes another link like this one.

    @return: arguments of C{ethtool -K}.
    """
    shown = dict(re.findall(r"^\s*([\w-]+): (on|off)", run("ethtool", "-k", device), re.M))
    return [word for name, short in _OFFLOADS.items() if name in shown for word in (short, shown[name])]


def whenEnded(pid: int) -> Callable[[float | None], bool]:
    """
    @return: waits up to so many seconds, and says whether that process has ended.
    """
    handle = os.pidfd_open(pid)
    return lambda seconds: bool(select.select([handle], [], [], seconds)[0])


def main() -> int:
    """
    Mind one side as long as its node lives.

    @return: the exit code.
    """
    ended = whenEnded(int(sys.argv[1]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    steward = Steward(parse(sys.argv[2:]))
    try:
        steward.arrange()
        ended(None)
    except VnetError as error:
        if ended(0):
            return 0
        print(f"steward of side {steward.side.name}: {error}", file=sys.stderr)
        os.kill(int(sys.argv[1]), signal.SIGTERM)
        return 1
    finally:
        steward.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
