#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one waits
"""Byte-range locks of NFSv4 over the wire: v4.1 with its stateids, v4.0 with sequence numbers and
their retries, both on the same files; leases that run out; and a server that is killed and comes
back: grace, reclaim, and its early end."""

import os
import re
import shutil
import signal
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import rpc_client as rpc   # pylint: disable=wrong-import-position
from rpc_client import u32, u64, opaque   # pylint: disable=wrong-import-position
from nfs41_wire_test import (  # pylint: disable=wrong-import-position
    Client, Compound, compound, create_session, expect, putfh, lookup, open_file, PUTROOTFH, GETFH,
    SAVEFH, RESTORE, exchange_id, UNCHECKED, ZERO)
import nfs4_delegation_test as delegation   # pylint: disable=wrong-import-position
from server import Server  # pylint: disable=wrong-import-position
import tap                 # pylint: disable=wrong-import-position

OK, ISDIR, INVAL, NOSPC, DELAY, DENIED, LOCKED, GRACE = 0, 21, 22, 28, 10008, 10010, 10012, 10013
EXPIRED = 10011
SHARE_DENIED, STALE_CLIENTID, STALE_STATEID, OLD_STATEID, BAD_STATEID, BAD_SEQID = (
    10015, 10022, 10023, 10024, 10025, 10026)
NO_GRACE, LOCKS_HELD, OPENMODE, BADSESSION, COMPLETE_ALREADY = 10033, 10037, 10038, 10052, 10054
READ, WRITE, END = 1, 2, (1 << 64) - 1
CURRENT = u32(1) + bytes(12)  # the stateid that the compound made


def lock_op(kind, first, length, stateid, owner=None, client=0, reclaim=0, seqid=0, lock_seqid=0):
    """LOCK; with an owner: @stateid is the open's."""
    op = u32(12, kind, reclaim) + u64(first) + u64(length)
    if owner is None:
        return op + u32(0) + stateid + u32(seqid)
    return op + u32(1, seqid) + stateid + u32(lock_seqid) + u64(client) + opaque(owner)


def lockt_op(kind, first, length, owner, client=0):
    return u32(13, kind) + u64(first) + u64(length) + u64(client) + opaque(owner)


def locku_op(first, length, stateid, seqid=0):
    return u32(14, WRITE, seqid) + stateid + u64(first) + u64(length)


def denied(r):
    """LOCK4denied: first, length, kind, owner."""
    got = r.u64(), r.u64(), r.u32()
    r.u64()
    return got + (r.opaque(),)


class Locker(Client):
    """v4.1: every method gives the new stateid, the conflict (a tuple) or the status."""

    def answer(self, result, op):
        status = result.result(op)
        if status == DENIED:
            return denied(result.r)
        return result.r.take(16) if status == OK and op != 13 else status

    def lock(self, handle, *args, **how):
        result = self.ops(putfh(handle), lock_op(*args, **how))
        result.good(22)
        return self.answer(result, 12)

    def lockt(self, handle, *args):
        result = self.ops(putfh(handle), lockt_op(*args))
        result.good(22)
        return self.answer(result, 13)

    def locku(self, handle, *args):
        result = self.ops(putfh(handle), locku_op(*args))
        result.good(22)
        return self.answer(result, 14)

    def reclaim_open(self, handle, owner=b"me", access=3):
        result = self.ops(putfh(handle), open_file("", access=access, owner=owner, claim=1) +
                          u32(0))
        result.good(22)
        status = result.result(18)
        return result.r.take(16) if status == OK else status

    def complete(self):
        return self.ops(u32(58, 0)).status


