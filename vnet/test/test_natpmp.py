"""
Tests for L{vnet.protocols.codec.natpmp}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.natpmp import (
    ADDRESS_REQUEST,
    ExternalAddress,
    Mapped,
    Refusal,
    decodeAnswer,
    encodeMapping,
)


class NatPmpTests(SynchronousTestCase):
    """
    The figures of RFC 6886.
    """

    def test_requests(self) -> None:
        """
        Requests are those of sections 3.2 and 3.3.
        """
        self.assertEqual(ADDRESS_REQUEST, bytes.fromhex("0000"))
        self.assertEqual(encodeMapping(0xA2C1, 0xA2C2, 7200), bytes.fromhex("00010000a2c1a2c200001c20"))

    def test_address(self) -> None:
        """
        The external address is read.
        """
        answer = decodeAnswer(bytes.fromhex("0080000000000e10cb007109"))
        self.assertEqual(answer, ExternalAddress(3600, "203.0.113.9"))

    def test_mapped(self) -> None:
        """
        A mapping is read, and what may follow it does not matter.
        """
        answer = bytes.fromhex("0081000000000e10a2c1a2c200001c20")
        self.assertEqual(decodeAnswer(answer), Mapped(3600, 0xA2C1, 0xA2C2, 7200))
        self.assertEqual(decodeAnswer(answer + b"more"), Mapped(3600, 0xA2C1, 0xA2C2, 7200))

    def test_refused(self) -> None:
        """
        A refusal is read whether or not it repeats the request.
        """
        for more in ("", "a2c1000000000000"):
            answer = decodeAnswer(bytes.fromhex("0081000200000e10" + more))
            self.assertEqual(answer, Refusal(1, 2, 3600))

    def test_garbage(self) -> None:
        """
        Requests, other versions, answers to what nobody asked, and cut or huge ones are refused.
        """
        for data in (
            b"",
            ADDRESS_REQUEST,
            encodeMapping(1, 1, 1),
            bytes.fromhex("0180000000000e10cb007109"),
            bytes.fromhex("0082000000000e10a2c1a2c200001c20"),
            bytes.fromhex("0081000000000e10a2c1a2c200001c"),
            bytes.fromhex("0080000000000e10cb0071"),
            bytes.fromhex("0080000000000e10cb007109") + bytes(1200),
        ):
            self.assertRaises(DecodeError, decodeAnswer, data)
