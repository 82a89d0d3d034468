# -*- test-case-name: vnet.test.test_names_registry -*-
"""
Who has which name, over restarts: C{nick.network.vnet} by network, and C{nick.vnet} over all networks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from attrs import define, field

from vnet.client.names.labels import labelOf
from vnet.client.names.roster import Roster
from vnet.client.names.scope import Scope
from vnet.errors import StateError
from vnet.statedir import readPrivate, writePrivate

__all__ = ["DOMAIN", "Registry"]

DOMAIN = "vnet"
"""The domain of all names."""

_VERSION = 1
_LARGEST = 16 << 20
_KEY, _NETWORK, _REALM = 32, 16, 16
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_label = lru_cache(16_384)(labelOf)


@define(eq=False, repr=False)
class Registry:
    """
    The labels of members, by network and over all, and those of the networks.
    """

    _realm: bytes = b""
    _networks: Scope = field(factory=Scope)
    _everyone: Scope = field(factory=Scope)
    _members: dict[bytes, Scope] = field(factory=dict)

    def settle(self, roster: Roster) -> bool:
        """
        Give labels to those that have none, and take them from those that are gone or go by another name.

        @return: whether anything has changed.
        """
        changed = roster.realm != self._realm
        if changed:
            # The members of another mediator are others, and so is who was there first.
            self._realm, self._members = roster.realm, {}
            self._networks, self._everyone = Scope(), Scope()
        names = {each.network: _label(each.name) for each in roster.networks}
        changed |= self._networks.settle(names, release=roster.whole)
        everyone: dict[bytes, str | None] = {roster.own: _label(roster.nick)}
        for network in roster.networks:
            members: dict[bytes, str | None] = {key: _label(nick) for key, nick in network.members.items()}
            members[roster.own] = everyone[roster.own]
            for key, label in members.items():
                everyone.setdefault(key, label)
            scope = self._members.setdefault(network.network, Scope())
            changed |= scope.settle(members, roster.own, roster.whole)
        if roster.whole:
            for gone in self._members.keys() - names.keys():
                del self._members[gone]
                changed = True
        return changed | self._everyone.settle(everyone, roster.own, roster.whole)

    def find(self, labels: Sequence[str]) -> bytes | None:
        """
        @param labels: those before the domain: of a member, or of a member and a network.
        @return: the key of whoever has that name.
        """
        if len(labels) == 1:
            return self._everyone.holders.get(labels[0])
        network = self._networks.holders.get(labels[1]) if len(labels) == 2 else None
        scope = None if network is None else self._members.get(network)
        return None if scope is None else scope.holders.get(labels[0])

    def isNetwork(self, label: str) -> bool:
        """
        @return: whether a network has this label.
        """
        return label in self._networks.holders

    def nameOf(self, key: bytes) -> str | None:
        """
        @return: C{nick.vnet} of a member.
        """
        label = self._everyone.labels.get(key)
        return None if label is None else f"{label}.{DOMAIN}"

    def nameIn(self, network: bytes, key: bytes) -> str | None:
        """
        @return: C{nick.network.vnet} of a member.
        """
        scope, above = self._members.get(network), self._networks.labels.get(network)
        label = None if scope is None else scope.labels.get(key)
        return None if label is None or above is None else f"{label}.{above}.{DOMAIN}"

    def save(self, path: Path) -> None:
        """
        @raise StateError: the disk does not take it, or it could not be read again.
        """
        content = {
            "version": _VERSION,
            "realm": self._realm.hex(),
            "networks": _written(self._networks),
            "everyone": _written(self._everyone),
            "members": {network.hex(): _written(scope) for network, scope in self._members.items()},
        }
        written = json.dumps(content, separators=(",", ":")).encode()
        if len(written) >= _LARGEST:
            raise StateError(f"the file {path} would be too large")
        writePrivate(path, written)

    @classmethod
    def load(cls, path: Path) -> Registry:
        """
        @return: what was saved; nothing where nothing was.
        @raise StateError: the file cannot be read.
        @raise ValueError: it was not written by this, or damaged since.
        """
        content = readPrivate(path)
        if content is None:
            return cls()
        try:
            raw = json.loads(content)
            if raw["version"] != _VERSION:
                raise ValueError("another version")
            members = {_hex(key, _NETWORK): _read(value, _KEY) for key, value in raw["members"].items()}
            realm = _hex(raw["realm"], _REALM) if raw["realm"] else b""
            return cls(realm, _read(raw["networks"], _NETWORK), _read(raw["everyone"], _KEY), members)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("not what was saved") from error


def _written(scope: Scope) -> dict[str, str]:
    return {label: holder.hex() for label, holder in scope.holders.items()}


def _read(raw: Any, length: int) -> Scope:
    holders = {label: _hex(holder, length) for label, holder in raw.items()}
    if not all(_LABEL.fullmatch(label) for label in holders):
        raise ValueError("no label")
    return Scope(holders)


def _hex(text: str, length: int) -> bytes:
    value = bytes.fromhex(text)
    if len(value) != length:
        raise ValueError("a length is wrong")
    return value
