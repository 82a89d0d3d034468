"""
Tests for L{vnet.protocols.machine.portallocation}.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.portallocation import PortAllocation, PortSample, allocationOf
from vnet.values import Address

TIMES = (0.0, 0.005, 0.105, 0.11, 0.21, 0.215, 0.315, 0.32)


def samples(
    ports: Iterable[int], host: str = "198.51.100.1", missing: Sequence[int] = ()
) -> list[PortSample]:
    """
    @param missing: the indices of those that got no answer.
    """
    return [
        PortSample(index, TIMES[index], 30000 + 7 * index, Address(host, port))
        for index, port in enumerate(ports)
        if index not in missing
    ]


class AllocationTests(SynchronousTestCase):
    """
    L{allocationOf}.
    """

    def sequence(self, ports: Iterable[int], missing: Sequence[int] = ()) -> tuple[int | None, float | None]:
        """
        Step and noise, of what must be a sequence.
        """
        found = allocationOf(samples(ports, missing=missing))
        assert found is not None
        self.assertEqual(found.kind, "sequential", list(ports))
        return found.step, found.noise

    def test_preserving(self) -> None:
        """Most sockets keep their port: some may collide with others behind the same NAT."""
        own = [30000 + 7 * index for index in range(8)]
        self.assertEqual(allocationOf(samples(own)), PortAllocation("preserving"))
        self.assertEqual(allocationOf(samples([*own[:6], 5000, 61000])), PortAllocation("preserving"))

    def test_steps(self) -> None:
        """The step is found, forwards and backwards, and a quiet NAT has no noise."""
        for step in (1, 2, 256, -1, -2, -256, 3):
            self.assertEqual(self.sequence(range(40000, 40000 + 8 * step, step)), (step, 0.0))

    def test_wraps(self) -> None:
        """A sequence that starts anew in between is still one."""
        self.assertEqual(self.sequence([65533, 65534, 65535, 1024, 1025, 1026, 1027, 1028])[0], 1)

    def test_missing(self) -> None:
        """A sample without an answer took a port all the same."""
        self.assertEqual(self.sequence(range(40000, 40016, 2), missing=(0, 3, 4)), (2, 0.0))

    def test_noise(self) -> None:
        """What others take in between is counted by the second."""
        step, noise = self.sequence([50000, 50002, 50008, 50010, 50014, 50016, 50022, 50024])
        self.assertEqual((step, noise), (2, round(5 / 0.32, 1)))

    def test_loud(self) -> None:
        """Where no difference repeats, the step is what all have in common."""
        self.assertEqual(self.sequence([50000, 50004, 50010, 50018, 50028, 50040, 50054, 50070])[0], 2)

    def test_remade(self) -> None:
        """A mapping that a repetition has made is out of order, and does no harm."""
        found = samples([41007, 41000, 41001, 41002, 41003, 41004, 41005, 41006])
        found[0] = PortSample(0, 0.0, 1, found[0].mapped, certain=False)
        result = allocationOf(found)
        self.assertEqual(result, PortAllocation("sequential", 1, 0.0))

    def test_random(self) -> None:
        """Ports from the whole range are random, with one trial of a thousand excepted."""
        source = random.Random(1)
        kinds = [
            allocationOf(samples(source.sample(range(1024, 65536), 8))) or PortAllocation("")
            for _ in range(500)
        ]
        self.assertGreaterEqual(sum(each.kind == "random" for each in kinds), 497)

    def test_block(self) -> None:
        """Ports from a block are told from the whole range, and the block's borders estimated."""
        source = random.Random(2)
        covered = []
        for _ in range(2000):
            low = source.randrange(1024, 60000)
            size = source.choice((256, 512, 2048))
            found = allocationOf(samples(source.sample(range(low, low + size), 8)))
            assert found is not None and found.ports is not None
            self.assertEqual(found.kind, "block")
            first, last = found.ports
            self.assertLess(last - first, 2 * size)
            covered.append((min(last, low + size - 1) - max(first, low) + 1) / size)
        self.assertGreater(sum(covered) / len(covered), 0.9)

    def test_others(self) -> None:
        """Further addresses make the block's borders better known."""
        found = allocationOf(samples([50100, 50300, 50200, 50150, 50250, 50310, 50120, 50333]))
        more = allocationOf(
            samples([50100, 50300, 50200, 50150, 50250, 50310, 50120, 50333]),
            [Address("198.51.100.1", 50511)],
        )
        assert found is not None and more is not None and found.ports is not None and more.ports is not None
        self.assertLess(found.ports[1], 50511)
        self.assertGreaterEqual(more.ports[1], 50511)

    def test_several(self) -> None:
        """Ports of several hosts are no sequence."""
        mixed = [
            PortSample(
                each.index,
                each.sentAt,
                each.local,
                Address(f"198.51.100.{1 + each.index % 3}", each.mapped.port),
            )
            for each in samples(range(40000, 40008))
        ]
        found = allocationOf(mixed)
        assert found is not None
        self.assertEqual(found.kind, "block")

    def test_few(self) -> None:
        """Less than four samples say nothing."""
        self.assertIsNone(allocationOf(samples([40000, 40001, 40002])))
        self.assertIsNone(allocationOf([]))

    def test_anything(self) -> None:
        """Whatever a server says, the result is sane."""
        source = random.Random(3)
        for _ in range(300):
            ports = [source.choice((0, 1, 80, 65535, source.randrange(65536))) for _ in range(8)]
            found = allocationOf(samples(ports))
            if found is not None and found.ports is not None:
                self.assertTrue(0 <= found.ports[0] <= found.ports[1] <= 65535, ports)
            if found is not None and found.step is not None:
                self.assertTrue(found.step and found.noise is not None and found.noise >= 0, ports)
