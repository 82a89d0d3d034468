# -*- test-case-name: vnet.test.test_unusedmodules -*-
"""
Modules that C{twistd} has loaded, and nobody uses.

To know its commands it reads what is known of all plugins of Twisted.  That names the interfaces of those that run tests, whose
module loads C{unittest}: most of a megabyte.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["forgetTests"]

_TESTING = frozenset({"argparse", "difflib", "twisted.trial", "twisted.trial.itrial", "unittest"})


def forgetTests() -> None:
    """
    Forget what runs tests, if this program is C{twistd vnet-client}; who asks for it again gets it.
    """
    if Path(sys.argv[0]).name == "twistd" and "vnet-client" in sys.argv:
        for name in list(sys.modules):
            if name in _TESTING or name.startswith("unittest."):
                parent, _, child = name.rpartition(".")
                module = sys.modules.pop(name)
                if getattr(sys.modules.get(parent), child, None) is module:
                    delattr(sys.modules[parent], child)
