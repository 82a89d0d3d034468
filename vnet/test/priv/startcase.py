"""
Programs that must not start, and what they say.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import attrs
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.netlab import Host, Lab
from vnet.test.priv.daemons import environment
from vnet.test.priv.unharmed import hashed

__all__ = ["Start", "StartCase"]

ATONCE = 3
TWISTD = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile="]


@attrs.frozen
class Start:
    """
    A program that must not start.

    @ivar expected: what its line holds.
    @ivar prefix: a command that runs it.
    @ivar unchanged: whether nothing may be written before it is found out.
    """

    program: str
    state: Path
    expected: str
    options: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    unchanged: bool = True


class StartCase(SynchronousTestCase):
    """
    A host without a network, and directories on it.
    """

    lab: ClassVar[Lab]
    host: ClassVar[Host]
    _cleanup: ClassVar[ExitStack]

    @classmethod
    def setUpClass(cls) -> None:
        """
        Make the host.
        """
        cls._cleanup = ExitStack()
        cls.lab = cls._cleanup.enter_context(Lab(cls.__name__.lower()[:8]))
        cls.host = cls.lab.addHost("host")

    @classmethod
    def tearDownClass(cls) -> None:
        """
        Remove it.
        """
        cls._cleanup.close()

    def directory(self) -> Path:
        """
        @return: a new one.
        """
        return Path(tempfile.mkdtemp(dir=self.lab.directory))

    def check(self, *starts: Start) -> None:
        """
        Start each program, some at once, and look at what it says and leaves.
        """
        with ThreadPoolExecutor(ATONCE) as pool:
            for problem in pool.map(self._problem, starts):
                if problem:
                    self.fail(problem)

    def _problem(self, start: Start) -> str:
        before = hashed(start.state) if start.state.is_dir() else None
        argv = [*start.prefix, *TWISTD, start.program, f"--state={start.state}", *start.options]
        env = {**environment(self.lab.directory), "PYTHONDONTWRITEBYTECODE": "1"}
        process = self.host.popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.lab.directory, env=env
        )
        out, errors = process.communicate(timeout=60)
        print(errors.rstrip())
        after = hashed(start.state) if start.state.is_dir() else None
        line = errors.removesuffix("\n")
        if process.returncode != 1 or not line.isprintable() or not line.startswith(f"{start.program}: "):
            return f"{argv}: exit {process.returncode}: {errors}\n{out}"
        if "Traceback" in out or start.expected not in line:
            return f"{argv}: {start.expected!r} expected: {errors}\n{out}"
        return (
            "" if before in (None, after) or not start.unchanged else f"{argv}: changed:\n{before}\n{after}"
        )
