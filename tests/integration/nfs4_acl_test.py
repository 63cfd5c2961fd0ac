#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=60 asan
"""NFSv4 ACLs over the wire (RFC 8881 6, RFC 7530 6): what a mode says as an ACL and an ACL as a
mode, who may do what by it, what children inherit, and what is refused."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import rpc_client as rpc   # pylint: disable=wrong-import-position
from rpc_client import u32, u64, opaque, auth_sys   # pylint: disable=wrong-import-position
from nfs41_wire_test import (  # pylint: disable=wrong-import-position
    Client, attrs, bitmap, compound, expect, putfh, PUTROOTFH, ZERO)
from nfs4_delegation_test import (  # pylint: disable=wrong-import-position
    BackConnection, Holder)
from nfs4_locks_test import case   # pylint: disable=wrong-import-position
import tap                 # pylint: disable=wrong-import-position

OK, PERM, ACCESS, INVAL, FBIG, ROFS = 0, 1, 13, 22, 27, 30
SAME, NOT_SAME, ATTRNOTSUPP, BADXDR, BADOWNER = 10009, 10027, 10032, 10036, 10039
ALLOW, DENY = 0, 1
FILES, FOLDERS, ONCE, ONLY, GROUP = 1, 2, 4, 8, 0x40
READ, WRITE, APPEND, EXECUTE = 0x1, 0x2, 0x4, 0x20
ACL, SUPPORT, MODE = 12, 13, 33
EXTENDED = 0x9                       # named attributes: read and write go along with data
BASE = 0x80 | 0x20000 | 0x100000     # attributes, ACL, synchronize
OWNERS = BASE | 0x100 | 0x40000 | 0x80000


def ace(who, mask, kind=ALLOW, flags=0):
    return (kind, flags, mask, who)


def acl_bytes(aces):
    return u32(len(aces)) + b"".join(u32(*entry[:3]) + opaque(entry[3]) for entry in aces)


def acl_attrs(aces, mode=None):
    if mode is None:
        return bitmap(ACL) + opaque(acl_bytes(aces))
    return bitmap(ACL, MODE) + opaque(acl_bytes(aces) + u32(mode))


def take_acl(r):
    return [(r.u32(), r.u32(), r.u32(), r.opaque().decode()) for _ in range(r.u32())]


class Suite:
    def __init__(self, server):
        self.server = server
        self.c = server.connect()
        self.a = Client(self.c, b"acls", minor=2)
        self.user = {n: Client(self.c, b"user%d" % n, cred=auth_sys(n, 100 + n), minor=2)
                     for n in (1, 2, 3)}
        self.root = self.a.walk("files")

    def get(self, handle, *numbers):
        """{attribute: value} of those answered."""
        result = self.a.ops(putfh(handle), u32(9) + bitmap(*numbers))
        result.good(22)
        r = result.good(9)
        words = [r.u32() for _ in range(r.u32())]
        values, found = rpc.Reader(r.opaque()), {}
        for number in sorted(numbers):
            if number // 32 < len(words) and words[number // 32] >> number % 32 & 1:
                found[number] = (take_acl(values) if number == ACL else
                                 values.u64() if number in (42, 43, 44) else values.u32())
        return found

    def acl(self, handle):
        return self.get(handle, ACL)[ACL]

    def mode(self, handle):
        return self.get(handle, MODE)[MODE]

    def set(self, handle, values, who=None):
        result = (who or self.a).ops(putfh(handle), u32(34) + ZERO + values)
        result.good(22)
        status = result.result(34)
        count = result.r.u32()
        words = [result.r.u32() for _ in range(count)]
        expect(any(words), status == OK, "attrsset")
        return status

    def make(self, name, values, directory=None, kind=2):
        result = self.a.ops(putfh(directory or self.root), u32(6) + u32(kind) + opaque(name) +
                            values, u32(10))
        result.good(22)
        status = result.result(6)
        if status != OK:
            return status
        r = result.r
        r.take(4 + 16)
        for _ in range(r.u32()):
            r.u32()
        return result.good(10).opaque()

    def file(self, name, directory=None, how=None):
        found = self.a.open(directory or self.root, name,
                            how=u32(0) + (attrs(0o640) if how is None else how))
        if isinstance(found, int):
            return found
        self.a.close(*found)
        return found[0]

    def granted(self, who, handle, rights):
        """ACCESS, by the numbers of the protocol: 1 read, 4 modify, 8 extend, 32 execute."""
        result = self.user[who].ops(putfh(handle), u32(3, rights))
        result.good(22)
        r = result.good(3)
        r.u32()
        return r.u32()

    def from_mode(self):
        file = self.file("mode", how=attrs(0o640))
        expect(self.get(file, SUPPORT), {SUPPORT: 3}, "aclsupport")
        expect(self.acl(file),
               [ace("OWNER@", OWNERS | READ | WRITE | APPEND | 0x18),
                ace("GROUP@", BASE | READ | 8), ace("EVERYONE@", BASE)], "0640")
        self.set(file, attrs(0o604))
        expect(self.acl(file)[1:],
               [ace("GROUP@", READ | 8, DENY), ace("GROUP@", BASE),
                ace("EVERYONE@", BASE | READ | 8)], "0604: the group is not everyone")
        both = self.get(file, ACL, 42, 44)
        expect((sorted(both), both[ACL]), ([ACL, 42, 44], self.acl(file)), "with space")
        expect(self.get(self.a.walk(), ACL, SUPPORT),
               {ACL: [ace("OWNER@", OWNERS | READ | EXECUTE | 0x8),
                      ace("GROUP@", BASE | READ | EXECUTE | 0x8),
                      ace("EVERYONE@", BASE | READ | EXECUTE | 0x8)], SUPPORT: 3},
               "the root above: 0555")

    def to_mode(self):
        file = self.file("acl")
        aces = [ace("2", READ | EXECUTE, DENY), ace("1", READ | WRITE | APPEND),
                ace("102", READ | EXECUTE, flags=GROUP), ace("OWNER@", READ | WRITE | APPEND),
                ace("GROUP@", READ), ace("EVERYONE@", EXECUTE)]
        expect(self.set(file, acl_attrs(aces)), OK, "SETATTR")
        expect(self.acl(file), aces, "as it was set")
        expect(oct(self.mode(file)), oct(0o751), "the mode follows")
        expect([self.granted(n, file, 0x2d) for n in (1, 2, 3)], [0x2d, 0, 0x20], "ACCESS")
        handle, state = self.a.open(self.root, "acl", owner=b"w")
        self.a.write(handle, state, 0, b"contents")
        self.a.close(handle, state)
        expect([self.user[n].read(file, ZERO, 0, 9) for n in (1, 2)],
               [(True, b"contents"), ACCESS], "READ")
        expect([self.user[n].write(file, ZERO, 0, b"C") for n in (1, 2, 3)], [OK, ACCESS, ACCESS],
               "WRITE")
        expect(self.set(file, attrs(0o640)), OK, "chmod")
        expect(oct(self.mode(file)), oct(0o640), "the mode")
        expect([self.granted(n, file, 0x2d) for n in (1, 2, 3)], [1, 0, 0],
               "named users keep what the group has")
        expect(self.set(file, acl_attrs([ace("EVERYONE@", READ)], 0o7000)), OK, "mode and ACL")
        expect(oct(self.mode(file)), oct(0o7444), "the ACL is what counts, the mode's rest stays")

    def inherited(self):
        aces = [ace("OWNER@", 0x1f01ff), ace("1", READ | WRITE | APPEND, flags=FILES),
                ace("2", READ | EXECUTE, flags=FOLDERS | FILES | ONLY),
                ace("3", READ, flags=FILES | FOLDERS | ONCE)]
        folder = self.make("parent", acl_attrs(aces, 0o700))
        expect(self.acl(folder), aces, "CREATE with an ACL")
        file, sub = self.file("f", folder, attrs(0o660)), self.make("d", attrs(0o770), folder)
        named = [entry for entry in self.acl(file) if entry[3][0] in "123"]
        expect(named, [ace("1", READ | WRITE | APPEND), ace("2", READ), ace("3", READ)],
               "a file's, within its mode")
        named = [entry for entry in self.acl(sub) if entry[3][0] in "123"]
        expect(named, [ace("1", READ | WRITE | APPEND, flags=FILES | ONLY),
                       ace("2", READ | EXECUTE, flags=FOLDERS | FILES), ace("3", READ)],
               "a directory's, and on to what will be in it")
        # What EXCLUSIVE4_1 can set with the file, it says so of, and does (RFC 8881 5.8.1.14).
        for place in (folder, self.a.walk()):
            r = self.a.ops(putfh(place), u32(9) + bitmap(75))
            r.good(22)
            r = r.good(9)
            r.take(4 * r.u32())
            words = rpc.Reader(r.opaque())
            expect([words.u32() for _ in range(words.u32())][0] >> ACL & 1, 1,
                   "suppattr_exclcreat")
        taken = self.a.open(folder, "exclusive", how=u32(3) + b"verifier" +
                            acl_attrs([ace("EVERYONE@", READ)]))
        self.a.close(*taken)
        expect((self.acl(taken[0]), self.mode(taken[0])), ([ace("EVERYONE@", READ)], 0o444),
               "EXCLUSIVE4_1 with an ACL")
        own = self.file("own", folder, acl_attrs([ace("EVERYONE@", READ)], 0o600))
        expect(self.acl(own), [ace("EVERYONE@", READ)], "OPEN with an ACL inherits nothing")

    def refused(self):
        file = self.file("refused")
        before = self.acl(file)
        for what, status, aces in (
                ("an entry that logs", ATTRNOTSUPP, [ace("1", READ, 2)]),
                ("type 4", BADXDR, [ace("1", READ, 4)]),
                ("flags", ATTRNOTSUPP, [ace("1", READ, flags=0x80)]),
                ("rights nobody knows", ATTRNOTSUPP, [ace("1", 1 << 25)]),
                ("who dials up", ATTRNOTSUPP, [ace("DIALUP@", READ)]),
                ("a name", BADOWNER, [ace("root", READ)]),
                ("no name", BADOWNER, [ace("", READ)]),
                ("a number too large", BADOWNER, [ace("4294967296", READ)]),
                ("129 entries", FBIG, [ace(str(n), READ) for n in range(129)])):
            expect(self.set(file, acl_attrs(aces)), status, what)
        expect(self.set(file, bitmap(ACL) + opaque(u32(1 << 28))), BADXDR, "a count that lies")
        expect(self.set(file, bitmap(ACL) + opaque(acl_bytes(before)[:-4])), BADXDR, "cut short")
        expect(self.set(file, bitmap(SUPPORT) + opaque(u32(3))), INVAL, "aclsupport")
        expect(self.set(file, acl_attrs([ace("EVERYONE@", READ)]), self.user[1]), PERM,
               "a stranger")
        expect(self.acl(file), before, "nothing has changed")
        expect(self.set(self.a.walk(), acl_attrs(before)), ROFS, "the root above")
        many = [ace(str(n), READ) for n in range(128)]
        expect((self.set(file, acl_attrs(many)), self.acl(file)), (OK, many), "128 entries")
        expect((self.set(file, attrs(0o600)), len(self.acl(file))), (OK, 131), "and a mode")

    def verify(self):
        file = self.file("verified")
        aces = [ace("1", READ), ace("OWNER@", READ | WRITE | APPEND)]
        self.set(file, acl_attrs(aces))
        for op, equal, other in ((37, OK, NOT_SAME), (17, SAME, OK)):
            for values, status in ((aces, equal), (aces[:1], other)):
                result = self.a.ops(putfh(file), u32(op) + acl_attrs(values))
                expect(result.status, status, f"operation {op}")

    def listing(self):
        folder = self.make("listed", attrs(0o755))
        self.file("plain", folder)
        self.set(self.file("with", folder), acl_attrs([ace("1", READ)]))
        result = self.a.ops(putfh(folder), u32(26) + u64(0) + bytes(8) + u32(8192, 8192) +
                            bitmap(ACL))
        result.good(22)
        r, found = result.good(26), {}
        r.take(8)
        while r.bool():
            r.u64()
            name = r.opaque()
            words = [r.u32() for _ in range(r.u32())]
            values = rpc.Reader(r.opaque())
            found[name] = take_acl(values) if words and words[0] >> ACL & 1 else None
        expect(found, {b"plain": self.acl(self.a.walk("files", "listed", "plain")),
                       b"with": None}, "an ACL of its own is not in a listing")
        stale = self.a.ops(putfh(folder), u32(9) + bitmap(ACL), PUTROOTFH,
                           u32(26) + u64(0) + bytes(8) + u32(8192, 8192) + bitmap(ACL))
        expect(stale.status, OK, "the exports")

    def beside_a_delegation(self):
        """What else is looked up before it is made does not touch the ACL."""
        connection = BackConnection(self.server.port)
        holder = Holder(connection, b"holder")
        holder.make(self.root, "delegated")
        given = holder.take(self.root, "delegated")
        assert given[2], given
        aces = [ace("1", READ), ace("EVERYONE@", EXECUTE)]
        values = (bitmap(4, ACL) + opaque(u64(5) + acl_bytes(aces)))
        expect(self.acl(self.file("beside", how=values)), aces, "OPEN with a size and an ACL")
        expect(holder.give_back(given[0], given[2]), OK, "DELEGRETURN")
        connection.close()

    def minors(self):
        file = self.file("minor")
        for minor in (0, 1):
            ops = [putfh(file), u32(9) + bitmap(SUPPORT, ACL)]
            if minor:
                client = Client(self.c, b"minor", minor=minor)
                result = client.ops(*ops)
            else:
                result = compound(self.c, ops, minor=0)
            result.good(22)
            r = result.good(9)
            expect([r.u32() for _ in range(r.u32())], [1 << ACL | 1 << SUPPORT], f"4.{minor}")


def test(t):
    server = rpc.MemoryServer()
    try:
        suite = Suite(server)
        for name in ("from_mode", "to_mode", "inherited", "refused", "verify", "listing",
                     "beside_a_delegation", "minors"):
            case(t, name, getattr(suite, name))
        suite.c.close()
    finally:
        status, said = server.stop()
    t.point(status == 0, "the server ends cleanly", said)


if __name__ == "__main__":
    tap.run(test)
