"""
The URIs of relays.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.turnuri import RelayUri, parseRelayUri

PIN = bytes(range(32))


class RelayUriTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """Each form of RFC 7065 is read, with its default port and transports."""
        for text, expected in {
            "turn:r.example": (RelayUri("r.example", 3478, "udp"), RelayUri("r.example", 3478, "tcp")),
            "turn:192.0.2.1:99?transport=udp": (RelayUri("192.0.2.1", 99, "udp"),),
            "turn:r.example:80?transport=tcp": (RelayUri("r.example", 80, "tcp"),),
            "turns:r.example": (RelayUri("r.example", 5349, "tls"),),
            "turns:[2001:DB8::0:1]:443?transport=tcp": (RelayUri("2001:db8::1", 443, "tls"),),
        }.items():
            self.assertEqual(parseRelayUri(text), expected)

    def test_pin(self) -> None:
        """A pin follows after '#', and what is written is read back."""
        uri = RelayUri("r.example", 443, "tls", PIN)
        self.assertEqual(
            str(uri), "turns:r.example:443?transport=tcp#sha256-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
        )
        self.assertEqual(parseRelayUri(str(uri)), (uri,))

    def test_wrong(self) -> None:
        """What is no URI of a relay, DTLS, and a pin where there is no TLS are refused."""
        for text in (
            "",
            "turn:",
            "http://r.example",
            "turn:r.example:0",
            "turn:r.example:65536",
            "turn:r.example?transport=sctp",
            "turns:r.example?transport=udp",
            "turn:[1.2.3.4]",
            "turn:[::1",
            "turn:r.example#sha256-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
            "turns:r.example#sha256-AAEC",
            "turns:r.example#sha256-A",
            "turn:r\n.example",
            "turn:r.example\n",
            "turn:" + "a" * 500,
            "turn:" + "a." * 130 + "example",
            "turn:" + "a" * 64 + ".example",
            "turn:r..example",
            "turn:.",
        ):
            self.assertRaises(DecodeError, parseRelayUri, text)
