#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=both asan
"""The hypervisors' offloads through the real daemon: COMPARE AND WRITE from many sessions at once,
EXTENDED COPY and copies by token between LUNs and never out of them, what is kept after kill -9,
and the unit attention when the pool fills up."""

import os
import random
import signal
import struct
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import iscsi_client as iscsi  # pylint: disable=wrong-import-position
import server as daemon       # pylint: disable=wrong-import-position
import tap                    # pylint: disable=wrong-import-position

OTHER = "iqn.2026-11.org.granary:other"
HEARTBEAT = 4096
HOSTS, ROUNDS = 16, 25
MIB = 1 << 20


def connect(server, target, host=1, luns=1):
    client = iscsi.Connection(server.address, server.port, timeout=30)
    client.isid = bytes([0x80, 0, 0, 0, 0, host])
    client.login(target, f"iqn.2026-11.org.granary:host{host}")
    for lun in range(luns):
        while client.command([0] * 6, lun=lun).status:
            pass
    return client


def make(server):
    for name in ("one", "two", "hidden"):
        server.granary("volume", "create", f"tank/{name}", "64M")
    server.granary("lun", "map", daemon.DEMO_TARGET, "tank/one", "--lun", "1")
    server.granary("lun", "map", daemon.DEMO_TARGET, "tank/two", "--lun", "2")
    server.granary("target", "create", OTHER)
    server.granary("lun", "map", OTHER, "tank/hidden", "--lun", "0")
    server.granary("target", "allow", OTHER, "--initiator", "any", "--network", "127.0.0.0/8")


def compare_and_write(client, lba, old, new, lun=1):
    blocks = len(old) // 512
    cdb = struct.pack(">BBQ3xBBB", 0x89, 0, lba, blocks, 0, 0)
    return client.command(cdb, old + new, lun=lun)


# ---- one winner a round

class Host(threading.Thread):
    """Wants the heartbeat block in every round; @won are those it got."""

    def __init__(self, server, number, barrier):
        super().__init__()
        self.client = connect(server, daemon.DEMO_TARGET, number, 3)
        self.number, self.barrier = number, barrier
        self.won, self.lost, self.odd = [], 0, []

    def run(self):
        try:
            for number in range(ROUNDS):
                self.barrier.wait(30)
                old = self.client.read(HEARTBEAT, 1, lun=1)
                self.barrier.wait(30)
                new = struct.pack(">II", number, self.number).ljust(512, b"\xaa")
                result = compare_and_write(self.client, HEARTBEAT, old, new)
                if result.status == 0:
                    self.won.append(number)
                elif result.key_asc_ascq == (0xE, 0x1D, 0):
                    self.lost += 1
                else:
                    self.odd.append(result.key_asc_ascq)
        except Exception as error:  # pylint: disable=broad-except
            self.odd.append(repr(error))
            self.barrier.abort()


def one_winner(points, server):
    barrier = threading.Barrier(HOSTS)
    hosts = [Host(server, 10 + i, barrier) for i in range(HOSTS)]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join(60)
    won = sorted(number for host in hosts for number in host.won)
    points.point(won == list(range(ROUNDS)) and not any(host.odd for host in hosts),
                 f"{HOSTS} sessions want one block: one winner in each of {ROUNDS} rounds",
                 f"{won} {[host.odd for host in hosts]}")
    number, winner = struct.unpack(">II", hosts[0].client.read(HEARTBEAT, 1, lun=1)[:8])
    points.point(number == ROUNDS - 1 and ROUNDS - 1 in hosts[winner - 10].won,
                 "the block holds the name of the last winner")
    for host in hosts:
        host.client.close()


# ---- copies

def naa(client, lun):
    page = client.command([0x12, 1, 0x83, 0, 255, 0], expected=255, lun=lun).data
    at = 4
    while page[at + 1] & 0x3F != 3:
        at += 4 + page[at + 3]
    return page[at + 4:at + 20]


def target_descriptor(name):
    return struct.pack(">BBHBBBB20sBB2s", 0xE4, 0, 0, 1, 3, 0, len(name), name, 0, 0, b"\x02\0")


def extended_copy(client, source, destination, blocks, from_lba, to_lba, lun):
    segment = struct.pack(">BBHHHHHQQ", 2, 0, 24, 0, 1, 0, blocks, from_lba, to_lba)
    body = struct.pack(">BBHIII", 1, 0, 64, 0, len(segment), 0)
    body += target_descriptor(source) + target_descriptor(destination) + segment
    cdb = struct.pack(">BB8xIBB", 0x83, 0, len(body), 0, 0)
    return client.command(cdb, body, lun=lun)


def populate(client, lba, blocks, lun):
    body = struct.pack(">HBxIIHHQI4x", 30, 0, 0, 0, 0, 16, lba, blocks)
    result = client.command(struct.pack(">BB4xIIBB", 0x83, 0x10, 7, len(body), 0, 0), body, lun=lun)
    if result.status:
        raise AssertionError(f"POPULATE TOKEN: {result.key_asc_ascq}")
    data = client.command(struct.pack(">BBI4xIBB", 0x84, 7, 7, 1024, 0, 0), expected=1024,
                          lun=lun).data
    at = 32 + data[13] + 6
    return data[at:at + 512]


def write_using(client, token, lba, blocks, lun):
    body = struct.pack(">HB5xQ", 550, 0, 0) + token + struct.pack(">6xHQI4x", 16, lba, blocks)
    return client.command(struct.pack(">BB4xIIBB", 0x83, 0x11, 8, len(body), 0, 0), body, lun=lun)


