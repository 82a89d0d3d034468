# -*- test-case-name: vnet.test.test_names_scope -*-
"""
Who has which label in one scope: a network, all networks together, or the names of networks.

Whoever had a label first keeps it for as long as it is in the scope and goes by that name; one that comes later under the same
name gets the label with C{-2}, C{-3} and so on.  So nobody gets another's label by joining, or by taking its nickname.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field

__all__ = ["Scope"]

_MAXIMUM_HINTS = 4096
# More than there are members, and short enough for a label.
_HIGHEST = 500_000


@define(eq=False, repr=False)
class Scope:
    """
    Labels and their holders.

    @ivar holders: by label.
    @ivar labels: by holder: the reverse of C{holders}.
    """

    holders: dict[str, bytes] = field(factory=dict)
    labels: dict[bytes, str] = field(init=False)
    _numbers: dict[str, int] = field(factory=dict, init=False)

    @labels.default
    def _reversed(self) -> dict[bytes, str]:
        labels: dict[bytes, str] = {}
        for label, holder in self.holders.items():
            labels.setdefault(holder, label)
        self.holders = {label: holder for holder, label in labels.items()}
        return labels

    def settle(self, wanted: Mapping[bytes, str | None], own: bytes = b"", release: bool = True) -> bool:
        """
        Follow those that are in the scope.

        @param wanted: the label that each one's name makes, see L{labelOf}; of several that are new and want the same, the
            first gets it.
        @param own: one of them that has the label whoever had it before: this computer.
        @param release: whether those that are not in C{wanted} are gone for sure.
        @return: whether anything has changed.
        """
        gone = [
            holder
            for holder, label in self.labels.items()
            if (not _fits(label, wanted[holder]) if holder in wanted else release)
        ]
        for holder in gone:
            self._drop(holder)
        changed = bool(gone) | self._giveOwn(own, wanted.get(own))
        for holder, label in wanted.items():
            if label and holder not in self.labels:
                self._give(holder, self._free(label))
                changed = True
        return changed

    def _giveOwn(self, own: bytes, label: str | None) -> bool:
        if label is None or self.labels.get(own) == label:
            return False
        self._drop(own)
        other = self.holders.get(label)
        if other is not None:
            self._drop(other)
        self._give(own, label)
        return True

    def _drop(self, holder: bytes) -> None:
        label = self.labels.pop(holder, None)
        if label is not None:
            del self.holders[label]

    def _give(self, holder: bytes, label: str) -> None:
        self.holders[label] = holder
        self.labels[holder] = label

    def _free(self, label: str) -> str:
        if label not in self.holders:
            return label
        number = self._numbers.get(label, 2)
        if number > _HIGHEST:
            number = 2
        while f"{label}-{number}" in self.holders:
            number += 1
        if len(self._numbers) >= _MAXIMUM_HINTS:
            self._numbers.clear()
        self._numbers[label] = number + 1
        return f"{label}-{number}"


def _fits(label: str, wanted: str | None) -> bool:
    """
    Whether a label is what its holder's name makes, perhaps with a number.
    """
    if wanted is None:
        return False
    number = label.removeprefix(f"{wanted}-")
    return label == wanted or (number != label and number.isdigit())