class Old:
    """A client of v4.0 with one open owner, which counts."""

    def __init__(self, connection, name, verifier=b"v" * 8, cred=None):
        self.c, self.seqid, self.cred = connection, 0, cred
        r = self.ops(u32(35) + verifier + opaque(name) + u32(1) + opaque("tcp") +
                     opaque("127.0.0.1.0.1") + u32(1)).good(35)
        self.id, confirm = r.u64(), r.take(8)
        expect(self.ops(u32(36) + u64(self.id) + confirm).status, OK, "SETCLIENTID_CONFIRM")

    def ops(self, *ops):
        return compound(self.c, list(ops), minor=0, cred=self.cred)

    def raw_open(self, directory, name, seqid, owner=b"old", access=3, deny=0):
        return self.ops(putfh(directory), u32(18, seqid, access, deny) + u64(self.id) +
                        opaque(owner) + u32(1) + UNCHECKED + u32(0) + opaque(name), GETFH)

    @staticmethod
    def opened(result):
        """(stateid, flags, handle) of an OPEN and GETFH."""
        result.good(22)
        r = result.good(18)
        stateid = r.take(16)
        r.take(20)
        flags = r.u32()
        r.take(4 * r.u32())
        expect(r.u32(), 0, "no delegation")
        return stateid, flags, result.good(10).opaque()

    def open(self, directory, name, **how):
        self.seqid += 1
        stateid, flags, handle = self.opened(self.raw_open(directory, name, self.seqid, **how))
        if flags & 2:
            self.seqid += 1
            result = self.ops(putfh(handle), u32(20) + stateid + u32(self.seqid))
            result.good(22)
            stateid = result.good(20).take(16)
        return handle, stateid

    def one(self, handle, op, number):
        """(status, reader) of an operation on a file."""
        result = self.ops(putfh(handle), op)
        result.good(22)
        return result.result(number), result.r


