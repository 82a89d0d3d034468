"""
What a running node has in memory: no more libraries than it needs.
"""

from __future__ import annotations

import json
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

# The parser of C, databases, what the command line, the relay and the metrics need, routers' HTTP and XML, proxies, questions for
# names, TURN, LANs that nodes share, firewalls of others, tests.
NEEDLESS = {
    *(
        "alembic",
        "cffi",
        "click",
        "h11",
        "hypothesis",
        "mako",
        "prometheus_client",
        "pycparser",
        "pytest",
        "rich",
    ),
    *("socksio", "sqlalchemy", "xml", "_pytest"),
    *("twisted.conch", "twisted.names", "twisted.web"),
    *("vnet.client.cli", "vnet.client.portmapping.mapper", "vnet.server", "vnet.test"),
    *("vnet.client.firewall.barriers", "vnet.client.firewall.forwarded", "vnet.client.firewall.passage"),
    *("vnet.client.lanroutes", "vnet.client.lansharing.report", "vnet.client.lansharing.sharing"),
    *("vnet.client.names.multicast", "vnet.client.names.zone"),
    *("vnet.client.lanpriority", "vnet.client.porttest"),
    *("vnet.client.relays", "vnet.protocols.machine.allocation", "vnet.protocols.tlsrecords"),
    *("vnet.protocols.codec.proxyurl", "vnet.protocols.tunnel"),
}
_PLUGIN = "import json, sys, twisted.plugins.vnet_plugins; print(json.dumps(sorted(sys.modules)))"
_CLIENT = """
import json, sys
from vnet.client.clienttap import Options, makeService
options = Options()
options.parseOptions(["--state=unused", "--no-port-mapping"])
makeService(options)
print(json.dumps(sorted(sys.modules)))
"""


def loaded(program: str) -> set[str]:
    """
    The modules that a program has loaded at its end.
    """
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stdout))


def below(names: set[str], tops: set[str]) -> set[str]:
    """
    Those of the modules that are one of C{tops}, or in it.
    """
    return {name for name in names if any(f"{name}.".startswith(f"{top}.") for top in tops)}


class ImportTests(SynchronousTestCase):
    """
    Programs of their own.
    """

    def test_plugins(self) -> None:
        """
        What C{twistd} loads to learn of our commands is the file of the plugins alone.
        """
        self.assertEqual(below(loaded(_PLUGIN), {"nacl", "vnet"}), set())

    def test_client(self) -> None:
        """
        A node that asks no router, uses no relay and is asked for no name has nothing in memory that only others need.
        """
        found = loaded(_CLIENT)
        self.assertIn("vnet.client.node", found)
        self.assertEqual(below(found, NEEDLESS), set())
