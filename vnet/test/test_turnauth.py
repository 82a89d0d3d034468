"""
Whom a relay admits.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.stun import Class, Message, decode, encode, longTermKey, userHash
from vnet.protocols.codec.stunattributes import (
    NONCE,
    PASSWORD_ALGORITHM,
    PASSWORD_ALGORITHMS,
    REALM,
    REQUESTED_TRANSPORT,
    USERHASH,
    USERNAME,
    Attribute,
    PasswordAlgorithm,
)
from vnet.protocols.codec.turn import ALLOCATE
from vnet.protocols.machine.relaycredentials import (
    CredentialSource,
    FixedUsers,
    SharedSecrets,
    restPassword,
    serviceOf,
    userOf,
)
from vnet.protocols.machine.turnauth import ALGORITHMS, Admitted, Refusal, TurnAuth
from vnet.protocols.machine.turnnonce import LIFETIME, Nonces
from vnet.protocols.machine.turnsigner import RelayCredentials, TurnSigner
from vnet.values import Address

CLIENT, OTHER = Address("192.0.2.7", 4000, "udp1"), Address("192.0.2.7", 4001, "udp1")
REALM_NAME = "relay.example"
WALL = 1_700_000_000.0
USER = "1700000600:high-alice"
SECRET = b"the secret"
MD5, SHA256 = PasswordAlgorithm(1), PasswordAlgorithm(2)
NOW = 5000.0


class Judge(SynchronousTestCase):
    """
    A judge, and requests for it.
    """

    def setUp(self) -> None:
        self.wall = WALL
        self.nonces = Nonces(b"k" * 32)
        self.auth = self.judgeOf(SharedSecrets((SECRET,)))

    def judgeOf(self, credentials: CredentialSource) -> TurnAuth:
        return TurnAuth(REALM_NAME, credentials, self.nonces, lambda: self.wall)

    def request(
        self,
        *without: object,
        username: str = USER,
        password: str | None = None,
        nonce: str | None = None,
        extra: tuple[Attribute[Any], ...] = (),
        algorithm: str = "md5",
        sha256: bool = False,
        realm: str = REALM_NAME,
    ) -> Message:
        """
        A request, signed as a client does.

        @param without: the types of attributes that are left out.
        @param algorithm: of the password; C{sha256}: whether the integrity is made with SHA-256.
        """
        given: tuple[Attribute[Any], ...] = (
            REQUESTED_TRANSPORT(17),
            USERNAME(username),
            REALM(realm),
            NONCE(self.nonces.make(CLIENT, NOW) if nonce is None else nonce),
            *extra,
        )
        password = restPassword(SECRET, username) if password is None else password
        key = longTermKey(username.replace("\0", "").replace("\n", ""), realm, password, algorithm)
        message = Message(
            ALLOCATE, Class.REQUEST, b"t" * 12, tuple(a for a in given if a.kind not in without)
        )
        return decode(encode(message, None if sha256 else key, key if sha256 else None))

    def assertRefused(
        self,
        message: Message,
        code: int,
        known: str | None = None,
        client: Address = CLIENT,
        now: float = NOW,
    ) -> Refusal:
        """
        A refusal with realm, a good nonce and the algorithms, but for a 400, which has none of it.
        """
        refusal = self.auth.judge(message, client, now, known)
        assert isinstance(refusal, Refusal), refusal
        self.assertEqual(refusal.code, code)
        if code == 400:
            self.assertEqual((refusal.attributes, refusal.admitted), ((), None))
            return refusal
        held = {each.kind: each.value for each in refusal.attributes}
        self.assertEqual(set(held), {REALM, NONCE, PASSWORD_ALGORITHMS})
        self.assertEqual((held[REALM], held[PASSWORD_ALGORITHMS]), (REALM_NAME, ALGORITHMS))
        self.assertTrue(self.nonces.isValid(held[NONCE], client, now))
        return refusal

    def assertAdmitted(self, message: Message, known: str | None = None) -> Admitted:
        admitted = self.auth.judge(message, CLIENT, NOW, known)
        assert isinstance(admitted, Admitted), admitted
        return admitted


class TurnAuthTests(Judge):
    """
    RFC 8489 section 9.2.4, in its order.
    """

    def test_noIntegrity(self) -> None:
        """A request without integrity is challenged, whatever else it holds."""
        for held in (
            (),
            (USERNAME(USER), REALM(REALM_NAME), NONCE("x")),
            (PASSWORD_ALGORITHM(PasswordAlgorithm(9)),),
        ):
            message = decode(encode(Message(ALLOCATE, Class.REQUEST, b"t" * 12, held)))
            self.assertIsNone(self.assertRefused(message, 401).admitted)

    def test_incomplete(self) -> None:
        """A signed request without user, realm or nonce is a bad one."""
        for missing in (USERNAME, REALM, NONCE):
            self.assertRefused(self.request(missing), 400)

    def test_afterIntegrity(self) -> None:
        """What stands after the integrity, where nobody has signed it, counts for nothing."""
        whole = self.request(NONCE).received
        nonce = encode(Message(ALLOCATE, Class.REQUEST, b"t" * 12, (NONCE(self.nonces.make(CLIENT, NOW)),)))[
            20:
        ]
        body = whole[20:] + nonce
        self.assertRefused(decode(whole[:2] + len(body).to_bytes(2, "big") + whole[4:20] + body), 400)

    def test_admitted(self) -> None:
        """Who knows the password is admitted, with either password algorithm and either integrity."""
        both = (PASSWORD_ALGORITHMS(ALGORITHMS), PASSWORD_ALGORITHM(SHA256))
        md5 = (PASSWORD_ALGORITHMS(ALGORITHMS), PASSWORD_ALGORITHM(MD5))
        for message, sha256 in (
            (self.request(), False),
            (self.request(sha256=True), False),
            (self.request(extra=both, algorithm="sha256", sha256=True), True),
            (self.request(extra=both, algorithm="sha256"), True),
            (self.request(extra=md5, sha256=True), True),
        ):
            admitted = self.assertAdmitted(message)
            self.assertEqual((admitted.username, admitted.sha256), (USER, sha256))
            self.assertEqual(admitted.request.get(REQUESTED_TRANSPORT), 17)

    def test_bothIntegrities(self) -> None:
        """Of two integrities the stronger decides."""
        held = (USERNAME(USER), REALM(REALM_NAME), NONCE(self.nonces.make(CLIENT, NOW)))
        message = Message(ALLOCATE, Class.REQUEST, b"t" * 12, held)
        key = longTermKey(USER, REALM_NAME, restPassword(SECRET, USER))
        self.assertAdmitted(decode(encode(message, b"wrong", key)))
        self.assertRefused(decode(encode(message, key, b"wrong")), 401)

    def test_algorithms(self) -> None:
        """Algorithms that are not those which were told, or a choice that is none of them, are a bad request."""
        for extra in (
            (PASSWORD_ALGORITHM(SHA256),),
            (PASSWORD_ALGORITHMS(ALGORITHMS),),
            (PASSWORD_ALGORITHMS((MD5,)), PASSWORD_ALGORITHM(MD5)),
            (PASSWORD_ALGORITHMS((MD5, SHA256)), PASSWORD_ALGORITHM(SHA256)),
            (PASSWORD_ALGORITHMS((*ALGORITHMS, PasswordAlgorithm(3))), PASSWORD_ALGORITHM(SHA256)),
            (PASSWORD_ALGORITHMS(ALGORITHMS), PASSWORD_ALGORITHM(PasswordAlgorithm(3))),
            (PASSWORD_ALGORITHMS(ALGORITHMS), PASSWORD_ALGORITHM(PasswordAlgorithm(2, b"x"))),
        ):
            self.assertRefused(self.request(extra=extra, algorithm="sha256", sha256=True), 400)

    def test_wrongAlgorithm(self) -> None:
        """The key has to be made with the algorithm that the request names."""
        both = (PASSWORD_ALGORITHMS(ALGORITHMS), PASSWORD_ALGORITHM(SHA256))
        self.assertRefused(self.request(extra=both, algorithm="md5", sha256=True), 401)
        self.assertRefused(self.request(algorithm="sha256"), 401)

    def test_wrongUser(self) -> None:
        """There is no user without an expiry, with one that is over, or with a strange one."""
        for username in (
            *("", ":", "alice", ":alice", "x1700000600:alice", "-1700000600:alice", "+1700000600:a"),
            *("1700000600 :a", "1_700_000_600:a", "17e8:a", "0x65:a", "1699999999:alice", "0:alice"),
            *(
                "\u0661\u0667\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660:a",
                "9999999999999:alice",
                "1700000600x",
            ),
        ):
            self.assertRefused(self.request(username=username), 401)
        self.assertAdmitted(self.request(username="1700000600"))
        self.assertAdmitted(self.request(username="1700000000:x"))

    def test_wrongPassword(self) -> None:
        """A password that does not follow from the secret and this very name is wrong."""
        for password in ("", "x", restPassword(b"other", USER), restPassword(SECRET, "1700000600:high-bob")):
            self.assertRefused(self.request(password=password), 401)
        self.assertRefused(self.request(realm="other.example"), 401)

    def test_userHash(self) -> None:
        """Anonymous names are not offered: the hash of one is no valid user."""
        extra = (USERHASH(userHash(USER, REALM_NAME)),)
        self.assertRefused(self.request(USERNAME, extra=extra), 401)
        self.assertAdmitted(self.request(extra=extra))

    def test_controlCharacters(self) -> None:
        """A name with control characters is refused and breaks nothing."""
        for username in ("1700000600:a\0b", "1700000600:a\n", "\0" + USER):
            self.assertRefused(self.request(username=username), 401)

    def test_longName(self) -> None:
        """A name as long as it may be is admitted; it costs little."""
        self.assertAdmitted(self.request(username="1700000600:" + "x" * 497))
        self.assertAdmitted(self.request(username="1700000600:" + "\u00e9" * 248))

    def test_tampered(self) -> None:
        """A request of which one bit is not as it was signed is refused, or is no request."""
        good = self.request().received
        for place in range(20, len(good) - 20):
            data = good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
            try:
                message = decode(data, tolerant=True)
            except ValueError:
                continue
            self.assertIsInstance(self.auth.judge(message, CLIENT, NOW, None), Refusal)


class RotationTests(Judge):
    """
    Time-limited credentials.
    """

    def test_secrets(self) -> None:
        """While secrets are changed the old and the new one are good; afterwards the new one only."""
        old, new = self.request(), self.request(password=restPassword(b"new", USER))
        self.auth = self.judgeOf(SharedSecrets((SECRET, b"new")))
        self.assertAdmitted(old)
        self.assertAdmitted(new)
        self.auth = self.judgeOf(SharedSecrets((b"new",)))
        self.assertAdmitted(new)
        self.assertRefused(old, 401)
        self.auth = self.judgeOf(SharedSecrets(()))
        self.assertRefused(new, 401)

    def test_expiry(self) -> None:
        """Credentials are good up to their expiry; afterwards only for who has an allocation with that very name."""
        message = self.request()
        self.wall = 1_700_000_600.0
        self.assertAdmitted(message)
        self.wall += 1
        self.assertRefused(message, 401)
        self.assertRefused(message, 401, known="1700000600:high-bob")
        self.assertAdmitted(message, known=USER)
        self.assertRefused(self.request(password="x"), 401, known=USER)

    def test_restPassword(self) -> None:
        """The password is that of coturn's C{use-auth-secret}."""
        expected = base64.b64encode(hmac.new(SECRET, USER.encode(), hashlib.sha1).digest()).decode()
        self.assertEqual(restPassword(SECRET, USER), expected)

    def test_fixedUsers(self) -> None:
        """A list of users knows those who are in it."""
        self.auth = self.judgeOf(FixedUsers({"alice": "wonderland", "": "x"}))
        self.assertAdmitted(self.request(username="alice", password="wonderland"))
        self.assertRefused(self.request(username="alice", password="x"), 401)
        self.assertRefused(self.request(username="bob", password="wonderland"), 401)

    def test_unicode(self) -> None:
        """Names and passwords are prepared alike on both sides: spaces, composed characters."""
        self.auth = self.judgeOf(FixedUsers({"ren\u00e9 x": "pass\u00a0wo\u0308rd"}))
        self.assertAdmitted(self.request(username="ren\u00e9 x", password="pass w\u00f6rd"))

    def test_names(self) -> None:
        """Who it is, and the class of service, follow from the name, and not from the expiry."""
        for username, user, service in (
            ("1700000600:high-alice", "high-alice", "high"),
            ("1800000000:high-alice", "high-alice", "high"),
            ("1700000600:low-alice", "low-alice", "low"),
            ("1700000600:alice:x", "alice:x", "high"),
            ("1700000600:lower", "lower", "high"),
            ("1700000600:", "", "high"),
            ("low-alice", "low-alice", "low"),
            ("a:low-b", "a:low-b", "high"),
            ("1700000600", "1700000600", "high"),
        ):
            self.assertEqual((userOf(username), serviceOf(username)), (user, service), username)

    def test_client(self) -> None:
        """Our own client and this judge understand each other."""
        signer = TurnSigner(RelayCredentials(USER, restPassword(SECRET, USER)))
        refusal = self.assertRefused(decode(signer.request(ALLOCATE, b"t" * 12, ())), 401)
        answer = decode(encode(Message(ALLOCATE, Class.ERROR, b"t" * 12, refusal.attributes)))
        self.assertTrue(signer.challenge(answer))
        admitted = self.assertAdmitted(decode(signer.request(ALLOCATE, b"u" * 12, ())))
        self.assertTrue(admitted.sha256 and admitted.request.sha256)


