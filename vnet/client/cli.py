# -*- test-case-name: vnet.test.test_cli -*-
"""
C{vnet}: the command line that asks the running client.

Exit codes: 0 done, 1 refused (the reason is on standard error, one line), 2 usage, 3 the client or the
mediator cannot be reached.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
from attrs import asdict

from vnet.client.clicommand import Group
from vnet.client.clierror import Failure
from vnet.client.cliinput import linkFrom, passwordOptions
from vnet.client.clisession import Session
from vnet.client.listing import PER_PAGE, Selection

__all__ = ["cli", "main"]

_F = TypeVar("_F", bound=Callable[..., Any])
_NUMBER = click.IntRange(1, 1_000_000)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def cli(context: click.Context) -> None:
    """One private LAN for computers anywhere on the Internet."""
    context.ensure_object(Session)


def _said(text: str) -> Callable[[dict[str, Any], Any], str]:
    """
    A rendering of one sentence.
    """
    return lambda answer, style: text + "\n"


def _entered(text: str) -> Callable[[dict[str, Any], Any], str]:
    """
    The same of a network that was just entered, and what its members reach here.
    """
    from vnet.client.firewall.wording import openHint

    return lambda answer, style: text + openHint(answer) + "\n"


def _named(text: str) -> str:
    from vnet.client.wording import shown

    return shown(text, 64)


@cli.command()
@click.argument("url")
@click.pass_obj
def login(session: Session, url: str) -> None:
    """Connect to a mediator, now and at each start."""
    session.show(session.ask("login", url=url), _status)


@cli.command()
@click.pass_obj
def logout(session: Session) -> None:
    """Go offline, until the next login."""
    session.show(session.ask("logout"), _said("offline"))


@cli.command()
@click.pass_obj
def status(session: Session) -> None:
    """Show the state of this computer."""
    session.show(session.ask("status"), _status)


def _status(answer: dict[str, Any], style: Any) -> str:
    from vnet.client.render import renderStatus

    return renderStatus(answer, style)


@cli.command()
@click.argument("network")
@passwordOptions
@click.pass_obj
def create(session: Session, network: str, password_file: str | None, no_password: bool) -> None:
    """Found a network."""
    password = session.passwords.choose(password_file, no_password, new=True)
    answer = session.ask("create", network=network, password=password)
    command = f"vnet invite {shlex.quote(_named(network))}"
    session.show(answer, _entered(f"{_named(network)} is founded; invite others with: {command}"))


@cli.command()
@click.argument("network", metavar="NETWORK_OR_LINK")
@passwordOptions
@click.pass_obj
def join(session: Session, network: str, password_file: str | None, no_password: bool) -> None:
    """Join a network. By its name, or by an invitation: a vnet:// link, in quotes ('-' reads it from standard input)."""
    link = linkFrom(network)
    if link is None:
        password = session.passwords.choose(password_file, no_password, new=False)
        answer = session.ask("join", network=network, password=password)
    elif password_file is not None or no_password:
        raise click.UsageError("an invitation needs no password: leave the option out")
    else:
        answer = session.ask("join-invite", link=link)
    name = answer.get("network")
    session.show(answer, _entered(f"joined {_named(name if isinstance(name, str) else network)}"))


@cli.command()
@click.argument("network")
@click.pass_obj
def invite(session: Session, network: str) -> None:
    """Print the link to join a network. Who has it can join."""
    answer = session.ask("invite", network=network)
    session.show(answer, lambda value, style: str(value.get("link")) + "\n")


@cli.command()
@click.argument("network")
@click.pass_obj
def leave(session: Session, network: str) -> None:
    """Leave a network."""
    session.show(session.ask("leave", network=network), _said(f"left {_named(network)}"))


@cli.command("list")
@click.argument("network", required=False)
@click.option("--search", metavar="TEXT", help="Only members with this in nickname, address or client id.")
@click.option("--online", is_flag=True, help="Only members that are online.")
@click.option("--page", type=_NUMBER, help="Which page. On a terminal the first one, elsewhere all members.")
@click.option("--per-page", type=_NUMBER, help=f"Members of a network on a page.  [default: {PER_PAGE}]")
@click.pass_obj
def listNetworks(
    session: Session,
    network: str | None,
    search: str | None,
    online: bool,
    page: int | None,
    per_page: int | None,
) -> None:
    """Show networks and members. * is online, ? lost, x unreachable."""
    if page is None and not session.json and sys.stdout.isatty():
        page = 1
    selection = Selection(network, search or None, "online" if online else None, page, per_page)
    answer = session.ask("list", **asdict(selection))
    ownId = None if session.json else session.ask("status").get("clientId")

    def render(value: dict[str, Any], style: Any) -> str:
        from vnet.client.render import renderNetworks

        return renderNetworks(value, style, ownId, selection)

    session.show(answer, render)


@cli.command()
@click.pass_obj
def watch(session: Session) -> None:
    """Show what happens, as it happens. Ctrl-C ends it."""

    def render(event: dict[str, Any]) -> str:
        from vnet.client.eventwording import eventLine

        return eventLine(event)

    session.watch(render)


@cli.command()
@click.argument("name", metavar="NAME_OR_ADDRESS")
@click.pass_obj
def peer(session: Session, name: str) -> None:
    """Show one peer and the path to it."""

    def render(value: dict[str, Any], style: Any) -> str:
        from vnet.client.render import renderPeer

        return renderPeer(value, style)

    session.show(session.ask("peer", name=name), render)


