# -*- test-case-name: vnet.test.test_channeldata -*-
"""
What the client of a TURN server takes out of trains of its messages: trains of the peers' datagrams, where they were.

A server is not trusted: each length is held against what has come.
"""

from __future__ import annotations

import struct
from collections import Counter

from vnet.protocols.codec.turn import CHANNELS, HEADER, repeated
from vnet.protocols.machine.turnchannels import Channels
from vnet.values import Buffer, Train

__all__ = ["unwrapTrain"]

_HEADER = struct.Struct("!HH")


def unwrapTrain(train: Train, channels: Channels, counters: Counter[str], found: list[Train]) -> list[bytes]:
    """
    Take peers' datagrams out of messages of a server.

    @param counters: C{noChannel}: messages of no channel, or shorter than they say; C{malformed}: what is no train.
    @param found: gets the datagrams: those of one channel and one size in a row as one train.
    @return: the messages that are no ChannelData.
    """
    data, stride, _, start, end = train
    if stride < 1 or not 0 <= start <= end <= stride:
        counters["malformed"] += 1
        return []
    others: list[bytes] = []
    first, count = 0, train.datagramCount
    while first < count:
        place = first * stride + start
        head = bytes(data[place : place + HEADER])
        if len(head) == HEADER and head[0] << 8 in CHANNELS:
            first += _some(train, first, count, channels, counters, found)
            continue
        first += 1
        others.append(bytes(data[place:] if first == count else data[place : place + end - start]))
    return others


def _some(
    train: Train, first: int, count: int, channels: Channels, counters: Counter[str], found: list[Train]
) -> int:
    """
    The same of ChannelData that begins with one head, and of a shorter last one of the same channel.

    @param first: the number of the first message.
    @param count: of all in the train.
    @return: how many there are.
    """
    data, stride, _, start, end = train
    place = first * stride + start
    head = bytes(data[place : place + HEADER])
    number, length = _HEADER.unpack(head)
    same = repeated(data, place, stride, head) if count - first > 1 else 1
    last = place + (same - 1) * stride
    stop = last + HEADER + length
    channel = channels.at(number)
    if channel is not None and same > 1 and HEADER + length > end - start:
        # Only the last one of the train may be longer than the others.
        channel, same = None, same - 1
    if channel is None:
        counters["noChannel"] += same
        return same
    if stop > (len(data) if first + same == count else last + end - start):
        counters["noChannel"] += 1
        if same == 1:
            return 1
        stop -= stride
    elif first + same == count - 1:
        shorter = _shorter(data[last + stride :], number, length)
        if shorter:
            stop, same = last + stride + HEADER + shorter, same + 1
    skipped = start + HEADER
    found.append(Train(data[first * stride : stop], stride, channel.peer, skipped, skipped + length))
    return same


def _shorter(message: Buffer, number: int, most: int) -> int:
    """
    @return: how much data the last message of a train has, if it is whole and of that channel, and has less than C{most}.
    """
    if len(message) <= HEADER:
        return 0
    also, length = _HEADER.unpack_from(message)
    return length if also == number and length < most and HEADER + length <= len(message) else 0
