"""
Our STUN server and client, judged by coturn's client and server, on the loopback interface.
"""

from __future__ import annotations

import ast
import os
import re
import select
import socket
import subprocess
import sys
import time

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec import stunattributes as attr
from vnet.protocols.codec.stun import BINDING, Class, Message, decode, encode
from vnet.values import Address

pytestmark = pytest.mark.privileged

SERVER = """
import sys
from twisted.internet import reactor
from vnet.boottime import installBootClock
from vnet.protocols.stun import StunServer
installBootClock(reactor)
port = reactor.listenUDP(0, StunServer(reactor), interface=sys.argv[1])
print(port.getHost().port, flush=True)
reactor.run()
"""

CLIENT = """
import os, sys
from twisted.internet import reactor
from vnet.boottime import installBootClock
from vnet.protocols.machine.binding import Bindings
from vnet.protocols.stun import StunClient
from vnet.values import Address
installBootClock(reactor)
bindings = Bindings([Address(sys.argv[1], int(sys.argv[2]))], random=os.urandom, refreshInterval=0.5)
def show(event):
    print((type(event).__name__, *map(tuple, (event.server, event.mapped)), event.rtt), flush=True)
port = reactor.listenUDP(0, StunClient(bindings, reactor, show), interface=sys.argv[1])
print(port.getHost().port, flush=True)
reactor.run()
"""


class Judged(SynchronousTestCase):
    def start(self, *argv: str) -> subprocess.Popen[str]:
        """
        A process that is gone when the test is.
        """
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

        def end() -> None:
            process.kill()
            process.communicate(timeout=10)

        self.addCleanup(end)
        return process

    def line(self, process: subprocess.Popen[str]) -> str:
        """
        The next line that it prints, within 10 seconds.
        """
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], 10)
        self.assertTrue(ready, "nothing printed in 10 seconds")
        return process.stdout.readline()

    def server(self, interface: str) -> int:
        """
        Start a server of ours.

        @return: its port.
        """
        return int(self.line(self.start(sys.executable, "-c", SERVER, interface)))


class ServerTests(Judged):
    def turnutils(self, host: str, port: int) -> set[str]:
        """
        The addresses that coturn's client prints.
        """
        done = subprocess.run(
            ["turnutils_stunclient", "-p", str(port), host], capture_output=True, text=True, timeout=10
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return set(re.findall(r"reflexive addr: (\S+):\d+", done.stdout))

    @pytest.mark.commands("turnutils_stunclient")
    def test_turnutils(self) -> None:
        """coturn's client learns its address from our server over IPv4, IPv6 and a dual-stack socket."""
        self.assertEqual(self.turnutils("127.0.0.1", self.server("127.0.0.1")), {"127.0.0.1"})
        self.assertEqual(self.turnutils("::1", self.server("::1")), {"::1"})
        both = self.server("::")
        self.assertEqual(self.turnutils("127.0.0.1", both), {"127.0.0.1"})
        self.assertEqual(self.turnutils("::1", both), {"::1"})

    def test_flood(self) -> None:
        """Of 2000 requests in a row our server answers 100 a second, in 32 bytes each, and then goes on."""
        port = self.server("127.0.0.1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("127.0.0.1", port))
            sock.settimeout(1.0)
            began = time.monotonic()
            for _ in range(2000):
                sock.send(encode(Message(BINDING, Class.REQUEST, os.urandom(12))))
            answers, seconds = [], 0
            try:
                while True:
                    answers.append(sock.recv(2048))
                    seconds = int(time.monotonic() - began) + 1
            except TimeoutError:
                pass
            self.assertTrue(100 <= len(answers) <= 100 * seconds, (len(answers), seconds))
            self.assertEqual({len(answer) for answer in answers}, {32})
            time.sleep(1.0)
            sock.send(encode(Message(BINDING, Class.REQUEST, bytes(12))))
            self.assertEqual(
                decode(sock.recv(2048)).get(attr.XOR_MAPPED_ADDRESS), Address(*sock.getsockname())
            )


class ClientTests(Judged):
    def judge(self, host: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((host, 0))
            port = sock.getsockname()[1]
        turnserver = ["turnserver", "-n", "-L", host, "-p", str(port), "--stun-only", "--no-cli"]
        self.start(*turnserver, "--no-tls", "--no-dtls", "--log-file=stdout", "--pidfile=/dev/null")
        client = self.start(sys.executable, "-c", CLIENT, host, str(port))
        own = int(self.line(client))
        for _ in range(3):
            name, server, mapped, rtt = ast.literal_eval(self.line(client))
            self.assertEqual((name, server[:2], mapped[:2]), ("Mapped", (host, port), (host, own)))
            self.assertTrue(0 < rtt < 5, rtt)

    @pytest.mark.commands("turnserver")
    def test_turnserver4(self) -> None:
        """Our client learns its address from coturn over IPv4, again and again."""
        self.judge("127.0.0.1")

    @pytest.mark.commands("turnserver")
    def test_turnserver6(self) -> None:
        """Our client learns its address from coturn over IPv6, again and again."""
        self.judge("::1")
