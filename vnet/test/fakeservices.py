"""
Stand-ins for the services that L{vnet.run} starts: run as C{python -m vnet.test.fakeservices vnet-client ...}.

C{VNET_FAKE_FAILURE} names a service that ends at once; C{VNET_FAKE_DEAF} one that ignores SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from vnet.client.localcontrol import LocalControl
from vnet.testing_node import FakeNode


class Node(FakeNode):
    """
    A node whose networks are those that it founds.
    """

    def create(self, name: str, password: str | None) -> Deferred[dict[str, Any]]:
        """Remember the network, as the real one does."""
        status: Any = self.status().result
        self.members.insert(0, {"name": name, "state": "online", "owner": status["clientId"], "members": []})
        Path("created").write_text(f"{name} {password}")
        return super().create(name, password)


def main(service: str, *options: str) -> None:
    """
    Be the service.
    """
    from twisted.internet import reactor as globalReactor

    reactor: Any = globalReactor
    state = Path(next(option for option in options if option.startswith("--state=")).partition("=")[2])
    state.mkdir(parents=True, exist_ok=True)
    (state / "pid").write_text(str(os.getpid()))
    (state / "options").write_text("\n".join(options))
    if os.environ.get("VNET_FAKE_FAILURE") == service:
        sys.exit(f"{service}: the port is \x1b]52;in use")
    if os.environ.get("VNET_FAKE_DEAF") == service:
        reactor.addSystemEventTrigger("after", "startup", signal.signal, signal.SIGTERM, signal.SIG_IGN)
    if service == "vnet-mediator":
        (state / "url").write_text("vnet://192.0.2.1:7443#sha256-" + "A" * 43)
    else:
        node = Node()
        node.members = []
        control = LocalControl(node, str(state / "control.sock"), reactor)
        control.startService()
        reactor.addSystemEventTrigger("before", "shutdown", control.stopService)
        reactor.addSystemEventTrigger("before", "shutdown", (state / "loggedOut").touch)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
