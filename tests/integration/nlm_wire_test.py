#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one waits
"""Locks of NFSv3 over the wire: NLM 4 and NSM against the same lock manager as NFSv4's; waiting and
being told (this test is the client's portmapper and lockd); hosts that restart; and a server that
is killed: its notice to the hosts, grace, reclaim."""

import os
import random
import re
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import rpc_client as rpc   # pylint: disable=wrong-import-position
from rpc_client import u32, u64, opaque   # pylint: disable=wrong-import-position
from nfs41_wire_test import expect, UNCHECKED   # pylint: disable=wrong-import-position
from nfs4_locks_test import Locker, case, WRITE, READ, END   # pylint: disable=wrong-import-position
from server import Server  # pylint: disable=wrong-import-position
import tap                 # pylint: disable=wrong-import-position

NLM, NSM, PORTMAP = 100021, 100024, 100000
GRANTED, DENIED, BLOCKED, GRACE, STALE_FH = 0, 1, 3, 4, 7
HOSTS = ("127.0.0.2", "127.0.0.3")


class Lockd:
    """What a client's host answers: portmapper, lockd's GRANTED, statd's NOTIFY."""

    def __init__(self, address):
        self.heard, self.say = [], GRANTED
        self.go = threading.Event()  # GRANTED is answered
        self.go.set()
        self.sockets, self.news = [], threading.Event()
        self.port = self.listen(address, 0)
        self.listen(address, 111)

    def listen(self, address, port):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(8)
        self.sockets.append(listener)
        threading.Thread(target=self.serve, args=(listener,), daemon=True).start()
        return listener.getsockname()[1]

    def serve(self, listener):
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                data = b""
                while len(data) < 4 or len(data) < 4 + (struct.unpack(">I", data[:4])[0] & 0xffffff):
                    more = peer.recv(4096)
                    if not more:
                        break
                    data += more
                if len(data) >= 44:
                    reply = self.answer(rpc.Reader(data[4:]))
                    peer.sendall(u32(0x80000000 | len(reply)) + reply)

    def answer(self, r):
        xid = r.u32()
        r.take(8)
        program, _, procedure = r.u32(), r.u32(), r.u32()
        r.take(16)
        head = u32(xid, 1, 0, 0, 0, 0)
        if program == PORTMAP:
            return head + u32(self.port)
        if program == NSM:
            self.heard.append(("notify", procedure, r.opaque(), r.u32()))
            self.news.set()
            return head
        cookie = r.opaque()
        exclusive, caller, handle, owner = r.u32(), r.opaque(), r.opaque(), r.opaque()
        self.heard.append(("granted", procedure, exclusive, caller, handle, owner, r.u32(),
                           r.u64(), r.u64()))
        self.news.set()
        self.go.wait(9)
        return head + opaque(cookie) + u32(self.say)

    def wait(self, count, limit=60):
        end = time.monotonic() + limit
        while len(self.heard) < count and time.monotonic() < end:
            self.news.wait(0.2)
            self.news.clear()
        return self.heard[count - 1] if len(self.heard) >= count else None

    def close(self):
        for one in self.sockets:
            one.close()


class Host:
    """One host's lockd as a client."""

    def __init__(self, port, address, state=1, source_port=0):
        self.c = rpc.Connection(port, source=(address, source_port))
        self.state = state

    def ask(self, procedure, arguments):
        r = self.c.good(NLM, 4, procedure, opaque(b"cookie") + arguments)
        expect(r.opaque(), b"cookie", "cookie")
        return r.u32(), r

    @staticmethod
    def alock(handle, first, length, owner, process):
        return opaque("caller") + opaque(handle) + opaque(owner) + u32(process) + u64(first, length)

    def lock(self, handle, first, length, exclusive=1, block=0, reclaim=0, owner=b"oh", process=1):
        return self.ask(2, u32(block, exclusive) + self.alock(handle, first, length, owner, process)
                        + u32(reclaim, self.state))[0]

    def test(self, handle, first, length, exclusive=1, owner=b"oh", process=1):
        status, r = self.ask(1, u32(exclusive) + self.alock(handle, first, length, owner, process))
        if status != DENIED:
            return status
        return r.bool(), r.u32(), r.opaque(), r.u64(), r.u64()

    def cancel(self, handle, first, length, owner=b"oh", process=1):
        return self.ask(3, u32(1, 1) + self.alock(handle, first, length, owner, process))[0]

    def unlock(self, handle, first, length, owner=b"oh", process=1):
        return self.ask(4, self.alock(handle, first, length, owner, process))[0]

    def share(self, procedure, handle, mode, access, owner=b"oh"):
        status, r = self.ask(procedure, opaque("caller") + opaque(handle) + opaque(owner) +
                             u32(mode, access, 0))
        r.u32()
        return status