@cli.command()
@click.argument("name", metavar="NAME_OR_ADDRESS")
@click.option("-c", "--count", type=click.IntRange(1, 10000), default=4, show_default=True, help="How many.")
@click.pass_obj
def ping(session: Session, name: str, count: int) -> None:
    """Measure the time to a peer and back."""
    from vnet.client.cliping import Pinger

    session.ask("peer", name=name)  # refused when there is no such peer
    tell = (lambda line: None) if session.json else click.echo
    pinger = Pinger(name, lambda: session.ask("ping", name=name), tell)
    pinger.run(count)
    session.show(pinger.answer(), lambda value, style: pinger.summary() + "\n")
    if not pinger.received:
        raise Failure(f"no answer from {name}")


@cli.command()
@click.pass_obj
def netcheck(session: Session) -> None:
    """Show what NAT is in front of this computer. And what it means."""
    from vnet.client.natwording import natSummary

    answer = session.ask("netcheck")
    if not isinstance(answer.get("summary"), str):
        answer["summary"] = natSummary(answer)

    def render(value: dict[str, Any], style: Any) -> str:
        from vnet.client.render import renderNatReport

        return renderNatReport(value, style)

    session.show(answer, render)


@cli.command("set-nick")
@click.argument("nick", metavar="NAME")
@click.pass_obj
def setNick(session: Session, nick: str) -> None:
    """Change the nickname of this computer."""
    session.show(session.ask("set-nick", nick=nick), _said(f"this computer is now called {_named(nick)}"))


@cli.command("go-online")
@click.argument("network")
@click.pass_obj
def goOnline(session: Session, network: str) -> None:
    """Be online in this network."""
    session.show(session.ask("go-online", network=network), _said(f"online in {_named(network)}"))


@cli.command("go-offline")
@click.argument("network")
@click.pass_obj
def goOffline(session: Session, network: str) -> None:
    """Be offline in this network. This node remains its member."""
    session.show(session.ask("go-offline", network=network), _said(f"offline in {_named(network)}"))


@cli.command()
@click.argument("network", required=False)
@click.argument("policy", required=False)
@click.pass_obj
def firewall(session: Session, network: str | None, policy: str | None) -> None:
    """Show what members may reach here, or set it. POLICY is open, ping-only, or ports such as tcp/22,udp/27015-27030."""
    answer = session.ask("firewall", network=network, policy=policy)
    if policy is None:
        session.show(answer, _firewall)
    else:
        from vnet.client.firewall.wording import policyWords

        session.show(answer, _said(f"{_named(network or '')}: {policyWords(answer.get('policy'))}"))


def _firewall(answer: dict[str, Any], style: Any) -> str:
    from vnet.client.render import renderFirewall

    return renderFirewall(answer, style)


@cli.command()
@click.argument("network", required=False)
@click.option(
    "--non-ip", type=click.Choice(["on", "off"]), help="Whether protocols beside IP, such as IPX, pass."
)
@click.option(
    "--ether-types",
    metavar="LIST",
    help="Which: words of ipx,appletalk,netbeui, EtherTypes and SAPs such as 0x88b5, none, or default.",
)
@click.pass_obj
def lan(session: Session, network: str | None, non_ip: str | None, ether_types: str | None) -> None:
    """Show which protocols pass in a network, or set it."""
    if network is None and (non_ip is not None or ether_types is not None):
        raise click.UsageError("which protocols pass is chosen for a network: name one")

    def render(value: dict[str, Any], style: Any) -> str:
        from vnet.client.render import renderLan

        return renderLan(value, style)

    session.show(session.ask("lan", network=network, nonIp=non_ip, etherTypes=ether_types), render)


def _lanOptions(command: _F) -> _F:
    """
    The options of all that has to do with LANs that are shared.
    """
    stop = click.option("--stop", is_flag=True, help="No more.")
    network = click.option(
        "--network", metavar="NETWORK", help="Which network, if this computer is in several."
    )
    return network(stop(command))


def _lanNews(answer: dict[str, Any], style: Any) -> str:
    from vnet.client.lansharing.wording import lanNews

    return lanNews(answer) + "\n"


@cli.command("share-lan")
@click.argument("prefix", required=False)
@_lanOptions
@click.pass_obj
def shareLan(session: Session, prefix: str | None, network: str | None, stop: bool) -> None:
    """Offer members the way to a LAN at this computer. PREFIX is like 192.168.7.0/24; without it, show all LANs."""
    if prefix is None and stop:
        raise click.UsageError("--stop needs the prefix that is not to be shared any more")
    answer = session.ask("share-lan", prefix=prefix, network=network, stop=stop)
    session.show(answer, _sharedLans if prefix is None else _lanNews)


def _sharedLans(answer: dict[str, Any], style: Any) -> str:
    from vnet.client.render import renderSharedLans

    return renderSharedLans(answer, style)


@cli.command("accept-lan")
@click.argument("member")
@click.argument("prefix")
@_lanOptions
@click.pass_obj
def acceptLan(session: Session, member: str, prefix: str, network: str | None, stop: bool) -> None:
    """Accept a LAN that a member offers. As the network's owner; MEMBER is a nickname, an address or a client id."""
    answer = session.ask("accept-lan", member=member, prefix=prefix, network=network, stop=stop)
    session.show(answer, _lanNews)


@cli.command("use-lan")
@click.argument("member")
@click.argument("prefix")
@_lanOptions
@click.pass_obj
def useLan(session: Session, member: str, prefix: str, network: str | None, stop: bool) -> None:
    """Reach a LAN that a member offers. MEMBER is a nickname, an address or a client id."""
    answer = session.ask("use-lan", member=member, prefix=prefix, network=network, stop=stop)
    session.show(answer, _lanNews)


def main() -> None:
    """
    The entry point of C{vnet}.
    """
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    cli.main(prog_name="vnet")


if __name__ == "__main__":
    main()
