#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan
"""Rules by names of hosts: the daemon resolves them from a hosts file of the test's own (in a mount
namespace), which changes; who may mount, use a handle, and what explain says, follows."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import rpc_client as rpc  # pylint: disable=wrong-import-position
import server as daemon  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position

SHARE, HOST = "tank/files", "client.example"
ACCESS, ROFS, MNT_ACCES, JUKEBOX = 13, 30, 13, 10008
LIMIT = 60


class Hosts:
    """What the daemon sees as /etc/hosts; written in place, for it is mounted there."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "hosts")
        self.switch = os.path.join(directory, "nsswitch.conf")
        with open(self.switch, "w", encoding="ascii") as file:
            file.write("passwd: files\nhosts: files\n")
        self.set()

    def set(self, *addresses):
        with open(self.path, "w", encoding="ascii") as file:
            file.write("127.0.0.1 localhost\n")
            for address in addresses:
                file.write(f"{address} {HOST}\n")

    def inside(self):
        return ("unshare", "-m", "--propagation", "private", "sh", "-c",
                'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/nsswitch.conf &&'
                ' shift 2 && exec "$@"', "sh", self.path, self.switch)


def port_of(server):
    return int(re.search(r"^READY .*nfs=(\d+)", server.log(), re.M).group(1))


def mounted(port, source):
    """(status, handle) of MNT from @source."""
    with rpc.Connection(port, source=(source, 0)) as connection:
        return rpc.mount(connection, "/files")


def comes(server, source, wanted):
    """Until MNT from @source has the status @wanted; the last one."""
    end = time.monotonic() + LIMIT
    status = None
    while time.monotonic() < end:
        status, _ = mounted(port_of(server), source)
        if status == wanted:
            break
        time.sleep(0.05)
    return status


def used(server, source, handle):
    with rpc.Connection(port_of(server), source=(source, 0)) as connection:
        return rpc.Nfs3(connection).getattr(handle).status


def may_write(server, source, handle):
    with rpc.Connection(port_of(server), source=(source, 0)) as connection:
        return rpc.Nfs3(connection).setattr(handle, mode=0o755).status


def explain(server, client):
    """Its status is 1 when the client is refused."""
    done = subprocess.run([os.path.join(daemon.BUILD, "granary"), "--state", server.state, "share",
                           "explain", SHARE, client, "-o", "json"], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=60)
    return json.loads(done.stdout)


def allow(server):
    server.granary("share", "allow", SHARE, "--client", HOST, "--insecure", "--no-root-squash")


def refused(server, client):
    try:
        server.granary("share", "allow", SHARE, "--client", client)
    except RuntimeError as error:
        return str(error)
    return ""


def follows(points, server, hosts):
    hosts.set("127.0.0.1", "127.0.0.3")
    allow(server)
    server.granary("share", "deny", SHARE, "--client", "127.0.0.1")
    points.point(comes(server, "127.0.0.1", 0) == 0, "the host that a name resolves to may mount")
    points.point(comes(server, "127.0.0.3", 0) == 0, "so it may from its other address")
    points.point(comes(server, "127.0.0.2", MNT_ACCES) == MNT_ACCES, "another host may not")
    _, handle = mounted(port_of(server), "127.0.0.1")
    said = explain(server, "127.0.0.1")
    points.point(said["allowed"] and said["rule"] == HOST and "127.0.0.3" in said["reason"],
                 "explain names the rule and what it resolves to", said)
    said = explain(server, "127.0.0.2")
    points.point(not said["allowed"] and f"{HOST} is 127.0.0.1" in said["reason"],
                 "and for another host, whom the name means", said)
    rules = json.loads(server.granary("share", "rules", SHARE, "-o", "json"))
    points.point([sorted(rule["addresses"]) for rule in rules] == [["127.0.0.1", "127.0.0.3"]],
                 "the list of rules has the addresses", rules)
    with rpc.Connection(port_of(server)) as connection:
        reply = connection.good(rpc.MOUNT, 3, 5)
        points.point(HOST.encode() in reply.data, "EXPORT names the host")

    hosts.set("127.0.0.2")
    allow(server)
    points.point(comes(server, "127.0.0.2", 0) == 0, "the name means another host now: it may")
    points.point(comes(server, "127.0.0.1", MNT_ACCES) == MNT_ACCES, "the one of before may not")
    points.point(used(server, "127.0.0.1", handle) == ACCESS, "nor use the handle that it has")
    points.point(used(server, "127.0.0.2", handle) == 0, "a handle is good for who may")
    return handle


def gone(points, server, hosts, handle):
    hosts.set()
    allow(server)
    points.point(comes(server, "127.0.0.2", MNT_ACCES) == MNT_ACCES,
                 "a name that is nobody's lets nobody in")
    said = explain(server, "127.0.0.2")
    points.point(not said["allowed"] and "does not resolve" in said["reason"],
                 "explain says that it does not resolve", said)
    points.point("share explain" not in said["reason"] and
                 used(server, "127.0.0.2", handle) == ACCESS, "handles are of no use")
    server.granary("share", "allow", SHARE, "--client", "127.0.0.4", "--insecure")
    points.point(comes(server, "127.0.0.4", 0) == 0, "rules by address do not care")


def restarted(points, first, hosts, state):
    """A client that was let in is not told that it may not, while its name is looked up again."""
    hosts.set("127.0.0.2")
    allow(first)
    if comes(first, "127.0.0.2", 0) != 0:
        points.point(False, "the host is back")
    _, handle = mounted(port_of(first), "127.0.0.2")
    first.granary("share", "allow", SHARE, "--client", "*", "--ro", "--insecure")
    points.point(may_write(first, "127.0.0.2", handle) == 0 and
                 may_write(first, "127.0.0.3", handle) == ROFS,
                 "a name is closer than everybody")
    first.process.kill()
    first.process.wait()
    server = daemon.Server(state, inside=hosts.inside())
    try:
        seen = set()
        end = time.monotonic() + LIMIT
        while 0 not in seen and time.monotonic() < end:
            seen.add(may_write(server, "127.0.0.2", handle))
        points.point(0 in seen and seen <= {0, JUKEBOX},
                     "after kill -9: come again at most, and never the wider rule", seen)
    finally:
        server.stop()


def test(points):
    if os.geteuid() != 0:
        raise tap.Skip("needs root, for a hosts file of its own")
    with tempfile.TemporaryDirectory(prefix="granary-hosts-") as top:
        hosts, state = Hosts(top), os.path.join(top, "state")
        server = daemon.Server(state, inside=hosts.inside())
        try:
            for client in ("@group", "*.example", "bad_host", "10.0.0", "a..b", "x" * 64 + ".b"):
                points.point("no client" in refused(server, client), f"{client} is refused",
                             refused(server, client))
            handle = follows(points, server, hosts)
            gone(points, server, hosts, handle)
            restarted(points, server, hosts, state)
        finally:
            server.stop()


if __name__ == "__main__":
    tap.run(test)
