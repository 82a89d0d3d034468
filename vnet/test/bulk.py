"""
C{make bulk}: a gigabyte of random bytes by TCP through the tunnel, over 1 % random loss each way, checked by SHA-256, in each mode.

Two data planes with static keys, in namespaces, over IPv4 and IPv6 at once.  It prints a line for each mode, and ends with exit
code 1 if one byte came back otherwise.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence

from nacl.public import PrivateKey

from vnet.test.netlab import Host, Lab, guard
from vnet.test.netlab._space import ROOT

__all__ = ["MODES", "main"]

#: The options of both data planes, see L{vnet.test.priv.dataplanenode}.
MODES = {
    "default": ("partial", "partial"),
    "finished": ("", ""),
    "tun": ("tun partial", "tun partial"),
    "checksum": ("offload=checksum partial", "offload=checksum partial"),
    "none": ("offload= partial", "offload= partial"),
    "trains": ("partial unknown=segment,gro", "partial unknown=segment,gro"),
}
_ADDRESSES = ("100.64.0.2", "fd76:1:2::2")
_PORT = 5000
_LOSS = 1.0


def _start(host: Host, *arguments: str) -> subprocess.Popen[str]:
    """
    Start a program of the tests, and wait until it says that it is ready.
    """
    process = host.popen(
        [sys.executable, "-m", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise RuntimeError(f"{arguments[0]} does not start")
    return process


def _run(mode: str, size: int) -> str:
    """
    Move so many bytes there and back.

    @return: C{ok}, or what is wrong.
    """
    with Lab("bulk") as lab:
        hosts = lab.addHost("alice"), lab.addHost("bob")
        keys = PrivateKey.generate(), PrivateKey.generate()
        for place, options in enumerate(MODES[mode]):
            key, peer = bytes(keys[place]).hex(), bytes(keys[1 - place].public_key).hex()
            arguments = [str(place + 1), str(_PORT), key, str(2 - place), peer, hosts[1 - place].address]
            _start(hosts[place], "vnet.test.priv.dataplanenode", *arguments, str(_PORT), *options.split())
        _start(hosts[1], "vnet.test.priv.echoing", "serve", "vnet0")
        lab.setLoss(hosts[0], _LOSS)
        # Half of it by each of the two, and half of that each way.
        share = str(size // len(_ADDRESSES) // 2)
        moving = hosts[0].popen(
            [sys.executable, "-m", "vnet.test.priv.echoing", "move", share, *_ADDRESSES],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        return moving.communicate()[0].strip() or "nothing was said"


def main(argv: Sequence[str] | None = None) -> int:
    """
    @return: the exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m vnet.test.bulk", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000, help="for each mode")
    parser.add_argument("--mode", action="append", choices=list(MODES), help="only this; may be repeated")
    options = parser.parse_args(argv)
    isFine = True
    with guard():
        for mode in options.mode or MODES:
            started = time.monotonic()
            found = _run(mode, options.megabytes * 1_000_000)
            isFine = isFine and found == "ok"
            print(
                f"{mode}: {options.megabytes} MB in {time.monotonic() - started:.0f} s: {found}", flush=True
            )
    return not isFine


if __name__ == "__main__":
    sys.exit(main())
