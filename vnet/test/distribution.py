"""
Which files of tests run at the same time: pytest-xdist asks L{Distribution} for the next one of each of its workers.

Of three workers two take any file, those of L{WAITING} last.  The third one takes nothing but those, which leave the processor to
the others most of the time.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

__all__ = ["WAITING", "Distribution", "nextFile"]

# What xdist calls it; one that replaces a worker that has crashed has another name.
_WAITS = "gw2"

WAITING = {
    "test_restarts.py": 145,
    "test_wireguard_go.py": 130,
    "test_mediator_process.py": 80,
    "test_netlab.py": 70,
    "test_join.py": 60,
    "test_members.py": 60,
    "test_roaming.py": 60,
    "test_names.py": 45,
    "test_path_mtu.py": 40,
    "test_full_disk.py": 30,
    "test_port_mapping.py": 25,
    "test_firewall.py": 20,
    "test_peer_why.py": 15,
    "test_segmentation.py": 15,
    "test_stun_judges.py": 12,
    "test_device.py": 10,
}
"""
Seconds that the tests of a file of C{priv/} take, most of which they wait: what takes longest begins first.
"""


def _isPrivileged(file: str) -> bool:
    return PurePath(file).parent.name == "priv"


def _seconds(file: str) -> int:
    return WAITING.get(PurePath(file).name, 0) if _isPrivileged(file) else 0


def nextFile(files: Iterable[str], worker: str) -> str | None:
    """
    @param files: paths of those that nobody has begun.
    @param worker: its name.
    @return: the one that a worker takes next; L{None}: it has nothing to do any more.
    """
    left = list(files)
    waiting = sorted(filter(_seconds, left), key=_seconds, reverse=True)
    # Those in priv/ take longer than their number of tests tells.
    others = sorted((file for file in left if not _seconds(file)), key=_isPrivileged, reverse=True)
    order = waiting if worker == _WAITS else others + waiting
    return order[0] if order else None


class Distribution(LoadFileScheduling):  # type: ignore[misc]
    """
    A worker gets a file when one test is left of the one before: no file waits behind a long one for long.
    """

    def _assign_work_unit(self, node: WorkerController) -> None:
        file = nextFile(self.workqueue, node.gateway.id if len(self.nodes) > 1 else "")
        if file is None:
            node.shutdown()
            return
        self.workqueue.move_to_end(file, last=False)
        super()._assign_work_unit(node)

    def _reschedule(self, node: WorkerController) -> None:
        # A worker begins its last test only when it knows the next one, or that there is none.
        if not node.shutting_down and self._pending_of(self.assigned_work[node]) <= 1:
            self._assign_work_unit(node)
