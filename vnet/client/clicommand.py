# -*- test-case-name: vnet.test.test_cli -*-
"""
Commands of C{vnet}, with the options that all of them take.
"""

from __future__ import annotations

from typing import Any

import click

from vnet.client.clierror import oneLineUsage
from vnet.client.clisession import Session

__all__ = ["Command", "Group"]


def _setJson(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Session).json = True


def _setSocket(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value:
        context.ensure_object(Session).socketPath = value


def _common() -> list[click.Parameter]:
    """
    The options that are taken before and after the command's name.
    """
    return [
        click.Option(["--json"], is_flag=True, expose_value=False, callback=_setJson, help="Print JSON."),
        click.Option(
            ["--socket"],
            metavar="PATH",
            expose_value=False,
            callback=_setSocket,
            help="The control socket of the client (VNET_SOCKET).",
        ),
    ]


class Command(click.Command):
    """
    A command of C{vnet}.
    """

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.params.extend(_common())


class Group(click.Group):
    """
    C{vnet} itself.
    """

    command_class = Command

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.params.extend(_common())

    def make_context(self, *args: Any, **keywords: Any) -> click.Context:
        """
        Read the options before the command's name.
        """
        with oneLineUsage():
            return super().make_context(*args, **keywords)

    def invoke(self, ctx: click.Context) -> Any:
        """
        Read what follows the command's name, and carry it out.
        """
        with oneLineUsage():
            return super().invoke(ctx)
