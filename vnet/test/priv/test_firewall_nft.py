"""
The scripts of the firewall, as nft and the kernel take them.
"""

from __future__ import annotations

import socket
import struct
import time
from ipaddress import ip_address

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.firewall.nft import NftError, NftProgram
from vnet.client.firewall.policy import OPEN, PING_ONLY, parsePolicy
from vnet.client.firewall.ruleset import OTHER, Ruled, change, install, remove
from vnet.client.firewall.tablewatch import tableWatcher
from vnet.protocols.codec.ethernet import IPV4, OWN_MAC, memberMac
from vnet.protocols.codec.ip import UDP, encodeIp4
from vnet.test.priv.ownspace import HandReactor, addInterface, command, ownSpace

MANY = {f"100.64.{number // 250}.{number % 250 + 1}" for number in range(5000)} | {
    f"fd00::{number + 1:x}" for number in range(5000)
}
EVERY = parsePolicy("tcp/1-65535,udp/1,udp/3,udp/5-9,udp/65535")


class NftTests(SynchronousTestCase):
    """
    Tests of L{NftProgram} with the scripts of L{vnet.client.firewall.ruleset}.
    """

    def setUp(self) -> None:
        self.nft = NftProgram(inThread=maybeDeferred)

    def listed(self) -> str:
        return command("nft list ruleset")

    def test_transactions(self) -> None:
        """
        A table of 256 networks and thousands of members is set, changed and removed; a script with a mistake changes nothing,
        and what it did not do is said in one line; other tables stay.
        """
        interface = "a.b_c-d"
        with ownSpace():
            self.nft.runNow("table inet other {\nchain input { type filter hook input priority 0; }\n}\n")
            other = self.listed()
            began = time.monotonic()
            networks = [Ruled(EVERY, MANY), Ruled(OPEN, MANY), *[Ruled(PING_ONLY)] * 254]
            self.nft.runNow(install(interface, networks))
            self.nft.runNow(change(interface, {2: {"100.64.0.1", "fd00::1"}}, {0: MANY}))
            print(
                f"a table of 256 networks and 20,000 addresses, and a change: {time.monotonic() - began:.2f} s"
            )
            before = self.listed()
            error = self.assertRaises(
                NftError, self.nft.runNow, change(interface, {2: {"100.64.0.9"}}, {2: {"100.64.0.8"}})
            )
            self.assertTrue(str(error).isprintable())
            self.assertIn("No such file", str(error))
            self.assertEqual(self.listed(), before)
            counters = self.successResultOf(self.nft.counters(interface))
            self.assertEqual(counters, {number: 0 for number in (*range(256), OTHER)})
            for _ in range(2):
                self.nft.runNow(remove(interface))
                self.assertEqual(self.listed(), other)
            self.failureResultOf(self.nft.counters(interface), NftError)

    def test_ownFrames(self) -> None:
        """
        What the client makes for this computer is let in: frames with its own MAC address, and with no other.
        """
        group = ip_address("224.0.0.251").packed
        datagram = struct.pack("!4H", 5353, 5353, 9, 0) + b"x"
        packet = encodeIp4(ip_address("100.64.0.9").packed, group, UDP, datagram, 255)
        with ownSpace():
            addInterface("v0")
            command("ip address add 100.64.0.1/10 dev v0")
            self.nft.runNow(install("v0", [Ruled(PING_ONLY, {"100.64.0.9"})]))
            with (
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
                socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as far,
            ):
                near.bind(("", 5353))
                near.settimeout(2)
                member = group + ip_address("100.64.0.1").packed
                near.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
                far.bind(("v0-far", 0))
                for source in (memberMac(ip_address("100.64.0.9").packed), OWN_MAC):
                    far.send(b"\x01\x00\x5e\x00\x00\xfb" + source + IPV4 + packet)
                self.assertEqual(near.recv(10), b"x")
                near.setblocking(False)
                self.assertRaises(BlockingIOError, near.recv, 10)
            self.assertEqual(self.successResultOf(self.nft.counters("v0")), {0: 1, OTHER: 0})

    def test_watch(self) -> None:
        """
        That a table is removed is told, and nothing else is.
        """
        told: list[bool] = []
        reactor = HandReactor()
        with ownSpace():
            watcher = tableWatcher(reactor, lambda: told.append(True))
            watcher.start()
            self.nft.runNow("add table inet one\nadd chain inet one c\ndelete chain inet one c\n")
            reactor.turn()
            reactor.advance(1)
            self.assertEqual(told, [])
            self.nft.runNow("flush ruleset\n")
            reactor.turn()
            reactor.advance(1)
            self.assertEqual(told, [True])
            watcher.stop()


def missing() -> str | None:
    """
    Nothing is found.
    """
    return None


class ProgramTests(SynchronousTestCase):
    """
    Programs that are not as they should be.
    """

    def test_bad(self) -> None:
        """
        A program that is missing, cannot be run, or fails without a word is an error of one line.
        """
        for locate, text in (
            (missing, "install nftables"),
            (lambda: "/dev/null", "cannot be run: Permission denied"),
            (lambda: "/bin/false", "it says nothing"),
        ):
            nft = NftProgram(locate, maybeDeferred)
            self.assertIn(text, str(self.assertRaises(NftError, nft.runNow, "")))
            running: Deferred[None] = nft.run("")
            self.assertIn(text, str(self.failureResultOf(running, NftError).value))
        odd = NftProgram(lambda: "/bin/echo", maybeDeferred)
        self.failureResultOf(odd.counters("vnet0"), NftError)
