"""
The documents say what the code does: vectors, constants, commands, options, keys, modules, examples.
"""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click
from nacl.pwhash import argon2id
from nacl.signing import VerifyKey
from twisted.internet.task import Clock
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from vnet import run
from vnet.client import clienttap, eventwording, peer
from vnet.client.cli import cli
from vnet.client.dataplane import sockets
from vnet.client.identity import Identity, tunnelKey
from vnet.client.localrequest import VERBS
from vnet.protocols import control, controlclient, rounds, tls, traversaltools
from vnet.protocols.codec import signal
from vnet.protocols.codec.address6 import address6Of
from vnet.protocols.codec.ethernet import memberMac
from vnet.protocols.codec.url import Invite, MediatorUrl, parseInvite, parseMediatorUrl
from vnet.protocols.controlserver import Limits
from vnet.protocols.machine import (
    budget,
    candidates,
    checklist,
    consent,
    cookie,
    handshake,
    keypair,
    lifetime,
    pathmtu,
    prober,
    replay,
    search,
    session,
    slots,
    timers,
)
from vnet.protocols.machine.admission import Admission
from vnet.protocols.machine.check import Signer
from vnet.protocols.machine.sealer import Sealer
from vnet.protocols.machine.secrets import deriveMaster, presharedKey, proofOf
from vnet.protocols.stun import StunServer
from vnet.server import mediatortap, presence, relaytap, rendezvous
from vnet.test.test_stun_server import Wire
from vnet.test.test_stun_server import request as bindingRequest
from vnet.values import Address, Candidate

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(kind: str) -> Iterator[tuple[str, str]]:
    """
    The lines C{name = value} of all blocks of this kind in the protocol's text.
    """
    for block in re.findall(rf"^```{kind}\n(.*?)^```$", read("docs/protocol.md"), re.M | re.S):
        for line in block.splitlines():
            name, equals, value = line.partition(" = ")
            if not equals:
                raise ValueError(f"no vector: {line}")
            yield name, value


def keysOf(module: str, *functions: str) -> set[str]:
    """
    The keys that functions write down in dictionaries.
    """
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    found = [node for node in ast.walk(tree) if isinstance(node, kinds) and node.name in functions]
    if len(found) != len(functions):
        raise LookupError(f"{module} has not all of {functions}")
    return {
        key.value
        for function in found
        for node in ast.walk(function)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }


