"""
A host with its own way of looking up names: C{/etc}, C{/run}, and programs that would change this machine if they were installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import attrs

from vnet.test.netlab import Host, LabError
from vnet.test.netlab._space import ROOT
from vnet.test.priv.daemons import environment, waitUntil

__all__ = ["PROGRAMS", "Resolving"]

PROGRAMS = ROOT / ".programs"
_COPIED = ("passwd", "group", "hosts", "ld.so.cache", "alternatives", "chromium.d", "fonts")
_BUS = """<busconfig>
<type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>
</busconfig>
"""
_AVAHI = """[server]
host-name={}
enable-dbus=no
use-ipv6=no
[publish]
publish-hinfo=no
publish-workstation=no
"""
# It does what a user's does, but has no screen, runs as root, and asks its maker for nothing.
_BROWSER = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
_BROWSER += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--dump-dom"]
_ENTER = 'mount --bind "$0/run" /run && mount --bind "$0/etc" /etc && exec "$@"'


def _libraries() -> str:
    return ":".join(
        str(path)
        for kind in ("usr/lib", "lib")
        for path in sorted((PROGRAMS / kind).glob("*-linux-gnu*"))
        for path in (path, path / "systemd")
    )


@attrs.define
class Resolving:
    """
    Programs of one host, that find files of its own in C{/etc} and C{/run}.

    @ivar directory: what is there: C{etc} and C{run}.
    """

    host: Host
    directory: Path

    @classmethod
    def on(cls, host: Host, directory: Path, hosts: str, servers: str) -> Self:
        """
        @param directory: is made.
        @param hosts: the line C{hosts:} of C{nsswitch.conf}.
        @param servers: the content of C{resolv.conf}.
        """
        if not PROGRAMS.is_dir():
            raise LabError(f"{PROGRAMS} is missing: tools/bootstrap test")
        made = cls(host, directory)
        etc = directory / "etc"
        for path in (etc, *(directory / "run" / name for name in ("dbus", "systemd", "avahi-daemon"))):
            path.mkdir(parents=True)
        for name in _COPIED:
            source = Path("/etc", name)
            if source.is_dir():
                shutil.copytree(source, etc / name, symlinks=True)
            elif source.exists():
                shutil.copy2(source, etc / name)
        for number, name in ((65532, "avahi"), (65533, "systemd-resolve")):
            with (etc / "passwd").open("a") as passwd, (etc / "group").open("a") as group:
                passwd.write(f"{name}:x:{number}:{number}::/:/usr/sbin/nologin\n")
                group.write(f"{name}:x:{number}:\n")
        (etc / "nsswitch.conf").write_text(f"passwd: files\ngroup: files\nhosts: {hosts}\n")
        made.resolvConf.write_text(servers)
        return made

    @property
    def resolvConf(self) -> Path:
        """
        The C{/etc/resolv.conf} of the host.
        """
        return self.directory / "etc" / "resolv.conf"

    @property
    def prefix(self) -> tuple[str, ...]:
        """
        A command that runs another one in this place.
        """
        return ("unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER, str(self.directory))

    @property
    def variables(self) -> dict[str, str]:
        """
        The environment in which the programs are found.
        """
        path = f"{PROGRAMS / 'usr/bin'}:{PROGRAMS / 'usr/sbin'}:{os.environ['PATH']}"
        return {"PATH": path, "LD_LIBRARY_PATH": _libraries(), "LC_ALL": "C", "SYSTEMD_LOG_TARGET": "console"}

    def run(self, *command: str, timeout: float = 20.0) -> subprocess.CompletedProcess[str]:
        """
        Run a program to its end, however it ends.
        """
        env = {**environment(self.directory), **self.variables}
        return self.host.run([*self.prefix, *command], check=False, timeout=timeout, env=env)

    def said(self, *command: str) -> str:
        """
        What a program prints, without spaces at the ends; empty when it fails.
        """
        done = self.run(*command)
        return done.stdout.strip() if done.returncode == 0 else ""

    def browse(self, url: str) -> tuple[str, str]:
        """
        Open a page in a browser that has never run before.

        @return: the page as it is after its scripts have run, and what the browser writes on standard error.
        """
        with TemporaryDirectory(dir=self.directory) as profile:
            done = self.run(*_BROWSER, f"--user-data-dir={profile}", url, timeout=60)
        return done.stdout, done.stderr

    def begin(self, log: str, *command: str) -> subprocess.Popen[str]:
        """
        Start a program.
        """
        with (self.directory / log).open("w") as file:
            return self.host.popen(
                [*self.prefix, *command],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**environment(self.directory), **self.variables},
            )

    def startResolved(self) -> None:
        """
        Start systemd-resolved, and the bus by which it is told what to do.
        """
        (self.directory / "bus.conf").write_text(_BUS)
        self.begin("bus.log", "dbus-daemon", f"--config-file={self.directory / 'bus.conf'}", "--nofork")
        self._wait("dbus/system_bus_socket")
        self.begin("resolved.log", str(PROGRAMS / "lib/systemd/systemd-resolved"))
        self._wait("systemd/resolve/io.systemd.Resolve")
        waitUntil(
            lambda: self.run("resolvectl", "status").returncode == 0, 10, "systemd-resolved is on the bus"
        )

    def startAvahi(self, hostName: str) -> None:
        """
        Start Avahi.
        """
        config = self.directory / "avahi.conf"
        config.write_text(_AVAHI.format(hostName))
        self.begin(
            "avahi.log", "avahi-daemon", "--no-drop-root", "--no-chroot", "--no-rlimits", "-f", str(config)
        )
        self._wait("avahi-daemon/socket")

    def _wait(self, socket: str) -> None:
        there: Callable[[], bool] = (self.directory / "run" / socket).is_socket
        try:
            waitUntil(there, 10, f"{socket} of {self.host.name}")
        except LabError as error:
            error.add_note("\n".join(log.read_text() for log in self.directory.glob("*.log")))
            raise
