#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=60 engines=both asan
"""Host groups and LUN masking with running sessions: who sees a LUN, who hears of a change and
who does not, what survives a restart."""

import json
import os
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import iscsi_client as iscsi  # pylint: disable=wrong-import-position
import server as daemon       # pylint: disable=wrong-import-position
import tap                    # pylint: disable=wrong-import-position

TARGET = daemon.DEMO_TARGET
NAMES = [f"iqn.2026-11.org.granary:esx{number}" for number in range(3)]


def login(server, number):
    client = iscsi.Connection(server.address, server.port)
    client.isid = bytes([0x80, 0, 0, 0, 0, number])
    client.login(TARGET, NAMES[number])
    hear(client)
    return client


def hear(client, lun=0):
    """The unit attentions of a LUN, read until there are no more; or what else stands there."""
    heard = []
    while (result := client.command([0] * 6, lun=lun)).status == 2:
        heard.append(result.key_asc_ascq)
        if result.key_asc_ascq[0] != 6:
            break
    return heard


def hear_all(client):
    hear(client)
    hear(client, 1)


def luns(client):
    data = client.command(struct.pack(">BBBBBBIBB", 0xA0, 0, 0, 0, 0, 0, 4096, 0, 0),
                          expected=4096).data
    return [entry & 0x3FFF for (entry,) in struct.iter_unpack(">H6x", data[8:])]


def refused(server, *words):
    try:
        server.granary(*words)
        return False
    except RuntimeError:
        return True


def masks(points, server):
    granary = server.granary
    granary("volume", "create", "tank/second", "64M")
    granary("lun", "map", TARGET, "tank/second")
    clients = [login(server, number) for number in range(3)]
    points.point(all(luns(client) == [0, 1] for client in clients), "all see both LUNs")
    granary("host", "create", "one", NAMES[0])
    granary("host", "create", "two", NAMES[1])
    points.point(refused(server, "host", "create", "again", NAMES[0]),
                 "an initiator is in one group at most")
    points.point(refused(server, "host", "create", "bad", "not-a-name"), "and has a name")
    for client in clients:
        hear_all(client)
    granary("lun", "mask", TARGET, "1", "one")
    points.point(hear(clients[0]) == [] and hear(clients[0], 1) == [],
                 "who keeps a LUN hears nothing")
    points.point(hear(clients[1]) == [(6, 0x3F, 0x0E)], "who loses it hears 3F/0E")
    points.point(hear(clients[2], 1) == [(5, 0x25, 0)] and luns(clients[2]) == [0],
                 "and has nothing there: 25/00")
    granary("host", "add", "one", NAMES[2])
    points.point(luns(clients[2]) == [0, 1] and luns(clients[1]) == [0],
                 "an initiator that joins the group sees it")
    hear_all(clients[2])
    clients[2].write(0, b"\xA5" * 512, lun=1)
    points.point(clients[2].read(0, 1, lun=1) == b"\xA5" * 512, "and uses it")
    granary("host", "remove", "one", NAMES[2])
    points.point(luns(clients[2]) == [0], "one that leaves does not")
    granary("lun", "mask", TARGET, "1", "one", "two")
    points.point([luns(client) for client in clients] == [[0, 1], [0, 1], [0]], "two groups")
    points.point(refused(server, "host", "delete", "two"), "a group in use stays")
    shown = json.loads(granary("lun", "list", TARGET, "-o", "json"))
    points.point([entry["hosts"] for entry in shown] == [[], ["one", "two"]], "lun list shows it")
    return clients


def found(server, credentials=""):
    """Whether iscsi-ls is shown the target."""
    url = f"iscsi://{credentials}{server.address}:{server.port}"
    result = subprocess.run(["iscsi-ls", url], stdin=subprocess.DEVNULL, capture_output=True,
                            text=True, timeout=60, check=False)
    return TARGET in result.stdout


def discovery(points, state):
    secret = os.path.join(state, "secret")
    with open(secret, "w", encoding="utf-8") as file:
        file.write("a-secret-for-finders")
    server = daemon.Server(state)
    try:
        points.point(found(server), "discovery asks for nothing at first")
        server.granary("discovery", "require", "--chap-user", "finder", "--chap-secret-file",
                       secret)
        points.point(not found(server) and found(server, "finder%a-secret-for-finders@"),
                     "then for CHAP")
        server.stop()
        server = daemon.Server(state, port=server.port)
        points.point(not found(server, "finder%another-secret-12@") and
                     found(server, "finder%a-secret-for-finders@"), "also after a restart")
        server.granary("discovery", "open")
        points.point(found(server), "and for nothing again")
    finally:
        server.stop()


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-access-") as state:
        server = daemon.Server(state)
        try:
            clients = masks(points, server)
            for client in clients:
                client.close()
            server.stop()
            server = daemon.Server(state, port=server.port)
            clients = [login(server, number) for number in range(3)]
            points.point([luns(client) for client in clients] == [[0, 1], [0, 1], [0]],
                         "a restart changes nothing")
            server.granary("lun", "mask", TARGET, "1")
            points.point(all(luns(client) == [0, 1] for client in clients), "everybody's again")
            server.granary("host", "delete", "two")
            points.point([host["name"] for host in
                          json.loads(server.granary("host", "list", "-o", "json"))] == ["one"],
                         "a group that nothing names goes")
            points.point("audit: local:" in server.log(), "changes leave audit lines")
        finally:
            server.stop()
        discovery(points, state)


if __name__ == "__main__":
    tap.run(test)
