#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=60 asan
"""NFSv4.2 over the wire (RFC 7862, RFC 8276): sparse files, copies and clones on the server, advice,
extended attributes, and which minor version knows what."""

import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import rpc_client as rpc   # pylint: disable=wrong-import-position
from rpc_client import u32, u64, opaque   # pylint: disable=wrong-import-position
from nfs41_wire_test import (  # pylint: disable=wrong-import-position
    Client, attrs, bitmap, expect, putfh, PUTROOTFH, READLINK, SAVEFH, UNCHECKED, ZERO)
from nfs4_locks_test import case   # pylint: disable=wrong-import-position
import tap                 # pylint: disable=wrong-import-position

OK, NXIO, EXIST, XDEV, ISDIR, INVAL, FBIG, NOSPC, ROFS = 0, 6, 17, 18, 21, 22, 27, 28, 30
DELAY, OLD_STATEID, NOTSUPP, TOOSMALL, NOFILEHANDLE, BAD_STATEID, BADXDR, OPENMODE = (
    10008, 10024, 10004, 10005, 10020, 10025, 10036, 10038)
OP_ILLEGAL, UNION_NOTSUPP, NOXATTR, XATTR2BIG = 10044, 10090, 10095, 10096
BLOCK, END = 4096, (1 << 64) - 1


