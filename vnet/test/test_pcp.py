"""
Tests for L{vnet.protocols.codec.pcp}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.pcp import Answer, Assigned, decodeAnswer, encodeMap

NONCE = bytes(range(12))
MAPPED = "00000000000000000000ffff"
BODY = NONCE.hex() + "11000000a2c1a2c2" + MAPPED + "cb007109"
HEADER = "0281000000001c2000000e10" + "00" * 12


class PcpTests(SynchronousTestCase):
    """
    The figures of RFC 6887.
    """

    def test_request(self) -> None:
        """
        A request is that of sections 7.1 and 11.1: the client's address and a wish, or none, as mapped addresses.
        """
        start = "0201000000001c20" + MAPPED + "c0a80102" + NONCE.hex() + "11000000a2c1"
        self.assertEqual(
            encodeMap("192.168.1.2", NONCE, 0xA2C1, 0xA2C2, 7200, "203.0.113.9"),
            bytes.fromhex(start + "a2c2" + MAPPED + "cb007109"),
        )
        self.assertEqual(
            encodeMap("192.168.1.2", NONCE, 0xA2C1, 0, 7200),
            bytes.fromhex(start + "0000" + MAPPED + "00000000"),
        )

    def test_answer(self) -> None:
        """
        A mapping is read; options that may follow do not matter.
        """
        wanted = Answer(0, 7200, 3600, Assigned(NONCE, 0xA2C1, 0xA2C2, "203.0.113.9"))
        self.assertEqual(decodeAnswer(bytes.fromhex(HEADER + BODY)), wanted)
        self.assertEqual(decodeAnswer(bytes.fromhex(HEADER + BODY + "02000000")), wanted)

    def test_refused(self) -> None:
        """
        A refusal is read with the request that it repeats, whose address may be all zero, or without.
        """
        header = HEADER.replace("02810000", "02810002", 1)
        self.assertEqual(decodeAnswer(bytes.fromhex(header)), Answer(2, 7200, 3600, None))
        for external in (MAPPED + "00000000", "00" * 16):
            answer = decodeAnswer(bytes.fromhex(header + BODY[:40] + external))
            self.assertEqual(answer.mapping, Assigned(NONCE, 0xA2C1, 0xA2C2, "0.0.0.0"))

    def test_otherVersion(self) -> None:
        """
        A router that knows another version, or NAT-PMP only, refuses the version.
        """
        for data in ("0081000100000e10", "0081000100000e100000000000000000", "01810001" + HEADER[8:]):
            self.assertEqual(decodeAnswer(bytes.fromhex(data)).result, 1)

    def test_garbage(self) -> None:
        """
        Requests, other opcodes and protocols, an external address that is no IPv4 one, and cut or huge answers are refused.
        """
        for data in (
            b"",
            encodeMap("192.168.1.2", NONCE, 1, 1, 1),
            bytes.fromhex(HEADER),
            bytes.fromhex(HEADER + BODY)[:-4],
            bytes.fromhex(HEADER + BODY)[:-1],
            bytes.fromhex(HEADER.replace("0281", "0282", 1) + BODY),
            bytes.fromhex(HEADER + BODY.replace("11000000", "06000000")),
            bytes.fromhex(HEADER + BODY.replace(MAPPED, "20010db80000000000000000")),
            bytes.fromhex("0081000000000e10a2c1a2c200001c20"),
            bytes.fromhex(HEADER + BODY) + bytes(1200),
        ):
            self.assertRaises(DecodeError, decodeAnswer, data)
