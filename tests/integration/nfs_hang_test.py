#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=240 engines=both asan waits
"""A share whose pool hangs, with more requests of many clients than an I/O loop has memory for: the
shares of other pools go on, mounts and the administrator are answered, and so is the crowd when the
pool does. What waited for it is among the slow."""

import json
import os
import re
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import hang_test          # pylint: disable=wrong-import-position
import nfs41_wire_test as nfs41  # pylint: disable=wrong-import-position
import pools              # pylint: disable=wrong-import-position
import rpc_client as rpc  # pylint: disable=wrong-import-position
import tap                # pylint: disable=wrong-import-position
from hang_test import MIB, SOON  # pylint: disable=wrong-import-position

CLIENTS = 40
EACH = 12  # requests of 1 MiB of a client, more than a connection's part
READ, WRITE = 6, 7
UNSTABLE, FILE_SYNC = 0, 2


class Client(threading.Thread):
    """Sends all its requests, then hears the answers; .good of them are."""

    def __init__(self, port, handle, write):
        super().__init__(daemon=True)
        self.connection = rpc.Connection(port, timeout=200)
        self.handle, self.write = handle, write
        self.good, self.bad, self.error = 0, [], None
        self.start()

    def request(self, number):
        place = rpc.opaque(self.handle) + rpc.u64(number % 4 * MIB)
        if self.write:
            arguments = place + rpc.u32(MIB, FILE_SYNC) + rpc.opaque(b"\x66" * MIB)
        else:
            arguments = place + rpc.u32(MIB)
        return self.connection.call_body(rpc.NFS, 3, WRITE if self.write else READ, arguments)

    def send(self):
        try:
            for number in range(EACH):
                self.connection.record(self.request(number))
        except OSError as error:
            self.error = repr(error)

    def run(self):
        sender = threading.Thread(target=self.send, daemon=True)
        sender.start()
        try:
            for _ in range(EACH):
                status, reply = self.connection.accept()
                status = status or reply.u32()
                if status:
                    self.bad.append(status)
                else:
                    self.good += 1
        except (OSError, AssertionError, rpc.Closed) as error:
            self.error = self.error or repr(error)
        sender.join(10)


class Share:
    def __init__(self, daemon, port, pool):
        daemon.good("share", "create", f"{pool}/{pool}")
        daemon.good("share", "allow", f"{pool}/{pool}", "--client", "127.0.0.1", "--insecure",
                    "--no-root-squash")
        self.path = f"/{pool}"
        with rpc.Connection(port) as connection:
            _, self.root = rpc.mount(connection, self.path)
            nfs = rpc.Nfs3(connection)
            self.file = nfs.create(self.root, "disk").handle
            for at in range(4):
                assert nfs.write(self.file, at * MIB, b"\x11" * MIB, UNSTABLE).status == 0
            assert nfs.commit(self.file).status == 0


def others(points, daemon, port, share, when):
    """What must not wait for the share that hangs, over a connection of its own."""
    with rpc.Connection(port) as connection:
        nfs = rpc.Nfs3(connection)

        def io():
            written = nfs.write(share.file, 0, b"\x22" * MIB, FILE_SYNC)
            got = nfs.read(share.file, 0, MIB)
            return written.status == 0 and got.status == 0 and got.data == b"\x22" * MIB

        def names():
            with rpc.Connection(port) as other:
                _, root = rpc.mount(other, share.path)
                return rpc.Nfs3(other).lookup(root, "disk").status == 0

        for what, call in (("1 MiB to and from another share", io), ("a mount and a name", names),
                           ("the administrator",
                            lambda: daemon.run("share", "list").returncode == 0)):
            good, took = hang_test.soon(call)
            points.point(good and took < SOON, f"{when}: {what}", (good, took))


class Compound(threading.Thread):
    """One COMPOUND of NFSv4.1 with a write of 6 KiB and a look at the file."""

    def __init__(self, port, share):
        super().__init__(daemon=True)
        self.client = nfs41.Client(rpc.Connection(port, timeout=200), b"slow",
                                   fore=nfs41.CHANNEL[:3] + (64, 8))
        self.file, self.state = self.client.open(self.client.walk(share), "disk4",
                                                 how=nfs41.UNCHECKED)
        self.error = None

    def run(self):
        try:
            done = self.client.ops(
                nfs41.putfh(self.file),
                rpc.u32(38) + self.state + rpc.u64(0) + rpc.u32(FILE_SYNC) + rpc.opaque(b"4" * 6144),
                *[nfs41.putfh(self.file)] * 20)
            done.good(22)
            done.good(38)
        except Exception as error:  # pylint: disable=broad-except
            self.error = repr(error)


