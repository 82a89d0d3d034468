"""
Tests for L{vnet.client.wording}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.wording import (
    age,
    amount,
    latency,
    relayName,
    relaySummary,
    shown,
    stateSentence,
    udpAddress,
)


class QuantityTests(SynchronousTestCase):
    """
    Numbers for a person.
    """

    def test_latency(self) -> None:
        """A latency has the digits that matter, and an unknown one is empty."""
        for value, text in (
            (0.25, "0.2 ms"),
            (12.34, "12.3 ms"),
            (148.6, "149 ms"),
            (None, ""),
            ("x", ""),
            (True, ""),
        ):
            self.assertEqual(latency(value), text)

    def test_age(self) -> None:
        """An age is in seconds, minutes or hours."""
        for value, text in (
            (0, "0 s ago"),
            (72.9, "1 min 12 s ago"),
            (7384, "2 h 3 min ago"),
            (None, "never"),
            (-1, "0 s ago"),
        ):
            self.assertEqual(age(value), text)

    def test_amount(self) -> None:
        """An amount is in the unit that leaves at most four digits."""
        for value, text in (
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1536, "1.5 KiB"),
            (5 * 2**40, "5.0 TiB"),
            (None, "-"),
        ):
            self.assertEqual(amount(value), text)

    def test_shown(self) -> None:
        """Any JSON value becomes one harmless line."""
        for value, text in ((None, "-"), ("", "-"), (True, "yes"), (5, "5"), ("a\nb\x1b", "a\ufffdb\ufffd")):
            self.assertEqual(shown(value), text)

    def test_udpAddress(self) -> None:
        """An address is text, or a host and a port."""
        for value, text in (
            (["::1", 5], "[::1]:5"),
            (["192.0.2.1", 5], "192.0.2.1:5"),
            ("192.0.2.1:5", "192.0.2.1:5"),
            (None, None),
        ):
            self.assertEqual(udpAddress(value), text)


class SentenceTests(SynchronousTestCase):
    """
    Sentences that say what a state means.
    """

    def test_relays(self) -> None:
        """A relay is named with what it is reached over; where there is none it is said why."""
        relays = [
            {"relay": "a.example:3478", "transport": "udp", "latencyMs": 20.04},
            {"relay": "b.example:443", "transport": "tls", "latencyMs": None},
        ]
        self.assertEqual(
            relaySummary({"relays": relays}), "a.example:3478 over UDP (20.0 ms), b.example:443 over TLS"
        )
        self.assertEqual(relaySummary({"relays": [], "relayError": "it is full"}), "none: it is full")
        empty: list[dict[str, object]] = [{}, {"relays": None}, {"relays": [1]}, {"relays": []}]
        for status in empty:
            self.assertEqual(relaySummary(status), "none")
        self.assertEqual(
            (relayName("a:1", None), relayName(None, "udp"), relayName("a\n", "tls\x1b")),
            ("a:1", "", "a\ufffd over TLS\ufffd"),
        )

    def test_stateSentence(self) -> None:
        """Who is offline reads how to go online."""
        self.assertIn("vnet login 'vnet://m'", stateSentence({"state": "offline", "mediator": "vnet://m"}))
        self.assertIn("vnet join LINK", stateSentence({"state": "offline", "mediator": None}))
        self.assertIn("stay up", stateSentence({"state": "connecting"}))
        self.assertEqual(stateSentence({"state": "\x1b"}), "\ufffd")