class VectorTests(SynchronousTestCase):
    """
    The vectors in docs/protocol.md.
    """

    def setUp(self) -> None:
        """
        Read them.
        """
        pairs = list(blocks("vector"))
        self.vectors = dict(pairs)
        self.assertEqual(len(pairs), len(self.vectors), "a name is there twice")

    def bytesOf(self, name: str) -> bytes:
        """
        A value in hexadecimal.
        """
        return bytes.fromhex(self.vectors[name])

    def test_identity(self) -> None:
        """
        A seed gives the published Ed25519 and X25519 keys.
        """
        for node in "AB":
            identity = Identity(self.bytesOf(f"seed{node}"))
            self.assertEqual(identity.publicKey, self.bytesOf(f"public{node}"))
            self.assertEqual(identity.tunnelPrivateKey(), self.bytesOf(f"x25519Private{node}"))
            self.assertEqual(tunnelKey(identity.publicKey), self.bytesOf(f"x25519Public{node}"))
            # As the text has it: half of SHA-512 of the seed, clamped.
            half = bytearray(hashlib.sha512(identity.seed).digest()[:32])
            half[0] &= 248
            half[31] = half[31] & 127 | 64
            self.assertEqual(bytes(half), self.bytesOf(f"x25519Private{node}"))

    def test_addresses(self) -> None:
        """
        The IPv6 address and the MAC address are those of the text.
        """
        prefix, key = self.bytesOf("prefix6"), self.bytesOf("publicA")
        self.assertEqual(str(address6Of(prefix, key)), self.vectors["address6A"])
        self.assertEqual(memberMac(ip_address(self.vectors["ipv4"]).packed).hex(":"), self.vectors["mac"])

    def test_links(self) -> None:
        """
        The URL and the invitation are written and read as published.
        """
        url = MediatorUrl("mediator.example", 7443, self.bytesOf("spkiHash"))
        self.assertEqual(str(url), self.vectors["mediatorUrl"])
        self.assertEqual(parseMediatorUrl(self.vectors["mediatorUrl"]), url)
        invite = Invite(url, self.vectors["invitedTo"], self.bytesOf("invitedSecret"))
        self.assertEqual(str(invite), self.vectors["invite"])
        self.assertEqual(parseInvite(self.vectors["invite"]), invite)

    def test_ping(self) -> None:
        """
        A C{Ping} is the published box.
        """
        box = amp.Box({amp.ASK: b"2", amp.COMMAND: control.Ping.commandName})
        self.assertEqual(box.serialize(), self.bytesOf("pingBox"))

    def test_login(self) -> None:
        """
        Transcript and signature of a login are those of the text.
        """
        spkiHash, exported = self.bytesOf("spkiHash"), self.bytesOf("exported")
        transcript = control.loginTranscript(spkiHash, exported)
        self.assertEqual(transcript, self.bytesOf("loginTranscript"))
        text = b"vnet control login 1" + b"\0" + spkiHash + exported
        self.assertEqual(hashlib.sha512(text).digest(), transcript)
        signature = Identity(self.bytesOf("seedA")).sign(transcript)
        self.assertEqual(signature, self.bytesOf("loginSignature"))
        VerifyKey(self.bytesOf("publicA")).verify(transcript, signature)
        self.assertIn(control.EXPORTER_LABEL.decode(), read("docs/protocol.md"))

    def test_password(self) -> None:
        """
        A password becomes the published master, proof and preshared key.
        """
        realm, name = self.bytesOf("realm"), self.vectors["networkName"]
        password = self.vectors["password"]
        master = deriveMaster(password, realm, name)
        self.assertEqual(master, self.bytesOf("master"))
        self.assertEqual(proofOf(master), self.bytesOf("proof"))
        a, b = self.bytesOf("publicA"), self.bytesOf("publicB")
        self.assertEqual(presharedKey(master, a, b), self.bytesOf("psk"))
        self.assertEqual(presharedKey(master, b, a), self.bytesOf("psk"))

    def test_passwordByTheText(self) -> None:
        """
        Who follows the text with the primitives alone gets the same.
        """
        salt = hashlib.blake2b(
            self.bytesOf("realm") + self.vectors["networkName"].encode(),
            digest_size=16,
            person=b"vnet-network",
        ).digest()
        self.assertEqual(salt, self.bytesOf("salt"))
        password = self.vectors["password"].encode()
        master = argon2id.kdf(32, password, salt, opslimit=3, memlimit=64 << 20)
        self.assertEqual(master, self.bytesOf("master"))
        for person, text, name in (
            (b"vnet-proof", b"", "proof"),
            (b"vnet-psk", self.bytesOf("publicA") + self.bytesOf("publicB"), "psk"),
        ):
            digest = hashlib.blake2b(text, key=master, digest_size=32, person=person).digest()
            self.assertEqual(digest, self.bytesOf(name))

    def test_signal(self) -> None:
        """
        The signal that the text describes has the published bytes, plain and sealed.
        """
        described = signal.Signal(
            1_000_000_000_000,
            signal.Credentials(self.vectors["ufrag"], self.vectors["icePassword"]),
            (
                Candidate("host", Address("192.168.1.10", 41641), 2130706431, "Zm91bmRh"),
                Candidate("srflx", Address("2001:db8::7", 41641), 1694498815, "dGlvbnMx"),
            ),
        )
        plain, sealed = self.bytesOf("signal"), self.bytesOf("sealed")
        self.assertEqual(signal.encode(described), plain)
        self.assertEqual(signal.decode(plain), described)
        sealer = Sealer(self.bytesOf("seedA"), lambda size: self.bytesOf("nonce")[:size])
        self.assertEqual(sealer.seal(self.bytesOf("publicB"), plain), sealed)
        receiver = Sealer(self.bytesOf("seedB"), bytes)
        self.assertEqual(receiver.open(self.bytesOf("publicA"), sealed), plain)

    def test_check(self) -> None:
        """
        A check of the published credentials has the published bytes.
        """
        local = signal.Credentials(self.vectors["ufrag"], self.vectors["icePassword"])
        signer = Signer(local, True, lambda size: bytes(range(1, size + 1)))
        signer.remote = signal.Credentials(self.vectors["remoteUfrag"], self.vectors["remoteIcePassword"])
        made = signer.request(bytes(range(12)), candidates.priority("prflx"), False)
        self.assertEqual(made, self.bytesOf("check"))


