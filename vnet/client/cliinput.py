# -*- test-case-name: vnet.test.test_cli -*-
"""
What C{vnet} reads besides its arguments: passwords and links, which do not belong there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
from attrs import frozen

from vnet.client.clierror import Failure

__all__ = ["Passwords", "linkFrom", "passwordOptions"]

_MAXIMUM = 1024
_SCHEME = "vnet://"
_NO_TERMINAL = "there is no terminal to ask for the password: use --password-file FILE or --no-password"

_F = TypeVar("_F", bound=Callable[..., Any])


def passwordOptions(command: _F) -> _F:
    """
    Give a command the options that say where its password is.
    """
    file = click.option(
        "--password-file",
        metavar="FILE",
        help="Read the password from the first line of FILE ('-': standard input).",
    )
    none = click.option("--no-password", is_flag=True, help="The network has no password.")
    return file(none(command))


def _terminal() -> bool:
    return sys.stdin.isatty()


@frozen
class Passwords:
    """
    Where passwords come from.

    @ivar canAsk: whether there is a person to ask.
    """

    canAsk: Callable[[], bool] = _terminal

    def choose(self, path: str | None, none: bool, new: bool) -> str | None:
        """
        Get the password of a network.

        @param path: of a file that has it, C{-} for standard input; L{None}: ask.
        @param none: there is none, and nobody is asked.
        @param new: the network is new, so the password is asked for twice.
        @return: L{None} when the network has no password.
        @raise click.ClickException: there is no way to get it.
        """
        if none:
            if path is not None:
                raise click.UsageError("--no-password and --password-file exclude each other")
            return None
        if path is not None:
            return _fromFile(path)
        if not self.canAsk():
            raise click.UsageError(_NO_TERMINAL)
        return _fromPerson(new)


def linkFrom(argument: str) -> str | None:
    """
    The invitation that C{vnet join} was given, or L{None} if it was given the name of a network.
    """
    if argument == "-":
        return sys.stdin.readline(4 * _MAXIMUM).strip()
    return argument if argument.strip().lower().startswith(_SCHEME) else None


def _fromFile(path: str) -> str:
    try:
        # A device or pipe gives what it has: no more than one line is read.
        with click.open_file(path, "rb") as file:
            line: bytes = file.readline(_MAXIMUM + 2)
    except OSError as error:
        raise Failure(f"the password file {click.format_filename(path)}: {error.strerror}") from None
    line = line.rstrip(b"\r\n")
    if len(line) > _MAXIMUM:
        raise Failure(f"the password is longer than {_MAXIMUM} bytes")
    try:
        password = line.decode("utf-8")
    except UnicodeDecodeError:
        raise Failure("the password is not UTF-8") from None
    if not password:
        raise Failure("the password file is empty; for a network without a password: --no-password")
    return password


def _fromPerson(new: bool) -> str | None:
    password: str = click.prompt(
        "Password (empty: none)",
        hide_input=True,
        default="",
        show_default=False,
        err=True,
        confirmation_prompt="Again" if new else False,
    )
    if password:
        return password
    if new:
        click.echo("vnet: without a password, everyone who knows the name can join", err=True)
    return None