class Suite:
    def __init__(self, server):
        self.server = server
        self.port = server.port
        self.one, self.two = (Host(self.port, host) for host in HOSTS)
        self.c = server.connect()
        _, self.root = rpc.mount(self.c, "/files")
        self.nfs = rpc.Nfs3(self.c)

    def file(self, name):
        return self.nfs.create(self.root, name, mode=0o644).handle

    def programs(self):
        for program in (NLM, NSM):
            r = self.c.good(PORTMAP, 2, 3, u32(program, 4, 6, 0))
            expect(r.u32(), self.port, "GETPORT")
        self.c.good(NLM, 4, 0)
        self.c.good(NSM, 1, 0)
        expect(self.c.ask(NLM, 4, 7, b"")[0], 3, "a procedure that is not there")
        expect(self.c.ask(NLM, 4, 2, u32(9000))[0], 4, "garbage")

    def ranges(self):
        f, one, two = self.file("ranges"), self.one, self.two
        expect(one.lock(f, 10, 10), GRANTED, "LOCK")
        expect(two.lock(f, 15, 1), DENIED, "in its way")
        expect(two.test(f, 0, 0), (True, 1, b"oh", 10, 10), "TEST")
        expect(one.lock(f, 15, 1, process=2), DENIED, "another process of the host")
        expect(one.lock(f, 12, 4, exclusive=0), GRANTED, "its middle shared")
        expect(two.lock(f, 12, 4, exclusive=0), GRANTED, "with another reader")
        expect(two.unlock(f, 0, 0), GRANTED, "UNLOCK of everything")
        expect(one.unlock(f, 0, 18), GRANTED, "UNLOCK")
        expect(two.test(f, 0, 0), (True, 1, b"oh", 18, 2), "what is left")
        expect(one.lock(f, 1 << 40, 0), GRANTED, "to the end")
        expect(two.test(f, 1 << 41, 1), (True, 1, b"oh", 1 << 40, 0), "far behind")
        expect(one.unlock(f, 0, 0), GRANTED, "all")
        expect(two.test(f, 0, 0), GRANTED, "free")
        expect(one.lock(b"\1" + os.urandom(40), 0, 0), STALE_FH, "a forged handle")
        expect(one.lock(self.root, 0, 0), 9, "a directory")

    def with_v4(self):
        f = self.file("both")
        a = Locker(self.c, b"v4")
        file, opened = a.open(a.walk("files"), "both", how=UNCHECKED)
        locked = a.lock(file, WRITE, 100, 50, opened, b"four")
        expect(self.one.lock(f, 120, 1), DENIED, "v4 is in NLM's way")
        expect(self.one.test(f, 0, 0)[3:], (100, 50), "TEST")
        expect(self.one.lock(f, 0, 50), GRANTED, "beside it")
        expect(a.lockt(file, READ, 0, END, b"x"), (0, 50, WRITE, b"oh"), "NLM is in v4's way")
        expect(self.one.share(20, f, 2, 1), DENIED, "SHARE against an OPEN to write")
        a.locku(file, 0, END, locked)
        expect(a.close(file, opened), 0, "CLOSE")
        expect(self.one.share(20, f, 2, 1), GRANTED, "SHARE")
        expect(a.open(a.walk("files"), "both"), 10015, "denies OPEN to write")
        expect(self.one.share(21, f, 2, 1), GRANTED, "UNSHARE")
        a.close(*a.open(a.walk("files"), "both"))
        self.one.unlock(f, 0, 0)

    def waiting(self, lockd):
        f, one, two = self.file("waits"), self.one, self.two
        expect(two.lock(f, 0, 0), GRANTED, "LOCK")
        expect(one.lock(f, 5, 5, block=1), BLOCKED, "waits")
        expect(one.lock(f, 5, 5, block=1), BLOCKED, "asked again: waits once")
        expect(one.lock(f, 50, 5, block=1, process=2), BLOCKED, "another waits")
        expect(one.cancel(f, 50, 5, process=2), GRANTED, "CANCEL")
        expect(one.cancel(f, 50, 5, process=2), DENIED, "again")
        expect(two.unlock(f, 0, 0), GRANTED, "UNLOCK")
        told = lockd.wait(1)
        expect(told, ("granted", 5, 1, b"caller", f, b"oh", 1, 5, 5), "GRANTED")
        expect(two.test(f, 0, 0), (True, 1, b"oh", 5, 5), "it has it")
        expect(one.lock(f, 5, 5, block=1), GRANTED, "asking again finds it granted")
        lockd.say = DENIED
        expect(two.lock(f, 20, 5), GRANTED, "LOCK")
        expect(one.lock(f, 20, 5, block=1), BLOCKED, "waits")
        two.unlock(f, 20, 5)
        assert lockd.wait(2), "told"
        end = time.monotonic() + 60
        while two.test(f, 20, 5) != GRANTED and time.monotonic() < end:
            time.sleep(0.02)
        expect(two.test(f, 20, 5), GRANTED, "a lock that is not wanted is given back")
        lockd.go.clear()
        expect(two.lock(f, 30, 5), GRANTED, "LOCK")
        expect(one.lock(f, 30, 5, block=1), BLOCKED, "waits")
        two.unlock(f, 30, 5)
        assert lockd.wait(3), "told"
        expect(one.lock(f, 30, 5, block=1), GRANTED, "asks again before it has heard that")
        lockd.go.set()
        time.sleep(0.3)
        expect(two.lock(f, 30, 5), DENIED, "what it was told in an answer stays its own")
        lockd.say = GRANTED
        one.unlock(f, 0, 0)

    def secure(self):
        """Where only ports below 1024 are let in, only they may say that the host has restarted."""
        ports = iter(random.sample(range(600, 1023), 100))

        def low(address):
            while True:
                try:
                    return Host(self.port, address, source_port=next(ports))
                except OSError:
                    continue
        holder, other = low(HOSTS[0]), low(HOSTS[1])
        _, root = rpc.mount(holder.c, "/secure")
        f = rpc.Nfs3(holder.c).create(root, "locked", mode=0o644).handle
        mine = self.file("mine")
        expect(holder.lock(f, 0, 1), GRANTED, "LOCK")
        expect(holder.lock(mine, 0, 1), GRANTED, "LOCK where all ports are let in")
        for program, procedure in ((NSM, 6), (NLM, 23)):
            self.one.c.good(program, 1 if program == NSM else 4, procedure,
                            opaque("x") + u32(0))
            expect(other.lock(f, 0, 1), DENIED, "not from a high port")
        expect(self.two.lock(mine, 0, 1), GRANTED, "but there it may")
        holder.c.good(NSM, 1, 6, opaque("x") + u32(0))
        expect(other.lock(f, 0, 1), GRANTED, "NOTIFY from a low one")
        other.unlock(f, 0, 1)
        self.two.unlock(mine, 0, 1)

    def strangers(self):
        """Hosts that get nothing are nobody: more of them than there is room for."""
        f = self.file("strangers")
        for i in range(520):
            host = Host(self.port, f"127.1.{i // 200}.{i % 200 + 1}")
            expect(host.lock(f, 0, 1, reclaim=1), GRACE, "nothing to reclaim")
            host.c.close()
        last = Host(self.port, "127.1.9.9")
        expect(last.lock(f, 0, 1), GRANTED, "LOCK of one more")
        last.unlock(f, 0, 1)
        last.c.close()

    def host_restarts(self):
        f = self.file("hosts")
        expect(self.one.lock(f, 0, 10), GRANTED, "LOCK")
        expect(self.one.lock(f, 0, 10, process=7, exclusive=0), DENIED, "another process")
        self.two.c.good(NSM, 1, 6, opaque("somebody else") + u32(77))
        expect(self.two.test(f, 0, 0)[3:], (0, 10), "NOTIFY is for the host that says it")
        self.one.c.good(NSM, 1, 6, opaque("whatever") + u32(3))
        expect(self.two.test(f, 0, 0), GRANTED, "its locks are gone")
        self.one.state = 3
        expect(self.one.lock(f, 0, 10), GRANTED, "LOCK")
        self.one.state = 5
        expect(self.one.lock(f, 100, 1), GRANTED, "with another state")
        expect(self.two.lock(f, 0, 10), GRANTED, "what it had before went")
        self.two.c.good(NLM, 4, 23, opaque("x") + u32(0))
        expect(self.one.test(f, 0, 10), GRANTED, "FREE_ALL")
        self.one.unlock(f, 0, 0)


