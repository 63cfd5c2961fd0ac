#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=240 engines=both asan waits
"""LUNs whose back ends hang while more commands of many hosts wait for them than the I/O loop has
memory for: the other LUNs of that loop go on, and so do these when their back ends do."""

import os
import struct
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import hang_test              # pylint: disable=wrong-import-position
import iscsi_client as iscsi  # pylint: disable=wrong-import-position
import pools                  # pylint: disable=wrong-import-position
import tap                    # pylint: disable=wrong-import-position
from hang_test import MIB, RAW, SLOW, WELL  # pylint: disable=wrong-import-position

WINDOW = 128           # commands of a session
READERS, WRITERS = 3, 2  # hosts: each kind alone wants all the memory a loop has, 256 MiB
BLOCKS = MIB // 512
FIRST = 16384          # the block where they read; they write behind the next MiB's first block
PAIRS = (("InitialR2T", "Yes"), ("ImmediateData", "No"), ("MaxBurstLength", "1048576"))


class Host(threading.Thread):
    """Has as many commands of 1 MiB under way as it may, and gives the data that it is asked for;
    .good of them have ended well, .bad are the others' statuses."""

    def __init__(self, daemon, number, lun, write):
        super().__init__(daemon=True)
        self.client = iscsi.Connection("127.0.0.1", daemon.port)
        self.client.isid = bytes([0x80, 0, 0, 0, 0, 0x40 + number])
        self.client.login(pools.IQN, pairs=PAIRS)
        hang_test.hear(self.client, lun)
        self.client.socket.settimeout(200)
        self.lun, self.write = lun, write
        self.good, self.bad, self.error = 0, [], None
        self.begun = threading.Event()
        self.start()

    def begin(self):
        lba = FIRST + (BLOCKS + 1 if self.write else 0)
        cdb = struct.pack(">BBIBHB", 0x2A if self.write else 0x28, 0, lba, 0, BLOCKS, 0)
        for _ in range(WINDOW):
            self.client.send_command(cdb, data=b"x" if self.write else b"", read=not self.write,
                                     edtl=MIB, lun=self.lun)

    def run(self):
        try:
            self.begin()
            self.begun.set()
            while self.good + len(self.bad) < WINDOW:
                pdu = self.client.receive()
                if pdu.opcode == iscsi.R2T:
                    self.client.burst(pdu.itt, pdu.ttt, 0, b"\x77" * MIB, 65536, lun=self.lun)
                elif pdu.opcode == iscsi.RESPONSE or (pdu.opcode == iscsi.DATA_IN
                                                      and pdu.bhs[1] & 1):
                    if pdu.bhs[3]:
                        self.bad.append(pdu.bhs[3])
                    else:
                        self.good += 1
        except (OSError, AssertionError, iscsi.Closed) as error:
            self.error = repr(error)
        self.begun.set()


def prepared(daemon, devices):
    """A client that has heard all LUNs, with something to read on each."""
    daemon.good("pool", "create", "slow", devices.paths[hang_test.POOL])
    daemon.good("pool", "create", "well", f"{daemon.state}.well:128M")
    daemon.serve("slow/s", "64M", lun=SLOW)
    daemon.good("volume", "create", "passthrough/raw", "--device",
                devices.paths[hang_test.DEVICE])
    daemon.good("lun", "map", pools.IQN, "passthrough/raw", "--lun", str(RAW))
    daemon.serve("well/w", "64M", lun=WELL)
    client = hang_test.session(daemon, 1)
    for lun in (SLOW, RAW, WELL):
        hang_test.hear(client, lun)
        client.write(FIRST, b"\x11" * MIB, lun=lun)
        client.command(bytes([0x35]) + bytes(9), lun=lun)
    return client


def large(points, client, when):
    """What needs as large a buffer as there is."""
    def io():
        client.write(FIRST + 4 * BLOCKS + 1, b"\x22" * MIB, lun=WELL)
        return client.read(FIRST, BLOCKS, lun=WELL) == b"\x11" * MIB

    good, took = hang_test.soon(io)
    points.point(good and took < hang_test.SOON, f"{when}: 1 MiB to and from another LUN", took)


def run(points, daemon, devices):
    client = prepared(daemon, devices)
    devices.stop()
    hosts = []
    try:
        for lun, kinds in ((SLOW, (False,) * READERS), (RAW, (True,) * WRITERS),
                           (SLOW, (True,) * WRITERS), (RAW, (False,) * READERS)):
            hosts += [Host(daemon, len(hosts) + at, lun, write) for at, write in enumerate(kinds)]
        for host in hosts:
            host.begun.wait(60)
        hang_test.others(points, daemon, client, "a crowd waits")
        large(points, client, "a crowd waits")
        points.point(not any(host.good for host in hosts),
                     "none of the crowd has an answer", [host.good for host in hosts])
    finally:
        devices.go()
    for host in hosts:
        host.join(200)
    points.point(all(host.good == WINDOW for host in hosts), "then all of it ends well",
                 [(host.good, host.bad[:3], host.error) for host in hosts])
    for lun in (SLOW, RAW):
        points.point(client.read(FIRST + BLOCKS + 1, BLOCKS, lun=lun) == b"\x77" * MIB,
                     f"what it wrote to LUN {lun} is there")
    for one in (client, *(host.client for host in hosts)):
        one.close()


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-crowd-") as folder:
        if os.getuid() != 0:
            raise tap.Skip("needs root (FUSE exports)")
        devices = hang_test.Devices(folder)
        try:
            daemon = pools.Daemon(os.path.join(folder, "state"), "--io-loops", "1")
            try:
                run(points, daemon, devices)
            finally:
                points.point(daemon.stop() == 0, "the daemon stops cleanly", daemon.log()[-3000:])
        finally:
            devices.end()


if __name__ == "__main__":
    tap.run(test)