def write_all(client, lba, data, lun):
    for at in range(0, len(data), 128 * 512):
        client.write(lba + at // 512, data[at:at + 128 * 512], lun=lun)


def read_all(client, lba, blocks, lun):
    return b"".join(client.read(lba + at, min(128, blocks - at), lun=lun)
                    for at in range(0, blocks, 128))


def copies(points, client, elsewhere):
    one, two, hidden = naa(client, 1), naa(client, 2), naa(elsewhere, 0)
    data = random.Random(1).randbytes(4 * MIB + 512)
    blocks = len(data) // 512
    write_all(client, 11, data, lun=1)
    result = extended_copy(client, one, two, blocks, 11, 1003, lun=1)
    points.point(result.status == 0 and read_all(client, 1003, blocks, 2) == data,
                 "EXTENDED COPY of 4 MiB from LUN to LUN, not aligned", result.key_asc_ascq)
    token = populate(client, 11, blocks, lun=1)
    result = write_using(client, token, 40000, blocks, lun=2)
    points.point(result.status == 0 and read_all(client, 40000, blocks, 2) == data,
                 "the same by token")
    elsewhere.write(0, b"secret".ljust(4096, b"!"), lun=0)
    secret = populate(elsewhere, 0, 8, lun=0)
    before = client.read(0, 8, lun=2)
    points.point(extended_copy(client, hidden, two, 8, 0, 0, lun=2).key_asc_ascq == (0xA, 0xD, 2) and
                 extended_copy(client, two, hidden, 8, 0, 0, lun=2).key_asc_ascq == (0xA, 0xD, 2) and
                 client.read(0, 8, lun=2) == before and
                 elsewhere.read(0, 8, lun=0).startswith(b"secret"),
                 "EXTENDED COPY does not reach a LUN of another target by its name")
    points.point(write_using(client, secret, 0, 8, lun=2).key_asc_ascq == (5, 0x23, 4) and
                 client.read(0, 8, lun=2) == before,
                 "nor does a token that was made there")
    client.write(20, bytes(512), lun=1)
    points.point(write_using(client, token, 40000, 8, lun=2).key_asc_ascq == (5, 0x23, 6),
                 "a write to the source revokes its token")
    return data


# ---- the pool fills up

def thresholds(points, server, state):
    server.granary("pool", "create", "tiny", os.path.join(state, "tiny.pool") + ":128M")
    server.granary("pool", "set", "tiny", "--watermarks", "20,50,80")
    server.granary("volume", "create", "tiny/thin", "256M")
    server.granary("lun", "map", daemon.DEMO_TARGET, "tiny/thin", "--lun", "3")
    client = connect(server, daemon.DEMO_TARGET, 3, 4)
    page = client.command(struct.pack(">BBBB3xHB", 0x5A, 8, 0x1C, 2, 255, 0), expected=255,
                          lun=3).data
    points.point(len(page) == 8 + 16 + 3 * 8 and page[24] == 0x80,
                 "mode page 1Ch/02h: three soft thresholds", page.hex())
    filler = random.Random(2).randbytes(MIB)
    heard, at = [], 0
    while (7, 0x27, 7) not in heard and at < 256:
        result = client.command(struct.pack(">BBIBHB", 0x2A, 0, 2048 * at, 0, 2048, 0), filler,
                                lun=3)
        if result.status:
            heard.append(result.key_asc_ascq)
        else:
            at += 1
        time.sleep(0.02)
    limit = time.monotonic() + 10
    while (6, 0x38, 7) not in heard and time.monotonic() < limit:
        result = client.command([0] * 6, lun=3)
        if result.status:
            heard.append(result.key_asc_ascq)
        time.sleep(0.1)
    points.point(heard[-1] in ((7, 0x27, 7), (6, 0x38, 7)) and
                 set(heard) == {(6, 0x38, 7), (7, 0x27, 7)},
                 f"38h/07h at a watermark, 27h/07h at {at} MiB when it is full", heard)
    sense = struct.pack(">BBBBBHHB", 0x4D, 0, 0x4C, 0, 0, 0, 255, 0)
    result = client.command(sense, expected=255, lun=3)
    while result.status and result.key_asc_ascq == (6, 0x38, 7):  # the next watermark's
        result = client.command(sense, expected=255, lun=3)
    page = result.data
    left, used = struct.unpack(">I", page[8:12])[0], struct.unpack(">I", page[20:24])[0]
    points.point(left == 0 and at - 2 <= used <= at + 2,
                 "log page 0Ch: nothing left, and what the LUN uses", (left, used, at))
    client.close()


def test(points):
    with tempfile.TemporaryDirectory() as state:
        server = daemon.Server(state)
        try:
            make(server)
            client = connect(server, daemon.DEMO_TARGET, 1, 3)
            elsewhere = connect(server, OTHER, 2)
            one_winner(points, server)
            copies(points, client, elsewhere)
            limits = client.command([0x12, 1, 0xb0, 0, 64, 0], expected=64, lun=1).data
            blocks = min(200, limits[5])  # MAXIMUM COMPARE AND WRITE LENGTH
            data = random.Random(3).randbytes(blocks * 512)
            client.write(5000, bytes(len(data)), lun=1)
            result = compare_and_write(client, 5000, bytes(len(data)), data)
            client.command([0x35] + [0] * 9, lun=1)
            points.point(result.status == 0 and (blocks == 200 or daemon.CEPH),
                         f"COMPARE AND WRITE of {blocks} blocks")
            server.process.send_signal(signal.SIGKILL)
            server.process.wait(30)
            server = daemon.Server(state)
            client = connect(server, daemon.DEMO_TARGET, 1, 3)
            points.point(read_all(client, 5000, blocks, 1) == data,
                         "what was compared, written and flushed is there after kill -9")
            thresholds(points, server, state)
        finally:
            status = server.stop()
        points.point(status == 0, "clean stop", server.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)