def withdrawn(lockd):
    """Locks go with their share; when it comes back their hosts are asked to reclaim."""
    server = rpc.MemoryServer(lease=4)
    try:
        heard = len(lockd.heard)
        suite = Suite(server)
        f, one, two = suite.file("away"), suite.one, suite.two
        expect(one.lock(f, 0, 10), GRANTED, "LOCK")
        expect(one.share(20, f, 2, 1), GRANTED, "SHARE")
        expect(two.lock(f, 5, 1, block=1), BLOCKED, "waits")
        server.order("share 0")
        expect(one.unlock(f, 0, 10), STALE_FH, "UNLOCK of what is not there")
        server.order("share 0")
        told = lockd.wait(heard + 1)
        assert told and told[0] == "notify", told
        expect(two.lock(f, 0, 1), GRACE, "its host comes first")
        end = time.monotonic() + 60
        while two.lock(f, 0, 1) == GRACE and time.monotonic() < end:
            time.sleep(0.1)
        expect(two.lock(f, 0, 10), GRANTED, "nobody has it any more")
        expect(two.share(20, f, 3, 3), GRANTED, "nor a reservation")
        suite.c.close()
    finally:
        status, said = server.stop()
    expect((status, said.count("ERROR")), (0, 0), said)


class TooSlow(Exception):
    """The record was gone before all was asked."""


