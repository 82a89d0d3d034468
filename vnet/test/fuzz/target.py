"""
What is fuzzed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random

from attrs import define, field, frozen
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from vnet.errors import DecodeError
from vnet.test.fuzz.mutate import mutate

__all__ = ["Fault", "Target", "accepting", "logged", "require"]

Check = Callable[[bytes], None]


class Fault(Exception):
    """
    A decoder accepted what it should not, or did with it what it should not.
    """


def require(condition: object, sentence: str) -> None:
    """
    @raise Fault: the condition does not hold.
    """
    if not condition:
        raise Fault(f"it does not hold that {sentence}")


@contextmanager
def accepting(sentence: str) -> Iterator[None]:
    """
    In here, even L{DecodeError} is a fault: our own words are read, or something that never raises is called.
    """
    try:
        yield
    except DecodeError as error:
        raise Fault(f"it does not hold that {sentence}") from error


@implementer(ILogObserver)
@define(eq=False)
class _Failures:
    failures: list[LogEvent] = field(factory=list)

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_failure") is not None:
            self.failures.append(event)


@contextmanager
def logged() -> Iterator[list[LogEvent]]:
    """
    Collect the failures that are logged: an exception that somebody caught only to report it.
    """
    observer = _Failures()
    globalLogPublisher.addObserver(observer)
    try:
        yield observer.failures
    finally:
        globalLogPublisher.removeObserver(observer)


@frozen
class Target:
    """
    One thing that reads bytes.

    @ivar name: lower case, with hyphens.
    @ivar make: makes the function that is called with each input.  It may raise L{DecodeError} only.  What one input
        leaves behind in it must not decide what another does.
    @ivar seeds: makes inputs that are valid, with which mutation begins.
    @ivar mend: makes checksums and lengths of a mutated input right, so that it gets past the outermost checks.
    @ivar maximum: bytes of an input.
    """

    name: str
    make: Callable[[], Check]
    seeds: Callable[[], Sequence[bytes]]
    mend: Callable[[bytes], bytes] | None = None
    maximum: int = 2048

    def checker(self) -> Check:
        """
        @return: a function that lets L{DecodeError} pass.
        """
        check = self.make()

        def checked(data: bytes) -> None:
            try:
                check(data)
            except DecodeError:
                return

        return checked

    def mended(self, data: bytes, random: Random) -> bytes:
        """
        Mend three inputs of four.
        """
        if self.mend is not None and random.random() < 0.75:
            data = self.mend(data)
        return data[: self.maximum]

    def input(self, random: Random, seeds: Sequence[bytes]) -> bytes:
        """
        Make one input without looking at what the last one did.
        """
        return self.mended(mutate(random, seeds, self.maximum), random)