class NonceTests(Judge):
    """
    L{Nonces}.
    """

    def test_stale(self) -> None:
        """
        A nonce of half an hour ago, of another client, server or socket is stale: the answer is signed, and has one that is good.
        """
        other = Nonces(b"x" * 32).make(CLIENT, NOW)
        elsewhere = self.nonces.make(CLIENT._replace(via="udp2"), NOW)
        neighbour = self.nonces.make(OTHER, NOW)
        future = self.nonces.make(CLIENT, NOW + 5)
        old = self.nonces.make(CLIENT, NOW - LIFETIME - 2)
        for nonce in (other, elsewhere, neighbour, future, old, "", "x", "obMatJos2gAAA", "\u00e9"):
            refusal = self.assertRefused(self.request(nonce=nonce), 438)
            assert refusal.admitted is not None
            self.assertEqual(refusal.admitted.username, USER)

    def test_order(self) -> None:
        """Who does not know the password does not learn whether the nonce is stale."""
        self.assertRefused(self.request(nonce="stale", password="x"), 401)
        self.assertRefused(self.request(nonce="stale", username="bob"), 401)

    def test_age(self) -> None:
        """A nonce is good for half an hour, less than the hour that the RFC asks for."""
        nonce = self.nonces.make(CLIENT, NOW)
        self.assertLessEqual(LIFETIME, 3600)
        for later, good in (
            (0.0, True),
            (1.0, True),
            (LIFETIME - 1, True),
            (LIFETIME + 1, False),
            (1e6, False),
        ):
            self.assertEqual(self.nonces.isValid(nonce, CLIENT, NOW + later), good, later)

    def test_feature(self) -> None:
        """A nonce says that there are password algorithms, and fits its attribute."""
        for now in (0.0, 0.9, NOW, 2.0**32 - 1):
            nonce = self.nonces.make(Address("2001:db8:1:2:3:4:5:6", 65535, "tls4294967296"), now)
            self.assertTrue(nonce.startswith("obMatJos2" + base64.b64encode(b"\x80\0\0").decode()))
            self.assertLess(len(nonce), 128)
            self.assertTrue(nonce.isascii() and nonce.isprintable() and '"' not in nonce)

    def test_different(self) -> None:
        """No two clients get the same nonce."""
        clients = [
            Address(f"192.0.2.{n}", port, via) for n in range(20) for port in (1, 11) for via in ("udp1", "1")
        ]
        self.assertEqual(len({self.nonces.make(each, NOW) for each in clients}), len(clients))

    @given(st.text(max_size=60), st.binary(max_size=40))
    def test_garbage(self, text: str, data: bytes) -> None:
        """Nothing that was not made here is a good nonce, and nothing raises."""
        nonces = Nonces(b"k" * 32)
        prefix = nonces.make(CLIENT, NOW)[:13]
        for nonce in (text, prefix + text, prefix + base64.urlsafe_b64encode(data).decode()):
            self.assertFalse(nonces.isValid(nonce, CLIENT, NOW))
