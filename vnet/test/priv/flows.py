"""
Many TCP connections that each carry a little all the time: a program for tests of what they survive.

    python -m vnet.test.priv.flows serve ADDRESS PORT
    python -m vnet.test.priv.flows run ADDRESS PORT COUNT

Each connection sends a numbered line ten times a second and wants it back.  When its standard input ends, what runs prints as
JSON what became of them: see L{Outcome}.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time

from attrs import asdict, define

__all__ = ["Outcome", "main"]

_INTERVAL = 0.1


@define
class Outcome:
    """
    What became of the connections.

    @ivar broken: how many were lost, or gave back what was not sent.
    @ivar lines: how many lines came back on all of them.
    @ivar longest: seconds without an answer, of the connection that waited longest.
    """

    flows: int = 0
    broken: int = 0
    lines: int = 0
    longest: float = 0.0


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # Who runs the test ends its connections by ending.
    with contextlib.suppress(ConnectionError):
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
    writer.close()


async def _serve(address: str, port: int) -> None:
    server = await asyncio.start_server(_echo, address, port, backlog=512)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


async def _flow(address: str, port: int, number: int, outcome: Outcome) -> None:
    try:
        reader, writer = await asyncio.open_connection(address, port)
        outcome.flows += 1
        count, heard = 0, time.monotonic()
        while True:
            sent = f"{number} {count} {number * 7919 + count}\n".encode()
            writer.write(sent)
            if await reader.readline() != sent:
                raise ConnectionError("another line came back")
            now = time.monotonic()
            outcome.longest = max(outcome.longest, now - heard)
            outcome.lines, count, heard = outcome.lines + 1, count + 1, now
            await asyncio.sleep(_INTERVAL)
    except OSError as error:
        print(f"{number}: {error!r}", file=sys.stderr, flush=True)
        outcome.broken += 1


async def _run(address: str, port: int, count: int) -> None:
    outcome = Outcome()
    flows = [asyncio.create_task(_flow(address, port, number, outcome)) for number in range(count)]
    while outcome.flows + outcome.broken < count:
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for each in flows:
        each.cancel()
    print(json.dumps(asdict(outcome)), flush=True)


def main() -> None:
    """
    The program.
    """
    verb, address, port, *rest = sys.argv[1:]
    asyncio.run(_serve(address, int(port)) if verb == "serve" else _run(address, int(port), int(rest[0])))


if __name__ == "__main__":
    main()