class Suite:
    def __init__(self, server):
        self.server = server
        self.c = server.connect()
        self.a, self.b = Locker(self.c, b"lock a"), Locker(self.c, b"lock b")
        self.root = self.a.walk("files")

    def ranges(self):
        a, b = self.a, self.b
        file, opened = a.open(self.root, "ranges", how=UNCHECKED)
        _, theirs = b.open(self.root, "ranges")
        first = a.lock(file, WRITE, 10, 10, opened, b"p")
        expect(len(first), 16, "LOCK")
        expect(b.lock(file, READ, 15, 1, theirs, b"p"), (10, 10, WRITE, b"p"), "LOCK in its way")
        expect(b.lockt(file, READ, 0, END, b"x"), (10, 10, WRITE, b"p"), "LOCKT")
        expect(a.lockt(file, WRITE, 0, END, b"p"), OK, "one's own is not in the way")
        expect(a.lockt(file, WRITE, 0, END, b"q"), (10, 10, WRITE, b"p"), "another of its owners")
        expect(b.lockt(file, WRITE, 20, END, b"x"), OK, "behind it")
        second = a.lock(file, READ, 14, 2, first)
        expect((second[4:], second[:4]), (first[4:], u32(2)), "the same state, one further")
        expect(b.lockt(file, READ, 14, 2, b"x"), OK, "a shared part in the middle")
        expect(b.lockt(file, WRITE, 14, 100, b"x")[:3], (14, 2, READ), "is in a writer's way")
        expect(a.lock(file, READ, 0, 1, first), OLD_STATEID, "an older seqid")
        expect(a.locku(file, 0, END, u32(9) + first[4:]), BAD_STATEID, "one to come")
        third = a.locku(file, 12, 6, second)
        expect(b.lockt(file, WRITE, 12, 6, b"x"), OK, "LOCKU of the middle")
        expect(b.lockt(file, WRITE, 0, END, b"x")[:3], (10, 2, WRITE), "what is left")
        expect(a.ops(u32(45) + third).status, LOCKS_HELD, "FREE_STATEID with locks")
        expect(a.ops(u32(45) + opened).status, LOCKS_HELD, "of an open")
        result = a.ops(u32(55, 3) + third + first + ZERO)
        r = result.good(55)
        expect([r.u32() for _ in range(r.u32())], [OK, OLD_STATEID, BAD_STATEID], "TEST_STATEID")
        fourth = a.locku(file, 0, END, third)
        expect(b.lockt(file, WRITE, 0, END, b"x"), OK, "all given back")
        expect(a.ops(u32(45) + fourth).status, OK, "FREE_STATEID")
        expect(a.lock(file, READ, 0, 1, fourth), BAD_STATEID, "it is gone")
        expect(len(a.lock(file, WRITE, 5, END, opened, b"p")), 16, "to the end")
        expect(b.lockt(file, READ, 1 << 62, 1, b"x"), (5, END, WRITE, b"p"), "far behind")
        expect(a.close(file, opened), OK, "CLOSE with locks")
        expect(b.lockt(file, WRITE, 0, END, b"x"), OK, "gives them back")
        b.close(file, theirs)

    def errors(self):
        a = self.a
        file, reader = a.open(self.root, "errors", how=UNCHECKED, access=1)
        expect(a.lock(file, WRITE, 0, 1, reader, b"p"), OPENMODE, "WRITE_LT on a reader")
        expect(len(a.lock(file, READ, 0, 1, reader, b"p")), 16, "READ_LT on it")
        expect(a.lock(file, READ, 0, 0, reader, b"p"), INVAL, "length 0")
        expect(a.lock(file, READ, END, 2, reader, b"p"), INVAL, "past the last byte")
        expect(a.lock(file, READ, 5, END - 3, reader, b"p"), INVAL, "past the last byte")
        expect(a.lock(file, READ, END, 1, reader, b"p")[:4], u32(2), "the last byte itself")
        expect(a.lock(file, READ, 0, 1, ZERO, b"p"), BAD_STATEID, "the anonymous stateid")
        expect(a.lock(file, READ, 0, 1, reader, b"p", reclaim=1), NO_GRACE, "nothing to reclaim")
        expect(self.b.lock(file, READ, 0, 1, reader, b"p"), BAD_STATEID, "another's stateid")
        expect(a.lockt(self.root, READ, 0, 1, b"p"), ISDIR, "LOCKT of a directory")
        other, state = a.open(self.root, "errors 2", how=UNCHECKED)
        expect(a.lock(file, READ, 0, 1, state, b"p"), BAD_STATEID, "of another file")
        a.fails(ISDIR, PUTROOTFH, lock_op(READ, 0, 1, reader, b"p"))
        a.fails(10020, lock_op(READ, 0, 1, reader, b"p"))
        a.close(file, reader)
        a.close(other, state)
        young = Locker(self.c, b"young", complete=False)
        expect(young.open(self.root, "errors"), GRACE, "OPEN before RECLAIM_COMPLETE")
        expect(young.ops(putfh(self.root), u32(58, 1)).status, OK, "of one file system")
        expect(young.complete(), OK, "RECLAIM_COMPLETE")
        expect(young.complete(), COMPLETE_ALREADY, "again")
        young.close(*young.open(self.root, "errors"))

    def downgrade(self):
        a = self.a
        file, first = a.open(self.root, "down", how=UNCHECKED, access=1)
        _, both = a.open(self.root, "down", access=3)
        expect(a.ops(putfh(file), u32(21) + both + u32(0, 2, 0)).status, INVAL, "never opened so")
        result = a.ops(putfh(file), u32(21) + both + u32(0, 1, 0))
        result.good(22)
        stateid = result.good(21).take(16)
        expect(a.write(file, stateid, 0, b"x"), OPENMODE, "downgraded")
        expect(first[4:], stateid[4:], "one state")
        expect(a.close(file, stateid), OK, "CLOSE")

    def courtesy(self):
        """A lease of two seconds: state outlives it until somebody is in need."""
        server = rpc.MemoryServer(lease=2)
        try:
            c = server.connect()
            quiet, busy = Locker(c, b"quiet"), Locker(c, b"busy")
            root = quiet.walk("files")
            file, opened = quiet.open(root, "file", how=UNCHECKED)
            locked = quiet.lock(file, WRITE, 0, END, opened, b"p")
            _, theirs = busy.open(root, "file")
            time.sleep(2.5)
            busy.ops(PUTROOTFH)
            expect(quiet.read(file, locked, 0, 1), (True, b""), "late, but nobody minded")
            time.sleep(2.5)
            got = busy.lock(file, WRITE, 0, 10, theirs, b"p")
            expect(len(got) if isinstance(got, (bytes, tuple)) else got, 16, "gives way")
            expect(compound(c, [quiet.sequence_op(quiet.sequence + 1)]).status, BADSESSION,
                   "all it had is gone")
            self.expires(c, busy, root)
            c.close()
        finally:
            server.stop()

    @staticmethod
    def expires(c, busy, root):
        """What is taken from a client of v4.0 it hears of as NFS4ERR_EXPIRED."""
        old = Old(c, b"expires")
        file, stateid = old.open(root, "expires", deny=2)
        status, r = old.one(file, lock_op(WRITE, 0, 10, stateid, b"p", old.id, seqid=3,
                                          lock_seqid=1), 12)
        expect(status, OK, "LOCK")
        held = r.take(16)
        time.sleep(2.2)
        expect(old.one(file, u32(25) + held + u64(0) + u32(4), 25)[0], OK, "READ: nobody minded")
        expect(busy.open(root, "expires", access=2), SHARE_DENIED, "the lease is renewed by it")
        time.sleep(2.2)
        expect(busy.open(root, "expires", access=2)[0], file, "it gives way")
        read = u32(25) + stateid + u64(0) + u32(4)
        for name, op, number in (("READ", read, 25), ("CLOSE", u32(4, 4) + stateid, 4),
                                 ("LOCKU", locku_op(0, END, held, 2), 14)):
            expect(old.one(file, op, number)[0], EXPIRED, name)
        expect(old.ops(u32(30) + u64(old.id)).status, EXPIRED, "RENEW")
        expect(old.ops(u32(30) + u64(old.id + 1)).status, STALE_CLIENTID, "RENEW of nobody")

    def current_stateid(self):
        """The stateid that the compound made (RFC 8881 16.2.3.1.2)."""
        a, here = self.a, putfh(self.root)
        opened = open_file("current", how=UNCHECKED)
        take = lock_op(WRITE, 0, 9, CURRENT, b"p")
        write = u32(38) + CURRENT + u64(0) + u32(2) + opaque(b"text")
        close, free = u32(4, 0) + CURRENT, u32(45) + CURRENT
        give = locku_op(0, END, CURRENT)
        expect(a.ops(here, opened, write, close).status, OK, "OPEN, WRITE, CLOSE")
        expect(a.ops(here, opened, SAVEFH, take, write, give, free, RESTORE, close).status, OK,
               "LOCK, WRITE, LOCKU, FREE_STATEID, CLOSE of the OPEN")
        for what, status, *ops in (
                ("CLOSE twice", BAD_STATEID, opened, close, close),
                ("WRITE behind CLOSE", BAD_STATEID, opened, close, write),
                ("before there is one", BAD_STATEID, lookup("current"), write),
                ("CLOSE of a lock's", BAD_STATEID, opened, take, close),
                ("FREE_STATEID of an OPEN", LOCKS_HELD, opened, free),
                ("gone with another filehandle", BAD_STATEID, opened, here, close)):
            expect(a.ops(here, *ops).status, status, what)
        file, state = a.open(self.root, "current")
        expect(a.close(file, state), OK, "CLOSE")

    def old_locks(self):
        """v4.0: seqids, retries, and the same locks as v4.1's."""
        old = Old(self.c, b"old")
        first = old.raw_open(self.root, "old", 7)
        stateid, flags, file = old.opened(first)
        assert flags & 2, "must be confirmed"
        expect(old.opened(old.raw_open(self.root, "old", 7))[0], stateid, "a retry of OPEN")
        status, r = old.one(file, u32(20) + stateid + u32(8), 20)
        expect(status, OK, "OPEN_CONFIRM")
        stateid = r.take(16)
        expect(old.raw_open(self.root, "old", 7).status, BAD_SEQID, "an old seqid")
        expect(old.raw_open(self.root, "old", 10).status, BAD_SEQID, "one too far")
        take = lock_op(WRITE, 0, 10, stateid, b"p", 0, seqid=9, lock_seqid=100)
        expect(old.one(file, take, 12)[0], STALE_CLIENTID, "LOCK of no client")
        take = lock_op(WRITE, 0, 10, stateid, b"p", old.id, seqid=9, lock_seqid=100)
        status, r = old.one(file, take, 12)
        expect(status, OK, "LOCK")
        held = r.take(16)
        status, r = old.one(file, take, 12)
        expect((status, r.take(16)), (OK, held), "a retry of LOCK")
        expect(self.a.lockt(file, READ, 5, 1, b"x"), (0, 10, WRITE, b"p"), "v4.1 sees it")
        status, r = old.one(file, lock_op(WRITE, 10, 5, held, seqid=101), 12)
        expect(status, OK, "LOCK by its owner")
        held = r.take(16)
        expect(old.one(file, locku_op(0, END, held, 103), 14)[0], BAD_SEQID, "LOCKU, 103")
        bad = u32(8) + held[4:]
        expect(old.one(file, locku_op(0, END, bad, 102), 14)[0], BAD_STATEID, "a stateid to come")
        expect(old.ops(u32(39) + u64(old.id) + opaque("p")).status, LOCKS_HELD, "RELEASE_LOCKOWNER")
        stranger, theirs = self.a.open(self.root, "old")
        expect(len(self.a.lock(stranger, WRITE, 50, 10, theirs, b"n" * 40)), 16, "LOCK by v4.1")
        status, r = old.one(file, lock_op(READ, 40, 20, held, seqid=102), 12)
        expect((status, denied(r)), (DENIED, (50, 10, WRITE, b"n" * 40)), "in v4.0's way")
        status, r = old.one(file, lock_op(READ, 40, 20, held, seqid=102), 12)
        expect((status, denied(r)), (DENIED, (50, 10, WRITE, b"n" * 40)), "a retry of that")
        status, r = old.one(file, locku_op(0, END, held, 103), 14)
        expect(status, OK, "LOCKU")
        expect(self.a.lockt(file, WRITE, 0, 40, b"x"), OK, "free")
        expect(old.ops(u32(39) + u64(old.id) + opaque("p")).status, OK, "RELEASE_LOCKOWNER")
        expect(old.one(file, lockt_op(READ, 0, END, b"p", old.id), 13)[0], DENIED, "LOCKT")
        status, r = old.one(file, u32(4, 10) + stateid, 4)
        expect(status, OK, "CLOSE")
        closed = r.take(16)
        status, r = old.one(file, u32(4, 10) + stateid, 4)
        expect((status, r.take(16)), (OK, closed), "a retry of CLOSE")
        assert old.one(file, u32(4, 11) + stateid, 4)[0] in (OLD_STATEID, BAD_STATEID), "closed"
        self.a.close(stranger, theirs)

    def lock_owners_again(self):
        """A lock owner of v4.0 that is said to be new, and is not: its sequence begins anew when it
        has no locks any more (RFC 7530 9.1.10), and not before."""
        old = Old(self.c, b"begins anew")
        file, opened = old.open(self.root, "anew")
        other, elsewhere = old.open(self.root, "anew 2")

        def begin(handle, state, first, lock_seqid):
            old.seqid += 1
            status, r = old.one(handle, lock_op(WRITE, first, 1, state, b"p", old.id,
                                                seqid=old.seqid, lock_seqid=lock_seqid), 12)
            if status == BAD_SEQID:
                old.seqid -= 1
            return r.take(16) if status == OK else status
        held = begin(file, opened, 0, 5)
        expect(begin(file, opened, 1, 5), BAD_SEQID, "with a lock")
        expect(begin(file, opened, 1, 6), BAD_SEQID, "the next one")
        status, r = old.one(file, locku_op(0, END, held, 6), 14)
        expect(status, OK, "LOCKU")
        freed = r.take(16)
        far = begin(other, elsewhere, 0, 7)
        expect(begin(file, opened, 2, 0), BAD_SEQID, "with a lock of another file")
        expect(old.one(other, locku_op(0, END, far, 8), 14)[0], OK, "LOCKU of it")
        fresh = begin(file, opened, 3, 0)
        expect(len(fresh), 16, "without any")
        expect(self.a.lockt(file, READ, 0, END, b"x")[:3], (3, 1, WRITE), "it is there")
        expect(old.one(file, locku_op(0, END, freed, 1), 14)[0], BAD_STATEID, "the one before")
        status, r = old.one(file, lock_op(WRITE, 9, 1, fresh, seqid=1), 12)
        expect(status, OK, "LOCK, counted from there")
        fresh = r.take(16)
        expect(old.one(file, locku_op(0, END, fresh, 2), 14)[0], OK, "LOCKU")
        old.seqid += 1
        expect(old.one(file, u32(4, old.seqid) + opened, 4)[0], OK, "CLOSE")

    def owners_end(self):
        """Owners that have nothing any more do not add up: of v4.0's the last ones stay, for a
        retry; of those that locked over v4.1, none."""
        old, many = Old(self.c, b"many owners"), 40
        for i in range(many):
            old.seqid = 0
            file, stateid = old.open(self.root, "owned", owner=b"o%d" % i)
            expect(old.one(file, u32(4, 3) + stateid, 4)[0], OK, "CLOSE")
        for i in (many - 1, many - 20):
            expect(old.raw_open(self.root, "owned", 77, owner=b"o%d" % i).status, BAD_SEQID,
                   "one that is known")
        for i in (0, 1):
            flags = old.opened(old.raw_open(self.root, "owned", 77, owner=b"o%d" % i))[1]
            assert flags & 2, "a forgotten one begins anew"
        if "asan" in os.environ.get("BUILD", ""):
            return  # what is freed stays in its quarantine
        a, before = Locker(self.c, b"many lock owners"), 0
        for i in range(3000):
            before = self.server.resident() if i == 500 else before
            ops = (putfh(self.root), open_file("locked", how=UNCHECKED), SAVEFH,
                   lock_op(WRITE, 0, 1, CURRENT, b"%04d" % i * 250), RESTORE,
                   u32(4, 0) + CURRENT)
            expect(a.ops(*ops).status, OK, "OPEN, LOCK, CLOSE")
        grown = self.server.resident() - before
        assert grown < 1 << 20, f"{grown} bytes more after 2500 lock owners"

    def sessions_end(self):
        """A client has 64 sessions, a host three quarters of all; those of a silent client make
        room for others'."""
        server = rpc.MemoryServer(lease=10)
        try:
            c = server.connect()
            clients = [Client(c, b"first")]
            for number in range(1, 100):
                client, status, count = clients[-1], OK, 1
                while status == OK:
                    count += 1
                    status = compound(c, [create_session(client.id, count)]).status
                if status != NOSPC:
                    break
                expect(count, 65, "a client's sessions")
                r = compound(c, [exchange_id(b"client %d" % number)]).good(42)
                client = Client.__new__(Client)
                client.id = r.u64()
                expect(r.u32(), 1, "sequence id")
                status = compound(c, [create_session(client.id, 1)]).status
                if status != OK:
                    break
                clients.append(client)
            expect((status, len(clients)), (DELAY, 12), "no room for another of this host")
            with server.connect(source=("127.0.0.7", 0)) as elsewhere:
                Client(elsewhere, b"elsewhere").walk("files")
            r = compound(c, [exchange_id(b"never confirmed")]).good(42)
            never = r.u64(), r.u32()
            time.sleep(10.2)
            expect(compound(c, [create_session(*never)]).status, STALE_CLIENTID,
                   "not confirmed for a lease")
            Client(c, b"second").walk("files")
            expect(compound(c, [clients[0].sequence_op(2)]).status, BADSESSION, "they are gone")
            c.close()
        finally:
            server.stop()

    def old_clients(self):
        old = Old(self.c, b"comes back")
        old.seqid = 3
        file, stateid = old.open(self.root, "mine", deny=2)
        expect(self.a.open(self.root, "mine", access=2), SHARE_DENIED, "denied by v4.0")
        expect(old.one(file, u32(25) + stateid + u64(0) + u32(4), 25)[0], OK, "READ")
        expect(old.ops(u32(30) + u64(old.id)).status, OK, "RENEW")
        expect(old.ops(u32(30) + u64(99)).status, STALE_CLIENTID, "of a stranger")
        make = u32(6, 2) + opaque("once 40") + u32(1, 0) + opaque(b"")
        body = self.c.call_body(rpc.NFS, 4, 1, opaque(b"t") + u32(0, 2) + putfh(self.root) + make)
        said = []
        for _ in range(2):
            self.c.record(body)
            said.append(self.c.accept(body[:4])[1].data)
        expect(said[1], said[0], "CREATE, and again with the same xid")
        expect(old.ops(putfh(self.root), make).status, 17, "another one finds it there")
        Old(self.c, b"comes back", b"restart!")
        expect(old.ops(u32(30) + u64(old.id)).status, STALE_CLIENTID, "it has restarted")
        expect(old.one(file, u32(25) + stateid + u64(0) + u32(4), 25)[0], EXPIRED, "gone")
        expect(old.one(file, u32(25) + stateid[:4] + b"\xff" * 12 + u64(0) + u32(4), 25)[0],
               BAD_STATEID, "none of anybody's")
        stale = stateid[:4] + b"\xee\xee\xee\xee" + stateid[8:]
        expect(old.one(file, u32(25) + stale + u64(0) + u32(4), 25)[0], STALE_STATEID,
               "of another life")
        self.a.close(*self.a.open(self.root, "mine", access=2))


