"""
Run sessions between two WireGuard machines, end them, and print which secrets are still in this process's memory.

Secrets are noted as they are made, but each scrambled, so that the notes themselves are not found.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable

from vnet.protocols.machine import keypair as keypairModule
from vnet.protocols.machine.noise import TransportKeys
from vnet.protocols.machine.wipe import wipe
from vnet.protocols.machine.wireguard import WireGuard
from vnet.test.wgpair import ADDRESSES, Pair

_SCRAMBLE = 0x5A


def scramble(secret: bytes | bytearray) -> bytes:
    """
    The secret in a form in which it is not found; the same again gives it back.
    """
    return bytes(byte ^ _SCRAMBLE for byte in secret)


class Notes:
    """
    @ivar secrets: kind and scrambled bytes of each.
    """

    def __init__(self) -> None:
        self.secrets: list[tuple[str, bytes]] = []

    def random(self, size: int) -> bytes:
        """
        Random bytes; those of 32 are ephemeral keys.
        """
        secret = os.urandom(size)
        if size == 32:
            self.secrets.append(("ephemeral", scramble(secret)))
        return secret

    def watchKeypairs(self) -> None:
        """
        Note the keys of each session that is made from now on.
        """
        original: Callable[..., None] = keypairModule.Keypair.__init__
        secrets = self.secrets

        def init(
            self: object, session: object, local: int, remote: int, keys: TransportKeys, *rest: object
        ) -> None:
            for key in (keys.send, keys.receive):
                secrets.append(("transport", scramble(key)))
            original(self, session, local, remote, keys, *rest)

        keypairModule.Keypair.__init__ = init  # type: ignore[method-assign, assignment]

    def found(self) -> list[str]:
        """
        The kinds of the secrets of which either half is in memory.
        """
        halves = [(kind, half) for kind, secret in self.secrets for half in (secret[:16], secret[16:])]
        kinds = []
        with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
            regions = [line.split() for line in maps]
            for region in regions:
                if region[1][:2] != "rw" or region[-1] in ("[vvar]", "[vsyscall]"):
                    continue
                start, end = (int(part, 16) for part in region[0].split("-"))
                try:
                    memory.seek(start)
                    content = memory.read(end - start)
                except OSError:
                    continue
                translated = content.translate(_TABLE)
                kinds += [kind for kind, half in halves if half in translated]
        return kinds


_TABLE = bytes(byte ^ _SCRAMBLE for byte in range(256))


class SecretPair(Pair):
    """
    Two machines with real randomness.
    """

    def __init__(self, notes: Notes) -> None:
        super().__init__()
        self.machines = tuple(  # type: ignore[assignment]
            WireGuard(os.urandom(32), random=notes.random, wallClock=self.wall) for _ in range(2)
        )
        key = os.urandom(32)
        notes.secrets.append(("preshared", scramble(key)))
        for number, machine in enumerate(self.machines):
            machine.addPeer(
                self.publicKey(number),
                allowedIps=[f"100.64.0.{2 - number}/32"],
                presharedKeys=[key],
                endpoint=ADDRESSES[1 - number],
            )
        wipe(key)


def main(mode: str) -> None:
    """
    @param mode: C{"keep"}, C{"expire"} or C{"remove"}.
    """
    notes = Notes()
    notes.watchKeypairs()
    pair = SecretPair(notes)
    for _ in range(20):
        for number in (0, 1):
            pair.machines[number].initiate(pair.publicKey(number), pair.now)
            pair.run()
            pair.send(number, pair.packet(number))
            pair.now += 1
    if mode == "expire":
        pair.advance(545)
        notes.secrets = [entry for entry in notes.secrets if entry[0] != "preshared"]
    elif mode == "remove":
        for number in (0, 1):
            pair.machines[number].removePeer(pair.publicKey(number))
    gc.collect()
    print(*notes.found())


if __name__ == "__main__":
    main(sys.argv[1])
