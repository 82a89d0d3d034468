"""
Two nodes in one network, for tests in which something goes wrong beside their tunnel.
"""

from __future__ import annotations

import os
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from vnet.test.priv.cluster import Cluster, Daemon, Mediator, Node
from vnet.test.priv.unharmed import Pinging

__all__ = ["Household", "HouseholdCase", "tracebacks"]


class Household(Cluster):
    """
    A cluster whose nodes alice and bob are in the network "family" and have a tunnel.

    @ivar alice: who gets the bad input.
    """

    def build(self) -> tuple[Node, Node]:
        """
        Start all of it.

        @return: alice and bob.
        """
        # A name that nobody resolves fails at once.
        os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:1")
        self.startMediator()
        alice, bob = self.addNode("alice", wait=False), self.addNode("bob", wait=False)
        for node in (alice, bob):
            node.waitReady()
            node.login()
        alice.create("family", "correct horse")
        bob.join("family", "correct horse")
        alice.waitPath(bob)
        bob.waitPath(alice)
        return alice, bob


def tracebacks(daemons: list[Daemon]) -> str:
    """
    The part of the logs that must not be there.
    """
    return "\n".join(
        f"{daemon.name}: {daemon.tail(1000)}" for daemon in daemons if "Traceback" in daemon.tail(10**6)
    )


class HouseholdCase(SynchronousTestCase):
    """
    Alice and bob have a tunnel, through which a ping goes on until all tests are done.

    @cvar mayLose: how many answers may be missing: none but those under way at the beginning and at the end.
    """

    mayLose: ClassVar[int] = 2
    cluster: ClassVar[Household]
    alice: ClassVar[Node]
    bob: ClassVar[Node]
    pinging: ClassVar[Pinging]

    @classmethod
    def setUpClass(cls) -> None:
        """
        Build it.
        """
        cls.cluster = Household(cls.__name__.lower()[:8])
        cls.cluster.__enter__()
        try:
            cls.build()
        except BaseException as error:
            cls.cluster.__exit__(type(error), error, None)
            raise
        cls.pinging = Pinging.start(cls.alice.host, cls.bob.address)

    @classmethod
    def build(cls) -> None:
        """
        What the tests of a class need.
        """
        cls.alice, cls.bob = cls.cluster.build()

    @classmethod
    def tearDownClass(cls) -> None:
        """
        The tunnel has lost nothing, and no log has a traceback.
        """
        sent, answered = cls.pinging.stop()
        found = tracebacks(cls.cluster.daemons)
        cls.cluster.__exit__(None, None, None)
        if found:
            raise AssertionError(found)
        if sent - answered > cls.mayLose:
            raise AssertionError(f"of {sent} pings through the tunnel {answered} were answered")

    @property
    def mediator(self) -> Mediator:
        """
        The good one.
        """
        if self.cluster.mediator is None:
            raise AssertionError("no mediator")
        return self.cluster.mediator
