#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 asan
"""Copies of NFSv4.2 that go on in the background (RFC 7862 4.8): which do, CB_OFFLOAD with what was
copied or why not, OFFLOAD_STATUS, OFFLOAD_CANCEL, how many there may be, and their end with the
client, the share, a delegation in the way and the server."""

import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import rpc_client as rpc   # pylint: disable=wrong-import-position
from rpc_client import u32, u64   # pylint: disable=wrong-import-position
from nfs41_wire_test import Client, compound, expect, putfh, SAVEFH, UNCHECKED   # pylint: disable=wrong-import-position
from nfs4_delegation_test import BackConnection, Holder, attempt   # pylint: disable=wrong-import-position
from nfs4_locks_test import case   # pylint: disable=wrong-import-position
import tap                 # pylint: disable=wrong-import-position

OK, STALE, DELAY, NOFILEHANDLE, BAD_STATEID, NOTSUPP = 0, 70, 10008, 10020, 10025, 10004
MIB, BLOCK, ZERO = 1 << 20, 4096, u32(0) + bytes(12)
RUNNING, WANT_READ, LEASE = 4, 0x100, 3


class Suite:
    def __init__(self, server):
        self.server = server
        self.c = BackConnection(server.port)
        self.a = Holder(self.c, b"copies", minor=2)
        self.root = self.a.walk("files")
        self.data = os.urandom(24 * MIB)
        self.source = self.write("source", self.data)

    def write(self, name, data):
        handle, stateid = self.a.open(self.root, name, how=UNCHECKED)
        for at in range(0, len(data), MIB):
            expect(self.a.write(handle, stateid, at, data[at:at + MIB]), OK, "WRITE")
        expect(self.a.close(handle, stateid), OK, "CLOSE")
        return handle

    def read(self, handle, length):
        return b"".join(self.a.read(handle, ZERO, at, min(MIB, length - at))[1]
                        for at in range(0, length, MIB))

    def copy(self, target, start=0, to=0, count=0, synchronous=False, a=None, source=None):
        """COPY: (stateid or None, bytes, verifier), or the failing status."""
        result = (a or self.a).ops(putfh(source or self.source), SAVEFH, putfh(target),
                                   u32(60) + ZERO + ZERO + u64(start, to, count) +
                                   u32(1, synchronous, 0))
        for op in (22, 32, 22):
            result.good(op)
        status = result.result(60)
        if status != OK:
            return status
        r = result.r
        stateid = r.take(16) if r.u32() else None
        got = stateid, r.u64(), r.u32(), r.take(8)
        expect((r.bool(), r.bool()), (True, stateid is None), "consecutive, synchronous")
        expect(got[2], 0, "UNSTABLE")
        return got[0], got[1], got[3]

    def status(self, target, stateid, a=None):
        """OFFLOAD_STATUS: (bytes, None or a status), or the failing one."""
        result = (a or self.a).ops(putfh(target), u32(67) + stateid)
        result.good(22)
        status = result.result(67)
        if status != OK:
            return status
        copied = result.r.u64()
        ended = [result.r.u32() for _ in range(result.r.u32())]
        return copied, ended[0] if ended else None

    def cancel(self, target, stateid, a=None):
        result = (a or self.a).ops(putfh(target), u32(66) + stateid)
        result.good(22)
        return result.result(66)

    def told(self, limit=60):
        """The next CB_OFFLOAD."""
        call = self.c.wait(limit)
        if call is None:
            return None
        expect((call.procedure, call.minor), (1, 2), "CB_COMPOUND of the session's minor version")
        expect(call.operations[0][:2], (11, self.a.session), "CB_SEQUENCE")
        expect(call.operations[1][0], 15, "CB_OFFLOAD")
        return call.operations[1][1:]

    def slowly(self, run, milliseconds):
        self.server.order(f"writes {milliseconds}")
        try:
            return run()
        finally:
            self.server.order("writes 0")

    # ---- which

    def apart(self):
        """A long one that can not be cloned."""
        target = self.write("apart", b"")
        stateid, count, verifier = self.copy(target, 1, 0, len(self.data) - 1)
        expect((stateid is None, count), (False, 0), "in the background")
        expect(self.told(), (target, stateid, OK, len(self.data) - 1, 0, verifier), "CB_OFFLOAD")
        expect(self.read(target, len(self.data) - 1) == self.data[1:], True, "what was copied")
        expect(attempt(lambda: self.status(target, stateid) == BAD_STATEID, False), True,
               "its stateid is nobody's when that is answered")
        expect(self.c.wait(1), None, "nothing more")

    def at_once(self):
        target = self.write("at once", b"")
        expect(self.copy(target, 1, 0, 0, True)[:2], (None, len(self.data) - 1), "if it has to be")
        expect(self.copy(target, 1, 0, 16 * MIB)[:2], (None, 16 * MIB), "if it is short")
        expect(self.copy(target)[:2], (None, len(self.data)), "if it is cloned")
        with self.server.connect() as c:
            plain = Holder(c, b"not called", back=False, minor=2)
            expect(self.copy(target, 1, 0, 0, False, plain)[:2], (None, len(self.data) - 1),
                   "if nobody can be called")
        expect(self.read(target, len(self.data) - 1) == self.data[1:], True, "what was copied")

    # ---- while it goes on

    def progress(self):
        target = self.write("progress", b"")

        def watch():
            stateid = self.copy(target, 1, 0, 0)[0]
            seen = set()
            while len(seen) < 5:
                copied, ended = self.status(target, stateid)
                expect((ended, copied % MIB), (None, 0), "not ended; by steps")
                seen.add(copied)
            expect(self.status(target, u32(0) + stateid[4:])[1], None, "seqid 0")
            expect(self.status(target, u32(2) + stateid[4:]), BAD_STATEID, "a later one")
            with self.server.connect() as c:
                other = Client(c, b"other's", minor=2)
                expect(self.status(target, stateid, other), BAD_STATEID, "another client's")
                expect(self.cancel(target, stateid, other), BAD_STATEID, "another client's")
            self.a.fails(NOFILEHANDLE, u32(67) + stateid)
            self.a.fails(NOFILEHANDLE, u32(66) + stateid)
            for forged in (u32(1) + os.urandom(12), ZERO, u32(1) + stateid[4:8] + b"\xff" * 8):
                expect(self.status(target, forged), BAD_STATEID, "forged")
            return stateid
        stateid = self.slowly(watch, 60)
        expect(self.told()[1:4], (stateid, OK, len(self.data) - 1), "the end")

    def cancelled(self):
        target = self.write("cancelled", b"")

        def run():
            stateid = self.copy(target, 1, 0, 0)[0]
            attempt(lambda: self.status(target, stateid)[0] == 0, True)
            expect(self.cancel(target, stateid), OK, "OFFLOAD_CANCEL")
            size = len(self.read(target, len(self.data)))
            expect(self.status(target, stateid), BAD_STATEID, "OFFLOAD_STATUS")
            expect(self.cancel(target, stateid), BAD_STATEID, "once more")
            return size
        size = self.slowly(run, 300)
        expect(0 < size < len(self.data) - 1, True, f"{size} bytes are there")
        expect(self.c.wait(1.5), None, "nobody is called")
        # The step that was under way is over when the client hears that the copy is.
        expect(len(self.read(target, len(self.data))), size, "nothing goes on")

    def crowd(self):
        """So many of a client; one more is done at once."""
        targets = [self.write(f"crowd {number}", b"") for number in range(RUNNING + 1)]

        def run():
            stateids = [self.copy(target, 1, 0, 17 * MIB)[0] for target in targets[:RUNNING]]
            expect(None in stateids, False, "in the background")
            expect(self.copy(targets[-1], 1, 0, 17 * MIB)[:2], (None, 17 * MIB), "at once")
            return stateids
        wanted = set(self.slowly(run, 50))
        heard = lambda: {call.operations[1][2] for call in self.c.calls if call.procedure}
        while not heard() >= wanted:
            expect(self.c.wait() is None, False, "CB_OFFLOAD")
        for target in targets:
            expect(self.read(target, 17 * MIB) == self.data[1:1 + 17 * MIB], True, "copied")

    # ---- the end

    def failed(self):
        """Its share is exported no more: how far it came, and why no further."""
        target = self.write("failed", b"")
        stateid = self.slowly(lambda: self.stop_share(target), 60)
        handle, told, status, count = self.told()
        expect((handle, told, status), (target, stateid, STALE), "CB_OFFLOAD")
        expect(0 < count < len(self.data) - 1, True, f"{count} bytes")
        self.server.order("share 0")
        attempt(lambda: isinstance(self.a.read(target, ZERO, 0, 1), int), True)   # its grace period
        expect(len(self.read(target, len(self.data))), count, "as much is there")

    def stop_share(self, target):
        stateid = self.copy(target, 1, 0, 0)[0]
        attempt(lambda: self.status(target, stateid)[0] == 0, True)
        self.server.order("share 0")
        return stateid

    def unheard(self):
        """A client that says "later" is called again, and may ask meanwhile."""
        target = self.write("unheard", b"")
        self.c.answer = lambda call: call.answer(status=DELAY)
        stateid, _, verifier = self.copy(target, 1, 0, 0)
        expect(self.told()[1], stateid, "the first call")
        expect(self.status(target, stateid), (len(self.data) - 1, OK), "it has ended")
        self.c.answer = lambda call: call.answer()
        expect(self.told(), (target, stateid, OK, len(self.data) - 1, 0, verifier), "once more")
        expect(attempt(lambda: self.status(target, stateid) == BAD_STATEID, False), True, "heard")

    def delegated(self):
        """Who has the file that is written delegated is asked first; the copy waits."""
        target = self.write("delegated", b"x")
        with BackConnection(self.server.port) as c:
            holder = Holder(c, b"has it")
            handle, opened, given = holder.take(self.root, "delegated", WANT_READ)
            expect(isinstance(given, bytes), True, f"a delegation: {given}")
            expect(holder.close(handle, opened), OK, "CLOSE")
            stateid = self.copy(target, 1, 0, 0)[0]
            expect(c.wait().recall, (4, given, False, handle), "CB_RECALL")
            expect(self.status(target, stateid), (0, None), "it waits")
            expect(holder.give_back(handle, given), OK, "DELEGRETURN")
            expect(self.told()[1:4], (stateid, OK, len(self.data) - 1), "then it goes on")

    def client_goes(self):
        """A client that goes takes its copies along."""
        target = self.write("gone", b"")

        def run():
            with BackConnection(self.server.port) as c:
                short = Holder(c, b"short", minor=2)
                stateid = self.copy(target, 1, 0, 0, False, short)[0]
                attempt(lambda: self.status(target, stateid, short)[0] == 0, True)
                expect(compound(c, [u32(44) + short.session], 2).status, OK, "DESTROY_SESSION")
                expect(compound(c, [u32(57) + u64(short.id)], 2).status, OK, "DESTROY_CLIENTID")
        self.slowly(run, 60)
        time.sleep(0.5)
        size = len(self.read(target, len(self.data)))
        time.sleep(0.5)
        expect(len(self.read(target, len(self.data))), size, "nothing goes on")
        expect(0 < size < len(self.data) - 1, True, f"{size} bytes are there")

    def server_stops(self):
        """With copies under way; see below."""
        self.server.order("writes 100")
        for number in range(RUNNING):
            target = self.write(f"stop {number}", b"")
            expect(self.copy(target, 1, 0, 0)[0] is None, False, "in the background")


CASES = ("apart", "at_once", "progress", "cancelled", "crowd", "failed", "unheard", "delegated",
         "client_goes", "server_stops")


def test(t):
    server = rpc.MemoryServer(lease=LEASE)
    try:
        suite = Suite(server)
        for name in CASES:
            case(t, name, getattr(suite, name))
    finally:
        status, said = server.stop()
    t.point(status == 0, "the server ends cleanly", said)


if __name__ == "__main__":
    tap.run(test)