def said(daemon):
    return json.loads(daemon.good("slow", "list", "-o", "json"))


def slow_ones(points, daemon, before):
    """After the pool has hung: its requests, and nobody else's."""
    listed = said(daemon)
    numbers = [one["number"] for one in listed]
    points.point(numbers == sorted(set(numbers), reverse=True) and 16 < len(listed) <= 256,
                 "what was slow, the newest first", numbers)
    writes = [one for one in listed if one["operation"] == "WRITE" and one["version"] == "3"]
    points.point(len(writes) > 8 and all(
        (one["protocol"], one["initiator"], one["pool"], one["share"], one["command"],
         one["bytes"]) == ("nfs", "127.0.0.1", "slow", "slow", "WRITE", MIB) and
        one["total_ms"] > one["share_ms"] - 0.01 and one["share_ms"] > 500 and
        one["waited_for"] == "share" and
        abs(one["at_ms"] / 1000 - time.time()) < 240 for one in writes),
                 "slow requests of NFSv3, with client, share, bytes and the time in the share",
                 writes[:2])
    points.point(all(one["share"] == "slow" for one in listed if one["number"] > before),
                 "none of the share that went on", [one for one in listed if
                                                    one["share"] != "slow"][:3])
    points.point(all(abs(one["total_ms"] - sum(one[f"{part}_ms"] for part in
                                               ("initiator", "queue", "engine", "device",
                                                "share"))) < 0.01 for one in listed),
                 "the parts make up the whole", listed[:2])
    table = daemon.good("slow", "list")
    points.point(re.search(r"\bnfs +127\.0\.0\.1 +slow +.*slow +WRITE\b.*\b1 MiB\b", table),
                 "granary slow list shows them", table[:600])


def slow_compound(points, daemon, compound):
    compound.join(200)
    listed = [one for one in said(daemon) if one["version"] == "4.1"]
    points.point(compound.error is None and len(listed) == 1 and
                 listed[0]["operation"] == "WRITE" and listed[0]["bytes"] == 6144 and
                 listed[0]["command"] == "SEQUENCE PUTFH WRITE" + 13 * " PUTFH" + " ... (23)" and
                 listed[0]["share"] == "slow" and listed[0]["initiator"] == "127.0.0.1" and
                 listed[0]["waited_for"] == "share" and listed[0]["total_ms"] > 1000,
                 "a slow COMPOUND: what it did, and what took longest", (compound.error, listed))


def run(points, daemon, devices):
    port = int(re.search(r"^READY .*nfs=(\d+)", daemon.log(), re.M).group(1))
    daemon.good("pool", "create", "slow", devices.paths[hang_test.POOL])
    daemon.good("pool", "create", "well", f"{daemon.state}.well:256M")
    slow, well = Share(daemon, port, "slow"), Share(daemon, port, "well")
    # what it has read and written is no longer in memory
    compound = Compound(port, "slow")
    devices.stop()
    compound.start()
    try:
        time.sleep(1.5)
    finally:
        devices.go()
    slow_compound(points, daemon, compound)
    before = max(one["number"] for one in said(daemon))
    devices.stop()
    crowd = []
    try:
        others(points, daemon, port, well, "one hangs")
        crowd = [Client(port, slow.file, number % 2 == 0) for number in range(CLIENTS)]
        others(points, daemon, port, well, "a crowd waits")
        time.sleep(1)
        points.point(not any(client.good for client in crowd if client.write),
                     "none of its writes is answered", [client.good for client in crowd])
    finally:
        devices.go()
    for client in crowd:
        client.join(200)
    points.point(all(client.good == EACH for client in crowd), "then all of the crowd is answered",
                 [(client.good, client.bad[:3], client.error) for client in crowd
                  if client.good != EACH])
    with rpc.Connection(port) as connection:
        points.point(rpc.Nfs3(connection).read(slow.file, 2 * MIB, MIB).data == b"\x66" * MIB,
                     "what it wrote is there")
    for client in crowd:
        client.connection.close()
    slow_ones(points, daemon, before)


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-nfs-hang-") as folder:
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
