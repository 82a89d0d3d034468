"""
Servers that are no mediators: C{python -m vnet.test.priv.badservers KIND:PORT[:CERTIFICATE:KEY]...}

C{tls13} and C{tls12} finish a TLS handshake with a certificate and say no more; C{silent} says nothing; C{garbage} greets as
another program would; C{closing} closes at once.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading
import time

_PATIENCE = 60.0
_GARBAGE = b"220 mail.example ESMTP ready\r\n"


def _serve(kind: str, port: int, files: list[str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if kind.startswith("tls"):
        version = ssl.TLSVersion.TLSv1_2 if kind == "tls12" else ssl.TLSVersion.TLSv1_3
        context.maximum_version = context.minimum_version = version
        context.load_cert_chain(*files)
    with socket.create_server(("", port)) as listening:
        while True:
            threading.Thread(target=_answer, args=(kind, context, listening.accept()[0]), daemon=True).start()


def _answer(kind: str, context: ssl.SSLContext, connection: socket.socket) -> None:
    connection.settimeout(_PATIENCE)
    with connection, contextlib.suppress(OSError):
        if kind == "closing":
            return
        if kind == "garbage":
            connection.sendall(_GARBAGE)
        if kind.startswith("tls"):
            connection = context.wrap_socket(connection, server_side=True)
        while connection.recv(65536):
            pass


def main(descriptions: list[str]) -> None:
    """
    Serve all of them, until killed.
    """
    for each in descriptions:
        kind, port, *files = each.split(":")
        threading.Thread(target=_serve, args=(kind, int(port), files), daemon=True).start()
    while True:
        time.sleep(_PATIENCE)


if __name__ == "__main__":
    main(sys.argv[1:])
