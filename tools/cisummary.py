"""
Says what pytest's junit file holds in one line, C{N passed, N failed, N skipped}; fails when a test failed.

Arguments: the file; 1 if C{make check} failed, else 0; the exit code of C{make test}.
"""

import sys
import xml.etree.ElementTree as ElementTree


def outcomes(path: str) -> dict[str, int]:
    """
    How many tests passed, failed (errors are failures) and were skipped.
    """
    counted = {"passed": 0, "failed": 0, "skipped": 0}
    seen: dict[tuple[str | None, str | None], str] = {}
    for index, case in enumerate(ElementTree.parse(path).iter("testcase")):
        parts = {part.tag for part in case}
        outcome = "failed" if parts & {"failure", "error"} else "skipped" if "skipped" in parts else "passed"
        # A test whose teardown fails has two entries.
        key = (case.get("classname"), case.get("name") or str(index))
        if seen.get(key) != "failed":
            seen[key] = outcome
    for outcome in seen.values():
        counted[outcome] += 1
    return counted


def main() -> int:
    path, checks, tests = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    try:
        counted = outcomes(path)
    except (OSError, ElementTree.ParseError):
        counted = {"passed": 0, "failed": 0, "skipped": 0}
    if tests and not counted["failed"]:
        # pytest did not start, or stopped for another reason than a test.
        counted["failed"] += 1
    counted["failed"] += checks
    print(", ".join(f"{count} {outcome}" for outcome, count in counted.items()))
    return 1 if counted["failed"] else 0


sys.exit(main())
