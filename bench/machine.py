"""
The machine that something is measured on.
"""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vnet import __version__

__all__ = ["machineFacts", "versionOf"]


def versionOf(*argv: str) -> str:
    """
    The first line of what a program says of itself.
    """
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10)
    except OSError:
        return "not installed"
    return (done.stdout or done.stderr).strip().partition("\n")[0]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def machineFacts() -> dict[str, Any]:
    """
    The machine, how busy it is, and what runs on it in all cases.
    """
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "loadAverage": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "vnet": __version__,
        "twisted": version("twisted"),
    }
