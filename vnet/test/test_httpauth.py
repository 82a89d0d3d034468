"""
Tests for L{vnet.protocols.codec.httpauth}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.httpauth import Challenge, ProxyLogin, authorization, isStale, parseChallenges

# RFC 7616 section 3.9.1.
REALM = b"http-auth@example.org"
NONCE = b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
OPAQUE = b"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
CNONCE = b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
MUFASA = ProxyLogin("Mufasa", "Circle of Life")


def digestChallenge(algorithm: bytes) -> bytes:
    return b'Digest realm="%b", qop="auth, auth-int", algorithm=%b, nonce="%b", opaque="%b"' % (
        REALM,
        algorithm,
        NONCE,
        OPAQUE,
    )


def answer(*challenges: bytes, login: ProxyLogin = MUFASA) -> bytes | None:
    return authorization(parseChallenges(challenges), login, b"GET", b"/dir/index.html", CNONCE)


class ParseTests(SynchronousTestCase):
    """
    L{parseChallenges}.
    """

    def test_several(self) -> None:
        """
        Ways to log in stand in one value or in several, with parameters, with one word, or alone.
        """
        values = [
            b'Negotiate, NTLM TlRMTVNTUAAC==, Basic realm="a \\"b\\", c" , charset=UTF-8',
            b' , Digest Realm=x,qop = "auth",, nonce="n=1"',
        ]
        self.assertEqual(
            parseChallenges(values),
            [
                Challenge("negotiate"),
                Challenge("ntlm"),
                Challenge("basic", {"realm": b'a "b", c', "charset": b"UTF-8"}),
                Challenge("digest", {"realm": b"x", "qop": b"auth", "nonce": b"n=1"}),
            ],
        )
        self.assertEqual(parseChallenges([]), [])

    def test_nonsense(self) -> None:
        """
        What is no list of ways is refused, and so is one without end.
        """
        for value in (
            b'"x"',
            b'Basic realm="x',
            b"Basic realm=x y",
            b"a=b",
            b"Basic \x00",
            b"=",
            b"a," * 100,
            b"Digest " + b",".join(b"a%d=b" % number for number in range(100)),
        ):
            self.assertRaises(DecodeError, parseChallenges, [value])

    def test_stale(self) -> None:
        """
        A nonce that is too old is told from a wrong password.
        """
        self.assertTrue(isStale(parseChallenges([b'Digest realm="x", stale=TRUE'])))
        self.assertFalse(isStale(parseChallenges([b'Digest realm="x", stale=false', b"Basic"])))


class AuthorizationTests(SynchronousTestCase):
    """
    L{authorization}.
    """

    def test_vectors(self) -> None:
        """
        The answers to the challenges of the RFC are those of the RFC.
        """
        for algorithm, response in (
            (b"MD5", b"8ca523f5e9506fed4657c9700eebdbec"),
            (b"SHA-256", b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ):
            value = answer(digestChallenge(algorithm)) or b""
            self.assertTrue(value.startswith(b"Digest "))
            (found,) = parseChallenges([value])
            self.assertEqual(
                found.parameters,
                {
                    "username": b"Mufasa",
                    "realm": REALM,
                    "uri": b"/dir/index.html",
                    "algorithm": algorithm,
                    "nonce": NONCE,
                    "nc": b"00000001",
                    "cnonce": CNONCE,
                    "qop": b"auth",
                    "response": response,
                    "opaque": OPAQUE,
                },
            )

    def test_basic(self) -> None:
        """
        Basic is base64 of UTF-8.
        """
        login = ProxyLogin("test", "123\u00a3")
        self.assertEqual(
            answer(b'Basic realm="foo", charset="UTF-8"', login=login), b"Basic dGVzdDoxMjPCow=="
        )

    def test_strongest(self) -> None:
        """
        Of several ways the strongest is taken, in whatever order they come; MD5 is meant where no algorithm is named.
        """
        sha, md5, basic = digestChallenge(b"sha-256"), digestChallenge(b"MD5"), b'Basic realm="x"'
        self.assertIn(b"algorithm=SHA-256", answer(basic, md5, sha) or b"")
        self.assertIn(b"algorithm=MD5", answer(basic, md5) or b"")
        self.assertIn(b"algorithm=MD5", answer(md5.replace(b"algorithm=MD5, ", b"")) or b"")
        self.assertIn(b"Basic", answer(b"Negotiate", basic) or b"")

    def test_unknown(self) -> None:
        """
        Where no way is known, or Digest in an unknown way only, there is no answer.
        """
        for value in (
            b"Negotiate",
            digestChallenge(b"SHA-512-256"),
            digestChallenge(b"MD5-sess"),
            digestChallenge(b"MD5").replace(b'"auth, auth-int"', b'"auth-int"'),
            digestChallenge(b"MD5").replace(b"nonce", b"once"),
        ):
            self.assertIsNone(answer(value))
        self.assertIsNone(answer())

    def test_quoted(self) -> None:
        """
        Quotes in names are escaped.
        """
        value = answer(b'Digest realm="a\\"b", nonce="n", qop="auth"', login=ProxyLogin('x"\\y', "z")) or b""
        (found,) = parseChallenges([value])
        self.assertEqual(found.parameters["username"], b'x"\\y')
        self.assertEqual(found.parameters["realm"], b'a"b')

    def test_hidden(self) -> None:
        """
        Neither name nor password is in what is shown of a login.
        """
        self.assertEqual(repr(MUFASA), "ProxyLogin()")
