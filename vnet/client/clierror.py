# -*- test-case-name: vnet.test.test_cli -*-
"""
How a command of C{vnet} fails: one line on standard error, and an exit code.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from vnet.client.localclient import NotRunning
from vnet.errors import Unreachable, VnetError

__all__ = ["ClientFailure", "Failure", "UnreachableFailure", "failureOf"]


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


def failureOf(error: VnetError) -> Failure:
    """
    The failure of the command that an error is.
    """
    if isinstance(error, NotRunning):
        return ClientFailure(str(error))
    return (UnreachableFailure if isinstance(error, Unreachable) else Failure)(str(error))
