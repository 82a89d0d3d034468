# -*- test-case-name: vnet.test.test_client_state -*-
"""
What a node remembers between two starts, in C{state.json}.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import asdict, define, evolve, field, frozen

from vnet.client.firewall.policy import OPEN, Policy, parsePolicy
from vnet.client.lansharing.choices import NONE, Choices, choicesFrom
from vnet.client.nonip.choice import DEFAULT, Choice, changed
from vnet.errors import Refused, StateError
from vnet.protocols.codec.names import validateName, validateNick
from vnet.protocols.codec.url import parseMediatorUrl
from vnet.statedir import readPrivate, writePrivate

__all__ = ["Remembered", "RememberedNetwork", "StateFile"]

_VERSION = 1
_NETWORK, _REALM, _KEY = 16, 16, 32
_ROOM = 4096
_MAXIMUM_PINS = 65_536
_MAXIMUM_ENTERING = 64


@frozen
class RememberedNetwork:
    """
    A network of which this node is a member.

    @ivar name: its name.
    @ivar secret: the 32-byte master secret in hexadecimal, or L{None} for a network without a password.
    @ivar realm: the mediator that it was joined at, 16 bytes in hexadecimal: at another it counts for nothing.
    """

    name: str
    secret: str | None = field(default=None, repr=False)
    realm: str = "00" * _REALM


@frozen
class Remembered:
    """
    The whole memory.

    @ivar mediator: the URL of the mediator, or empty.
    @ivar online: whether the node logs in by itself at start.
    @ivar nick: the nickname.
    @ivar networks: the networks, by their 16-byte identifier in hexadecimal.
    @ivar entering: the networks whose founding or joining was asked for and not yet answered, by name.
    @ivar firewall: the policies of the firewall that are not C{open}, by the identifier of their network in hexadecimal.
    @ivar nonIp: what was chosen of protocols beside IP and is not the default, by the same.
    @ivar lans: what was chosen of LANs that members share, by the same.
    @ivar pins: the keys of the peers met so far (hexadecimal), by C{realm/address} (realm in hexadecimal).
    """

    mediator: str = ""
    online: bool = False
    nick: str = ""
    networks: dict[str, RememberedNetwork] = field(factory=dict)
    entering: dict[str, RememberedNetwork] = field(factory=dict)
    pins: dict[str, str] = field(factory=dict)
    firewall: dict[str, str] = field(factory=dict)
    nonIp: dict[str, Choice] = field(factory=dict)
    lans: dict[str, Choices] = field(factory=dict)


def _parse(content: bytes) -> Remembered:
    raw = json.loads(content)
    if raw["version"] > _VERSION:
        raise _Newer()
    return Remembered(
        mediator=str(parseMediatorUrl(raw["mediator"])) if raw["mediator"] != "" else "",
        online=bool(raw["online"]),
        nick=validateNick(raw["nick"]) if raw["nick"] != "" else "",
        networks={_hex(key, _NETWORK): _network(value) for key, value in raw["networks"].items()},
        entering={network.name: network for network in map(_network, raw.get("entering", {}).values())},
        pins={str(key): _hex(value, _KEY) for key, value in raw["pins"].items()},
        firewall={
            _hex(key, _NETWORK): str(parsePolicy(value)) for key, value in raw.get("firewall", {}).items()
        },
        nonIp={_hex(key, _NETWORK): _choice(value) for key, value in raw.get("nonIp", {}).items()},
        lans={_hex(key, _NETWORK): choicesFrom(value) for key, value in raw.get("lans", {}).items()},
    )


def _hex(text: str, length: int) -> str:
    value = bytes.fromhex(text)
    if len(value) != length:
        raise ValueError("a length is wrong")
    return value.hex()


class _Newer(Exception):
    pass


def _network(raw: dict[str, Any]) -> RememberedNetwork:
    secret = raw["secret"]
    realm = _hex(raw["realm"], _REALM)
    return RememberedNetwork(validateName(raw["name"]), None if secret is None else _hex(secret, _KEY), realm)


def _choice(raw: dict[str, Any]) -> Choice:
    return changed(DEFAULT, {True: "on", False: "off"}[raw["isOn"]], raw["etherTypes"])


def _remembered(name: str, secret: bytes | None, realm: bytes) -> RememberedNetwork:
    return RememberedNetwork(name, secret.hex() if secret else None, realm.hex())


@define
class StateFile:
    """
    The memory, and the file that holds it.
    """

    _path: Path
    remembered: Remembered = field(factory=Remembered)
    _unsaved: bool = field(default=False, init=False)

    def load(self) -> None:
        """
        @raise StateError: the file is damaged, or was written by a newer vnet; it is left as it is.
        """
        content = readPrivate(self._path)
        if content is None:
            return
        try:
            self.remembered = _parse(content)
        except _Newer as error:
            raise StateError(f"{self._path} was written by a newer vnet: upgrade this one") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StateError(
                f"the file {self._path} is damaged: put back a copy of it, or move it away and join your networks again"
            ) from error

    def update(self, **changes: Any) -> None:
        """
        Change the memory, on disk first.

        @raise StateError: the disk does not take it; nothing is changed.
        """
        changed = evolve(self.remembered, **changes)
        if changed != self.remembered:
            self._write(changed)
            self.remembered = changed

    def _write(self, remembered: Remembered) -> None:
        writePrivate(self._path, self._encoded(remembered))
        self._unsaved = False

    def ensureRoom(self) -> None:
        """
        Call this before something is changed elsewhere that has to be remembered here.

        @raise StateError: the disk does not take what is remembered, and somewhat more.
        """
        room = self._path.with_name(f"{self._path.name}.room")
        try:
            writePrivate(room, bytes(len(self._encoded(self.remembered)) + _ROOM))
        except StateError as error:
            raise StateError(f"nothing was changed: {error}") from error
        room.unlink(missing_ok=True)

    def _encoded(self, remembered: Remembered) -> bytes:
        return json.dumps({"version": _VERSION, **asdict(remembered)}, indent=1).encode()

    def beginEntering(self, name: str, secret: bytes | None, realm: bytes) -> None:
        """
        Keep the name and master secret of a network that is about to be founded or joined.
        """
        entering = {**self._enteringBut(name), name: _remembered(name, secret, realm)}
        while len(entering) > _MAXIMUM_ENTERING:
            del entering[next(iter(entering))]
        self.update(entering=entering)

    def endEntering(self, name: str) -> None:
        """
        A network was not founded or joined after all.
        """
        self.update(entering=self._enteringBut(name))

    def _enteringBut(self, name: str) -> dict[str, RememberedNetwork]:
        return {key: value for key, value in self.remembered.entering.items() if key != name}

    def rememberNetwork(self, network: bytes, name: str, secret: bytes | None, realm: bytes) -> None:
        """
        Keep a network's name and master secret.

        @raise Refused: the identifier is none, or is that of another network, whose secret it would take away.
        @raise StateError: the disk does not take it.
        """
        known = _remembered(name, secret, realm)
        if len(network) != _NETWORK or self.remembered.networks.get(network.hex(), known) != known:
            raise Refused(
                f"the mediator takes {name!r} for another network that this node has joined, or for none"
            )
        self.update(
            networks={**self.remembered.networks, network.hex(): known}, entering=self._enteringBut(name)
        )

    def forgetNetwork(self, network: bytes) -> None:
        """
        Drop a network and its secret.
        """
        networks = {key: value for key, value in self.remembered.networks.items() if key != network.hex()}
        nonIp = {key: value for key, value in self.remembered.nonIp.items() if key != network.hex()}
        lans = {key: value for key, value in self.remembered.lans.items() if key != network.hex()}
        self.update(networks=networks, firewall=self._firewallBut(network.hex()), nonIp=nonIp, lans=lans)

    def _firewallBut(self, *networks: str) -> dict[str, str]:
        return {key: value for key, value in self.remembered.firewall.items() if key not in networks}

    def setFirewall(self, networks: Iterable[bytes], policy: Policy) -> None:
        """
        Keep the policy of networks.
        """
        keys = [network.hex() for network in networks]
        chosen = {} if policy == OPEN else dict.fromkeys(keys, str(policy))
        self.update(firewall={**self._firewallBut(*keys), **chosen})

    def setNonIp(self, choices: Mapping[bytes, Choice]) -> None:
        """
        Keep what was chosen for networks.
        """
        chosen = {**self.remembered.nonIp, **{network.hex(): choice for network, choice in choices.items()}}
        self.update(nonIp={key: choice for key, choice in chosen.items() if choice != DEFAULT})

    def setLans(self, network: bytes, choices: Choices) -> None:
        """
        Keep what was chosen of the LANs of a network.
        """
        chosen = {**self.remembered.lans, network.hex(): choices}
        self.update(lans={key: choices for key, choices in chosen.items() if choices != NONE})

    def secretOf(self, network: bytes) -> bytes | None:
        """
        @return: the 32-byte master secret of a network; L{None} when it has none.
        """
        known = self.remembered.networks.get(network.hex())
        return bytes.fromhex(known.secret) if known and known.secret else None

    def pinned(self, realm: bytes, address: str) -> bytes | None:
        """
        @return: the key of the peer that had this address when it was first met.
        """
        pin = self.remembered.pins.get(f"{realm.hex()}/{address}")
        return bytes.fromhex(pin) if pin else None

    def pin(self, realm: bytes, keys: dict[str, bytes]) -> None:
        """
        Keep the keys of peers, by address, in memory until L{save}.  When there are too many, those that are kept already
        stay.
        """
        pins = self.remembered.pins
        for address, key in keys.items():
            if len(pins) < _MAXIMUM_PINS:
                pins[f"{realm.hex()}/{address}"] = key.hex()
                self._unsaved = True

    def save(self) -> None:
        """
        Write what L{pin} has kept.

        @raise StateError: the disk does not take it; it is still there for the next time.
        """
        if self._unsaved:
            self._write(self.remembered)
