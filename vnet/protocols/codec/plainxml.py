# -*- test-case-name: vnet.test.test_igd -*-
"""
Small XML documents of strangers, as trees of elements.

There is no document type, and so no entity but the five that XML has, and nothing that leads out of the document.  Size,
depth and number of the elements are bounded.  Attributes, comments and processing instructions are skipped, prefixes of
namespaces dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.parsers import expat

import attrs

from vnet.errors import DecodeError

__all__ = ["MAXIMUM", "Element", "parseXml"]

MAXIMUM = 131072
"""Bytes of a document."""

_DEPTH = 32
_ELEMENTS = 4096


@attrs.define(eq=False, repr=False)
class Element:
    """
    An element.

    @ivar name: without the prefix of its namespace.
    @ivar text: its own text; without that of the elements inside, and without space around.
    """

    name: str
    text: str = ""
    children: list[Element] = attrs.field(factory=list)

    def named(self, name: str) -> Iterator[Element]:
        """
        The elements of this name, at any depth, in the order in which they begin.
        """
        waiting = [self]
        while waiting:
            element = waiting.pop()
            if element.name == name:
                yield element
            waiting.extend(reversed(element.children))

    def childText(self, name: str) -> str:
        """
        The text of the first child of this name; empty when there is none.
        """
        return next((each.text for each in self.children if each.name == name), "")


@attrs.define(eq=False, repr=False)
class _Builder:
    """
    What the parser tells.
    """

    _open: list[Element] = attrs.field(factory=lambda: [Element("")], init=False)
    _texts: list[list[str]] = attrs.field(factory=lambda: [[]], init=False)
    _count: int = attrs.field(default=0, init=False)

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > _ELEMENTS or len(self._open) > _DEPTH:
            raise DecodeError("too many elements")
        element = Element(name.rpartition(":")[2])
        self._open[-1].children.append(element)
        self._open.append(element)
        self._texts.append([])

    def text(self, text: str) -> None:
        self._texts[-1].append(text)

    def end(self, name: str) -> None:
        self._open.pop().text = "".join(self._texts.pop()).strip()

    def refuse(self, *arguments: Any) -> None:
        raise DecodeError("a document type")

    def root(self) -> Element:
        return self._open[0].children[0]


def parseXml(data: bytes) -> Element:
    """
    Read a document.

    @return: its outermost element.
    @raise DecodeError: it is not well-formed, or larger or deeper than such a document is, or has a document type.
    """
    if len(data) > MAXIMUM:
        raise DecodeError("a document that is too long")
    data = data.strip(b"\0 \t\r\n")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    builder = _Builder()
    # The encoding that a document names is not asked for: it would name a codec of Python's.
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = builder.begin
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = builder.refuse
    parser.EntityDeclHandler = builder.refuse
    try:
        parser.Parse(text.encode("utf-8"), True)
    except expat.ExpatError as error:
        raise DecodeError("not well-formed XML") from error
    return builder.root()
