# -*- test-case-name: vnet.test.test_run -*-
"""
A mediator and a node as children of this process, and the list of members while somebody watches it.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from attrs import define, field

from vnet.children import Child, twistd
from vnet.client.localclient import LocalClient, NotRunning
from vnet.client.render import renderNetworks, styleOf
from vnet.errors import Refused, VnetError

__all__ = ["Died", "Run", "Settings", "Watch"]

_START_TIMEOUT = 40.0
_GRACE = 15.0
_POLL = 0.05
_REFRESH = 1.0
# Without docstrings, of which a node needs none.
_SMALL = {"PYTHONOPTIMIZE": "2"}


class Died(VnetError):
    """
    A child ended by itself.
    """

    def __init__(self, child: Child) -> None:
        super().__init__(f"the {child.name} ended; the last that it wrote ({child.log}):")
        self.child = child


@define
class Settings:
    """
    What the user may choose.

    @ivar mediatorOptions: for C{vnet-mediator}; C{nodeOptions} for C{vnet-client}.
    @ivar network: the name of the network that is founded, if the node has none of its own.
    """

    state: Path
    mediatorOptions: Sequence[str] = ()
    nodeOptions: Sequence[str] = ()
    network: str = "home"


@define(eq=False, repr=False)
class Run:
    """
    One run: the children, and what is asked of them.

    @ivar say: shows a line to the user.
    """

    settings: Settings
    say: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep
    _children: list[Child] = field(factory=list, init=False)
    _client: LocalClient = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._client = LocalClient(str(self.settings.state / "node" / "control.sock"))

    @property
    def socketPath(self) -> str:
        """
        The node's control socket.
        """
        return self._client.path

    def start(self) -> str:
        """
        Start the mediator and the node, and found the network if there is none.

        @return: the link of the invitation.
        @raise VnetError: it does not start.
        """
        url = self._startMediator()
        self._startNode()
        self._client.call("login", url=url)
        return str(self._client.call("invite", network=self._network())["link"])

    def _startMediator(self) -> str:
        state = self.settings.state / "mediator"
        file = state / "url"
        file.unlink(missing_ok=True)
        self._startChild("mediator", "vnet-mediator", state, self.settings.mediatorOptions)
        return str(self._wait("the mediator to start", lambda: file.exists() and file.read_text().strip()))

    def _startNode(self) -> None:
        state = self.settings.state / "node"
        # No proxy leads to the mediator on this computer.
        self._startChild("node", "vnet-client", state, ["--proxy=none", *self.settings.nodeOptions], _SMALL)
        self._wait("the node to start", self._answers)

    def _startChild(
        self,
        name: str,
        service: str,
        state: Path,
        options: Sequence[str],
        variables: Mapping[str, str] | None = None,
    ) -> None:
        log = self.settings.state / f"{name}.log"
        child = Child(name, twistd(service, f"--state={state}", *options), log, variables or {})
        self._children.append(child)
        child.start()

    def _answers(self) -> bool:
        try:
            self._client.call("status")
        except NotRunning:
            return False
        return True

    def _network(self) -> str:
        """
        The network of this node, founded if need be.  Its passphrase is used by the node alone: the link holds what
        comes of it.
        """
        ownId = self._client.call("status")["clientId"]
        networks = self._client.call("list")["networks"]
        own = [str(network["name"]) for network in networks if network["owner"] == ownId]
        if own:
            return self.settings.network if self.settings.network in own else own[0]
        self._client.call("create", network=self.settings.network, password=secrets.token_urlsafe(16))
        return self.settings.network

    def _wait(self, what: str, predicate: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline:
            found = predicate()
            if found:
                return found
            self.check()
            self.sleep(_POLL)
        raise Refused(f"waited {_START_TIMEOUT:.0f} s for {what}; see the logs in {self.settings.state}")

    def check(self) -> None:
        """
        See that all children live.

        @raise Died: one does not.
        """
        for child in self._children:
            if not child.running:
                raise Died(child)

    def ask(self, verb: str) -> dict[str, Any]:
        """
        Ask the node.

        @raise Died: it is no more.
        """
        try:
            return self._client.call(verb)
        except NotRunning:
            self.sleep(_POLL)
            self.check()
            raise

    def stop(self) -> None:
        """
        End the children: the node first, so that it can log out.
        """
        self._client.close()
        for child in reversed(self._children):
            child.stop(_GRACE)

    def kill(self) -> None:
        """
        End the children at once.
        """
        for child in self._children:
            child.kill()


@define
class Watch:
    """
    The list of members while the user watches it.
    """

    run: Run
    terminal: bool
    _before: set[str] = field(factory=set, init=False)

    def forever(self) -> NoReturn:
        """
        Show each change.

        @raise Died: a child ended.
        """
        ownId = str(self.run.ask("status")["clientId"])
        if self.terminal:
            self._live(ownId)
        while True:
            self.run.check()
            self._lines(self.run.ask("list"), ownId)
            self.run.sleep(_REFRESH)

    def _live(self, ownId: str) -> NoReturn:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        console = Console()
        with Live(console=console, auto_refresh=False) as live:
            while True:
                self.run.check()
                style = styleOf(True, os.environ, console.width)
                shown = renderNetworks(self.run.ask("list"), style, ownId)
                live.update(Text.from_ansi(shown.rstrip("\n")), refresh=True)
                self.run.sleep(_REFRESH)

    def _lines(self, answer: dict[str, Any], ownId: str) -> None:
        # A latency is another one each time: that is no change to tell of.
        for network in answer["networks"]:
            for member in network["members"]:
                member.pop("latencyMs", None)
        lines = renderNetworks(answer, styleOf(False, {}, 0), ownId).splitlines()
        for line in lines:
            if line not in self._before:
                self.run.say(line)
        self._before = set(lines)
