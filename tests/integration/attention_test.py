#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=60 engines=one asan
"""What every session hears when an administrator changes its LUNs: one added, one taken away, a
volume that grows, shrinks or goes back to a snapshot. Two hosts on one target, a third that sees
the same volume through another target, and what neither of them may hear."""

import os
import struct
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import iscsi_client as iscsi  # pylint: disable=wrong-import-position
import server as daemon       # pylint: disable=wrong-import-position
import tap                    # pylint: disable=wrong-import-position

FIRST, SECOND = "iqn.2026-11.org.granary:first", "iqn.2026-11.org.granary:second"
POWER_ON, MEDIUM, LUNS, CAPACITY = (0x29, 0), (0x28, 0), (0x3F, 0x0E), (0x2A, 0x09)
GONE = (5, 0x25, 0)
MIB = 1 << 20


class Host:
    def __init__(self, server, name, target):
        self.name = name
        self.client = iscsi.Connection(server.address, server.port)
        self.client.login(target, f"iqn.2026-11.org.granary:{name}")

    def hear(self, lun=0):
        """Unit attentions of a LUN, one by one; the sense at the end if it is another."""
        heard = []
        for _ in range(12):
            result = self.client.command(bytes(6), lun=lun)
            if result.status == 0:
                return heard
            if result.key_asc_ascq[0] != 6:
                return heard + [result.key_asc_ascq]
            heard.append(result.key_asc_ascq[1:])
        return heard + ["no end"]

    def luns(self):
        data = self.client.command(struct.pack(">BBBBBBIBB", 0xA0, 0, 0, 0, 0, 0, 1024, 0, 0),
                                   expected=1024).data
        return [struct.unpack(">H", data[at:at + 2])[0] & 0x3FFF for at in range(8, len(data), 8)]

    def capacity(self, lun=0):
        data = self.client.command([0x9E, 0x10] + [0] * 11 + [32, 0, 0], expected=32, lun=lun).data
        return (struct.unpack(">Q", data[:8])[0] + 1) * 512

    def sense(self, lun=0):
        """REQUEST SENSE."""
        data = self.client.command([3, 0, 0, 0, 252, 0], expected=252, lun=lun).data
        return data[2] & 15, data[12], data[13]


def hears(points, text, hosts, expected, lun=0):
    heard = {host.name: host.hear(lun) for host in hosts}
    points.point(all(entry == expected for entry in heard.values()), text, str(heard))


def added_and_taken(points, server, a, b, c):
    server.granary("lun", "map", FIRST, "tank/extra", "--lun", "5")
    hears(points, "a LUN is added: every session of its target hears 3F/0E", [a, b], [LUNS])
    hears(points, "once", [a, b], [])
    points.point(a.luns() == [0, 5], "and finds it", str(a.luns()))
    hears(points, "another target's session hears nothing", [c], [])
    hears(points, "the new LUN says 29/00 to each", [b], [POWER_ON, LUNS], 5)
    hears(points, "and no 3F/0E to who has asked with REPORT LUNS", [a], [POWER_ON], 5)
    points.point(a.capacity(5) == 32 * MIB, "its size")
    server.granary("lun", "map", FIRST, "tank/third", "--lun", "6")
    b.luns()
    hears(points, "who asks with REPORT LUNS is not told again", [b], [])
    hears(points, "on none of the LUNs", [b], [], 5)
    points.point(a.sense() == (6, *LUNS) and a.sense() == (0, 0, 0), "REQUEST SENSE takes it")
    hears(points, "of its own LUN only", [a], [LUNS], 5)
    server.granary("lun", "unmap", FIRST, "5")
    hears(points, "a LUN is taken away: 3F/0E on those that stay", [a, b], [LUNS])
    hears(points, "and 25/00 from it", [a, b], [GONE], 5)
    points.point(b.luns() == [0, 6], "REPORT LUNS has it no more", str(b.luns()))
    server.granary("lun", "map", FIRST, "tank/extra", "--lun", "5")
    hears(points, "it comes back as a new one", [a], [POWER_ON, LUNS], 5)
    for host in (a, b):
        for lun in (0, 5, 6):
            host.hear(lun)
    hears(points, "the other target's session has heard nothing of all this", [c], [])


