"""
Tests for L{vnet.protocols.codec.ssdp}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.ssdp import TARGETS, Place, decodeAnswer, encodeSearch, parsePlace

ROUTER = "192.168.1.1"


def answer(location: str = "http://192.168.1.1:5000/rootDesc.xml", target: str = TARGETS[0]) -> bytes:
    """
    What a router answers.
    """
    return f"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nst: {target}\r\nEXT:\r\nLocation : {location}\r\n\r\n".encode()


class SearchTests(SynchronousTestCase):
    """
    L{encodeSearch} and L{decodeAnswer}.
    """

    def test_request(self) -> None:
        """
        A search is a header in one datagram.
        """
        lines = encodeSearch(TARGETS[1]).split(b"\r\n")
        self.assertEqual(lines[0], b"M-SEARCH * HTTP/1.1")
        self.assertIn(b'MAN: "ssdp:discover"', lines)
        self.assertIn(b"ST: urn:schemas-upnp-org:device:InternetGatewayDevice:2", lines)
        self.assertEqual(lines[-2:], [b"", b""])

    def test_answer(self) -> None:
        """
        The place of the description is read, whatever the case of the names and the ends of the lines.
        """
        place = Place(ROUTER, 5000, "/rootDesc.xml")
        self.assertEqual(decodeAnswer(answer(), ROUTER), place)
        self.assertEqual(decodeAnswer(answer().replace(b"\r\n", b"\n"), ROUTER), place)

    def test_elsewhere(self) -> None:
        """
        A place that is not at the router, or not by HTTP, is refused.
        """
        for location in (
            "http://192.168.1.2:5000/",
            "http://127.0.0.1/",
            "http://router.example/",
            "http://192.168.1.1.example/",
            "http://192.168.1.1@192.168.1.2/",
            "http://a:b@192.168.1.1/",
            "http://192.168.001.1/",
            "http://3232235777/",
            "http://[::ffff:192.168.1.1]/",
            "https://192.168.1.1/",
            "file:///etc/passwd",
            "//192.168.1.1/",
            "/rootDesc.xml",
            "http://192.168.1.1:0/",
            "http://192.168.1.1:65536/",
            "http://192.168.1.1:x/",
            "http://192.168.1.1/a b",
            "http://192.168.1.1/\x7f",
            "http://192.168.1.1/\u00e4",
            "http://192.168.1.1/" + "a" * 600,
            "http://[192.168.1.1/",
            "",
        ):
            self.assertRaises(DecodeError, decodeAnswer, answer(location), ROUTER)

    def test_garbage(self) -> None:
        """
        What is no answer, or to another search, is refused.
        """
        for data in (
            b"",
            b"\xff" * 100,
            encodeSearch(TARGETS[0]),
            b"NOTIFY * HTTP/1.1" + answer()[15:],
            answer().replace(b"200", b"404"),
            answer(target="upnp:rootdevice"),
            b"HTTP/1.1 200 OK\r\n" + answer() * 30,
            b"HTTP/1.1 200 OK\r\n\r\n",
        ):
            self.assertRaises(DecodeError, decodeAnswer, data, ROUTER)


class PlaceTests(SynchronousTestCase):
    """
    L{parsePlace}.
    """

    def test_relative(self) -> None:
        """
        A relative URL stays at the router; an absolute one has to.
        """
        base = Place(ROUTER, 5000, "/a/rootDesc.xml")
        for text, target in (("/ctl/IP?x=1", "/ctl/IP?x=1"), ("ctl", "/a/ctl"), ("../../ctl", "/ctl")):
            self.assertEqual(parsePlace(text, ROUTER, base), Place(ROUTER, 5000, target))
        self.assertEqual(parsePlace("http://192.168.1.1", ROUTER, base), Place(ROUTER, 80, "/"))
        for text in ("//192.168.1.2/ctl", "http://192.168.1.2/", "file:/etc/passwd", "ftp://192.168.1.1/"):
            self.assertRaises(DecodeError, parsePlace, text, ROUTER, base)
