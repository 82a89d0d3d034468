# -*- test-case-name: vnet.test.test_natmatrix -*-
"""
What is asked of each pair of kinds of NAT, and who has which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

__all__ = ["CLASS", "IPV6", "KINDS_IN_MATRIX", "POPULATIONS", "figure", "score", "unreachable", "withIpv6"]

CLASS = {
    **dict.fromkeys(("P", "Q", "F"), "open"),
    "A": "A",
    **dict.fromkeys(("R", "Rb", "D", "E", "V", "L", "LF", "6"), "R"),
    **dict.fromkeys(("S1", "Sd"), "S1"),
    **dict.fromkeys(("S2", "S256"), "S2"),
    **dict.fromkeys(("B", "B2", "LX"), "B"),
    "X": "X",
    "M": "M",
    "U": "U",
    **dict.fromkeys(("T", "T443"), "T"),
}
"""Which row of the figures a kind has."""

KINDS_IN_MATRIX = ("P", "F", "A", "R", "D", "E", "S1", "S2", "B", "X", "M", "U", "T443", "6")

_ORDER = ("open", "A", "R", "S1", "S2", "B", "X", "M", "U", "T")

# The least share of direct paths, in percent, of each class with itself and with those after it; 0: a relay is all there is.
_FIGURES = {
    "open": (99, 99, 99, 99, 99, 99, 99, 99, 99, 0),
    "A": (99, 99, 98, 98, 97, 97, 98, 60, 0),
    "R": (98, 95, 85, 97, 90, 90, 0, 0),
    # Towards a block of 512 ports half would need 350 of them; the round that there is hits one time in nine.
    "S1": (75, 50, 0, 0, 0, 0, 0),
    "S2": (30, 0, 0, 0, 0, 0),
    "B": (0, 0, 0, 0, 0),
    "X": (0, 0, 0, 0),
    "M": (0, 0, 0),
    "U": (0, 0),
    "T": (0,),
}

_SPECIAL = {
    # A carrier's NAT is spared: 20 mappings are too few to guess a port of so many.
    **{frozenset([one, other]): 0.0 for one in ("L", "LF", "LX") for other in ("B", "B2", "X", "M")},
    **{frozenset(["LX", other]): 0.0 for other in ("L", "LF")},
    frozenset(["E"]): 0.95,
    frozenset(["DC"]): 0.0,
    frozenset(["DH"]): 0.98,
    frozenset(["LAN"]): 0.99,
    frozenset(["ISO"]): 0.0,
    frozenset(["ISOH"]): 0.98,
    frozenset(["6only"]): 0.98,
    frozenset(["6only", "6"]): 0.98,
}


def figure(one: str, other: str) -> float:
    """
    The share of trials that has to end in a direct path, 0 to 1; in either order.
    """
    special = _SPECIAL.get(frozenset([one, other]))
    if special is not None:
        return special
    if one not in CLASS or other not in CLASS:
        return 0.0
    first, second = sorted((_ORDER.index(CLASS[one]), _ORDER.index(CLASS[other])))
    return _FIGURES[_ORDER[first]][second - first] / 100


POPULATIONS: dict[str, dict[str, float]] = {
    "global": {
        "P": 0.06, "F": 0.12, "A": 0.06, "R": 0.42, "E": 0.02, "D": 0.12,
        "S1": 0.03, "S2": 0.02, "B": 0.05, "X": 0.05, "M": 0.005, "U": 0.005, "T443": 0.04,
    },
    "home": {
        "P": 0.05, "F": 0.15, "A": 0.07, "R": 0.48, "E": 0.02, "D": 0.13,
        "S1": 0.02, "S2": 0.01, "B": 0.03, "X": 0.026, "M": 0.002, "U": 0.002, "T443": 0.01,
    },
    "mobile-heavy": {
        "P": 0.03, "F": 0.10, "A": 0.05, "R": 0.26, "E": 0.01, "D": 0.20,
        "S1": 0.03, "S2": 0.03, "B": 0.12, "X": 0.10, "M": 0.01, "U": 0.01, "T443": 0.05,
    },
    "corporate": {
        "P": 0.08, "F": 0.04, "A": 0.03, "R": 0.29, "E": 0.01, "D": 0.05,
        "S1": 0.04, "S2": 0.02, "B": 0.04, "X": 0.18, "M": 0.02, "U": 0.02, "T443": 0.18,
    },
}  # fmt: skip
"""The share of nodes behind each kind, for four kinds of users."""

IPV6 = 0.45
"""The share of nodes that have IPv6, of all kinds of users (nodes seen by large services in 2026 are between 42 and 50 %)."""

TARGETS = {"home": 0.95, "global": 0.88, "mobile-heavy": 0.82}
"""The share of pairs of such users that is to be direct."""


_BLOCKED = {"T", "T443"}


def _weighted(population: Mapping[str, float], value: Callable[[str, str], float]) -> float:
    total = sum(population.values())
    return sum(
        one * other * value(a, b) for a, one in population.items() for b, other in population.items()
    ) / (total * total)


def score(population: Mapping[str, float], direct: Mapping[tuple[str, str], float]) -> float:
    """
    The share of pairs of users that is direct.

    @param population: the share of each kind; a value of L{POPULATIONS}.
    @param direct: the share of each pair of kinds, in either order.
    @raise KeyError: a pair of the population is missing.
    """
    return _weighted(population, lambda a, b: direct[(a, b) if (a, b) in direct else (b, a)])


def withIpv6(population: Mapping[str, float], direct: Mapping[tuple[str, str], float]) -> float:
    """
    The same where L{IPV6} of the nodes have IPv6 too: two of them are direct as often as C{6} and C{6} are, unless UDP is blocked.

    @raise KeyError: see L{score}.
    """

    def value(a: str, b: str) -> float:
        found = direct[(a, b) if (a, b) in direct else (b, a)]
        isBlocked = bool({a, b} & _BLOCKED)
        return found if isBlocked else found + (1 - found) * IPV6**2 * direct["6", "6"]

    return _weighted(population, value)


def unreachable(population: Mapping[str, float]) -> float:
    """
    The share of pairs of users for which nobody has a direct path: one side has no UDP, or both ports are beyond guessing.
    """
    return _weighted(population, lambda a, b: float(figure(a, b) == 0.0))
