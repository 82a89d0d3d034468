"""
Proxies that others wrote, as programs on one host of a lab: squid and dante.

All connect to port 443 only, and know a name that no resolver of the lab knows.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import attrs

from vnet.test.netlab import Host
from vnet.test.priv.authority import Authority
from vnet.test.priv.daemons import listens, waitUntil

__all__ = ["NAME", "PASSWORD", "USER", "Ports", "Proxies"]

USER, PASSWORD = "ann", "s3cret"
NAME = "mediator.lab"
"""The name of the mediator's host, for who asks a proxy."""

_HELPERS = Path("/usr/lib/squid")
# "s3cret" for crypt(3).
_CRYPTED = "$6$vnet$FHYp.cUO68pKkcHpw3oekmuyzCDqzBVy.19SYG4p1r0lDWi2sMpUzeRkq8QrL64URewxuFXekM92Jj7/4Pyke/"

_SQUID = """
visible_hostname proxy.example
pid_filename none
cache_log {directory}/{name}.log
access_log none
cache deny all
cache_mem 0
memory_cache_shared off
pinger_enable off
shutdown_lifetime 0 seconds
coredump_dir none
hosts_file {hosts}
auth_param {login}
auth_param {scheme} children 1
auth_param {scheme} realm office
{ports}
acl to443 port 443
acl open myportname open tls
acl known proxy_auth REQUIRED
http_access deny !CONNECT
http_access deny !to443
http_access allow open
http_access allow known
http_access deny all
"""

_DANTE = """
logoutput: {directory}/{name}.log
internal: eth0 port = {port}
external: eth0
clientmethod: none
socksmethod: {method}
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 0/0 to: 0/0 }}
socks pass {{ from: 0/0 to: 0/0 port = 443 command: connect }}
"""

# The user and the name exist in a namespace of its own only.
_UNSHARED = """
for each in hosts passwd shadow; do mount --bind "$1/$each" /etc/$each || exit 1; done
exec danted -N 1 -f "$2"
"""


@attrs.frozen
class Ports:
    """
    Where the proxies are.
    """

    open: int = 3128
    basic: int = 3129
    digest: int = 3130
    tls: int = 3131
    socks: int = 1080
    socksLogin: int = 1081


@attrs.define(eq=False)
class Proxies:
    """
    The programs.

    @ivar host: where they run.
    @ivar directory: for their files.
    @ivar authority: who signs the certificate of the one that speaks TLS.
    @ivar mediator: the address that L{NAME} stands for.
    """

    host: Host
    directory: Path
    authority: Authority
    mediator: str
    ports: Ports = Ports()

    def start(self) -> None:
        """
        Start them, and wait until all listen.
        """
        self._writeFiles()
        ports = self.ports
        basic = self._squid("basic", f"basic program {_HELPERS}/basic_ncsa_auth {self.directory}/crypted")
        digest = self._squid("digest", f"digest program {_HELPERS}/digest_file_auth {self.directory}/plain")
        self._waitListening(basic, ports.open, ports.basic, ports.tls)
        self._waitListening(digest, ports.digest)
        self._waitListening(self._dante("socks", ports.socks, "none"), ports.socks)
        self._waitListening(self._dante("sockslogin", ports.socksLogin, "username"), ports.socksLogin)

    def _waitListening(self, process: subprocess.Popen[str], *ports: int) -> None:
        waitUntil(lambda: all(listens(process, port) for port in ports), 15.0, f"a proxy listens on {ports}")

    def _writeFiles(self) -> None:
        # squid reads its files as a user of its own.
        for directory in (self.directory.parent, self.directory):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o711 if directory != self.directory else 0o777)
        hosts = f"127.0.0.1 localhost\n{self.mediator} {NAME}\n"
        users = f"{USER}:x:65533:65534::/nonexistent:/usr/sbin/nologin\n"
        for name, content in (
            ("crypted", f"{USER}:{_CRYPTED}\n"),
            ("plain", f"{USER}:{PASSWORD}\n"),
            ("hosts", hosts),
            ("passwd", Path("/etc/passwd").read_text() + users),
            ("shadow", f"{USER}:{_CRYPTED}:19000:0:99999:7:::\n"),
        ):
            self._write(name, content)

    def _write(self, name: str, content: str) -> Path:
        path = self.directory / name
        path.write_text(content)
        path.chmod(0o644)
        return path

    def _ports(self, name: str) -> str:
        """
        Where squid listens.
        """
        if name == "digest":
            return f"http_port {self.ports.digest}"
        issued = self.authority.issue("squid", self.host.address)
        files = f"tls-cert={issued.certificate} tls-key={issued.key}"
        return "\n".join(
            (
                f"http_port {self.ports.open} name=open",
                f"http_port {self.ports.basic}",
                f"https_port {self.ports.tls} name=tls {files}",
            )
        )

    def _squid(self, name: str, login: str) -> subprocess.Popen[str]:
        text = _SQUID.format(
            directory=self.directory,
            hosts=self.directory / "hosts",
            name=name,
            login=login,
            scheme=login.split()[0],
            ports=self._ports(name),
        )
        # Its shared memory has the name of the service.
        service = f"vnet{os.getpid()}{name}"
        configuration = self._write(f"{name}.conf", text)
        return self._run(name, ["squid", "-N", "-n", service, "-f", str(configuration)])

    def _dante(self, name: str, port: int, method: str) -> subprocess.Popen[str]:
        text = _DANTE.format(directory=self.directory, name=name, port=port, method=method)
        configuration = self._write(f"{name}.conf", text)
        argv = ["unshare", "--mount", "sh", "-c", _UNSHARED, "sh", str(self.directory), str(configuration)]
        return self._run(name, argv)

    def _run(self, name: str, argv: list[str]) -> subprocess.Popen[str]:
        with (self.directory / f"{name}.out").open("w") as output:
            return self.host.popen(argv, stdout=output, stderr=subprocess.STDOUT, cwd=self.directory)

    def logs(self) -> str:
        """
        All that they wrote.
        """
        files = [*self.directory.glob("*.log"), *self.directory.glob("*.out")]
        return "\n".join(
            f"--- {file.name}\n{file.read_text(errors='replace')[-3000:]}" for file in sorted(files)
        )
