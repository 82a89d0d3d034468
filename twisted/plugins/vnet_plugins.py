"""
What C{twistd} can run.  This directory has no C{__init__.py}: it extends Twisted's own package.
"""

from twisted.application.service import ServiceMaker

mediator = ServiceMaker(
    "vnet mediator", "vnet.server.mediatortap", "The control server that nodes log in to.", "vnet-mediator"
)
client = ServiceMaker(
    "vnet client", "vnet.client.clienttap", "The node: one virtual interface, one identity.", "vnet-client"
)
relay = ServiceMaker(
    "vnet relay", "vnet.server.relaytap", "A TURN server for nodes without a direct path.", "vnet-relay"
)
