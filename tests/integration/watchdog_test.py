#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=90 engines=one asan waits
"""The service manager's watchdog: it is told that the daemon lives as long as all its I/O loops turn,
and no longer when one of them does not; with libaio always."""

import ctypes
import os
import re
import socket
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "guest"), HERE]

import iscsi_client as iscsi  # pylint: disable=wrong-import-position
import pools                  # pylint: disable=wrong-import-position
import tap                    # pylint: disable=wrong-import-position

LIMIT = 2.0  # seconds, of the manager; told four times in it
SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000


class Stopped:
    """One thread of a process, as a debugger holds it."""

    def __init__(self, thread):
        self.thread = thread
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long] * 4
        self.libc.ptrace.restype = ctypes.c_long

    def ask(self, request):
        if self.libc.ptrace(request, self.thread, 0, 0) < 0:
            raise tap.Skip(f"no ptrace here: {os.strerror(ctypes.get_errno())}")

    def __enter__(self):
        self.ask(SEIZE)
        self.ask(INTERRUPT)
        os.waitpid(self.thread, WALL)

    def __exit__(self, *_):
        self.ask(DETACH)


def thread_of(process, name):
    folder = f"/proc/{process.pid}/task"
    for thread in os.listdir(folder):
        with open(f"{folder}/{thread}/comm", encoding="ascii") as file:
            if file.read().strip() == name:
                return int(thread)
    raise AssertionError(f"no thread {name}")


def heard(manager, seconds):
    """What comes in so long."""
    words, end = [], time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        manager.settimeout(left)
        try:
            words.append(manager.recv(4096))
        except socket.timeout:
            break
    return words


def works(daemon):
    with iscsi.Connection("127.0.0.1", daemon.port) as client:
        client.login(None)
        return client.text_request(b"SendTargets=All\0").data is not None


def run(points, manager, state):
    daemon = pools.Daemon(state, "--io-loops", "2", "--io-engine", "uring")
    try:
        words = heard(manager, 2 * LIMIT)
        points.point(len(words) >= 4 and set(words) == {b"WATCHDOG=1"}, "it is told often enough",
                     words)
        with Stopped(thread_of(daemon.process, "io1")):
            heard(manager, LIMIT)  # what was on its way
            words = heard(manager, 2 * LIMIT)
            points.point(words == [], "not while an I/O loop does not turn", words)
            points.point("io1 does not turn" in daemon.log(), "the log says which")
        points.point(len(heard(manager, 3 * LIMIT)) >= 2 and works(daemon),
                     "and again when it does")
        with Stopped(daemon.process.pid):
            heard(manager, LIMIT)
            points.point(len(heard(manager, 2 * LIMIT)) >= 2,
                         "the control loop alone is no reason to end guests' I/O")
        points.point(len(re.findall("turn", daemon.log())) == 2, "said once each", daemon.log())
    finally:
        points.point(daemon.stop() == 0, "the daemon stops cleanly", daemon.log()[-3000:])


def with_libaio(points, manager, state):
    daemon = pools.Daemon(state, "--io-loops", "2", "--io-engine", "aio")
    try:
        with Stopped(thread_of(daemon.process, "io1")):
            heard(manager, LIMIT)
            points.point(len(heard(manager, 2 * LIMIT)) >= 2,
                         "with libaio a loop may wait in the kernel: told all the same")
    finally:
        points.point(daemon.stop() == 0, "which stops cleanly", daemon.log()[-3000:])


def not_understood(points, state):
    for name, time_us in (("relative", "1000000"), ("/" + "x" * 200, "1000000"),
                          ("/run/x", "99999999999999999999999")):
        os.environ.update(NOTIFY_SOCKET=name, WATCHDOG_USEC=time_us)
        daemon = pools.Daemon(state)
        points.point(daemon.stop() == 0 and "watchdog is not understood" in daemon.log(),
                     f"a manager at {name[:9]} with {time_us} us is not understood, and that is all",
                     daemon.log()[-2000:])
        os.unlink(daemon.log_path)


def test(points):
    with tempfile.TemporaryDirectory() as top, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = "\0granary-watchdog-" + str(os.getpid())
        manager.bind(name)
        os.environ.update(NOTIFY_SOCKET="@" + name[1:], WATCHDOG_USEC=str(int(LIMIT * 1e6)))
        run(points, manager, os.path.join(top, "state"))
        with_libaio(points, manager, os.path.join(top, "aio"))
        not_understood(points, os.path.join(top, "other"))


if __name__ == "__main__":
    tap.run(test)