def settling(lockd):
    """A second for a record to go; more where the machine does much else."""
    for seconds in (1, 4, 16):
        try:
            return settled(lockd, seconds)
        except TooSlow:
            continue
    raise AssertionError("this machine is too slow to see it")


def settled(lockd, seconds):
    """What is taken from a client that was silent is nobody's until its record is gone: here that
    takes @seconds."""
    server = rpc.MemoryServer(lease=1)
    try:
        heard = len(lockd.heard)
        suite = Suite(server)
        f, one, two = suite.file("settles"), suite.one, suite.two
        quiet, busy = Locker(suite.c, b"quiet"), Locker(suite.c, b"busy")
        root = quiet.walk("files")
        file, opened = quiet.open(root, "settles")
        quiet.lock(file, WRITE, 0, 10, opened, b"p")
        _, mine = busy.open(root, "settles")
        expect(one.lock(f, 300, 1), GRANTED, "LOCK: a record")
        server.order(f"slow {seconds * 1000}")
        time.sleep(1.2)
        busy.ops(u32(24))
        begun = time.monotonic()
        expect(one.lock(f, 0, 10, block=1), BLOCKED, "waits for the silent one's")
        late = []

        def patient():
            with server.connect() as other:
                got = Locker(other, b"patient").open(root, "settles")
                late.append((got[0] == file, time.monotonic() - begun))
        waits = threading.Thread(target=patient)
        waits.start()
        expect(two.lock(f, 200, 1), GRACE, "LOCK of NLM")
        expect(one.lock(f, 0, 10, block=1), GRACE, "asked again")
        expect(len(lockd.heard), heard, "nobody is told yet")
        if time.monotonic() - begun > 0.8 * seconds:
            raise TooSlow
        assert lockd.wait(heard + 1), "told"
        assert time.monotonic() - begun > 0.9 * seconds, "before the record was gone"
        waits.join()
        assert late[0][0] and late[0][1] > 0.9 * seconds, f"OPEN of v4 waits: {late}"
        expect(len(busy.lock(file, WRITE, 100, 10, mine, b"b")), 16, "LOCK of v4")
        expect(two.lock(f, 200, 1), GRANTED, "LOCK of NLM")
        suite.c.close()
    finally:
        server.stop()


