# -*- test-case-name: vnet.test.test_cli -*-
"""
How a command of C{vnet} fails: one line on standard error, and an exit code.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from vnet.client.localclient import NotRunning
from vnet.errors import Unreachable, VnetError

__all__ = ["ClientFailure", "Failure", "UnreachableFailure", "UsageFailure", "failureOf", "oneLineUsage"]


class Failure(click.ClickException):
    """
    The request is refused.
    """

    exit_code = 1

    def show(self, file: Any = None) -> None:
        """
        Show the reason.
        """
        from vnet.client.wording import shown

        click.echo(f"vnet: {shown(self.message)}", file=file or sys.stderr)


class UnreachableFailure(Failure):
    """
    The client cannot reach what the request needs.
    """

    exit_code = 3


class ClientFailure(UnreachableFailure):
    """
    The client itself cannot be reached.
    """


class UsageFailure(Failure):
    """
    The command line makes no sense.
    """

    exit_code = 2


@contextmanager
def oneLineUsage() -> Iterator[None]:
    """
    Give what click has to say of a command line in one line, as all other reasons.
    """
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "vnet"
        text = error.format_message().rstrip(".")
        raise UsageFailure(f"{text[:1].lower()}{text[1:]} (see '{command} --help')") from None


def failureOf(error: VnetError) -> Failure:
    """
    The failure of the command that an error is.
    """
    if isinstance(error, NotRunning):
        return ClientFailure(str(error))
    return (UnreachableFailure if isinstance(error, Unreachable) else Failure)(str(error))
