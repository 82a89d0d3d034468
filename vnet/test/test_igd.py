"""
Tests for L{vnet.protocols.codec.igd} and L{vnet.protocols.codec.plainxml}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.igd import Fault, Service, decodeReply, encodeCall, parseDescription
from vnet.protocols.codec.plainxml import MAXIMUM, parseXml
from vnet.protocols.codec.ssdp import Place

PLACE = Place("192.168.1.1", 5000, "/d/root.xml")
URN = "urn:schemas-upnp-org:service:"


def description(*services: tuple[str, str], base: str = "", doctype: str = "") -> bytes:
    """
    The description of a router, whose services are nested as those of routers are.

    @param services: types, without what they have in common, and control URLs.
    """
    lists = "".join(
        f"<service><serviceType>{URN}{kind}</serviceType><SCPDURL>/x</SCPDURL><controlURL> {url} </controlURL></service>"
        for kind, url in services
    )
    return (
        f'<?xml version="1.0"?>\r\n{doctype}<root xmlns="urn:schemas-upnp-org:device-1-0">{base}<device><deviceList>'
        f"<device><serviceList>{lists}</serviceList></device></deviceList></device></root>\r\n"
    ).encode()


class XmlTests(SynchronousTestCase):
    """
    L{parseXml}.
    """

    def test_tree(self) -> None:
        """
        Elements, their texts and children are read; prefixes, attributes and comments are dropped.
        """
        root = parseXml(b"\xef\xbb\xbf<a:b c='d'><!-- no --> x &amp; y<c>1</c><d><c>2</c></d> </a:b>\0\n")
        self.assertEqual((root.name, root.text, root.childText("c")), ("b", "x & y", "1"))
        self.assertEqual([each.text for each in root.named("c")], ["1", "2"])
        self.assertEqual(root.childText("e"), "")

    def test_latin1(self) -> None:
        """
        What is not UTF-8 is taken for Latin-1, and the encoding that a document names does not matter.
        """
        for encoding in (b"iso-8859-1", b"utf-16", b"zlib", b"idna", b"nothing"):
            data = b'<?xml version="1.0" encoding="' + encoding + b'"?><a>Fran\xe7ais</a>'
            self.assertEqual(parseXml(data).text, "Fran\u00e7ais")

    def test_documentType(self) -> None:
        """
        A document type is refused: there are no entities that grow, and none from files or other hosts.
        """
        bomb = '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><a>&c;</a>'
        outside = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'
        for text in (bomb, outside, "<!DOCTYPE a SYSTEM 'http://192.0.2.1/a.dtd'><a/>", "<!DOCTYPE a><a/>"):
            self.assertRaises(DecodeError, parseXml, text.encode())

    def test_limits(self) -> None:
        """
        Depth, number of elements and size are bounded.
        """
        parseXml(b"<a>" * 30 + b"</a>" * 30)
        parseXml(b"<a>" + b"<b/>" * 4000 + b"</a>")
        for data in (
            b"<a>" * 40 + b"</a>" * 40,
            b"<a>" * 40000,
            b"<a>" + b"<b/>" * 5000 + b"</a>",
            b"<a>" + b" " * MAXIMUM + b"</a>",
        ):
            self.assertRaises(DecodeError, parseXml, data)

    def test_garbage(self) -> None:
        """
        What is not well-formed is refused.
        """
        for data in (
            b"",
            b"\0",
            b"<a>",
            b"<a></b>",
            b"<a/><b/>",
            b"<a>&b;</a>",
            b"\xff\xfe<\0a\0/\0>\0",
            b"text",
        ):
            self.assertRaises(DecodeError, parseXml, data)


class DescriptionTests(SynchronousTestCase):
    """
    L{parseDescription}.
    """

    def test_order(self) -> None:
        """
        The services that map ports are found at any depth, the best first.
        """
        data = description(
            ("WANPPPConnection:1", "/ppp"),
            ("Layer3Forwarding:1", "/l3"),
            ("WANIPConnection:1", "/ip"),
            ("WANIPConnection:2", "ip2"),
        )
        found = [(each.type.removeprefix(URN), str(each.control)) for each in parseDescription(data, PLACE)]
        self.assertEqual(
            found,
            [
                ("WANIPConnection:2", "http://192.168.1.1:5000/d/ip2"),
                ("WANIPConnection:1", "http://192.168.1.1:5000/ip"),
                ("WANPPPConnection:1", "http://192.168.1.1:5000/ppp"),
            ],
        )

    def test_base(self) -> None:
        """
        A base that the description names counts, and has to be at the router.
        """
        data = description(("WANIPConnection:1", "ip"), base="<URLBase>http://192.168.1.1:80/x/</URLBase>")
        self.assertEqual(str(parseDescription(data, PLACE)[0].control), "http://192.168.1.1:80/x/ip")
        data = description(("WANIPConnection:1", "ip"), base="<URLBase>http://192.168.1.2/</URLBase>")
        self.assertRaises(DecodeError, parseDescription, data, PLACE)

    def test_elsewhere(self) -> None:
        """
        Services whose calls would go to another host are left out.
        """
        urls = ("http://192.168.1.2/ip", "http://127.0.0.1/ip", "file:///ip", "//evil.example/ip", "", "a b")
        data = description(*(("WANIPConnection:1", url) for url in urls))
        self.assertEqual(parseDescription(data, PLACE), ())

    def test_many(self) -> None:
        """
        4 services are taken at most, and a type is taken to the letter.
        """
        data = description(*(("WANIPConnection:1", f"/{number}") for number in range(100)))
        self.assertEqual(len(parseDescription(data, PLACE)), 4)
        data = description(
            ("WANIPConnection:3", "/a"), ('WANIPConnection:1"', "/a"), ("WANIPConnection:1 x", "/a")
        )
        self.assertEqual(parseDescription(data, PLACE), ())


class CallTests(SynchronousTestCase):
    """
    L{encodeCall} and L{decodeReply}.
    """

    SERVICE = Service(f"{URN}WANIPConnection:1", PLACE)

    def test_call(self) -> None:
        """
        A call is well-formed whatever its arguments hold, which stand in their order.
        """
        data = encodeCall(self.SERVICE, "AddPortMapping", {"NewRemoteHost": "", "NewProtocol": "<&>", "A": 1})
        (call,) = parseXml(data).named("AddPortMapping")
        self.assertEqual(
            [(each.name, each.text) for each in call.children],
            [("NewRemoteHost", ""), ("NewProtocol", "<&>"), ("A", "1")],
        )
        self.assertIn(b'xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:1"', data)

    def reply(self, inside: str) -> bytes:
        return f'<s:Envelope xmlns:s="x"><s:Body>{inside}</s:Body></s:Envelope>'.encode()

    def test_reply(self) -> None:
        """
        Results are read by name.
        """
        data = self.reply('<u:GetResponse xmlns:u="y"><A>1</A><B></B></u:GetResponse>')
        self.assertEqual(decodeReply(data, "Get"), {"A": "1", "B": ""})

    def test_fault(self) -> None:
        """
        A fault is read, whatever its code is.
        """
        for code, read in (("718", 718), ("x", 0), ("", 0), ("99999", 0), ("-1", 0), ("\u0661", 0)):
            detail = f"<UPnPError><errorCode>{code}</errorCode></UPnPError>"
            data = self.reply(f"<s:Fault><faultcode>s:Client</faultcode><detail>{detail}</detail></s:Fault>")
            self.assertEqual(decodeReply(data, "Get"), Fault(read))
        self.assertEqual(Fault(718).reason, "the port is taken")
        self.assertEqual(Fault(4).reason, "error 4")

    def test_garbage(self) -> None:
        """
        What is no answer, or to another call, is refused.
        """
        for data in (
            b"",
            b"<a/>",
            self.reply(""),
            self.reply("<u:OtherResponse/>"),
            b"<Body><GetResponse/></Body>",
        ):
            self.assertRaises(DecodeError, decodeReply, data, "Get")
