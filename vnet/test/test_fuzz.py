"""
Each target of L{vnet.test.fuzz} with a few hundred inputs, and what the harness itself is worth.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cached_property
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from random import Random

from attrs import define
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.logger import Logger
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from vnet.errors import DecodeError
from vnet.test.fuzz.__main__ import main
from vnet.test.fuzz.controltargets import VALID_LOGIN
from vnet.test.fuzz.engine import FOUND, WRITTEN
from vnet.test.fuzz.mutate import mutate
from vnet.test.fuzz.registry import TARGETS, findTarget
from vnet.test.fuzz.target import Fault, Target, logged, require

_EXAMPLES = 700
_SEEDS = [b"the first seed", b"another seed"]


@define
class _Ready:
    """
    A target, made when it is first needed.
    """

    target: Target

    @cached_property
    def check(self) -> Callable[[bytes], None]:
        return self.target.checker()

    @cached_property
    def seeds(self) -> list[bytes]:
        return list(self.target.seeds())

    def inputs(self) -> st.SearchStrategy[bytes]:
        anything = st.binary(max_size=min(self.target.maximum, 300))
        mutated = st.integers(0, 2**48).map(lambda number: self.target.input(Random(number), self.seeds))
        return st.one_of(mutated, mutated, mutated, anything)


class TargetTests(SynchronousTestCase):
    """
    One test for each target.
    """

    def test_seeds(self) -> None:
        """
        Each target accepts at least one of its seeds, so that mutation begins behind the outermost check.
        """
        for name, target in TARGETS.items():
            seeds, check = target.seeds(), target.make()
            accepted = 0
            for data in seeds:
                self.assertLessEqual(len(data), target.maximum, name)
                try:
                    check(data)
                except DecodeError:
                    continue
                accepted += 1
            self.assertGreater(accepted, 0, name)

    def test_mended(self) -> None:
        """
        Mending keeps a valid input valid.
        """
        for name, target in TARGETS.items():
            check = target.make()
            for data in target.seeds() if target.mend else ():
                try:
                    check(data)
                except DecodeError:
                    continue
                self.assertLessEqual(len(target.mend(data)), target.maximum, name)  # type: ignore[misc]
                target.checker()(target.mend(data))  # type: ignore[misc]


def _testOf(name: str) -> Callable[[TargetTests], None]:
    ready = _Ready(TARGETS[name])

    @settings(
        max_examples=_EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=ready.inputs())
    def test(self: TargetTests, data: bytes) -> None:
        ready.check(data)

    test.__doc__ = f"No input makes {name} raise anything but DecodeError, or accept what it should not."
    test.__name__ = "test_" + name.replace("-", "_")
    return test


for _name in TARGETS:
    _test = _testOf(_name)
    setattr(TargetTests, _test.__name__, _test)


# Targets that are wrong, for the harness to find.


def _fails(data: bytes) -> None:
    if b"seed" not in data:
        raise ValueError("planted")
    raise DecodeError("as it should")


def _hangs(data: bytes) -> None:
    time.sleep(60)


def _dies(data: bytes) -> None:
    os._exit(3)


def _fine(data: bytes) -> None:
    raise DecodeError("as it should")


FAILS = Target("fails", lambda: _fails, lambda: _SEEDS)
HANGS = Target("hangs", lambda: _hangs, lambda: _SEEDS)
DIES = Target("dies", lambda: _dies, lambda: _SEEDS)
FINE = Target("fine", lambda: _fine, lambda: _SEEDS)


def _planted(name: str) -> str:
    return f"{__name__}:{name}"


class HarnessTests(SynchronousTestCase):
    """
    The harness finds what is planted.
    """

    def campaign(self, *arguments: str, engine: str = "plain") -> tuple[int, str]:
        """
        @return: exit code and output.
        """
        with redirect_stdout(StringIO()) as output:
            code = main(["--engine", engine, "--directory", self.directory, *arguments])
        return code, output.getvalue()

    def setUp(self) -> None:
        self.directory = self.mktemp()

    def assertFound(self, engine: str) -> None:
        name = _planted("FAILS")
        code, output = self.campaign("--runs", "20000", "--target", name, engine=engine)
        self.assertEqual(code, 1, output)
        self.assertIn("planted", output)
        (saved,) = Path(self.directory).rglob("crash-*")
        self.assertNotIn(b"seed", saved.read_bytes())
        command = f"-m vnet.test.fuzz --target {name} --input {saved}"
        self.assertIn(command, output)
        again = subprocess.run([sys.executable, *command.split()], capture_output=True, text=True)
        self.assertEqual((again.returncode, "ValueError: planted" in again.stderr), (1, True), again.stderr)

    def test_fault(self) -> None:
        """
        A target that raises ValueError is reported, and its input saved with a command that shows it again.
        """
        self.assertFound("plain")

    def test_faultByAtheris(self) -> None:
        """
        So it is by atheris.
        """
        if find_spec("atheris") is None:
            raise SkipTest("atheris is not installed: 'make fuzz' installs it")
        self.assertFound("atheris")

    def test_dead(self) -> None:
        """
        A process that ends by itself is no success, and does not hide what the others did.
        """
        names = ["--target", _planted("DIES"), "--target", _planted("FINE")]
        code, output = self.campaign("--runs", "500", "--jobs", "2", *names)
        self.assertEqual(code, 1)
        self.assertIn("the process ended with 3", output)
        self.assertRegex(output, r"FINE +500 +\d+  ok")

    def test_fine(self) -> None:
        """
        A target that raises DecodeError only is well.
        """
        code, output = self.campaign("--runs", "300", "--target", _planted("FINE"))
        self.assertEqual(code, 0, output)

    def test_seconds(self) -> None:
        """
        A campaign may be bounded by time.
        """
        code, output = self.campaign("--runs", str(10**9), "--seconds", "0.2", "--target", _planted("FINE"))
        self.assertEqual(code, 0, output)

    def test_hang(self) -> None:
        """
        An input that takes too long is a finding.
        """
        directory = Path(self.directory)
        directory.mkdir()
        command = ["-m", "vnet.test.fuzz.engine", "plain", _planted("HANGS"), str(directory), "--runs", "9"]
        ended = subprocess.run(
            [sys.executable, *command, "--patience", "1"], capture_output=True, text=True, timeout=30
        )
        self.assertEqual(ended.returncode, FOUND, ended.stderr)
        self.assertIn(WRITTEN, ended.stderr)

    def test_unknown(self) -> None:
        """
        A target that there is not is an error of usage.
        """
        with redirect_stdout(StringIO()):
            self.assertRaises(SystemExit, main, ["--target", "nothing"])
        self.assertRaises(LookupError, findTarget, "nothing")
        self.assertRaises(LookupError, findTarget, f"{__name__}:main")

    def test_logged(self) -> None:
        """
        A failure that somebody only logs is seen.
        """
        with logged() as failures:
            try:
                raise ValueError("planted")
            except ValueError:
                Logger().failure("oh")
            Logger().info("fine")
        self.assertEqual([type(event["log_failure"].value) for event in failures], [ValueError])
        self.flushLoggedErrors(ValueError)

    def test_strangerLogsIn(self) -> None:
        """
        A mediator that lets a stranger in is found: here, because the stranger does have the key.
        """
        check = TARGETS["control-stranger"].checker()
        self.assertRaises(Fault, check, b"\0" + VALID_LOGIN)
        self.flushLoggedErrors(Fault)
        check(b"\0" + VALID_LOGIN[:-3] + b"x" + VALID_LOGIN[-2:])

    def test_require(self) -> None:
        """
        What does not hold is no DecodeError, that would pass.
        """
        require(True, "it is")
        error = self.assertRaises(Fault, require, False, "it is")
        self.assertNotIsInstance(error, DecodeError)

    def test_mutate(self) -> None:
        """
        Mutations come again with the same seed, differ otherwise, and keep to the maximum.
        """
        made = [mutate(Random(number), _SEEDS, 20) for number in range(500)]
        self.assertEqual(made, [mutate(Random(number), _SEEDS, 20) for number in range(500)])
        self.assertGreater(len(set(made)), 300)
        self.assertLessEqual(max(map(len, made)), 20)
        self.assertTrue(set(_SEEDS) & set(made))
