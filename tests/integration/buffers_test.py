#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=180 engines=both asan
"""All that one LUN may have of a loop's I/O buffers is used (core/buf.h): initiators are asked for the
data of 128 large writes and do not send it. Others' reads go on all the same, the writes get what
they need when their data does come, and with each that ends another one has its turn."""

import os
import socket
import struct
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "guest"), HERE]

import iscsi_client as iscsi  # pylint: disable=wrong-import-position
import server as daemon       # pylint: disable=wrong-import-position
import tap                    # pylint: disable=wrong-import-position

BLOCKS, MIB = 2048, 1 << 20
WINDOW = 128  # commands of a session
PART = 64     # of two hosts: the part of a LUN, 128 MiB, together
PATIENCE = 20.0
WRITE, WRITE_AND_VERIFY = 0x2A, 0x2E
PAIRS = (("InitialR2T", "Yes"), ("ImmediateData", "No"), ("MaxBurstLength", "1048576"))


def bytes_of(seed, length=MIB):
    return bytes((seed * 7 + at) & 0xFF for at in range(256)) * (length // 256)


class Writer(iscsi.Connection):
    """A session with as many large writes as it may have, whose data it keeps for later."""

    def __init__(self, server, number):
        super().__init__(server.address, server.port, PATIENCE)
        self.isid = bytes([0x80, 0, 0, 0, 0, number])
        self.login(daemon.DEMO_TARGET, pairs=PAIRS)
        while self.command(bytes(6)).status:
            pass
        self.asked = {}  # ITT: target task tag
        self.tags = []

    def begin(self, opcode, lba, count):
        """@count commands, without data."""
        cdb = struct.pack(">BBIBHB", opcode, 0, lba, 0, BLOCKS, 0)
        if opcode == WRITE_AND_VERIFY:
            cdb = cdb[:1] + b"\x02" + cdb[2:]
        for _ in range(count):
            self.tags.append(self.send_command(cdb, data=b"x", edtl=MIB))

    def wait_asked(self, seconds):
        """Takes the R2Ts that come until none has come for so long; how many there are."""
        self.socket.settimeout(seconds)
        try:
            while len(self.asked) < len(self.tags):
                pdu = self.receive()
                if pdu.opcode == iscsi.R2T:
                    self.asked[pdu.itt] = pdu.ttt
        except socket.timeout:
            pass
        self.socket.settimeout(PATIENCE)
        return len(self.asked)

    def give(self, itt, data):
        """The data of one that was asked for; its status."""
        self.burst(itt, self.asked[itt], 0, data, 65536)
        while True:
            pdu = self.receive()
            if pdu.opcode == iscsi.R2T:
                self.asked[pdu.itt] = pdu.ttt
            elif pdu.opcode == iscsi.RESPONSE and pdu.itt == itt:
                self.tags.remove(itt)
                self.asked.pop(itt)
                return pdu.bhs[3]

    def some(self):
        """One of those that were asked for."""
        return next(iter(self.asked))


def tried(action, *arguments):
    """What it returns, or how it failed."""
    try:
        return action(*arguments)
    except (OSError, AssertionError, iscsi.Closed) as error:
        return repr(error)


def fill(points, writers):
    """Half of what there is goes to writes whose data does not come."""
    for writer, opcode, lba, count in zip(writers, (WRITE, WRITE_AND_VERIFY, WRITE),
                                          (1, 4 * BLOCKS, 8 * BLOCKS), (PART, PART, WINDOW)):
        writer.begin(opcode, lba, count)
        if writer is not writers[-1]:
            writer.wait_asked(2)
    asked = [writer.wait_asked(2) for writer in writers]
    points.point(asked == [PART, PART, 0], "writes have half of the buffers, and more of them wait",
                 asked)


def others(points, reader):
    """Somebody who has nothing to do with it."""
    for blocks in (1, BLOCKS):
        got = tried(reader.read, 12 * BLOCKS, blocks)
        points.point(got == bytes_of(1)[:blocks * 512], f"a read of {blocks * 512} bytes goes on",
                     got if isinstance(got, str) else "other bytes")
    small = struct.pack(">BBIBHB", 0x12, 0, 0, 0, 255, 0)[:6]
    result = tried(reader.command, small[:3] + struct.pack(">H", 96) + b"\0", b"", 96)
    points.point(not isinstance(result, str) and result.status == 0, "so does INQUIRY", result)


def themselves(points, writers):
    """One of each kind has its data sent: a piece of a slot at either end is read before it is written,
    what was written is read to be verified."""
    late = len(writers[2].asked)
    for number, text in enumerate(("a write that begins within a slot", "WRITE AND VERIFY")):
        for _ in range(2):
            writer = writers[number]
            result = tried(writer.give, writer.some(), bytes_of(2 + number))
            points.point(result == 0, f"{text} ends when its data comes", result)
    now = tried(writers[2].wait_asked, 2)
    points.point(now == late + 4, "as many of those that wait are asked for theirs",
                 f"{late}, then {now}")


def test(points):
    with tempfile.TemporaryDirectory() as state:
        server = daemon.Server(state, address="127.0.0.1", more=("--io-loops", "1"))
        writers, reader = [], None
        try:
            reader = iscsi.Connection(server.address, server.port, PATIENCE)
            reader.login(daemon.DEMO_TARGET)
            while reader.command(bytes(6)).status:
                pass
            reader.write(12 * BLOCKS, bytes_of(1))
            writers = [Writer(server, 0x20 + number) for number in range(3)]
            fill(points, writers)
            others(points, reader)
            themselves(points, writers)
            others(points, reader)
            for client in writers:
                client.close()
            points.point(tried(reader.write, 12 * BLOCKS, bytes_of(5)) is None and
                         tried(reader.read, 12 * BLOCKS, BLOCKS) == bytes_of(5),
                         "afterwards all is as before")
            for lba, seed in ((1, 2), (4 * BLOCKS, 3)):
                points.point(tried(reader.read, lba, BLOCKS) == bytes_of(seed),
                             f"what was written at {lba} is there")
        finally:
            for client in (*writers, reader):
                if client:
                    client.close()
            status = server.stop()
        points.point(status == 0, "clean stop", f"exit status {status}\n{server.log()[-4000:]}")


if __name__ == "__main__":
    tap.run(test)
