"""
A host in a cluster on which a crowd of members runs (L{vnet.test.priv.crowd}).
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Sequence

from attrs import frozen

from vnet.test.netlab import LabError, stop
from vnet.test.netlab._space import ROOT
from vnet.test.priv.cluster import Cluster
from vnet.test.priv.daemons import environment

__all__ = ["Crowd", "startCrowd"]

_FROM_ONE_ADDRESS = 25
_EACH = 0.2


@frozen
class Crowd:
    """
    The members, as long as they run.

    @ivar addresses: the virtual address of each, the founder's first.
    """

    addresses: Sequence[str]
    _process: subprocess.Popen[str]

    def stop(self) -> None:
        """
        All are gone at once, without a word.
        """
        stop(self._process)


def startCrowd(cluster: Cluster, network: str, count: int) -> Crowd:
    """
    Found a network, and let it have so many members.

    @raise LabError: that took too long, or failed.
    """
    if cluster.mediator is None:
        raise LabError("there is no mediator")
    host = cluster.lab.addHost("crowd")
    hosts = [host.address, *(host.addAddress() for _ in range(count // _FROM_ONE_ADDRESS))]
    log = (cluster.lab.directory / "crowd.log").open("w")
    process = host.popen(
        [sys.executable, "-m", "vnet.test.priv.crowd", cluster.mediator.url, network, str(count), *hosts],
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment(cluster.lab.directory),
        cwd=ROOT,
    )
    log.close()
    line = ""
    if process.stdout is not None and select.select([process.stdout], [], [], 20 + count * _EACH)[0]:
        line = process.stdout.readline()
    if not line:
        stop(process)
        tail = (cluster.lab.directory / "crowd.log").read_text()[-2000:]
        raise LabError(f"the crowd did not gather:\n{tail}")
    return Crowd(json.loads(line)["addresses"], process)
