#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=150 engines=one asan
"""Two daemons and their client, each in a network namespace, at one bridge: service addresses of a
group, IPv4 and IPv6, are where the group is served. A client that writes all the time keeps its
address through a switchover and through kill -9 and a promotion; its neighbours' tables follow; a
primary that comes back does not take the address again."""

import os
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import tap                                         # pylint: disable=wrong-import-position
from replica import IQN, LOAD, Node, make_luns, pair, sealed, stop_all, wait  # pylint: disable=wrong-import-position

LUNS = 2
FOUR, SIX = "10.77.0.10", "fd77::10"
PAUSE_MAX = 10.0  # seconds: below what hypervisors take for a lost disk


def ip(*words, check=True):
    return subprocess.run(["ip", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=check, timeout=60)


class Net:
    """A client at a bridge with two nodes."""

    def __init__(self):
        tag = f"{os.getpid():x}"
        self.client, *self.nodes = [f"gr{tag}{name}" for name in "cab"]

    def build(self):
        for name in (self.client, *self.nodes):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", self.client, "link", "add", "br0", "type", "bridge")
        self.give(self.client, "br0", 1)
        for number, name in enumerate(self.nodes):
            ip("-n", self.client, "link", "add", f"v{number}", "type", "veth", "peer", "name",
               "store0", "netns", name)
            ip("-n", self.client, "link", "set", f"v{number}", "master", "br0", "up")
            self.give(name, "store0", number + 2)

    @staticmethod
    def give(name, interface, number):
        ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", interface)
        ip("-n", name, "address", "add", f"fd77::{number}/64", "dev", interface, "nodad")
        ip("-n", name, "link", "set", interface, "up")

    def remove(self):
        for name in (self.client, *self.nodes):
            ip("netns", "delete", name, check=False)

    def has(self, number, address):
        return f" {address}/" in ip("-n", self.nodes[number], "address", "show").stdout

    def mac(self, number):
        return ip("-n", self.nodes[number], "link", "show", "store0").stdout.split("ether ")[1][:17]

    def neighbour(self, address):
        return ip("-n", self.client, "neigh", "show", address, "dev", "br0").stdout

    def reach(self, address, port):
        """A connection from the client, so that it has resolved the address."""
        code = f"import socket; socket.create_connection(('{address}', {port}), 20).close()"
        return subprocess.run(["ip", "netns", "exec", self.client, sys.executable, "-c", code],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                              check=False).returncode == 0


def gaps(log, since):
    """The longest time between two acknowledgements after @since, and the newest record."""
    with open(log, encoding="ascii") as file:
        rows = [line.split() for line in file if line.endswith("\n")]
    times = [float(t) for _, t in rows]
    pairs = [(b - a) for a, b in zip(times, times[1:]) if b > since]
    return max(pairs, default=0), int(rows[-1][0]) if rows else 0


def set_up(points, net, one, two):
    peer = pair(one, two, "10.77.0.3")
    make_luns(one, *(f"tank/cut{lun}" for lun in range(LUNS)), network="10.77.0.0/24")
    one.granary("replica", "group", "create", "vms", "tank/cut0", "tank/cut1", "--peer", peer,
                "--rpo", "1s")
    for words, text in ((("add", "vms", FOUR), "ADDR/PREFIX"),
                        (("add", "vms", "127.0.0.1/8"), "no address of a host"),
                        (("add", "vms", "192.0.2.1/24"), "name one"),
                        (("add", "vms", f"{FOUR}/24", "--interface", "none0"), "no interface"),
                        (("add", "vms", "10.77.0.2/24"), "is on an interface here already"),
                        (("remove", "vms", f"{FOUR}/24"), "has no address")):
        said = one.refused("replica", "group", "address", *words)
        points.point(text in said, f"{' '.join(words)}: {text}", said)
    one.granary("replica", "group", "address", "add", "vms", f"{FOUR}/24")
    one.granary("replica", "group", "address", "add", "vms", f"{SIX}/64", "--interface", "store0")
    said = one.refused("replica", "group", "address", "add", "vms", f"{FOUR}/24")
    points.point("is group vms's" in said, "an address is one group's, once", said)
    points.point(net.has(0, "10.77.0.2"), "the machine keeps its own")
    points.point(wait(lambda: net.has(0, FOUR) and net.has(0, SIX)) and not net.has(1, FOUR),
                 "service addresses are set on the primary", one.group())
    points.point(wait(lambda: sealed(one)) and wait(lambda: two.group()["addresses"] and
                 not two.group()["addresses_trouble"]), "and known to the standby", two.group())


def moved(points, net, nodes, new, what):
    points.point(wait(lambda: net.has(new, FOUR) and net.has(new, SIX)),
                 f"{what}: the new primary has the addresses", nodes[new].group())
    points.point(wait(lambda: net.mac(new) in net.neighbour(FOUR)),
                 f"{what}: ARP leads to it", net.neighbour(FOUR))
    points.point(wait(lambda: net.mac(new) in net.neighbour(SIX)),
                 f"{what}: neighbour discovery too", net.neighbour(SIX))
    points.point(net.reach(FOUR, nodes[new].port), f"{what}: it answers there")


def follow(net, port, first, log):
    return subprocess.Popen(["ip", "netns", "exec", net.client, LOAD, "follow", f"{FOUR}:{port}",
                             IQN, str(LUNS), str(first), log], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test(points):
    if os.geteuid() != 0:
        raise tap.Skip("network namespaces need root")
    net, nodes, load = Net(), [], None
    with tempfile.TemporaryDirectory() as top:
        try:
            net.build()
            for name, inside in zip(("one", "two"), net.nodes):
                nodes.append(Node(os.path.join(top, name), "0.0.0.0",
                                  ("ip", "netns", "exec", inside)))
            one, two = nodes
            two.port = one.port
            two.server.stop()
            two.start()
            set_up(points, net, one, two)
            log = os.path.join(top, "log")
            load = follow(net, one.port, 1, log)
            points.point(wait(lambda: os.path.exists(log) and os.path.getsize(log) > 2000),
                         "a client writes")
            net.reach(SIX, one.port)
            began = time.time()
            one.granary("replica", "switchover", "vms")
            moved(points, net, nodes, 1, "switchover")
            points.point(wait(lambda: not net.has(0, FOUR) and not net.has(0, SIX)),
                         "the old one has them not")
            before = gaps(log, began)[1]
            points.point(wait(lambda: gaps(log, began)[1] > before + 50) and load.poll() is None,
                         "the client writes on at its address", gaps(log, began))
            pause = gaps(log, began)[0]
            points.point(pause < PAUSE_MAX, f"its pause was {pause:.2f} s")

            wait(lambda: sealed(two))
            began = time.time()
            two.server.process.send_signal(signal.SIGKILL)
            two.server.process.wait()
            one.granary("replica", "promote", "vms", "--yes")
            moved(points, net, nodes, 0, "promotion")
            before = gaps(log, began)[1]
            points.point(wait(lambda: gaps(log, began)[1] > before + 50) and load.poll() is None,
                         "the client writes on at its address", gaps(log, began))
            pause = gaps(log, began)[0]
            points.point(pause < PAUSE_MAX, f"its pause was {pause:.2f} s")
            two.start()
            points.point(not net.has(1, FOUR) and not net.has(1, SIX),
                         "a primary that comes back does not have them")
            points.point(wait(lambda: two.group()["role"] == "fenced") and not net.has(1, FOUR),
                         "nor takes them", two.group())
            points.point(net.mac(0) in net.neighbour(FOUR), "the client is not led astray",
                         net.neighbour(FOUR))
            one.granary("replica", "group", "address", "remove", "vms", f"{SIX}/64")
            points.point(wait(lambda: not net.has(0, SIX)) and net.has(0, FOUR), "one is taken away",
                         one.group())
            load.kill()
            load.wait()
            one.server.stop()
            points.point(not net.has(0, FOUR), "a daemon that stops takes its address along")
        finally:
            if load and load.poll() is None:
                load.kill()
                load.wait()
            stop_all(points, nodes)
            net.remove()


if __name__ == "__main__":
    tap.run(test)
