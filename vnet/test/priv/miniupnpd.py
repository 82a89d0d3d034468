"""
miniupnpd, a router's daemon of PCP, NAT-PMP and UPnP that others wrote, in the router of a home.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import attrs

from vnet.test.netlab import Home, stop
from vnet.test.priv.daemons import waitUntil

__all__ = ["MiniUpnpd"]

# It takes the addresses of the lab for private ones, behind which it would forward in vain.
_OUTSIDE = "45.45.45.{number}"

_RULES = """
table inet miniupnpd {
    chain forward { type filter hook forward priority filter - 1; policy accept;
        jump miniupnpd
    }
    chain miniupnpd { }
    chain prerouting { type nat hook prerouting priority dstnat - 1; policy accept;
        jump prerouting_miniupnpd
    }
    chain prerouting_miniupnpd { }
    chain postrouting { type nat hook postrouting priority srcnat - 1; policy accept;
        jump postrouting_miniupnpd
    }
    chain postrouting_miniupnpd { }
}
"""

# One UDP port for two protocols: the first byte is the version.
_BLOCK = """
table inet deaf {
    chain input { type filter hook input priority filter - 2; policy accept;
        udp dport 5351 @th,64,8 %d drop
    }
}
"""

_FILE = """
ext_ifname=wan
listening_ip=lan0
enable_natpmp={control}
enable_upnp={upnp}
force_igd_desc_v1={old}
http_port=0
secure_mode=yes
system_uptime=no
notify_interval=60
min_lifetime=2
max_lifetime=86400
uuid=00000000-0000-0000-0000-{number:012}
upnp_table_name=miniupnpd
upnp_nat_table_name=miniupnpd
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
allow 1024-65535 0.0.0.0/0 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""


@attrs.define(eq=False)
class MiniUpnpd:
    """
    The daemon of one home.

    @ivar number: of the home, 1 to 250.
    @ivar protocols: which of C{"pcp"}, C{"nat-pmp"}, C{"upnp"} and C{"upnp1"} (as a router of version 1) are on.
    """

    home: Home
    directory: Path
    number: int
    protocols: tuple[str, ...] = ("pcp", "nat-pmp", "upnp")
    process: subprocess.Popen[str] | None = attrs.field(default=None, init=False)

    def prepare(self) -> None:
        """
        Give the router an address of the Internet, and rules.
        """
        self.home.changeAddress(_OUTSIDE.format(number=self.number))
        control = [each for each in ("nat-pmp", "pcp") if each in self.protocols]
        rules = _RULES + (_BLOCK % (2 if control == ["nat-pmp"] else 0) if len(control) == 1 else "")
        self.home.router.run(["nft", "-f", "-"], text=rules)
        self._file.write_text(
            _FILE.format(
                control="yes" if control else "no",
                upnp="yes" if {"upnp", "upnp1"} & set(self.protocols) else "no",
                old="yes" if "upnp1" in self.protocols else "no",
                number=self.number,
            )
        )

    @property
    def _file(self) -> Path:
        return self.directory / f"miniupnpd{self.number}.conf"

    @property
    def log(self) -> Path:
        """
        What it wrote.
        """
        return self._file.with_suffix(".log")

    def start(self) -> None:
        """
        Start it, and wait until it listens.
        """
        argv = ["miniupnpd", "-d", "-f", str(self._file), "-P", str(self._file.with_suffix(".pid"))]
        before = self._starts()
        with self.log.open("a") as log:
            self.process = self.home.router.popen(argv, stdout=log, stderr=subprocess.STDOUT)
        waitUntil(lambda: self._starts() > before, 10.0, "miniupnpd listens")

    def _starts(self) -> int:
        return self.log.read_text(errors="replace").count(" starting ") if self.log.exists() else 0

    def restart(self) -> None:
        """
        What a router does whose power fails: all mappings are lost.
        """
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for chain in ("miniupnpd", "prerouting_miniupnpd", "postrouting_miniupnpd"):
            self.home.router.run(["nft", "flush", "chain", "inet", "miniupnpd", chain])
        self.home.flushConntrack()
        self.start()

    def stop(self) -> None:
        """
        End it.
        """
        if self.process is not None:
            stop(self.process)

    def isMapped(self, port: int) -> bool:
        """
        Whether it forwards a UDP port.
        """
        argv = ["nft", "list", "chain", "inet", "miniupnpd", "prerouting_miniupnpd"]
        return f"dport {port} " in self.home.router.run(argv).stdout
