"""
Nodes whose overlay addresses are known before they log in for the first time.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

from sqlalchemy.engine import URL

from vnet.errors import ConfigurationError
from vnet.server import accounts
from vnet.server.addresses import Pool
from vnet.server.store.schema import openDatabase

__all__ = ["reserve"]


def reserve(state: Path, pool: Pool, addresses: Mapping[bytes, str]) -> None:
    """
    Make the database of a mediator that has not run yet.

    @param state: the mediator's directory.
    @param addresses: of its pool, by the Ed25519 public keys of the nodes that are to have them.
    @raise ConfigurationError: one of them cannot be given.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = openDatabase(URL.create("sqlite", database=str(state / "mediator.db")))
    try:
        with engine.begin() as connection:
            prefix6 = accounts.readRealm(connection).prefix6
            for key, address in addresses.items():
                wanted = int(IPv4Address(address)) - pool.first
                # So the mediator's own choice is the address that is wanted, where it may give that one.
                account = accounts.admit(connection, key, address, pool, prefix6, partial(_always, wanted))
                if account.address != address:
                    raise ConfigurationError(f"{address} is not free in {pool.network}")
    finally:
        engine.dispose()


def _always(number: int, size: int) -> int:
    return number
