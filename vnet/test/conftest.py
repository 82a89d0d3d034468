"""
How pytest runs these tests: hypothesis' profiles, and what the tests in C{priv/} need of the machine.

Where C{CI} is set, nothing in C{priv/} may be skipped: what is missing there makes the test fail.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import chdir
from functools import cache
from pathlib import Path

import hypothesis
import hypothesis.configuration
import pytest

CI = os.environ.get("CI", "").lower() not in ("", "0", "false")
PRIVILEGED = Path(__file__).parent / "priv"
BASE_COMMANDS = ("ip", "nft", "ping")

# Debian keeps some commands where only root's shell looks for them.
os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"

# Where a shell has started this in the background SIGINT is ignored, here and in all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Not in the directory that L{emptyDirectory} makes: examples that failed are kept for the next run.
hypothesis.configuration.set_hypothesis_home_dir(Path(__file__).parent.parent.parent / ".hypothesis")
hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if CI else "dev"))


@pytest.fixture(scope="session", autouse=True)
def emptyDirectory(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """
    Run all tests in a temporary directory: trial's C{mktemp} makes its files where the process is.
    """
    with chdir(tmp_path_factory.mktemp("trial")):
        yield


@cache
def whyNotPrivileged() -> str | None:
    """
    What keeps this process from making network namespaces; L{None} when nothing does.
    """
    if sys.platform != "linux":
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root: it makes network namespaces"
    if missing := missingCommands(BASE_COMMANDS):
        return missing
    name = f"vnetprobe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, timeout=20)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=20)
    if made.returncode != 0:
        return f"this root may not make network namespaces: {made.stderr.strip()}"
    if not os.path.exists("/dev/net/tun"):
        return "needs /dev/net/tun"
    return None


def missingCommands(commands: tuple[str, ...]) -> str | None:
    """
    Which of these commands are not installed, as a sentence; L{None} when all are.
    """
    missing = [command for command in commands if shutil.which(command) is None]
    return f'needs {", ".join(missing)}: "make test" installs what is missing' if missing else None


def isPrivileged(path: Path) -> bool:
    return PRIVILEGED in path.parents


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isPrivileged(item.path):
            item.add_marker(pytest.mark.privileged)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """
    Skip what cannot run here: C{@pytest.mark.commands("wg", ...)} names programs beyond the base.
    """
    reason = whyNotPrivileged() if item.get_closest_marker("privileged") else None
    for marker in item.iter_markers("commands"):
        reason = reason or missingCommands(marker.args)
    if reason:
        pytest.skip(reason)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object | None:
    """
    With C{--dist=loadfile} files are given to workers as L{Distribution} says.
    """
    if config.getoption("dist") != "loadfile":
        return None
    from vnet.test.distribution import Distribution

    return Distribution(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if CI and item.get_closest_marker("privileged") and not hasattr(report, "wasxfail"):
        failInsteadOfSkip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if CI and isPrivileged(collector.path):
        failInsteadOfSkip(report)
    return report


def failInsteadOfSkip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """
    Where C{CI} is set, a test in C{priv/} that does not run has failed.
    """
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, where CI must run it: {reason}"
