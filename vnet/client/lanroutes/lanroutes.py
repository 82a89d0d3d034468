# -*- test-case-name: vnet.test.test_lanroutes -*-
"""
LANs behind nodes: the prefixes that this node shares, and those of other members that it uses.

For a prefix that it shares, this computer forwards what the members of that network send there, and masquerades it.  For one that
it uses there is a route by the virtual interface, and the tunnel of the member who shares it carries the packets, and takes those
that come from there.  Nothing else of this computer changes, and all of it ends with this program.

The owner says what is wanted (L{LanRoutes.offer}, L{LanRoutes.use}); what of that is possible follows from the addresses and
routes of this computer, and is looked at again whenever those change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from vnet.client.dataplane.forwarder import Forwarder
from vnet.client.firewall.barriers import Barriers
from vnet.client.firewall.firewall import Firewall
from vnet.client.firewall.forwarded import Forwarded
from vnet.client.firewall.nft import NftError
from vnet.client.lanroutes.firsthop import whenForwarded
from vnet.client.lanroutes.kernel import Kernel
from vnet.client.lanroutes.plan import Gateway, Plan, Wish, makePlan
from vnet.client.tunnels import TunnelTable
from vnet.protocols.codec.prefix import Prefix

__all__ = ["LanRoutes"]

COALESCE = 0.02
"""Seconds from the first of a burst of changes to what is done."""

LOOK_AGAIN = 30.0
"""Seconds after which is looked whether all is as it has to be: not all changes are told."""

_NO_KERNEL = "this client does not route"


@define(eq=False, repr=False)
class LanRoutes:
    """
    The routes of one node.

    @ivar _interface: the name of the virtual one; C{_isTun}: whether it is a TUN.
    @ivar _kernel: this computer's, L{vnet.client.lanroutes.kernel.LinuxKernel}; L{None}: nothing is routed.
    @ivar _admits: whether the member with a tunnel key may reach a prefix that this node shares: whether it is a member, and not
        offline, of a network in which the prefix is accepted.  It is asked once for each member and prefix, see
        L{membersChanged}.
    @ivar _needed: the addresses outside the overlay that this node sends to: the endpoints of peers, the mediator, relays,
        STUN servers, the proxy.  A prefix that holds one of them is not used: what goes into the tunnel would go into it again.
    @ivar _changed: called, without arguments, when L{offerProblems}, L{useProblems} or L{barriers} are others than before.
    @ivar _barriers: looks for what other firewalls drop; L{None}: nobody does.
    """

    _log = Logger()

    _clock: IReactorTime
    _interface: str
    _isTun: bool
    _tunnels: TunnelTable
    _forwarder: Forwarder
    _firewall: Firewall
    _kernel: Kernel | None
    _admits: Callable[[bytes, str], bool]
    _needed: Callable[[], Iterable[str]] = field(default=tuple)
    _changed: Callable[[], None] = field(default=lambda: None)
    _barriers: Barriers | None = None
    _wish: Wish = field(factory=Wish, init=False)
    _addresses: tuple[str, ...] = field(default=(), init=False)
    _plan: Plan = field(factory=Plan, init=False)
    _shared: tuple[str, ...] = field(default=(), init=False)
    _forwarding: tuple[str, ...] = field(default=(), init=False)
    _forwards6: bool = field(default=False, init=False)
    _mayHaveRoutes: bool = field(default=False, init=False)
    _used: dict[bytes, tuple[str, ...]] = field(factory=dict, init=False)
    _blocks: tuple[Prefix, ...] = field(default=(), init=False)
    _call: IDelayedCall | None = field(default=None, init=False)
    _lock: DeferredLock = field(factory=DeferredLock, init=False)
    _closed: bool = field(default=False, init=False)

    # The life of it

    def prepare(self) -> None:
        """
        Give back what a client that died has left.  To be called before L{Firewall.prepare}.
        """
        if self._kernel is not None:
            try:
                self._kernel.recover()
            except OSError as error:
                self._log.warn("forwarding is not as it was before: {error}", error=error)

    def configure(self, address: str, pool: str, address6: str, pool6: str) -> None:
        """
        This node is logged in: these are its addresses, and the overlay's blocks.  To be called after L{Forwarder.configure}.
        """
        self._addresses = address, address6
        self._wish = evolve(self._wish, overlay=(ip_network(pool), ip_network(pool6)))
        self.linksChanged()

    async def close(self) -> None:
        """
        Give everything back.  To be called before the device and the firewall are closed.
        """
        self._wish = evolve(self._wish, offered=(), used={})
        try:
            await self.settle()
        finally:
            self._closed = True
            self._cancel()

    # What is wanted

    def offer(self, prefixes: Iterable[str]) -> None:
        """
        Share these from now on, and no others: those that are accepted in any network.
        """
        self._want(evolve(self._wish, offered=tuple(dict.fromkeys(prefixes))))

    def use(self, used: Mapping[Gateway, Collection[str]]) -> None:
        """
        Use these from now on, and no others: those that this node's user has chosen, that are offered, and that are accepted.
        """
        self._want(evolve(self._wish, used={gateway: tuple(each) for gateway, each in used.items()}))

    def _want(self, wish: Wish) -> None:
        if wish != self._wish:
            self._wish = wish
            self._schedule(COALESCE)

    async def settle(self) -> None:
        """
        Carry out now what was asked for.  What failed is in L{offerProblems} and L{useProblems}.
        """
        await self._lock.acquire()
        try:
            if not self._closed:
                self._cancel()
                await self._step()
        finally:
            self._lock.release()

    async def whenSettled(self) -> None:
        """
        Fires when nothing is about to be done.
        """
        if self._call is not None or self._lock.locked:
            await self.settle()

    async def reach(self, prefix: str) -> bool:
        """
        Wait until the member forwards what goes to a prefix that is used, see L{whenForwarded}.
        """
        kernel = self._kernel
        return kernel is not None and await whenForwarded(self._clock, prefix, kernel.probe)

    # What has changed

    def membersChanged(self) -> None:
        """
        Members came, went or moved between networks: they are asked for anew.
        """
        if self._shared:
            self._forwarder.membersMoved()

    def linksChanged(self) -> None:
        """
        This computer's addresses or routes have changed, or where this node sends to (C{_needed}).
        """
        if self._wish.offered or self._wish.used:
            self._schedule(COALESCE)

    def rulesChanged(self) -> None:
        """
        Rules of firewalls have changed, whosever.
        """
        delay = None if self._barriers is None else self._barriers.stale()
        if delay is not None:
            self._schedule(max(delay, COALESCE))

    # What is true

    def offerRefusal(self, prefix: str) -> str:
        """
        @return: why this computer cannot share a prefix, one line; empty: it can.
        """
        found = self._planFor(evolve(self._wish, offered=(prefix,), used={}))
        return found.offerProblems.get(prefix, "")

    def useRefusal(self, gateway: Gateway, prefix: str) -> str:
        """
        @return: why this computer cannot use a prefix of a member, beside what is used already; empty: it can.
        """
        used = dict(self._wish.used)
        before = [each for each in used.pop(gateway, ()) if each != prefix]
        found = self._planFor(evolve(self._wish, offered=(), used={**used, gateway: (*before, prefix)}))
        return found.useProblems.get((gateway.tunnelKey, prefix), "")

    def offerProblems(self) -> Mapping[str, str]:
        """
        @return: why a prefix that L{offer} named is not shared, one line, by prefix.
        """
        return self._plan.offerProblems

    def useProblems(self) -> Mapping[tuple[bytes, str], str]:
        """
        @return: why a prefix that L{use} named is not used, one line, by tunnel key and prefix.
        """
        return self._plan.useProblems

    def barriers(self) -> Mapping[str, tuple[str, list[str]]]:
        """
        @return: why another firewall of this computer drops what is forwarded for a prefix that is shared, one line, and the
            commands that let it through, by prefix.
        """
        if self._barriers is None:
            return {}
        return {
            prefix: (barrier.why, self._barriers.help(prefix))
            for prefix, barrier in self._barriers.found.items()
        }

    def holds(self, host: str) -> bool:
        """
        Whether an address lies in a prefix that is used: nothing of the node's own may go there, see C{_needed}.

        @param host: an IP literal.
        """
        return bool(self._blocks) and any(ip_address(host) in block for block in self._blocks)

    # How it is done

    def _schedule(self, delay: float) -> None:
        if self._closed:
            return
        if self._call is not None and self._call.getTime() <= self._clock.seconds() + delay:
            return
        self._cancel()
        self._call = self._clock.callLater(delay, self._due)

    def _cancel(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _due(self) -> None:
        self._call = None
        self._launch(self.settle())

    def _launch(self, settling: Coroutine[Any, Any, None]) -> None:
        Deferred.fromCoroutine(settling).addErrback(
            lambda failure: self._log.failure("while LANs are routed", failure)
        )

    def _planFor(self, wish: Wish) -> Plan:
        if self._kernel is None:
            return _nothing(wish, _NO_KERNEL)
        try:
            around = self._kernel.surroundings(self._interface, tuple(self._needed()))
        except OSError as error:
            return _nothing(wish, f"the routes of this computer cannot be read: {error.strerror}")
        return makePlan(wish, around)

    async def _step(self) -> None:
        wish = self._wish
        plan = self._planFor(wish)
        if self._kernel is not None:
            plan = self._route(self._kernel, plan)
            plan = await self._forward(self._kernel, plan)
        before, self._plan = (self._plan.offerProblems, self._plan.useProblems, self.barriers()), plan
        if self._barriers is not None:
            await self._barriers.look({prefix: plan.places[prefix] for prefix in plan.shared}, wish.overlay)
        if before != (plan.offerProblems, plan.useProblems, self.barriers()):
            self._changed()
        if wish.offered or wish.used or self._mayHaveRoutes:
            self._schedule(LOOK_AGAIN)

    def _route(self, kernel: Kernel, plan: Plan) -> Plan:
        """
        Use the LANs of others.

        @return: what has come of it.
        """
        self._allow(plan.used)
        if not (plan.routes or self._mayHaveRoutes):
            return plan
        self._mayHaveRoutes = True
        wanted = {prefix: "" if self._isTun else gateway for prefix, gateway in plan.routes.items()}
        try:
            failed = kernel.setRoutes(self._interface, wanted, self._addresses)
            self._mayHaveRoutes = bool(wanted)
        except OSError as error:
            failed = dict.fromkeys(wanted, f"the system does not take its route: {error.strerror}")
        plan = _without(plan, failed)
        self._allow(plan.used)
        return plan

    def _allow(self, used: Mapping[bytes, tuple[str, ...]]) -> None:
        """
        Let the tunnels carry these, and no others.
        """
        changed = {key for key in (*self._used, *used) if self._used.get(key) != used.get(key)}
        # What one loses another may get.
        for key in changed:
            left = set(self._used.get(key, ())).intersection(used.get(key, ()))
            self._tunnels.setPrefixes(key, sorted(left))
        for key in changed:
            self._tunnels.setPrefixes(key, used.get(key, ()))
        self._used = dict(used)
        self._blocks = tuple(ip_network(prefix) for each in used.values() for prefix in each)

    async def _forward(self, kernel: Kernel, plan: Plan) -> Plan:
        """
        Share the LANs of this computer.  In each moment nothing is forwarded beside what the firewall knows.

        @return: what has come of it.
        """
        wanted = (*plan.lans, self._interface) if plan.shared else ()
        problem = ""
        self._share([each for each in self._shared if each in plan.shared])
        try:
            self._hold(kernel, [each for each in self._forwarding if each in wanted])
            await self._firewall.forward(self._forwardedBy(kernel, plan, wanted) if wanted else None)
            self._hold(kernel, wanted)
            self._forward6(kernel, any(":" in prefix for prefix in plan.shared))
        except NftError as error:
            problem = f"the firewall does not take it: {error}"
        except OSError as error:
            problem = f"this computer's forwarding cannot be changed: {error.strerror or error}"
        if not problem:
            self._share(plan.shared)
            return plan
        self._share(())
        with suppress(OSError, NftError):
            self._hold(kernel, ())
            await self._firewall.forward(None)
        return evolve(
            plan,
            shared=(),
            lans=(),
            offerProblems={**plan.offerProblems, **dict.fromkeys(plan.shared, problem)},
        )

    def _forwardedBy(self, kernel: Kernel, plan: Plan, interfaces: Collection[str]) -> Forwarded:
        return Forwarded(
            tuple(map(str, self._wish.overlay)),
            plan.shared,
            plan.lans,
            tuple(plan.routes),
            tuple(sorted(kernel.lacking(interfaces))),
        )

    def _hold(self, kernel: Kernel, interfaces: Collection[str]) -> None:
        if interfaces or self._forwarding:
            self._forwarding = tuple(interfaces)
            kernel.hold(interfaces)

    def _forward6(self, kernel: Kernel, isWanted: bool) -> None:
        # A TUN has no neighbours.
        if isWanted != self._forwards6 and not self._isTun:
            kernel.setLinkLocal(self._interface, isWanted)
            self._forwards6 = isWanted

    def _share(self, prefixes: Collection[str]) -> None:
        if tuple(prefixes) != self._shared:
            self._shared = tuple(prefixes)
            self._forwarder.shareLans(self._shared, self._admits)


def _nothing(wish: Wish, problem: str) -> Plan:
    used = [(gateway.tunnelKey, prefix) for gateway, each in wish.used.items() for prefix in each]
    return Plan(offerProblems=dict.fromkeys(wish.offered, problem), useProblems=dict.fromkeys(used, problem))


def _without(plan: Plan, failed: Mapping[str, str]) -> Plan:
    """
    A plan without the routes that could not be made.
    """
    if not failed:
        return plan
    problems = {
        (key, prefix): failed[prefix]
        for key, each in plan.used.items()
        for prefix in each
        if prefix in failed
    }
    left = {key: tuple(each for each in used if each not in failed) for key, used in plan.used.items()}
    return evolve(
        plan,
        used={key: each for key, each in left.items() if each},
        routes={prefix: gateway for prefix, gateway in plan.routes.items() if prefix not in failed},
        useProblems={**plan.useProblems, **problems},
    )