def restart(folder, lockd):
    state = os.path.join(folder, "state")

    def start():
        server = Server(state, "127.0.0.1", nfs_port=0, more=("--nfs-lease", "4"))
        return server, int(re.search(r"^READY .*nfs=(\d+)", server.log(), re.M).group(1))

    server, port = start()
    try:
        # The hosts of this test come from other loopback addresses.
        for host in HOSTS:
            server.granary("share", "allow", "tank/files", "--client", host, "--no-root-squash",
                           "--insecure")
        heard = len(lockd.heard)
        with rpc.Connection(port) as c:
            _, root = rpc.mount(c, "/files")
            f = rpc.Nfs3(c).create(root, "locked", mode=0o644).handle
        one = Host(port, HOSTS[0])
        expect(one.lock(f, 0, 10), GRANTED, "LOCK")
        for life in (1, 2):  # what was claimed can be claimed again
            one.c.close()
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            server, port = start()
            told = lockd.wait(heard + life)
            assert told and told[:3] == ("notify", 6, b"127.0.0.1") and told[3] % 2, (life, told)
            one, two = (Host(port, host) for host in HOSTS)
            expect(two.lock(f, 0, 1), GRACE, "LOCK in grace")
            if life == 1:
                expect(two.lock(f, 0, 1, reclaim=1), GRACE, "it had none")
            expect(one.lock(f, 0, 10, reclaim=1), GRANTED, "reclaimed")
            end = time.monotonic() + 60
            while two.lock(f, 0, 1) == GRACE and time.monotonic() < end:
                time.sleep(0.1)
            expect(two.lock(f, 0, 1), DENIED, "it is locked as before")
            expect(one.lock(f, 0, 10, reclaim=1), GRACE, "too late to reclaim")
            two.c.close()
        two = Host(port, HOSTS[1])
        expect(two.lock(f, 10, 1), GRANTED, "the rest is free")
        expect(server.stop(), 0, "the daemon stops cleanly")
    finally:
        server.stop()


def test(t):
    if os.getuid() != 0:
        raise tap.Skip("needs root (port 111 of a loopback address)")
    lockd = Lockd(HOSTS[0])
    server = rpc.MemoryServer()
    try:
        suite = Suite(server)
        for name in ("programs", "ranges", "with_v4", "host_restarts", "secure", "strangers"):
            case(t, name, getattr(suite, name))
        case(t, "waiting", lambda: suite.waiting(lockd))
    finally:
        status, said = server.stop()
    t.point(status == 0, "the server ends cleanly", said)
    case(t, "withdrawn and back", lambda: withdrawn(lockd))
    case(t, "settling", lambda: settling(lockd))
    folder = tempfile.mkdtemp(prefix="granary-nlm-")
    try:
        case(t, "killed and restarted", lambda: restart(folder, lockd))
    finally:
        lockd.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    tap.run(test)
