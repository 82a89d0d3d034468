"""
What processes have used, as the kernel counts it.
"""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Sequence
from pathlib import Path

__all__ = ["cpuSeconds", "machineSeconds", "p99", "residentBytes"]

_TICKS = os.sysconf("SC_CLK_TCK")


def cpuSeconds(*pids: int) -> float:
    """
    CPU that processes, with all their threads, have used so far.
    """
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def machineSeconds() -> float:
    """
    CPU that all programs of this machine have used so far.
    """
    user, nice, system = map(int, Path("/proc/stat").read_text().split()[1:4])
    return (user + nice + system) / _TICKS


def residentBytes(pid: int) -> int:
    """
    Memory of a process (RSS).
    """
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def p99(values: Sequence[float]) -> float:
    """
    What 99 % of the values do not exceed.
    """
    return sorted(values)[math.ceil(len(values) * 0.99) - 1]
