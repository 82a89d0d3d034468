# -*- test-case-name: vnet.test.test_cli -*-
"""
One run of C{vnet}: it asks the running client, and prints what that answers.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from typing import Any

import click
from attrs import define, field

from vnet.client.clierror import failureOf
from vnet.client.cliinput import Passwords
from vnet.client.localclient import LocalClient, defaultSocket
from vnet.errors import VnetError

__all__ = ["Session"]


@define
class Session:
    """
    One run of the command.

    @ivar passwords: where passwords come from.
    """

    passwords: Passwords = field(factory=Passwords)
    socketPath: str | None = None
    json: bool = False
    _client: LocalClient | None = None

    def ask(self, verb: str, **arguments: str | int | None) -> dict[str, Any]:
        """
        Ask the running client.

        @raise Failure: it refuses, or cannot be reached.
        """
        try:
            return self._connected().call(verb, self._progress(), **arguments)
        except VnetError as error:
            raise failureOf(error) from None

    def _connected(self) -> LocalClient:
        if self._client is None:
            self._client = LocalClient(self.socketPath or defaultSocket(os.environ, os.geteuid()))
        return self._client

    def _progress(self) -> Callable[[str], None] | None:
        if self.json or not sys.stderr.isatty():
            return None
        from vnet.client.wording import shown

        return lambda text: click.echo(shown(text), err=True)

    def watch(self, render: Callable[[dict[str, Any]], str]) -> None:
        """
        Print event after event, until the client ends or somebody interrupts.

        @raise Failure: the client refuses, cannot be reached, or has ended.
        """
        from vnet.client.render import harmless

        try:
            for event in self._connected().watch():
                click.echo(_inAscii(event, None) if self.json else harmless(render(event)))
        except KeyboardInterrupt:
            pass
        except VnetError as error:
            raise failureOf(error) from None

    def show(self, answer: dict[str, Any], render: Callable[[dict[str, Any], Any], str]) -> None:
        """
        Print an answer: as JSON, or as C{render} has it for a person.
        """
        if self.json:
            click.echo(_inAscii(answer, 2))
            return
        from vnet.client.render import harmless, styleOf

        style = styleOf(sys.stdout.isatty(), os.environ, shutil.get_terminal_size().columns)
        click.echo(harmless(render(answer, style), style.colour), nl=False, color=style.colour)


def _inAscii(answer: dict[str, Any], indent: int | None) -> str:
    """
    JSON in ASCII; DEL is the one control character that JSON leaves alone.
    """
    return json.dumps(answer, indent=indent).replace("\x7f", "\\u007f")