class Suite:
    def __init__(self, server, connection=None, owner=b"v4.2"):
        self.server = server
        self.c = connection or server.connect()
        self.a = Client(self.c, owner, minor=2)
        self.root = self.a.walk("files")

    def one(self, handle, op):
        """(status, reader) of an operation on a file."""
        result = self.a.ops(putfh(handle), op)
        result.good(22)
        return result.result(int.from_bytes(op[:4], "big")), result.r

    def size(self, handle):
        status, r = self.one(handle, u32(9) + bitmap(4))
        expect(status, OK, "GETATTR")
        r.take(4 * r.u32())
        return rpc.Reader(r.opaque()).u64()

    def space(self, op, file, stateid, offset, length):
        return self.one(file, u32(op) + stateid + u64(offset, length))[0]

    def seek(self, file, stateid, offset, what):
        status, r = self.one(file, u32(69) + stateid + u64(offset) + u32(what))
        return (r.bool(), r.u64()) if status == OK else status

    def sparse(self):
        a = self.a
        file, state = a.open(self.root, "sparse", how=UNCHECKED)
        data = os.urandom(BLOCK)
        expect(a.write(file, state, 10 * BLOCK, data), OK, "WRITE")
        expect(self.seek(file, state, 0, 0), (False, 10 * BLOCK), "SEEK data")
        expect(self.seek(file, state, 0, 1), (False, 0), "SEEK hole")
        expect(self.seek(file, state, 10 * BLOCK + 1, 1), (True, 11 * BLOCK), "to the end")
        expect(self.seek(file, state, 11 * BLOCK, 0), NXIO, "from the end")
        expect(self.seek(file, state, 0, 2), UNION_NOTSUPP, "for what there is not")
        expect(self.space(59, file, state, 0, 20 * BLOCK), OK, "ALLOCATE")
        expect(self.size(file), 20 * BLOCK, "it grows the file")
        expect(a.read(file, state, 10 * BLOCK, BLOCK), (False, data), "and changes no data")
        expect(self.space(62, file, state, 10 * BLOCK + 100, 100), OK, "DEALLOCATE")
        expect(a.read(file, state, 10 * BLOCK, BLOCK),
               (False, data[:100] + bytes(100) + data[200:]), "reads as zeros")
        expect(self.space(62, file, state, 0, END), OK, "of everything")
        expect(self.size(file), 20 * BLOCK, "the size stays")
        expect(self.seek(file, state, 0, 0), NXIO, "nothing but a hole")
        expect(self.space(59, file, state, 5, 0), INVAL, "no length")
        expect(self.space(59, file, state, 1 << 63, END), INVAL, "past the end of numbers")
        expect(self.space(59, self.root, ZERO, 0, BLOCK), ISDIR, "of a directory")
        _, reader = a.open(self.root, "sparse", access=1, owner=b"reader")
        expect(self.space(59, file, reader, 0, BLOCK), OPENMODE, "opened to read")
        status, r = self.one(file, u32(63) + state + u64(0, BLOCK) + bitmap(0, 1))
        expect((status, r.u32()), (OK, 0), "IO_ADVISE: nothing is promised")
        a.close(file, reader)
        a.close(file, state)

    def used(self, handle):
        """Bytes of space: space_used."""
        status, r = self.one(handle, u32(9) + bitmap(45))
        expect(status, OK, "GETATTR")
        r.take(4 * r.u32())
        return rpc.Reader(r.opaque()).u64()

    def allocate(self):
        """ALLOCATE: what it does, and every error of RFC 7862 15.1 that can be had here."""
        a = self.a
        file, state = a.open(self.root, "allocate", how=UNCHECKED)
        a.write(file, state, 2 * BLOCK, b"x" * 10)
        before = self.change(file)
        expect(self.space(59, file, state, 100, 4 * BLOCK), OK, "ALLOCATE")
        expect((self.size(file), self.used(file)), (4 * BLOCK + 100, 5 * BLOCK), "size and space")
        expect(self.change(file) > before, True, "it is a change")
        expect(self.plus(file, state, 0, 1 << 20),
               (True, [(0, 2 * BLOCK), (2 * BLOCK, b"x" * 10 + bytes(2 * BLOCK + 90))]),
               "READ_PLUS")
        expect(self.seek(file, state, 0, 0), (False, 2 * BLOCK), "what is set aside is a hole")
        expect(self.seek(file, state, 2 * BLOCK, 1), (False, 3 * BLOCK), "on both sides")
        expect(self.space(59, file, state, 0, BLOCK), OK, "again, inside")
        expect((self.size(file), self.used(file)), (4 * BLOCK + 100, 5 * BLOCK), "nothing more")
        expect(self.space(62, file, state, 0, BLOCK), OK, "DEALLOCATE beside it")
        expect(self.used(file), 4 * BLOCK, "gives a block back")
        expect(self.space(59, file, state, 1 << 44, BLOCK), FBIG, "past the largest file")
        expect(self.space(59, file, state, END - 5, 5), FBIG, "at the end of numbers")
        expect(self.space(59, file, state, END - 5, 6), INVAL, "behind it")
        expect(self.space(59, file, state, 0, 4 << 30), NOSPC, "more than there is")
        expect((self.size(file), self.used(file)), (4 * BLOCK + 100, 4 * BLOCK), "nothing is done")
        expect(self.space(59, file, ZERO, 0, BLOCK), OK, "the anonymous stateid")
        expect(self.space(59, file, u32(9) + state[4:], 0, BLOCK), BAD_STATEID, "a later seqid")
        expect(self.space(59, file, u32(1) + b"forged state", 0, BLOCK), BAD_STATEID, "forged")
        _, upgraded = a.open(self.root, "allocate", access=3, how=UNCHECKED)
        expect(self.space(59, file, u32(1) + upgraded[4:], 0, BLOCK), OLD_STATEID, "an old one")
        a.fails(NOFILEHANDLE, u32(59) + ZERO + u64(0, BLOCK))
        a.close(file, upgraded)

    def change(self, handle):
        status, r = self.one(handle, u32(9) + bitmap(3))
        expect(status, OK, "GETATTR")
        r.take(4 * r.u32())
        return rpc.Reader(r.opaque()).u64()

    def allocate_in_steps(self):
        """One that takes long is done in steps: a client that waits too long is to come again, what
        was done stays, and nobody works for one that is gone."""
        server = rpc.MemoryServer(lease=4)
        try:
            with server.connect() as c, server.connect() as other:
                self.steps(server, Suite(server, c), Suite(server, other, b"late"))
        finally:
            status, said = server.stop()
        expect((status, said), (0, ""), "its end")

    def steps(self, server, mine, late):
        file, state = mine.a.open(mine.root, "long", how=UNCHECKED)
        server.order(f"step {BLOCK}")
        self.until(lambda: mine.space(59, file, state, 0, 5 * BLOCK + 1) == OK, "six steps")
        expect((mine.size(file), mine.used(file)), (5 * BLOCK + 1, 6 * BLOCK), "all of them")
        server.order("slow 100")
        expect(mine.space(59, file, state, 6 * BLOCK, 2000 * BLOCK), DELAY, "not in one go")
        some = mine.used(file)
        expect(6 * BLOCK < some < 2000 * BLOCK, True, "a part is done")
        mine.a.sequence += 1
        ops = (mine.a.sequence_op(mine.a.sequence), putfh(file),
               u32(59) + state + u64(0, 2006 * BLOCK))
        mine.c.record(mine.c.call_body(rpc.NFS, 4, 1, opaque(b"t") + u32(2, len(ops)) +
                                       b"".join(ops)))
        mine.c.close()
        seen = [late.used(file)]

        def stands():
            time.sleep(1)
            seen.append(late.used(file))
            return seen[-1] == seen[-2]
        self.until(stands, "it ends with its connection")
        expect(seen[-1] < 2000 * BLOCK, True, "early")
        server.order("slow 0")
        server.order("step 0")
        expect(late.space(59, file, ZERO, 0, 2006 * BLOCK), OK, "the rest")
        expect((late.size(file), late.used(file)), (2006 * BLOCK, 2006 * BLOCK), "all of it")

    @staticmethod
    def until(holds, what):
        limit = time.monotonic() + 30
        while not holds():
            expect(time.monotonic() < limit, True, what)
            time.sleep(0.05)

    def plus(self, file, state, offset, count):
        status, r = self.one(file, u32(68) + state + u64(offset) + u32(count))
        if status != OK:
            return status
        eof, found = r.bool(), []
        for _ in range(r.u32()):
            if r.u32():
                found.append((r.u64(), r.u64()))
            else:
                found.append((r.u64(), r.opaque()))
        return eof, found

    def read_plus(self):
        a = self.a
        file, state = a.open(self.root, "plus", how=UNCHECKED)
        data = os.urandom(BLOCK)
        a.write(file, state, 4 * BLOCK, data)
        expect(self.plus(file, state, 0, 1 << 20), (True, [(0, 4 * BLOCK), (4 * BLOCK, data)]),
               "a hole and data")
        expect(self.plus(file, state, 5, 100), (False, [(5, 100)]), "inside the hole")
        expect(self.plus(file, state, 4 * BLOCK, 10), (False, [(4 * BLOCK, data[:10])]), "data")
        expect(self.plus(file, state, 5 * BLOCK, 10), (True, []), "at the end")
        expect(self.plus(file, state, 1 << 40, 10), (True, []), "behind it")
        expect(self.plus(file, u32(1) + b"forged state", 0, 1), BAD_STATEID, "forged")
        a.close(file, state)

    def copy(self, op, source, source_state, target, target_state, start, to, count):
        tail = u32(1, 1, 0) if op == 60 else b""
        result = self.a.ops(putfh(source), SAVEFH, putfh(target), u32(op) + source_state +
                            target_state + u64(start, to, count) + tail)
        result.good(22)
        result.good(32)
        result.good(22)
        status = result.result(op)
        if op != 60 or status != OK:
            return status
        r = result.r
        expect(r.u32(), 0, "no call-back")
        done = r.u64()
        r.take(12)
        expect((r.bool(), r.bool()), (True, True), "consecutive, synchronous")
        return done

    def copies(self):
        a = self.a
        source, one = a.open(self.root, "source", how=UNCHECKED)
        target, two = a.open(self.root, "target", how=UNCHECKED)
        data = os.urandom(3 << 19)
        a.write(source, one, 0, data[:1 << 20])
        a.write(source, one, 1 << 20, data[1 << 20:])
        a.write(source, one, 8 << 20, b"end")
        size = (8 << 20) + 3
        expect(self.copy(60, source, one, target, two, 0, 0, size), size, "COPY")
        expect(a.read(target, two, 0, 1 << 20)[1] + a.read(target, two, 1 << 20, 1 << 19)[1], data,
               "the same data")
        expect(a.read(target, two, 8 << 20, 9), (True, b"end"), "to the end")
        expect(self.seek(target, two, 1 << 22, 0), (False, 8 << 20), "the hole is one")
        expect(self.copy(60, source, one, target, two, 5, 100, 0), size - 5, "all behind byte 5")
        expect(a.read(target, two, 100, 1000)[1], data[5:1005], "moved")
        expect(self.copy(60, source, one, target, two, size - 1, 0, 2), INVAL, "past the end")
        expect(self.copy(60, source, one, source, one, 0, 10, 100), INVAL, "onto itself")
        expect(self.copy(60, source, one, source, one, 0, 1 << 30, 100), 100, "beside itself")
        before = a.read(target, two, 4 * BLOCK, 3 * BLOCK)[1]
        expect(self.copy(60, source, one, target, two, BLOCK, 4 * BLOCK, 2 * BLOCK + 10),
               2 * BLOCK + 10, "whole blocks and a part of one")
        expect(a.read(target, two, 4 * BLOCK, 3 * BLOCK)[1],
               data[BLOCK:3 * BLOCK + 10] + before[2 * BLOCK + 10:], "what is behind stays")
        expect(self.copy(60, source, one, target, ZERO, 0, 0, 10), 10, "without OPEN")
        expect(self.copy(60, source, one, target, one, 0, 0, 10), BAD_STATEID, "another's stateid")
        self.a.fails(NOFILEHANDLE, putfh(target), u32(60) + one + two + u64(0, 0, 1) +
                     u32(1, 1, 0))
        expect(self.copy(71, source, one, target, two, 0, 0, BLOCK), OK, "CLONE")
        expect(a.read(target, two, 0, BLOCK)[1], data[:BLOCK], "cloned")
        expect(self.copy(71, source, one, target, two, 1, 0, BLOCK), INVAL, "not a whole block")
        a.close(source, one)
        a.close(target, two)

    def copy_behind_others(self):
        """A COPY has room for its data, whatever has been in its compound before."""
        a, data = self.a, os.urandom(1 << 20)
        source, one = a.open(self.root, "behind", how=UNCHECKED)
        target, two = a.open(self.root, "others", how=UNCHECKED)
        a.write(source, one, 0, data)
        link = u32(6, 5) + opaque("to/here") + opaque("link") + attrs()
        copy = u32(60) + one + two + u64(1, 0, len(data) - 1) + u32(1, 1, 0)
        expect(a.ops(putfh(self.root), link, READLINK, putfh(source), SAVEFH, putfh(target),
                     copy).status, OK, "COPY")
        expect(a.read(target, two, 0, len(data)), (True, data[1:]), "the same data")
        a.close(source, one)
        a.close(target, two)

    def copy_and_append(self):
        """A COPY that ends in a hole does not cut what somebody appends meanwhile."""
        a, size = self.a, 1 << 20
        source, one = a.open(self.root, "hollow", how=UNCHECKED)
        target, two = a.open(self.root, "appended", how=UNCHECKED)
        a.write(source, one, 0, b"data")
        expect(a.ops(putfh(source), u32(34) + one + attrs(size=size)).status, OK, "a hole")
        self.server.order("slow 500")
        with self.server.connect() as c:
            late = Client(c, b"appends")
            a.sequence += 1
            ops = (a.sequence_op(a.sequence), putfh(source), SAVEFH, putfh(target),
                   u32(60) + one + two + u64(0, 0, size) + u32(1, 1, 0))
            self.c.record(self.c.call_body(rpc.NFS, 4, 1, opaque(b"t") + u32(2, len(ops)) +
                                           b"".join(ops)))
            time.sleep(0.2)
            expect(late.write(target, ZERO, size, b"appended"), OK, "WRITE")
            expect(self.c.accept()[1].u32(), OK, "COPY")
            self.server.order("slow 0")
            expect(late.read(target, ZERO, size, 20), (True, b"appended"), "what was appended")
            expect(late.read(target, ZERO, size - 1, 1), (False, b"\0"), "what was copied")
        a.close(source, one)
        a.close(target, two)

    def getxattr(self, handle, name):
        status, r = self.one(handle, u32(72) + opaque(name))
        return r.opaque() if status == OK else status

    def setxattr(self, handle, name, value, how=0):
        return self.one(handle, u32(73, how) + opaque(name) + opaque(value))[0]

    def listxattrs(self, handle, most=8192):
        names, cookie, eof = [], 0, False
        while not eof:
            status, r = self.one(handle, u32(74) + u64(cookie) + u32(most))
            if status != OK:
                return status
            cookie = r.u64()
            names += [r.opaque() for _ in range(r.u32())]
            eof = r.bool()
        return sorted(names)

    def xattrs(self):
        a = self.a
        file, state = a.open(self.root, "xattrs", how=UNCHECKED)
        expect(self.getxattr(file, b"one"), NOXATTR, "none yet")
        expect(self.setxattr(file, b"one", b"1", 2), NOXATTR, "replace what is not there")
        expect(self.setxattr(file, b"one", b"1", 1), OK, "create")
        expect(self.setxattr(file, b"one", b"2", 1), EXIST, "create again")
        expect(self.setxattr(file, b"one", b"3"), OK, "either")
        expect(self.getxattr(file, b"one"), b"3", "GETXATTR")
        big = os.urandom(60000)
        expect(self.setxattr(file, b"big", big), OK, "a big one")
        expect(self.getxattr(file, b"big"), big, "comes back")
        expect(self.setxattr(file, b"huge", bytes(70000)), XATTR2BIG, "too big")
        expect(self.setxattr(file, b"", b""), INVAL, "no name")
        names = [b"n%d" % i for i in range(100)]
        for name in names:
            self.setxattr(file, name, b"")
        expect(self.listxattrs(file), sorted(names + [b"one", b"big"]), "LISTXATTRS")
        expect(self.listxattrs(file, 1100), sorted(names + [b"one", b"big"]), "in pieces")
        expect(self.listxattrs(file, 8), TOOSMALL, "no room")
        expect(self.one(file, u32(75) + opaque(b"one"))[0], OK, "REMOVEXATTR")
        expect(self.one(file, u32(75) + opaque(b"one"))[0], NOXATTR, "again")
        # The server's own records of its clients, on the root of the share.
        hidden = b"\1nfs.4.00000000000000000000000000000000"
        expect(self.listxattrs(self.root), [], "not seen")
        expect(self.setxattr(self.root, hidden, b""), INVAL, "nor made")
        expect(self.one(self.root, u32(75) + opaque(hidden))[0], INVAL, "nor removed")
        expect(self.getxattr(self.root, hidden), NOXATTR, "nor read")
        expect(self.setxattr(self.root, b"dir", b"x"), OK, "of a directory")
        self.one(self.root, u32(75) + opaque(b"dir"))
        self.a.fails(ROFS, *self.to("ro"), u32(73, 0) + opaque("x") + opaque("y"))
        # The root above the shares has none, and says what shares can do (RFC 8276 8.2).
        above = a.walk()
        expect(self.getxattr(above, b"one"), NOXATTR, "GETXATTR of the root above")
        expect(self.listxattrs(above), [], "LISTXATTRS of it")
        expect(self.listxattrs(above, 8), TOOSMALL, "no room")
        expect(self.setxattr(above, b"one", b"1"), ROFS, "SETXATTR")
        expect(self.one(above, u32(75) + opaque(b"one"))[0], ROFS, "REMOVEXATTR")
        for handle in (file, above):
            status, r = self.one(handle, u32(9) + bitmap(82))
            expect((status, r.take(16), r.opaque()), (OK, u32(3, 0, 0, 1 << 18), u32(1)),
                   "supported")
        expect(self.one(file, u32(3, 0x1C0))[1].u32(), 0x1C0, "ACCESS knows them")
        for handle, there in ((file, True), (a.walk(), False)):  # clone_blksize: where CLONE is
            r = self.one(handle, u32(9) + bitmap(0, 77))[1]
            words = [r.u32() for _ in range(r.u32())]
            expect(len(words) == 3 and bool(words[2] >> 13 & 1), there, "clone_blksize")
        a.close(file, state)

    @staticmethod
    def to(name):
        return PUTROOTFH, u32(15) + opaque(name)

    def versions(self):
        old = Client(self.c, b"v4.1 of them")
        for op in (59, 60, 68, 69, 72, 75):
            old.fails(OP_ILLEGAL, putfh(self.root), u32(op) + bytes(64))
        old.fails(INVAL, putfh(self.root), u32(3, 0x1C0))
        self.a.fails(OP_ILLEGAL, putfh(self.root), u32(76) + bytes(64))
        for op in (61, 64, 70):
            self.a.fails(NOTSUPP, putfh(self.root), u32(op) + bytes(64))
        for op in (59, 60, 62, 63, 66, 67, 68, 69, 71, 72, 73, 74, 75):
            self.a.fails(BADXDR, putfh(self.root), u32(op))
            self.a.fails(BADXDR, putfh(self.root), u32(op) + b"\xff" * 8)


CASES = ("sparse", "allocate", "allocate_in_steps", "read_plus", "copies", "copy_behind_others",
         "copy_and_append", "xattrs", "versions")


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


if __name__ == "__main__":
    tap.run(test)