def sizes(points, server, hosts):
    server.granary("volume", "resize", "tank/disk", "96M")
    hears(points, "a volume grows: 2A/09 to each session, whatever its target", hosts, [CAPACITY])
    points.point(all(host.capacity() == 96 * MIB for host in hosts), "READ CAPACITY says how much")
    server.granary("volume", "resize", "tank/disk", "64M", "--shrink", "--yes")
    hears(points, "it shrinks: again", hosts, [CAPACITY])
    refused = hosts[0].client.command(struct.pack(">BBIBHB", 0x28, 0, 64 * MIB // 512, 0, 1, 0),
                                      expected=512)
    points.point(refused.key_asc_ascq == (5, 0x21, 0), "and ends where it says",
                 str(refused.key_asc_ascq))
    server.granary("volume", "rename", "tank/disk", "data")
    hears(points, "of a new name nobody hears", hosts, [])


def news(host):
    """The next asynchronous message: event, LUN, sense."""
    while (pdu := host.client.receive()).opcode != iscsi.ASYNC:
        pass
    sense = pdu.data[2:2 + struct.unpack(">H", pdu.data[:2])[0]]
    return (pdu.bhs[36], struct.unpack(">H", pdu.bhs[8:10])[0], len(sense), sense[0],
            (sense[2] & 15, sense[12], sense[13]))


def silent(host):
    """What was posted to the session's loop before the first ping is out before the second's
    answer."""
    heard = []
    for _ in range(2):
        itt = host.client.tag()
        host.client.send_raw(host.client.pdu(
            iscsi.NOP_OUT | iscsi.IMMEDIATE, itt=itt,
            specific=struct.pack(">III", iscsi.NO_TAG, host.client.cmdsn, host.client.expstatsn)))
        while (pdu := host.client.receive()).opcode != iscsi.NOP_IN or pdu.itt != itt:
            heard.append((pdu.opcode, pdu.data.hex()))
    return not heard


def messages(points, server, a, b, c):
    """Asynchronous messages to those who ask nothing; off at first."""
    for host in (a, b, c):
        host.client.socket.settimeout(30)
    server.granary("volume", "resize", "tank/data", "80M")
    points.point(all(silent(host) for host in (a, b, c)), "nobody is sent a message unasked")
    hears(points, "but a unit attention", [a, b, c], [CAPACITY])
    server.granary("target", "set", FIRST, "--async-events", "on")
    server.granary("volume", "create", "tank/idle", "32M")
    server.granary("lun", "map", FIRST, "tank/idle", "--lun", "300")
    event = (0, 0, 18, 0x70, (6, *LUNS))
    points.point(news(a) == news(b) == event, "with async-events each session is told of a LUN")
    hears(points, "and hears its unit attention all the same", [a, b], [LUNS])
    server.granary("volume", "resize", "tank/idle", "40M")
    event = (0, 0x4000 | 300, 18, 0x70, (6, *CAPACITY))
    points.point(news(a) == news(b) == event, "of a size, with the LUN")
    points.point(silent(c), "another target's session is not")
    server.granary("lun", "unmap", FIRST, "300")
    points.point(news(a)[4] == news(b)[4] == (6, *LUNS), "and of a LUN that is gone")
    server.granary("target", "set", FIRST, "--async-events", "off")
    server.granary("volume", "resize", "tank/data", "96M")
    points.point(silent(a) and silent(b), "no more of it once it is off")


def make_token(host):
    """POPULATE TOKEN of the first 8 blocks, and the token."""
    ranges = struct.pack(">QI4x", 0, 8)
    parameters = struct.pack(">HBxI", 14 + len(ranges), 0, 60) + bytes(6) + \
        struct.pack(">H", len(ranges)) + ranges
    cdb = struct.pack(">BB4xIIBB", 0x83, 0x10, 7, len(parameters), 0, 0)
    host.client.command(cdb, parameters)
    answer = host.client.command(struct.pack(">BBI4xIBB", 0x84, 0x07, 7, 1024, 0, 0),
                                 expected=1024)
    data = answer.data
    return data[-512:] if len(data) >= 512 else None


def write_using(host, token, lba):
    ranges = struct.pack(">QI4x", lba, 8)
    parameters = struct.pack(">HB5xQ", 534 + len(ranges), 0, 0) + token + bytes(6) + \
        struct.pack(">H", len(ranges)) + ranges
    cdb = struct.pack(">BB4xIIBB", 0x83, 0x11, 8, len(parameters), 0, 0)
    return host.client.command(cdb, parameters)


def going_back(points, server, hosts):
    a = hosts[0]
    a.client.write(0, b"before".ljust(4096, b"."))
    server.granary("snapshot", "create", "tank/data@then")
    a.client.write(0, b"after".ljust(4096, b"."))
    token = make_token(a)
    used = write_using(a, token, 64) if token else None
    points.point(used and used.status == 0, "a token of what is there now works",
                 str(used and used.key_asc_ascq))
    server.granary("volume", "rollback", "tank/data@then", "--keep", "first", "--yes")
    hears(points, "a volume goes back to a snapshot: 28/00 to each session", hosts, [MEDIUM])
    points.point(all(host.client.read(0, 8).startswith(b"before") for host in hosts),
                 "and the data is that of the snapshot")
    late = write_using(a, token, 128)
    points.point(late.key_asc_ascq == (5, 0x23, 6), "the token is revoked", str(late.key_asc_ascq))
    server.granary("volume", "resize", "tank/data", "96M")
    for host in hosts:
        host.hear()
    server.granary("volume", "rollback", "tank/data@then", "--keep", "second", "--yes")
    hears(points, "with another size: 28/00, then 2A/09", hosts, [MEDIUM, CAPACITY])
    points.point(all(host.capacity() == 64 * MIB for host in hosts), "READ CAPACITY is the old one")
    hears(points, "LUNs of other volumes hear nothing", hosts[:2], [], 5)


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-attention-") as folder:
        server = daemon.Server(os.path.join(folder, "state"))
        try:
            for name, size in (("disk", "64M"), ("extra", "32M"), ("third", "32M")):
                server.granary("volume", "create", f"tank/{name}", size)
            for target in (FIRST, SECOND):
                server.granary("target", "create", target)
                server.granary("target", "allow", target, "--network", "127.0.0.0/8")
                server.granary("lun", "map", target, "tank/disk", "--lun", "0")
            a, b = Host(server, "a", FIRST), Host(server, "b", FIRST)
            c = Host(server, "c", SECOND)
            hears(points, "a new session hears 29/00", [a, b, c], [POWER_ON])
            added_and_taken(points, server, a, b, c)
            sizes(points, server, [a, b, c])
            going_back(points, server, [a, b, c])
            messages(points, server, a, b, c)
            for host in (a, b, c):
                host.client.close()
        finally:
            points.point(server.stop() == 0, "the daemon stops cleanly", server.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)
