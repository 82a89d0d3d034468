"""
A real control socket with a fake node behind it, for tests of what asks and blocks.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.epollreactor import EPollReactor

from vnet.client.localcontrol import LocalControl
from vnet.testing_node import FakeNode

__all__ = ["ControlServer"]

START = 20.0


class ControlServer:
    """
    Serves L{node} from a thread with a reactor of its own, until L{stop}.

    @ivar path: of the socket.
    """

    def __init__(self, make: Callable[[FakeNode, str, Any], LocalControl] = LocalControl) -> None:
        self.node = FakeNode()
        self.directory = tempfile.mkdtemp(prefix="vnetctl")
        self.path = str(Path(self.directory) / "control.sock")
        self._make = make
        self._reactor = EPollReactor()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        if not self._ready.wait(START):
            raise RuntimeError("the control socket was not made")

    def _serve(self) -> None:
        service = self._service = self._make(self.node, self.path, self._reactor)
        service.startService()
        self._reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
        self._reactor.callWhenRunning(self._ready.set)
        self._reactor.run(installSignalHandlers=False)

    @property
    def halted(self) -> bool:
        """
        Whether the reactor has ended.
        """
        return not self._thread.is_alive()

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """
        Call C{function} in the reactor's thread.
        """
        self._reactor.callFromThread(self._reactor.callLater, seconds, function)

    def disconnect(self) -> None:
        """
        Break all connections.  To be called in the reactor's thread.
        """
        for client in tuple(self._service._factory.clients):
            client.transport.loseConnection()

    def halt(self) -> None:
        """
        Stop serving.
        """
        if not self.halted:
            self._reactor.callFromThread(self._reactor.stop)
            self._thread.join(START)

    def stop(self) -> None:
        """
        Stop serving, and remove everything.
        """
        self.halt()
        shutil.rmtree(self.directory)
