"""
Tests for L{vnet.protocols.machine.pathmtu}.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from attrs import define, field
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.driver import Driver
from vnet.protocols.codec.signal import Credentials
from vnet.protocols.codec.stun import Message, decode
from vnet.protocols.machine.check import Signer
from vnet.protocols.machine.pathmtu import BASE, SMALLEST, PathMtu, Resized
from vnet.protocols.machine.responder import Responder
from vnet.values import Address

PATH, PATH6, RELAYED = Address("192.0.2.1", 5), Address("2001:db8::1", 5), Address("192.0.2.1", 5, "r1")
RTT = 0.05


@define(eq=False)
class PathModel:
    """
    A path to a peer that answers checks.

    @ivar largest: bytes of a datagram that arrives; C{local}: that this computer sends.
    @ivar up: whether anything arrives; C{loses}: whether this one is lost.
    @ivar sizes: of all that was sent.
    """

    clock: Clock
    largest: int
    local: int = 65507
    up: bool = True
    loses: Callable[[], bool] = lambda: False
    maximum: int = 1472
    sizes: list[int] = field(factory=list)
    isSettled: bool = False
    told: list[int] = field(factory=list)
    machine: PathMtu = field(init=False)
    driver: Driver[Resized] = field(init=False)
    _signer: Signer = field(init=False)
    _responder: Responder = field(init=False)

    def __attrs_post_init__(self) -> None:
        ours, theirs = Credentials("ours", "o" * 24), Credentials("theirs", "t" * 24)
        source = random.Random(7).randbytes
        self._signer = Signer(ours, True, source, theirs)
        self._responder = Responder(Signer(theirs, False, source, ours))
        self.machine = PathMtu(self.maximum, self._write, self._isAuthentic, source)
        self.driver = Driver(self.machine, self.clock, self._send, self._happened)

    def _happened(self, event: Resized) -> None:
        if not self.told or self.told[-1] != event.size:
            self.told.append(event.size)
        self.isSettled = event.isSettled

    def _write(self, transactionId: bytes, path: Address, size: int) -> bytes:
        return self._signer.request(transactionId, 1, False, size)

    def _isAuthentic(self, message: Message) -> bool:
        return self._signer.readResponse(message) is not None

    def _send(self, batch: list[tuple[bytes, Address]]) -> None:
        for data, path in batch:
            if len(data) > self.local:
                self.machine.refused(data[8:20], self.clock.seconds())
                continue
            self.sizes.append(len(data))
            if self.up and len(data) <= self.largest and not self.loses():
                self.clock.callLater(RTT, self._answer, data, path)

    def _answer(self, data: bytes, path: Address) -> None:
        answer = self._responder.answer(decode(data), Address("198.51.100.1", 9))
        assert answer is not None and answer.request is not None
        assert len(answer.data) < 200
        self.driver.datagramReceived(answer.data, path)

    def select(self, path: Address | None) -> None:
        self.machine.select(path, RTT, self.clock.seconds())
        self.driver.wake()

    def run(self, seconds: float, traffic: bool = False) -> None:
        """
        Let time pass.
        """
        for _ in range(round(seconds / 0.05)):
            if traffic and self.machine.noteTraffic(self.clock.seconds()):
                self.driver.wake()
            self.clock.advance(0.05)

    def doubt(self) -> None:
        if self.machine.doubt(self.clock.seconds()):
            self.driver.wake()


class PathMtuTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def path(self, largest: int, **options: object) -> PathModel:
        return PathModel(self.clock, largest, **options)  # type: ignore[arg-type]

    def test_before(self) -> None:
        """Before anything is known the base is used; no path, no datagram."""
        path = self.path(1472)
        self.assertEqual((path.machine.size, path.machine.state), (BASE, "disabled"))
        path.run(1000)
        self.assertEqual(path.sizes, [])

    def test_usual(self) -> None:
        """On a link that is usual one round trip shows what it carries, and nothing more is asked."""
        path = self.path(1472)
        path.select(PATH)
        path.run(RTT + 0.05)
        self.assertEqual(
            (path.machine.size, path.machine.state, path.told),
            (1472, "complete", [1464, 1472][-len(path.told) :]),
        )
        path.run(1000)
        self.assertEqual(sorted(path.sizes)[1:], [BASE, 1464, 1472])

    def test_every(self) -> None:
        """Whatever size arrives, the largest is found that carries more packets than the one before, in a few rounds."""
        for where, least in ((PATH, 1312), (PATH6, 1312), (RELAYED, 1312), (PATH, SMALLEST)):
            for largest in range(least, 1500, 28):
                path = self.path(largest)
                path.select(where)
                path.run(12)
                self.assertLessEqual(path.machine.size, largest)
                expected = min(largest, 1472)
                self.assertEqual(path.machine.size // 16, expected // 16, (where, largest))
                self.assertEqual(path.machine.state, "complete")
                self.assertLess(len(path.sizes), 60)

    def test_pppoe(self) -> None:
        """PPPoE is known after one round trip as well."""
        path = self.path(1464)
        path.select(PATH)
        path.run(RTT + 0.05)
        self.assertEqual(path.machine.size, 1464)
        path.run(3)
        self.assertEqual((path.machine.size, path.machine.state), (1464, "complete"))

    def test_jumbo(self) -> None:
        """Sizes beyond what usual links carry are found where packets can be so long, and nowhere else."""
        path = self.path(8972, maximum=8972)
        path.select(PATH)
        path.run(RTT + 0.05)
        self.assertEqual((path.machine.size, path.machine.state), (8972, "complete"))
        path = self.path(4000, maximum=8972)
        path.select(PATH)
        path.run(12)
        self.assertEqual((path.machine.size, path.machine.state), (4000, "complete"))
        path = self.path(8972)
        path.select(PATH)
        path.run(3)
        self.assertEqual(path.machine.size, 1472)

    def test_local(self) -> None:
        """What this computer itself cannot send counts as lost at once."""
        path = self.path(1472, local=1412)
        path.select(PATH)
        path.run(1)
        self.assertEqual((path.machine.size, path.machine.state), (1408, "complete"))
        self.assertLessEqual(max(path.sizes), 1412)

    def test_small(self) -> None:
        """Where not even the base arrives, a smaller size is used; where nothing that is padded does, the smallest."""
        path = self.path(1252)
        path.select(PATH)
        path.run(10)
        self.assertEqual((path.machine.size, path.machine.state), (1248, "complete"))
        path = self.path(1000)
        path.select(PATH)
        path.run(10)
        self.assertEqual((path.machine.size, path.machine.state, path.told), (SMALLEST, "error", [SMALLEST]))

    def test_lossy(self) -> None:
        """That a datagram is lost is not taken for a sign of its size."""
        source = random.Random(3)
        path = self.path(1472, loses=lambda: source.random() < 0.15)
        path.select(PATH)
        path.run(4)
        for _ in range(100):
            self.assertEqual(path.machine.size, 1472)
            path.run(31, traffic=True)

    def test_shrinks(self) -> None:
        """When the path becomes narrower while it carries traffic, it is noticed, and the new size found."""
        path = self.path(1472)
        path.select(PATH)
        path.run(60)
        path.largest = 1372
        path.run(45, traffic=True)
        self.assertEqual(path.machine.size, 1360)
        self.assertIn(BASE, path.told)

    def test_doubt(self) -> None:
        """When what is sent gets no answer, a path that has become narrower is known in two seconds."""
        path = self.path(1472)
        path.select(PATH)
        path.run(60)
        self.assertTrue(path.isSettled)
        path.largest = 1372
        path.doubt()
        path.run(2)
        self.assertEqual((path.machine.size, path.isSettled), (BASE, False))
        path.run(6)
        self.assertEqual((path.machine.size, path.isSettled), (1360, True))

    def test_doubtSoonAgain(self) -> None:
        """Also when the size was asked for just before."""
        path = self.path(1472)
        path.select(PATH)
        path.run(60)
        path.doubt()
        path.run(0.2)
        path.largest = 1372
        path.doubt()
        path.run(6)
        self.assertEqual(path.machine.size // 16, 1360 // 16)

    def test_doubtIsLimited(self) -> None:
        """Doubts of a path that is as it was cost less and less, down to two datagrams in half a minute."""
        path = self.path(1472)
        path.select(PATH)
        path.run(60)
        for seconds, most in ((20, 12), (300, 24)):
            before = len(path.sizes)
            for _ in range(seconds * 10):
                path.doubt()
                path.run(0.1)
            self.assertLessEqual(len(path.sizes) - before, most)
        self.assertEqual(path.told[-1], 1472)
        path.run(61)
        path.largest = 1372
        path.doubt()
        path.run(2)
        self.assertEqual(path.machine.size, BASE)

    def test_silent(self) -> None:
        """A path on which nothing is answered is not taken for a narrow one: it is asked again when it may be back."""
        path = self.path(1472)
        path.select(PATH)
        path.run(60)
        path.up = False
        path.doubt()
        path.run(4)
        self.assertEqual(path.machine.size, 1472)
        asked = len(path.sizes)
        path.run(3600)
        self.assertLess(len(path.sizes) - asked, 400)
        self.assertEqual(path.machine.size, 1472)
        path.up = True
        path.run(330)
        self.assertEqual((path.machine.size, path.machine.state), (1472, "complete"))

    def test_raised(self) -> None:
        """A path that has become wider is used as that, though not at once; an idle one is not asked."""
        path = self.path(1372)
        path.select(PATH)
        path.run(10)
        self.assertEqual(path.machine.size, 1360)
        path.largest = 1472
        asked = len(path.sizes)
        path.run(3000)
        self.assertEqual(len(path.sizes), asked)
        path.run(1, traffic=True)
        self.assertEqual(path.machine.size, 1472)

    def test_raisedRarely(self) -> None:
        """What does not arrive is asked for again each ten minutes at most, after a while."""
        path = self.path(1372)
        path.select(PATH)
        path.run(2000, traffic=True)
        asked = len([size for size in path.sizes if size > 1372])
        path.run(1200, traffic=True)
        self.assertLessEqual(len([size for size in path.sizes if size > 1372]) - asked, 3 * 20)
        self.assertEqual(path.machine.size, 1360)

    def test_otherPath(self) -> None:
        """Another path is another search; the one before is remembered, but asked again when it comes back."""
        path = self.path(1472)
        path.select(PATH)
        path.run(5)
        path.largest = 1400
        path.select(PATH6)
        self.assertEqual(path.machine.size, BASE)
        path.run(8)
        self.assertEqual(path.machine.size, 1392)
        path.select(PATH)
        self.assertEqual(path.machine.size, 1472)
        path.run(8)
        self.assertEqual(path.machine.size, 1392)
        self.assertEqual(path.told[-1], path.machine.size)

    def test_none(self) -> None:
        """Without a path nothing is asked."""
        path = self.path(1472)
        path.select(PATH)
        path.select(None)
        path.run(100, traffic=True)
        self.assertLessEqual(len(path.sizes), 4)
        self.assertEqual((path.machine.state, path.machine.deadline()), ("disabled", None))

    def test_restart(self) -> None:
        """When the network has changed the size is asked for again at once."""
        path = self.path(1472)
        path.select(PATH)
        path.run(5)
        path.largest = 1464
        path.machine.restart(self.clock.seconds())
        path.driver.wake()
        path.run(4)
        self.assertEqual(path.machine.size, 1464)

    def test_restartAgainAndAgain(self) -> None:
        """However often the network is said to have changed, a path that has become narrower is known in two seconds."""
        path = self.path(1472)
        path.select(PATH)
        path.run(5)
        path.largest = 1372
        asked = len(path.sizes)
        for _ in range(9):
            path.machine.restart(self.clock.seconds())
            path.driver.wake()
            path.run(0.2)
        self.assertEqual(path.machine.size, BASE)
        self.assertLess(len(path.sizes) - asked, 30)
        path.run(6)
        self.assertEqual(path.machine.size, 1360)

    def test_restartMeanwhile(self) -> None:
        """What was too large in another network is asked for again."""
        path = self.path(1372)
        path.select(PATH)
        path.run(0.5)
        path.largest = 1472
        path.machine.restart(self.clock.seconds())
        path.driver.wake()
        path.run(10)
        self.assertEqual(path.machine.size, 1472)

    def test_forged(self) -> None:
        """An answer that the peer has not made, or from elsewhere, shows nothing."""
        path = self.path(1000)
        batch: list[bytes] = []
        path.driver._send = lambda sent: batch.extend(data for data, _ in sent)
        path.select(PATH)
        stranger = Signer(Credentials("theirs", "x" * 24), False, random.Random(1).randbytes)
        for data in batch:
            forged = stranger.success(data[8:20], Address("198.51.100.1", 9))
            path.driver.datagramReceived(forged, PATH)
            right = path._responder.answer(decode(data), Address("198.51.100.1", 9))
            assert right is not None
            path.driver.datagramReceived(right.data, PATH6)
            path.driver.datagramReceived(b"junk", PATH)
        self.assertTrue(batch)
        self.assertEqual((path.machine.size, path.told), (BASE, []))

    def test_padding(self) -> None:
        """A check has exactly the size that is asked for, and is answered by who does not know the padding."""
        path = self.path(1472)
        for size in (200, 1200, 1252, 1472, 8972, 65504):
            data = path._write(b"t" * 12, PATH, size)
            self.assertEqual(len(data), size)
            self.assertEqual(decode(data).unknown, ())