def answersInASecond() -> int:
    """
    How many requests of one source a STUN server answers at once.
    """
    server, wire = StunServer(Clock()), Wire()
    server.makeConnection(wire)
    for _ in range(1000):
        server.datagramReceived(bindingRequest(), ("192.0.2.1", 1))
    return len(wire.written)


def strangersOfOneSite() -> int:
    """
    How many strangers of one IPv6 /48 come in, each from a /64 of its own.
    """
    admission = Admission()
    return sum(admission.enter(f"2001:db8:0:{number:x}::1") for number in range(1000))


CONSTANTS: dict[str, Callable[[], float]] = {
    "handshakeTimeout": lambda: Limits().handshake,
    "handshakeBytes": lambda: tls._MAXIMUM_HANDSHAKE,
    "loginTimeout": lambda: Limits().login,
    "strangerBytes": lambda: Limits().strangerBytes,
    "boxBytes": lambda: Limits().boxBytes,
    "boxKeys": lambda: Limits().boxKeys,
    "requests": lambda: Limits().requests,
    "crowded": lambda: Limits().pushes // 2,
    "pushes": lambda: Limits().pushes,
    "idle": lambda: Limits().idle,
    "perSource": lambda: Admission().perSource,
    "perSite": strangersOfOneSite,
    "strangers": lambda: Admission().strangers,
    "connections": lambda: Admission().total,
    "pingInterval": lambda: control.PING_INTERVAL,
    "pingTimeout": lambda: controlclient._PING_TIMEOUT,
    "callTimeout": lambda: controlclient._CALL_TIMEOUT,
    "clientBoxBytes": lambda: controlclient._MAXIMUM_BOX,
    "page": lambda: control.PAGE,
    "memberOffers": lambda: control.MAXIMUM_OFFERS,
    "networkOffers": lambda: control.MAXIMUM_NETWORK_OFFERS,
    "ring": lambda: presence.RING,
    "lostFor": lambda: presence.LOST_FOR,
    "rendezvousDelay": lambda: rendezvous.DELAY,
    "sameStart": lambda: rendezvous.SAME,
    "fallback": lambda: peer._FALLBACK,
    "stunRate": answersInASecond,
    "bindingInterval": lambda: lifetime.UNKNOWN,
    "pace": lambda: prober.PACE,
    "searchFails": lambda: search.FAILURE,
    "consentActive": lambda: consent.INTERVAL_ACTIVE,
    "consentIdle": lambda: lifetime.UNKNOWN,
    "consentIdleBare": lambda: lifetime.BARE,
    "consentIdleShortest": lambda: lifetime.FLOOR,
    "consentIdleLongest": lambda: lifetime.LONGEST,
    "consentSlot": lambda: slots.WIDTH,
    "consentExpiry": lambda: consent.EXPIRY,
    "alive": lambda: consent.LIVENESS_LIMIT,
    "candidates": lambda: candidates.LIMIT,
    "pairs": lambda: checklist.MAXIMUM_PAIRS,
    "unanswered": lambda: budget.UNANSWERED,
    "birthdaySockets": lambda: rounds.RANDOM_SOCKETS,
    "blockSockets": lambda: rounds.BLOCK_SOCKETS,
    "probes": lambda: rounds.PROBES,
    "limitedMappings": lambda: traversaltools.LIMITED,
    "limitedDestinations": lambda: traversaltools.DESTINATIONS,
    "tryAgain": lambda: traversaltools.AGAIN,
    "burstPace": lambda: traversaltools.BURST_PACE,
    "spareSockets": lambda: sockets.MAXIMUM_SOCKETS,
    "priorityHost": lambda: candidates.priority("host"),
    "prioritySrflx": lambda: candidates.priority("srflx"),
    "priorityPrflx": lambda: candidates.priority("prflx"),
    "rekeyAfterTime": lambda: keypair.REKEY_AFTER_TIME,
    "rejectAfterTime": lambda: keypair.REJECT_AFTER_TIME,
    "rekeyTimeout": lambda: timers.REKEY_TIMEOUT,
    "rekeyAttemptTime": lambda: timers.REKEY_ATTEMPT_TIME,
    "keepaliveTimeout": lambda: timers.KEEPALIVE_TIMEOUT,
    "eraseAfterTime": lambda: timers.ERASE_AFTER_TIME,
    "cookieLifetime": lambda: cookie.COOKIE_LIFETIME,
    "replayWindow": lambda: replay.WINDOW,
    "queue": lambda: session.MAX_QUEUED,
    "pathMtuBase": lambda: pathmtu.BASE,
    "pathMtuSmallest": lambda: pathmtu.SMALLEST,
    "pathMtuRaise": lambda: pathmtu._LONGEST_RAISE,
    "initiationInterval": lambda: handshake.INITIATION_INTERVAL,
}


