"""
Reads the docstrings of the public modules with pydoctor and fails on what is wrong with them.

pydoctor knows other libraries only from the network.  Here a link to one is right when the name can be
imported.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.python.reflect import namedAny

ROOT = Path(__file__).parent.parent
UNKNOWN_LINK = re.compile(r'Cannot find link target for "([\w.]+)"')
# pydoctor's closing summary only repeats what has its own line.
FINDING = re.compile(r"^\S+:(\d+|\?\?\?): ")


def exists(name: str) -> bool:
    """
    Whether a name of Python or of another library can be imported.
    """
    for candidate in (f"builtins.{name}", name):
        try:
            namedAny(candidate)
        except Exception:
            continue
        return True
    return False


def isFault(line: str) -> bool:
    """
    Whether a line of pydoctor's output is a warning to heed.
    """
    link = UNKNOWN_LINK.search(line)
    if link:
        return link.group(1).partition(".")[0] == "vnet" or not exists(link.group(1))
    return FINDING.match(line) is not None and f"{ROOT}/vnet/test/" not in line


def main() -> int:
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-m", "pydoctor", "--quiet", f"--html-output={output}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    faults = [line for line in (done.stdout + done.stderr).splitlines() if isFault(line)]
    print("\n".join(faults) or "docstrings: no faults")
    if done.returncode not in (0, 2, 3) or (done.returncode and "Traceback" in done.stderr):
        print(done.stderr[-2000:])
        return 1
    return 1 if faults else 0


sys.exit(main())
