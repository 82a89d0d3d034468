"""
Tests for C{bench/matrixpicture.py} and C{bench/matrixtable.py}.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from vnet.test.natcells import Cell

BENCH = Path(__file__).parents[2] / "bench"
SVG = "{http://www.w3.org/2000/svg}"

CELLS = [
    Cell("public", "public", 3, 0, 0, (0.2, 0.3, 0.4), (0.1, 0.1, 0.1)),
    Cell("public", "double", 1, 2, 0, (0.5,), (0.1, 0.2, 0.3)),
    Cell("double", "double", 196, 4, 0, (1.0,), (0.5,)),
    Cell("public", "udp-blocked", 0, 3, 0, (), (0.7,)),
    Cell("udp-blocked", "udp-blocked", 0, 2, 1, (), (0.7,)),
]


class OutputTests(SynchronousTestCase):
    """
    What C{make natmatrix} writes.
    """

    def setUp(self) -> None:
        sys.path.insert(0, str(BENCH))
        self.addCleanup(sys.path.remove, str(BENCH))
        self.table: Any = import_module("matrixtable")
        self.picture: Any = import_module("matrixpicture")

    def test_write(self) -> None:
        """
        One directory gets the table, the picture that it shows, and the JSON.
        """
        directory = Path(self.mktemp())
        self.table.write(directory, "some", "Some pairs", CELLS, {"cores": 2}, ["A note."])
        self.assertEqual(
            sorted(path.name for path in directory.iterdir()), ["some.json", "some.md", "some.svg"]
        )
        text = (directory / "some.md").read_text()
        self.assertIn("![Some pairs](some.svg)", text)
        self.assertIn("| **public** | 3/3 0.30 s | **1/3 0.50 s** | relayed 0.70 s |", text)
        self.assertIn("| **double** |  | 98 % 1.00 s |  |", text)
        self.assertIn("| **udp-blocked** |  |  | **1/3 without a path** |", text)
        self.assertIn("A note.", text)
        found = json.loads((directory / "some.json").read_text())
        self.assertEqual(found["cores"], 2)
        self.assertEqual([cell["below"] for cell in found["cells"]], [False, True, False, False, True])

    def test_picture(self) -> None:
        """
        Each pair is a cell with its numbers and a sentence; colours tell the shares apart, frames what is below its figure.
        """
        directory = Path(self.mktemp())
        self.table.write(directory, "some", "Some pairs", CELLS, {}, [])
        root = ElementTree.parse(directory / "some.svg").getroot()
        cells = {
            group.findtext(f"{SVG}title"): group
            for group in root.iter(f"{SVG}g")
            if group.find(f"{SVG}title") is not None
        }
        self.assertEqual(len(cells), len(CELLS))
        classes = [str(group.find(f"{SVG}rect").get("class")) for group in cells.values()]  # type: ignore[union-attr]
        self.assertEqual(classes, ["s4", "s1 below", "s4", "s0", "none below"])
        (second,) = (
            group for hint, group in cells.items() if hint and hint.startswith("public and double: ")
        )
        self.assertEqual([text.text for text in second.iter(f"{SVG}text")], ["1/3", "0.50 s"])

    def test_inside(self) -> None:
        """
        Every place of a whole matrix lies within the picture and on no other, and no name breaks the file.
        """
        names = [f"<kind> & {number}" for number in range(12)]
        fields = {(row, column): self.picture.Field(0.5, ("1",)) for row in names for column in names}
        root = ElementTree.fromstring(self.picture.picture('a "title" <b>', names, names, fields))
        width, height = float(root.get("width", "0")), float(root.get("height", "0"))
        places = set()
        for rect in root.iter(f"{SVG}rect"):
            if rect.get("rx") == "4":
                x, y = float(rect.get("x", "-1")), float(rect.get("y", "-1"))
                self.assertTrue(x >= 0 and x + float(rect.get("width", "0")) <= width)
                self.assertTrue(y >= 0 and y + float(rect.get("height", "0")) <= height)
                places.add((x, y))
        self.assertEqual(len(places), 144)
