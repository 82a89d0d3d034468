"""
Tests for L{vnet.protocols.codec.stun}, on the vectors of RFC 5769 and RFC 8489 appendix B.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import struct
import zlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec import stunattributes as attr
from vnet.protocols.codec.stun import (
    BINDING,
    MAX_ATTRIBUTES,
    Authentic,
    Class,
    Message,
    authenticate,
    decode,
    encode,
    isStun,
    longTermKey,
    opaqueString,
    shortTermKey,
    userHash,
)
from vnet.values import Address

TID = bytes.fromhex("b7e7a701bc34d686fa87dfae")
PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt"

# RFC 5769 section 2.1
REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff"
    "80290008932ff9b151263b36000600096576746a3a6836765920202000080014"
    "9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf"
)
# RFC 5769 section 2.2
RESPONSE4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
# RFC 5769 section 2.3
RESPONSE6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9fa"
    "a5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)
# RFC 5769 section 2.4
LONG_TERM = bytes.fromhex(
    "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe382b900000015001c"
    "662f2f3439396b3935346436" + "4f4c33346f4c39465354767936347341" + "0014000b6578616d706c652e6f7267000008"
    "0014f67024656dd64a3e02b8e0712e85c9a28ca89666"
)
# RFC 8489 appendix B.1 with erratum 6268
SHA256 = bytes.fromhex(
    "000100902112a44278ad3433c6ad72c029da412e001e00204a3cf38fef6992bda952c6780417da0f24819415569e60b2"
    "05c46e41407f170400150029" + b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA".hex() + "000000"
    "0014000b6578616d706c652e6f726700001d000400020000001c0020"
    "b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65"
)
MATRIX = "\u30de\u30c8\u30ea\u30c3\u30af\u30b9"


def message(*attributes: attr.Attribute[Any], klass: Class = Class.REQUEST) -> Message:
    return Message(BINDING, klass, TID, attributes)


def raw(*tlvs: tuple[int, bytes], kind: int = 1) -> bytes:
    """
    A message made by hand, so that it can be wrong.
    """
    body = b"".join(struct.pack("!HH", c, len(v)) + v + bytes(-len(v) % 4) for c, v in tlvs)
    return struct.pack("!HHI", kind, len(body), 0x2112A442) + TID + body


class VectorTests(SynchronousTestCase):
    def test_request(self) -> None:
        """The sample request of RFC 5769 is read and its integrity holds."""
        got = decode(REQUEST)
        self.assertEqual((got.method, got.klass, got.transactionId), (BINDING, Class.REQUEST, TID))
        self.assertEqual(got.get(attr.SOFTWARE), "STUN test client")
        self.assertEqual(got.get(attr.PRIORITY), 0x6E0001FF)
        self.assertEqual(got.get(attr.ICE_CONTROLLED), 0x932FF9B151263B36)
        self.assertEqual(got.get(attr.USERNAME), "evtj:h6vY")
        self.assertEqual(got.get(attr.FINGERPRINT), 0xE57A3BCF)
        self.assertIsInstance(authenticate(got, shortTermKey(PASSWORD)), Authentic)

    def test_response4(self) -> None:
        """The sample IPv4 response of RFC 5769 is read and its integrity holds."""
        got = decode(RESPONSE4)
        self.assertEqual(got.klass, Class.SUCCESS)
        self.assertEqual(got.get(attr.SOFTWARE), "test vector")
        self.assertEqual(got.get(attr.XOR_MAPPED_ADDRESS), Address("192.0.2.1", 32853))
        self.assertIsNotNone(authenticate(got, shortTermKey(PASSWORD)))

    def test_response6(self) -> None:
        """The sample IPv6 response of RFC 5769 is read and its integrity holds."""
        got = decode(RESPONSE6)
        self.assertEqual(
            got.get(attr.XOR_MAPPED_ADDRESS), Address("2001:db8:1234:5678:11:2233:4455:6677", 32853)
        )
        self.assertIsNotNone(authenticate(got, shortTermKey(PASSWORD)))

    def test_longTerm(self) -> None:
        """The long-term sample of RFC 5769 is read, its integrity holds, and we write the same bytes."""
        got = decode(LONG_TERM)
        key = longTermKey(MATRIX, "example.org", "TheMatrIX")
        authentic = authenticate(got, key)
        assert authentic is not None
        self.assertEqual(authentic.get(attr.USERNAME), MATRIX)
        self.assertEqual(authentic.get(attr.NONCE), "f//499k954d6OL34oL9FSTvy64sA")
        self.assertEqual(authentic.get(attr.REALM), "example.org")
        again = Message(got.method, got.klass, got.transactionId, authentic.attributes)
        self.assertEqual(encode(again, key=key), LONG_TERM)

    def test_sha256(self) -> None:
        """The sample of RFC 8489 appendix B.1 is read, its integrity holds, and we write the same bytes."""
        got = decode(SHA256)
        key = longTermKey(MATRIX, "example.org", "TheMatrIX", "sha256")
        authentic = authenticate(got, key)
        assert authentic is not None
        self.assertTrue(authentic.sha256)
        self.assertEqual(authentic.get(attr.USERHASH), userHash(MATRIX, "example.org"))
        self.assertEqual(authentic.get(attr.PASSWORD_ALGORITHM), attr.PasswordAlgorithm(2))
        again = Message(got.method, got.klass, got.transactionId, authentic.attributes)
        self.assertEqual(encode(again, key256=key), SHA256)

    def test_everyBitCounts(self) -> None:
        """No bit of a vector up to the end of its integrity can be flipped without it being refused or
        losing that integrity."""
        keys = {
            REQUEST: shortTermKey(PASSWORD),
            RESPONSE6: shortTermKey(PASSWORD),
            LONG_TERM: longTermKey(MATRIX, "example.org", "TheMatrIX"),
            SHA256: longTermKey(MATRIX, "example.org", "TheMatrIX", "sha256"),
        }
        for data, key in keys.items():
            signed = len(data) - (8 if attr.FINGERPRINT in decode(data) else 0)
            for bit in range(signed * 8):
                changed = bytearray(data)
                changed[bit // 8] ^= 1 << bit % 8
                with contextlib.suppress(DecodeError):
                    self.assertIsNone(authenticate(decode(bytes(changed)), key), (bit, data))


class DecodeTests(SynchronousTestCase):
    def refused(self, data: bytes) -> None:
        self.assertRaises(DecodeError, decode, data)

    def test_truncated(self) -> None:
        """No prefix of a message is a message."""
        for size in range(len(REQUEST)):
            self.refused(REQUEST[:size])

    def test_header(self) -> None:
        """A wrong cookie, leading bits, or a length that does not fit are refused."""
        self.refused(REQUEST[:4] + b"\x21\x12\xa4\x43" + REQUEST[8:])
        self.refused(b"\x40" + REQUEST[1:])
        self.refused(REQUEST + bytes(4))
        self.refused(struct.pack("!HHI", 1, 2, 0x2112A442) + TID + bytes(2))

    def test_attributeBeyondEnd(self) -> None:
        """An attribute that says it is longer than the message is refused."""
        self.refused(raw((0x8022, b"abcd"))[:-8] + struct.pack("!HH", 0x8022, 5) + b"abcd")

    def test_malformed(self) -> None:
        """A known attribute with a value that cannot be read is refused."""
        for code, value in [
            (0x0001, b""),
            (0x0001, bytes([0, 3, 0, 1, 1, 2, 3, 4])),
            (0x0001, bytes([0, 2, 0, 1, 1, 2, 3, 4])),
            (0x0020, bytes(9)),
            (0x0020, bytes(64)),
            (0x0003, bytes(3)),
            (0x0006, b"\xff"),
            (0x0006, b"a" * 509),
            (0x0008, bytes(19)),
            (0x0009, bytes(3)),
            (0x0009, bytes([0, 0, 2, 0])),
            (0x0009, bytes([0, 0, 4, 100])),
            (0x000A, bytes(3)),
            (0x0014, b"a" * 764),
            (0x001C, bytes(16)),
            (0x001D, b""),
            (0x001D, bytes([0, 1, 0, 1])),
            (0x0024, bytes(3)),
            (0x0025, b"x"),
            (0x0027, b"x"),
            (0x8028, bytes(4)),
            (0x8029, bytes(4)),
        ]:
            self.refused(raw((code, value)))

    def test_fingerprint(self) -> None:
        """A fingerprint that is wrong or not last is refused."""
        data = encode(message(), fingerprint=True)
        self.assertIn(attr.FINGERPRINT, decode(data))
        self.refused(data[:-1] + bytes([data[-1] ^ 1]))
        head = data[:2] + struct.pack("!H", 12) + data[4:20]
        crc = zlib.crc32(head) ^ 0x5354554E
        self.refused(head + struct.pack("!HHIHH", 0x8028, 4, crc, 0x0025, 0))

    def test_firstOfDuplicatesCounts(self) -> None:
        """Of two attributes of one type the first counts, also when the second is malformed."""
        got = decode(raw((0x0006, b"first"), (0x0006, b"second"), (0x0024, bytes(4)), (0x0024, b"")))
        self.assertEqual(got.get(attr.USERNAME), "first")
        self.assertEqual(len(got.attributes), 2)

    def test_unknown(self) -> None:
        """Unknown attributes are named once each if they must be understood, and else ignored."""
        got = decode(raw((0x7FFF, b"x"), (0x0002, b""), (0x7FFF, b""), (0x8FFF, b"xyz")))
        self.assertEqual(got.unknown, (0x7FFF, 0x0002))
        self.assertEqual(got.attributes, ())

    def test_notUnderstood(self) -> None:
        """A receiver is told the required attributes that it does not handle, known here or not."""
        got = decode(raw((0x7FFF, b""), (0x0003, bytes(4)), (0x0006, b"a"), (0x8022, b"b")))
        self.assertEqual(got.notUnderstood({attr.USERNAME}), (0x7FFF, 0x0003))

    def test_mappedIsUnmapped(self) -> None:
        """An IPv4 address in IPv6 form is given as IPv4."""
        value = bytes([0, 2, 0, 7]) + bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 1])
        self.assertEqual(decode(raw((1, value))).get(attr.MAPPED_ADDRESS), Address("192.0.2.1", 7))

    def test_tooMany(self) -> None:
        """A datagram of attributes without end is refused before it costs anything."""
        decode(raw(*[(0x8FFF, b"")] * MAX_ATTRIBUTES))
        self.refused(raw(*[(0x8FFF, b"")] * (MAX_ATTRIBUTES + 1)))

    def test_tooManyAlgorithms(self) -> None:
        """A list of password algorithms without end is refused before it costs anything."""
        decode(raw((0x8002, b"\0\2\0\0" * 16)))
        self.refused(raw((0x8002, b"\0\2\0\0" * 17)))

    def test_diagnosticsAreForgiven(self) -> None:
        """A text that only people read does not spoil a message by its encoding."""
        got = decode(raw((0x8022, b"a\xff"), (0x0009, bytes([0, 0, 4, 20]) + b"b\xff"), kind=0x0111))
        self.assertEqual(got.get(attr.SOFTWARE), "a\ufffd")
        self.assertEqual(got.get(attr.ERROR_CODE), attr.ErrorCode(420, "b\ufffd"))

    def test_portForms(self) -> None:
        """RESPONSE-PORT is read in both of its forms."""
        for value in (b"\x12\x34", b"\x12\x34\x00\x00"):
            self.assertEqual(decode(raw((0x27, value))).get(attr.RESPONSE_PORT), 0x1234)

    def test_behaviorDiscovery(self) -> None:
        """The attributes of RFC 5780 section 7 are written and read as these bytes, which were worked out by hand."""
        for attribute, expected in (
            (attr.CHANGE_REQUEST(attr.ChangeRequest()), "0003000400000000"),
            (attr.CHANGE_REQUEST(attr.ChangeRequest(port=True)), "0003000400000002"),
            (attr.CHANGE_REQUEST(attr.ChangeRequest(address=True)), "0003000400000004"),
            (attr.CHANGE_REQUEST(attr.ChangeRequest(True, True)), "0003000400000006"),
            (attr.PADDING(b"abcde"), "002600056162636465000000"),
            (attr.PATH_PADDING(b"abcde"), "f5a000056162636465000000"),
            (attr.RESPONSE_PORT(3479), "002700020d970000"),
            (attr.RESPONSE_ORIGIN(Address("192.0.2.1", 3478)), "802b000800010d96c0000201"),
            (
                attr.RESPONSE_ORIGIN(Address("2001:db8::1", 3478)),
                "802b001400020d9620010db8000000000000000000000001",
            ),
            (attr.OTHER_ADDRESS(Address("198.51.100.7", 3479)), "802c000800010d97c6336407"),
            (
                attr.OTHER_ADDRESS(Address("2001:db8::2", 3479)),
                "802c001400020d9720010db8000000000000000000000002",
            ),
        ):
            data = encode(message(attribute))
            self.assertEqual(data[20:].hex(), expected)
            self.assertEqual(decode(data).attributes, (attribute,))

    def test_changeRequestBits(self) -> None:
        """Of a CHANGE-REQUEST the two flags count, and no other bit."""
        got = decode(raw((0x03, b"\xff\xff\xff\xf9"))).get(attr.CHANGE_REQUEST)
        self.assertEqual(got, attr.ChangeRequest())

    @given(st.binary(max_size=200))
    def test_anyBytes(self, data: bytes) -> None:
        """Whatever arrives, decoding raises nothing but DecodeError."""
        with contextlib.suppress(DecodeError):
            decode(data)

    @given(
        st.lists(
            st.tuples(
                st.one_of(st.sampled_from(sorted(attr.ROWS)), st.integers(0, 0xFFFF)), st.binary(max_size=40)
            ),
            max_size=12,
        ),
        st.integers(0, 0x3FFF),
    )
    def test_anyAttributes(self, tlvs: list[tuple[int, bytes]], kind: int) -> None:
        """Whatever the attributes hold, decoding raises nothing but DecodeError, and what it reads
        can be checked and asked."""
        try:
            got = decode(raw(*tlvs, kind=kind))
        except DecodeError:
            return
        self.assertIsNone(authenticate(got, b"key"))
        self.assertEqual(len({each.kind for each in got.attributes}), len(got.attributes))

    @given(st.integers(0, len(REQUEST) - 1), st.binary(max_size=8), st.integers(0, 8))
    def test_damaged(self, at: int, patch: bytes, cut: int) -> None:
        """A damaged vector raises nothing but DecodeError."""
        data = REQUEST[:at] + patch + REQUEST[at + cut :]
        data = data[:2] + struct.pack("!H", max(0, len(data) - 20) & 0xFFFF) + data[4:]
        with contextlib.suppress(DecodeError):
            decode(data)


class IntegrityTests(SynchronousTestCase):
    key = b"key"

    def test_absent(self) -> None:
        """A message without integrity is never authentic, whatever the key."""
        for key in (b"", self.key):
            self.assertIsNone(authenticate(decode(encode(message(attr.USERNAME("a")))), key))

    def test_ownMessage(self) -> None:
        """A message that was made here and not received is never authentic."""
        self.assertIsNone(authenticate(message(attr.USERNAME("a")), self.key))

    def test_wrongKey(self) -> None:
        """A message under another key is not authentic, with either hash."""
        self.assertIsNone(authenticate(decode(encode(message(), key=b"other")), self.key))
        self.assertIsNone(authenticate(decode(encode(message(), key256=b"other")), self.key))

    def test_strongerIsChecked(self) -> None:
        """With both integrities the SHA-256 decides."""
        both = encode(message(attr.PRIORITY(1)), key=self.key, key256=self.key, fingerprint=True)
        authentic = authenticate(decode(both), self.key)
        assert authentic is not None
        self.assertTrue(authentic.sha256)
        mixed = encode(message(), key=self.key, key256=b"other")
        self.assertIsNone(authenticate(decode(mixed), self.key))

    def test_onlyCoveredIsSeen(self) -> None:
        """What follows the integrity is seen neither in the message nor in the authentic one."""
        signed = encode(message(attr.PRIORITY(1)), key=self.key)
        body = signed[20:] + struct.pack("!HHHH", 0x0025, 0, 0x7FFF, 0)
        data = signed[:2] + struct.pack("!H", len(body)) + signed[4:20] + body
        got = decode(data)
        self.assertNotIn(attr.USE_CANDIDATE, got)
        self.assertEqual(got.unknown, ())
        authentic = authenticate(got, self.key)
        assert authentic is not None
        self.assertEqual(authentic.attributes, (attr.PRIORITY(1),))

    def test_nothingBetweenTheIntegrities(self) -> None:
        """An attribute between the two integrities is not seen, though the second covers it."""

        def header(size: int) -> bytes:
            return struct.pack("!HHI", 1, size, 0x2112A442) + TID

        body = encode(message(), key=self.key)[20:] + struct.pack("!HH", 0x0025, 0)
        mac = hmac.digest(self.key, header(len(body) + 36) + body, "sha256")
        got = decode(header(len(body) + 36) + body + struct.pack("!HH", 0x001C, 32) + mac)
        self.assertNotIn(attr.USE_CANDIDATE, got)
        authentic = authenticate(got, self.key)
        assert authentic is not None
        self.assertTrue(authentic.sha256)
        self.assertNotIn(attr.USE_CANDIDATE, authentic)

    def test_differentType(self) -> None:
        """What is authentic has another type than what is not."""
        got = decode(encode(message(), key=self.key))
        self.assertNotIsInstance(got, Authentic)
        self.assertNotIsInstance(authenticate(got, self.key), Message)


class EncodeTests(SynchronousTestCase):
    def test_refusesBadValues(self) -> None:
        """A value that does not fit its attribute is refused before it reaches the wire."""
        for each in (
            attr.USERNAME("a" * 509),
            attr.PRIORITY(1 << 32),
            attr.PRIORITY(-1),
            attr.USE_CANDIDATE(False),
            attr.ERROR_CODE(attr.ErrorCode(200)),
            attr.XOR_MAPPED_ADDRESS(Address("example.org", 1)),
            attr.PADDING(bytes(65536)),
            attr.USERHASH(b""),
            attr.FINGERPRINT(1),
            attr.MESSAGE_INTEGRITY(bytes(20)),
        ):
            self.assertRaises(ValueError, encode, message(each))

    def test_refusesBadHeader(self) -> None:
        """A transaction id is 12 bytes and a method 12 bits."""
        self.assertRaises(ValueError, Message, BINDING, Class.REQUEST, b"short")
        self.assertRaises(ValueError, encode, Message(0x1000, Class.REQUEST, TID))

    def test_types(self) -> None:
        """Method and class are interleaved as RFC 8489 section 5 draws them."""
        for method, klass, kind in [
            (1, Class.SUCCESS, 0x0101),
            (1, Class.ERROR, 0x0111),
            (1, Class.INDICATION, 0x0011),
            (3, Class.REQUEST, 0x0003),
            (0xFFF, Class.ERROR, 0x3FFF),
        ]:
            data = encode(Message(method, klass, TID))
            self.assertEqual(data[:2], struct.pack("!H", kind))
            self.assertEqual(decode(data), Message(method, klass, TID))


text = st.text(st.characters(codec="utf-8"), max_size=40)
addresses = st.builds(
    Address,
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6, network="2000::/3")).map(str),
    st.integers(0, 65535),
    st.just(""),
)
algorithms = st.builds(attr.PasswordAlgorithm, st.integers(0, 0xFFFF), st.binary(max_size=9))
VALUES: dict[attr.AttributeType[Any], st.SearchStrategy[Any]] = {
    **{
        kind: addresses
        for kind in (
            attr.MAPPED_ADDRESS,
            attr.XOR_MAPPED_ADDRESS,
            attr.ALTERNATE_SERVER,
            attr.RESPONSE_ORIGIN,
            attr.OTHER_ADDRESS,
            attr.XOR_PEER_ADDRESS,
            attr.XOR_RELAYED_ADDRESS,
        )
    },
    attr.CHANNEL_NUMBER: st.integers(0, 65535),
    attr.LIFETIME: st.integers(0, 2**32 - 1),
    attr.DATA: st.binary(max_size=50),
    attr.REQUESTED_ADDRESS_FAMILY: st.sampled_from([4, 6]),
    attr.ADDITIONAL_ADDRESS_FAMILY: st.sampled_from([4, 6]),
    attr.EVEN_PORT: st.booleans(),
    attr.REQUESTED_TRANSPORT: st.integers(0, 255),
    attr.DONT_FRAGMENT: st.just(True),
    attr.RESERVATION_TOKEN: st.binary(min_size=8, max_size=8),
    attr.ADDRESS_ERROR_CODE: st.builds(
        attr.AddressErrorCode, st.sampled_from([4, 6]), st.integers(300, 699), text
    ),
    attr.ICMP: st.builds(
        attr.Icmp, st.integers(0, 127), st.integers(0, 511), st.binary(min_size=4, max_size=4)
    ),
    **{kind: text for kind in (attr.USERNAME, attr.REALM, attr.NONCE, attr.SOFTWARE)},
    attr.PRIORITY: st.integers(0, 2**32 - 1),
    attr.ICE_CONTROLLED: st.integers(0, 2**64 - 1),
    attr.ICE_CONTROLLING: st.integers(0, 2**64 - 1),
    attr.RESPONSE_PORT: st.integers(0, 65535),
    attr.USE_CANDIDATE: st.just(True),
    attr.PADDING: st.binary(max_size=50),
    attr.PATH_PADDING: st.binary(max_size=50),
    attr.USERHASH: st.binary(min_size=32, max_size=32),
    attr.PASSWORD_ALGORITHM: algorithms,
    attr.PASSWORD_ALGORITHMS: st.lists(algorithms, max_size=3).map(tuple),
    attr.CHANGE_REQUEST: st.builds(attr.ChangeRequest, st.booleans(), st.booleans()),
    attr.ERROR_CODE: st.builds(attr.ErrorCode, st.integers(300, 699), text),
    attr.UNKNOWN_ATTRIBUTES: st.lists(st.integers(0, 65535), max_size=5).map(tuple),
}
attributes = st.lists(st.sampled_from(list(VALUES)), unique=True).flatmap(
    lambda kinds: st.tuples(*[st.builds(attr.Attribute, st.just(kind), VALUES[kind]) for kind in kinds])
)
messages = st.builds(
    Message, st.integers(0, 0xFFF), st.sampled_from(Class), st.binary(min_size=12, max_size=12), attributes
)


class RoundTripTests(SynchronousTestCase):
    def test_everyRowIsTried(self) -> None:
        """The round trip below covers each row of the table but those that are computed."""
        computed = {attr.MESSAGE_INTEGRITY, attr.MESSAGE_INTEGRITY_SHA256, attr.FINGERPRINT}
        self.assertEqual(set(attr.ROWS.values()), set(VALUES) | computed)

    @given(messages, st.booleans())
    def test_plain(self, sent: Message, fingerprint: bool) -> None:
        """What is written is read back as it was."""
        data = encode(sent, fingerprint=fingerprint)
        got = decode(data)
        self.assertTrue(isStun(data))
        self.assertEqual(attr.FINGERPRINT in got, fingerprint)
        self.assertEqual(
            tuple(each for each in got.attributes if each.kind is not attr.FINGERPRINT), sent.attributes
        )
        self.assertEqual(
            (got.method, got.klass, got.transactionId), (sent.method, sent.klass, sent.transactionId)
        )

    @given(messages, st.booleans(), st.booleans(), st.booleans())
    def test_signed(self, sent: Message, one: bool, two: bool, fingerprint: bool) -> None:
        """What is signed is authentic with its own key, to the last attribute, and with no other."""
        key = os.urandom(20)
        got = decode(encode(sent, key if one else None, key if two else None, fingerprint))
        authentic = authenticate(got, key)
        self.assertEqual(authentic is not None, one or two)
        if authentic is not None:
            covered = sent.attributes
            kept = tuple(e for e in authentic.attributes if e.kind is not attr.MESSAGE_INTEGRITY)
            self.assertEqual(kept, covered)
        self.assertIsNone(authenticate(got, key + b"x"))


class KeyTests(SynchronousTestCase):
    def test_longTerm(self) -> None:
        """The key of user, realm and pass is the one that RFC 8489 section 9.2.2 gives."""
        self.assertEqual(longTermKey("user", "realm", "pass").hex(), "8493fbc53ba582fb4c044c456bdc40eb")
        self.assertRaises(ValueError, longTermKey, "user", "realm", "pass", "sha1")

    def test_opaque(self) -> None:
        """Credentials are compared in NFC and with ASCII spaces; control characters are refused."""
        self.assertEqual(opaqueString("cafe\u0301\u00a0x"), "caf\u00e9 x")
        self.assertRaises(ValueError, opaqueString, "a\x00b")
        self.assertEqual(shortTermKey("abc"), b"abc")

    def test_isStun(self) -> None:
        """A STUN datagram is known by its header and length."""
        self.assertTrue(isStun(REQUEST))
        self.assertFalse(isStun(REQUEST[:-4]))
        self.assertFalse(isStun(b""))
        self.assertFalse(isStun(bytes(148)))