class Restarted:
    """The daemon is killed, and what clients had can be claimed by them alone."""

    def __init__(self, folder):
        self.state = os.path.join(folder, "state")
        self.server = None
        self.start()

    def start(self):
        self.server = Server(self.state, nfs_port=0, more=("--nfs-lease", "6"))
        self.port = int(re.search(r"^READY .*nfs=(\d+)", self.server.log(), re.M).group(1))

    def kill(self):
        self.server.process.send_signal(signal.SIGKILL)
        self.server.process.wait()
        self.start()

    def run(self):
        with rpc.Connection(self.port) as c:
            a, b, idle = (Locker(c, name) for name in (b"one", b"two", b"three"))
            root = a.walk("files")
            file, opened = a.open(root, "file", how=UNCHECKED)
            a.lock(file, WRITE, 0, 100, opened, b"p")
            other, theirs = b.open(root, "other", how=UNCHECKED, access=1, deny=2)
            expect(len(b.lock(other, READ, 0, 100, theirs, b"p")), 16, "LOCK")
            idle.complete()
            # Somebody with its name who is never confirmed, and goes again.
            r = compound(c, [exchange_id(b"one", b"another!")]).good(42)
            expect(compound(c, [u32(57) + u64(r.u64())]).status, OK, "DESTROY_CLIENTID")
        self.kill()
        with rpc.Connection(self.port) as c:
            a, b, c3 = (Locker(c, name, complete=False) for name in (b"one", b"two", b"three"))
            expect(a.open(root, "file"), GRACE, "OPEN in grace")
            expect(a.read(file, ZERO, 0, 1), GRACE, "READ with no stateid")
            expect(c3.reclaim_open(file), NO_GRACE, "nothing of its was open")
            c3.complete()
            expect(c3.open(root, "file"), GRACE, "others are not back yet")
            mine = a.reclaim_open(file)
            expect(len(a.lock(file, WRITE, 0, 100, mine, b"p", reclaim=1)), 16, "reclaimed")
            expect(a.lock(file, WRITE, 0, 100, mine, b"p"), GRACE, "a new one: not now")
            theirs = b.reclaim_open(other, access=1)
            expect(len(b.lock(other, READ, 0, 100, theirs, b"p", reclaim=1)), 16, "reclaimed")
            begun = time.monotonic()
            a.complete()
            expect(a.reclaim_open(file), NO_GRACE, "after RECLAIM_COMPLETE")
            b.complete()
            while c3.open(root, "other", access=1) == GRACE:
                time.sleep(0.05)
            assert time.monotonic() - begun < 3, "grace did not end early"
            _, third = c3.open(root, "file")
            expect(c3.lock(file, READ, 0, 1, third, b"p"), (0, 100, WRITE, b"p"), "still locked")
            # What expires is not claimed after the next restart.
            c3.close(file, third)
        self.kill()
        with rpc.Connection(self.port) as c:
            begun = time.monotonic()
            b = Locker(c, b"two", complete=False)
            expect(len(b.reclaim_open(other, access=1)), 16, "two comes back")
            b.complete()
            while b.open(root, "other", access=1) == GRACE:
                time.sleep(0.1)
            assert 2 < time.monotonic() - begun < 12, "grace waits for one, not for ever"
            kept, _ = Old(c, b"of v4.0").open(root, "of v4.0")
        self.kill()
        with rpc.Connection(self.port) as c:
            a = Locker(c, b"one", complete=False)
            expect(a.reclaim_open(file), NO_GRACE, "one was away too long")
            self.old_claim(c, kept)
            b = Locker(c, b"two", complete=False)
            expect(b.ops(putfh(root), u32(73) + bytes(8)).status, 10044, "no xattrs in v4.1")
            b.complete()
            while b.open(root, "other", access=1) == GRACE:
                time.sleep(0.1)
            a = Locker(c, b"four")
            files = [a.open(root, f"late{n}", how=UNCHECKED)[0] for n in range(20)]
        self.kill()
        with rpc.Connection(self.port) as c:
            begun = time.monotonic()
            time.sleep(4)  # of 6; two does not come back
            a = Locker(c, b"four", complete=False)
            for file in files:
                expect(len(a.reclaim_open(file)), 16, "a claim begun in time goes on")
                time.sleep(0.2)
            assert time.monotonic() - begun > 8, "longer than grace lasts"
            a.complete()
            while (again := a.open(root, "other", access=1)) == GRACE:
                time.sleep(0.1)
            expect((len(again), time.monotonic() - begun < 13), (2, True), "but not for ever")


    @staticmethod
    def old_claim(c, file):
        """v4.0: what is claimed is not to be confirmed."""
        old = Old(c, b"of v4.0")

        def take(seqid, claim):
            return old.ops(putfh(file), u32(18, seqid, 3, 0) + u64(old.id) + opaque(b"old") +
                           u32(0, claim, 0), GETFH)
        stateid, flags, _ = old.opened(take(5, 1))
        expect(flags & 2, 0, "OPEN4_RESULT_CONFIRM of a claim")
        again, flags, _ = old.opened(take(5, 1))
        expect((again, flags & 2), (stateid, 0), "sent again")
        expect(old.one(file, u32(25) + stateid + u64(0) + u32(4), 25)[0], OK, "READ by it")
        expect(old.one(file, u32(4, 6) + stateid, 4)[0], OK, "CLOSE")

    def delegated(self):
        """What was delegated to read is claimed with the open, in grace, and called back after it."""
        callbacks = delegation.CallbackServer()
        with rpc.Connection(self.port) as c:
            maker = Locker(c, b"maker")
            root = maker.walk("files")
            while (made := maker.open(root, "delegated", how=UNCHECKED)) == GRACE:
                time.sleep(0.1)
            expect(maker.close(*made), OK, "CLOSE")
            old = delegation.Old(c, b"delegated", callbacks.address)
            expect(callbacks.wait(1).procedure, 0, "CB_NULL")
            old.take(root, "delegated")
            handle, _, given = old.take(root, "delegated")
            assert isinstance(given, bytes), "given"
        self.kill()
        with rpc.Connection(self.port) as c:
            old = delegation.Old(c, b"delegated", callbacks.address)
            for seqid, wanted in ((1, 0), (2, 1)):  # none; to read
                result = old.ops(putfh(handle), u32(18, seqid, 1, 0) + u64(old.id) +
                                 opaque(b"old") + u32(0, 1, wanted))
                result.good(22)
                given = delegation.Holder.opened(result.good(18))[1]
                expect(given is not None, wanted == 1, f"a delegation, {wanted}")
            expect(old.one(handle, u32(25) + given + u64(0) + u32(4)), OK, "READ by it")
            writer = Locker(c, b"writer")
            while (status := writer.open(root, "delegated", access=2)) == GRACE:
                old.ops(u32(30) + u64(old.id))  # RENEW
                time.sleep(0.1)
            expect(status, DELAY, "held")
            count = 2  # RENEW has it tried out
            while callbacks.wait(count).procedure == 0:
                count += 1
            expect(callbacks.wait(count).recall[1], given, "CB_RECALL")
            expect(old.one(handle, u32(8) + given), OK, "DELEGRETURN")
            expect(len(writer.open(root, "delegated", access=2)), 2, "OPEN to write")
        callbacks.close()


CASES = ("ranges", "errors", "downgrade", "current_stateid", "courtesy", "old_locks",
         "lock_owners_again", "owners_end", "sessions_end", "old_clients")


def case(t, name, run):
    try:
        run()
        t.point(True, name.replace("_", " "))
    except (AssertionError, OSError, rpc.Closed, ValueError, TypeError) as error:
        lines, at = [], error.__traceback__
        while at:
            lines.append(at.tb_lineno)
            at = at.tb_next
        t.point(False, name.replace("_", " "), f"{type(error).__name__}: {error} (lines {lines})")


def test(t):
    server = rpc.MemoryServer()
    try:
        suite = Suite(server)
        for name in CASES:
            case(t, name, getattr(suite, name))
        suite.c.close()
    finally:
        status, said = server.stop()
    t.point(status == 0, "the server ends cleanly", said)
    folder = tempfile.mkdtemp(prefix="granary-locks-")
    daemon = None
    try:
        daemon = Restarted(folder)
        case(t, "killed and restarted", daemon.run)
        case(t, "delegated and restarted", daemon.delegated)
        t.point(daemon.server.stop() == 0, "the daemon stops cleanly", daemon.server.log()[-2000:])
    finally:
        if daemon:
            daemon.server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    tap.run(test)
