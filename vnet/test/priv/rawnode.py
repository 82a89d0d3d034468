"""
A node in a few lines, with blocking sockets: an implementation of the control protocol beside our own client.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import struct
import time
from collections import deque
from typing import Any

from nacl.signing import SigningKey
from OpenSSL import SSL

from vnet.protocols import control

__all__ = ["Box", "RawNode", "Refusal"]

Box = dict[str, bytes]


class Refusal(Exception):
    """
    The mediator answered with an error: its code and its text.
    """


class RawNode:
    """
    One connection to a mediator on this computer.

    @ivar pushed: the boxes that the mediator sent by itself; they are answered.
    """

    def __init__(
        self, port: int, key: SigningKey | None = None, tls: bool = True, version: int = SSL.TLS1_3_VERSION
    ) -> None:
        self.key = key or SigningKey.generate()
        self.public = bytes(self.key.verify_key)
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.pushed: deque[Box] = deque()
        self._answers: dict[bytes, Box] = {}
        self._buffer = b""
        self._tag = 0
        if tls:
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_max_proto_version(version)
            self._tls = SSL.Connection(context, None)
            self._tls.set_connect_state()
            self._handshake()

    def _handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except SSL.WantReadError:
                self._flush()
                self._fill()
            else:
                self._flush()
                return

    def _flush(self) -> None:
        with contextlib.suppress(SSL.WantReadError):
            while True:
                self.socket.sendall(self._tls.bio_read(65536))

    def _fill(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionResetError("the mediator closed the connection")
        self._tls.bio_write(data)

    def write(self, data: bytes) -> None:
        """
        Send application data.
        """
        self._tls.send(data)
        self._flush()

    def transcript(self) -> bytes:
        """
        @return: what a login signs on this connection.
        """
        certificate = self._tls.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            raise ConnectionError("no certificate")
        # By hand: the SubjectPublicKeyInfo, its hash, the exporter, the transcript.
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        exported = self._tls.export_keying_material(b"EXPORTER-vnet-control-login", 32, None)
        return hashlib.sha512(b"vnet control login 1\0" + hashlib.sha256(spki).digest() + exported).digest()

    def login(self, signed: bytes | None = None, nick: str = "raw") -> Box:
        """
        @param signed: another message to sign than the right one.
        """
        message = self.transcript() if signed is None else signed
        return self.call(
            "Login",
            version=b"%d" % control.ACCEPTED_VERSION,
            key=self.public,
            signature=self.key.sign(message).signature,
            nick=nick.encode(),
            software=b"raw",
        )

    def call(self, command: str, **arguments: bytes) -> Box:
        """
        Call, and wait for the answer.

        @raise Refusal: the answer is an error.
        """
        return self.answer(self.ask(command, **arguments))

    def ask(self, command: str, **arguments: bytes) -> bytes:
        """
        Send a command.

        @return: its tag, for L{answer}.
        """
        self._tag += 1
        tag = b"%x" % self._tag
        self._send({"_command": command.encode(), "_ask": tag, **arguments})
        return tag

    def answer(self, tag: bytes) -> Box:
        """
        Wait for an answer.
        """
        while tag not in self._answers:
            self._receive()
        box = self._answers.pop(tag)
        if "_error" in box:
            raise Refusal(box["_error_code"].decode(), box["_error_description"].decode())
        return box

    def push(self, command: str) -> Box:
        """
        Wait for a command of the mediator's.
        """
        while True:
            for box in self.pushed:
                if box["_command"] == command.encode():
                    self.pushed.remove(box)
                    return box
            self._receive()

    def closedAfter(self, longest: float) -> float:
        """
        @return: seconds until the mediator closed this connection.
        @raise TimeoutError: it did not.
        """
        began = time.monotonic()
        self.socket.settimeout(longest)
        with contextlib.suppress(ConnectionError, SSL.Error):
            while self.socket.recv(65536):
                self.socket.settimeout(max(0.1, longest - (time.monotonic() - began)))
        return time.monotonic() - began

    def close(self) -> None:
        """
        Break the connection.
        """
        self.socket.close()

    def _send(self, box: Box) -> None:
        strings = [part for name, value in box.items() for part in (name.encode(), value)]
        self.write(b"".join(struct.pack("!H", len(each)) + each for each in strings) + b"\0\0")

    def _receive(self) -> None:
        while (parsed := _parse(self._buffer)) is None:
            try:
                self._buffer += self._tls.recv(65536)
            except SSL.WantReadError:
                self._fill()
        box, self._buffer = parsed
        if "_command" in box:
            self.pushed.append(box)
            if "_ask" in box:
                self._send({"_answer": box["_ask"]})
        else:
            self._answers[box.get("_answer") or box["_error"]] = box


def _parse(data: bytes) -> tuple[Box, bytes] | None:
    box: Box = {}
    offset = 0
    strings: list[bytes] = []
    while offset + 2 <= len(data):
        (length,) = struct.unpack_from("!H", data, offset)
        offset += 2 + length
        if offset > len(data):
            return None
        if length == 0 and len(strings) % 2 == 0:
            box = {strings[i].decode(): strings[i + 1] for i in range(0, len(strings), 2)}
            return box, data[offset:]
        strings.append(data[offset - length : offset])
    return None


def listed(*entries: dict[str, Any]) -> bytes:
    """
    @return: an AmpList of these.
    """
    encoded = b""
    for entry in entries:
        for name, value in entry.items():
            encoded += struct.pack("!H", len(name)) + name.encode() + struct.pack("!H", len(value)) + value
        encoded += b"\0\0"
    return encoded