class ProtocolTests(SynchronousTestCase):
    """
    The rest of docs/protocol.md.
    """

    def test_constants(self) -> None:
        """
        Each constant of the text is that of the code.
        """
        written = {name: float(value.split()[0]) for name, value in blocks("constants")}
        self.assertEqual(written, {name: float(find()) for name, find in CONSTANTS.items()})

    def test_commands(self) -> None:
        """
        Each command of the control protocol has its section, which names all its arguments and responses.
        """
        text = read("docs/protocol.md")
        commands = [
            each
            for each in vars(control).values()
            if isinstance(each, type) and issubclass(each, amp.Command) and each is not amp.Command
        ]
        self.assertTrue(commands)
        for command in commands:
            name = command.commandName.decode()
            # JoinNetwork is said to be as CreateNetwork.
            section = text.partition(f"\n#### {name}\n")[2].partition("\n###")[0]
            self.assertTrue(section, f"{name} has no section")
            if name != "JoinNetwork":
                for key, _ in [*command.arguments, *command.response]:
                    self.assertIn(f"`{key.decode()}`", section, name)

    def test_errors(self) -> None:
        """
        Each code of a refusal is explained.
        """
        for code in control.Login.errors.values():
            self.assertIn(f"| `{code.decode()}` |", read("docs/protocol.md"))


class CommandTests(SynchronousTestCase):
    """
    docs/commands.md.
    """

    def setUp(self) -> None:
        """
        Read it.
        """
        self.text = read("docs/commands.md")

    def section(self, title: str) -> str:
        """
        What stands under a title.
        """
        level = title.partition(" ")[0]
        found = re.search(rf"^{re.escape(title)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", self.text, re.M | re.S)
        self.assertIsNotNone(found, title)
        return found[1] if found else ""

    def test_services(self) -> None:
        """
        Each option of the services is there.
        """
        for title, options in (
            ("### twistd vnet-mediator", mediatortap.Options),
            ("### twistd vnet-relay", relaytap.Options),
            ("### twistd vnet-client", clienttap.Options),
        ):
            rows: Any = options.optParameters
            names = [row[0] for row in rows]
            names += [name[4:].replace("_", "-") for name in vars(options) if name.startswith("opt_")]
            self.assertTrue(names)
            for name in names:
                self.assertIn(f"`--{name}=", self.section(title))

    def test_verbs(self) -> None:
        """
        Each verb of C{vnet} with each of its arguments and options is there.
        """
        section = self.section("## vnet")
        for name, command in cli.commands.items():
            self.assertIn(f"`vnet {name}", section)
            for parameter in command.params:
                spellings = [parameter.opts[-1]] if isinstance(parameter, click.Option) else []
                for spelling in spellings:
                    self.assertRegex(section, rf"`[^`]*{spelling}\b", name)

    def test_make(self) -> None:
        """
        Each option of C{python -m vnet.run}, and each target of the Makefile that has a description, is there.
        """
        section = self.section("## make")
        for parameter in run.cli.params:
            self.assertIn(f"`{parameter.opts[0]}", section)
        targets = re.findall(r"^([a-z-]+):.*## ", read("Makefile"), re.M)
        self.assertEqual([each for each in targets if f"`make {each}`" not in section], [])

    def test_socket(self) -> None:
        """
        Each verb of the control socket with its arguments is there.
        """
        section = self.section("## The control socket")
        for name, verb in VERBS.items():
            row = next((line for line in section.splitlines() if re.match(rf"\| .*`{name}`", line)), "")
            self.assertTrue(row, name)
            for argument in verb.arguments:
                self.assertIn(f"`{argument}`", row)

    def test_keys(self) -> None:
        """
        Each key of the JSON that the client answers with is explained, or shown in an example.
        """
        section = self.section("### The JSON")
        keys = (
            keysOf("vnet/client/verbs.py", "_status")
            | keysOf(
                "vnet/client/peerreport.py", "describe", "describeFully", "describeOwnNat", "describeTried"
            )
            | keysOf("vnet/client/report.py", "_describe", "describeNat")
            | keysOf("vnet/client/cliping.py", "answer", "_reply")
            | keysOf("vnet/client/firewall/report.py", "show", "set", "policies", "withPolicy")
            | keysOf("vnet/client/nonip/report.py", "show", "_describe")
            | keysOf("vnet/client/lansharing/report.py", "show", "_describe", "ofNetwork", "ofMember")
        )
        self.assertIn("clientId", keys)
        for key in keys:
            self.assertIn(f"`{key}`", section)

    def test_events(self) -> None:
        """
        Each event of C{vnet watch} is explained, and has its line for a person.
        """
        section = self.section("### The JSON").partition("**`watch`**")[2].partition("**`peer`**")[0]
        told = {
            *re.findall(r'_(?:tell|event|tellMember)\(\s*"(\w+)"', read("vnet/client/chronicle.py")),
            *re.findall(r'"event": "(\w+)"', read("vnet/client/localwatch.py")),
        }
        self.assertEqual(told, {*eventwording.KINDS})
        for event in told:
            self.assertRegex(section, rf"(?m)^\| .*`{event}`.* \|.*\|")


