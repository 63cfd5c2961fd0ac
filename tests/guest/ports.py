# SPDX-License-Identifier: Apache-2.0
"""Ports for the daemons under test, which no suite that runs beside takes meanwhile."""

import random
import socket

FIRST = 10240
HELD = []  # this test's names, until it ends


def last():
    """Where the ports begin that the kernel chooses itself, for clients and for port 0."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        return max(int(file.read().split()[0]), FIRST + 4096)


def is_free(kind, port):
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port():
    """A port of this host that nobody uses. It is this test's until it ends, also while the daemon
    that had it is killed and started again: an abstract UNIX socket in the same network namespace
    tells the suites beside it."""
    end, dice = last(), random.SystemRandom()
    for _ in range(1000):
        port = dice.randrange(FIRST, end)
        name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            name.bind(f"\0granary-test-port-{port}")
        except OSError:
            name.close()
            continue
        if is_free(socket.SOCK_STREAM, port) and is_free(socket.SOCK_DGRAM, port):
            HELD.append(name)
            return port
        name.close()
    raise RuntimeError("no free port")