class WordingTests(SynchronousTestCase):
    """
    What docs/quickstart.md and docs/proxies.md say that the programs say.
    """

    def test_lines(self) -> None:
        """
        Each line that is quoted is made of texts in the code.
        """
        self.assertSaid(read("docs/quickstart.md").partition("## When it does not work")[2])

    def test_proxies(self) -> None:
        """
        The same of the lines about proxies.
        """
        self.assertSaid(read("docs/proxies.md").partition("## What error lines mean")[2])

    def assertSaid(self, text: str) -> None:
        texts = "\n".join(strings())
        quoted = [row.split(" | ")[0] for row in re.findall(r"^(?:\| |\* )(`.*)$", text, re.M)]
        self.assertTrue(quoted)
        pieces = [
            piece.strip()
            for line in quoted
            for quotation in re.findall(r"`([^`]+)`", line.partition(" : ")[0])
            for piece in re.split(r"…|NAME|HOST:PORT|\(503|\b15\b|\b443\b|\bvnet0\b|/dev/net/tun", quotation)
        ]
        self.assertEqual([piece for piece in pieces if piece not in texts], [])


def strings() -> Iterator[str]:
    """
    Each string in the code, and each part of one that is between two expressions.
    """
    for path in (ROOT / "vnet").rglob("*.py"):
        if "test" not in path.relative_to(ROOT / "vnet").parts:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


class PlaceTests(SynchronousTestCase):
    """
    What the documents point to.
    """

    def test_links(self) -> None:
        """
        Each link to a file leads to one, and each to a title in a document to such a title.
        """
        for document in [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]:
            for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
                if "://" in target:
                    continue
                file, _, anchor = target.partition("#")
                path = document.parent / file if file else document
                self.assertTrue(path.exists(), f"{document.name}: {target}")
                if anchor:
                    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
                    self.assertIn(anchor, [anchorOf(title) for title in titles], document.name)

    def test_modules(self) -> None:
        """
        Each module is named in docs/architecture.md.
        """
        text = read("docs/architecture.md")
        names = {path.relative_to(ROOT / "vnet").as_posix() for path in (ROOT / "vnet").rglob("*.py")}
        apart = ("test/", "server/store/migrations/")
        ours = {name for name in names if not name.endswith("__init__.py") and not name.startswith(apart)}
        written = set(re.findall(r"^\| `([\w/]+\.py)` \|", text, re.M))
        self.assertEqual((sorted(ours - written), sorted(written - ours)), ([], []), "missing, too many")

    def test_examples(self) -> None:
        """
        Each example is named in docs/architecture.md, and runs.
        """
        text = read("docs/architecture.md")
        for path in sorted((DOCS / "examples").glob("*.py")):
            self.assertIn(f"examples/{path.name}", text)
            done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, ""), path.name)
            self.assertTrue(done.stdout, path.name)


def anchorOf(title: str) -> str:
    """
    The anchor that a renderer of Markdown makes of a title.
    """
    kept: list[Any] = [each for each in title.lower() if each.isalnum() or each in " -_"]
    return "".join(kept).replace(" ", "-")
