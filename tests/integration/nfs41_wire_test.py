#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 asan
"""NFSv4.1 over the wire (RFC 8881): clients, sessions, slots and their retries, open state and
share reservations, the root above the exports, attributes, and what a hostile client may send."""

import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import rpc_client as rpc   # pylint: disable=wrong-import-position
from rpc_client import u32, u64, opaque, auth_sys   # pylint: disable=wrong-import-position
import tap                 # pylint: disable=wrong-import-position

OK, NOENT, ACCESS, EXIST, NOTDIR, ISDIR, INVAL, ROFS, STALE = 0, 2, 13, 17, 20, 21, 22, 30, 70
BADHANDLE, NOTSUPP, TOOSMALL, LOCKED, SHARE_DENIED, NOFILEHANDLE = (10001, 10004, 10005, 10012,
                                                                    10015, 10020)
MINOR_VERS_MISMATCH, STALE_CLIENTID, BAD_STATEID, NOT_SAME = 10021, 10022, 10025, 10027
RESTOREFH, ATTRNOTSUPP, NO_GRACE, BADXDR, OPENMODE, BADOWNER = (10030, 10032, 10033, 10036, 10038,
                                                               10039)
BADNAME, OP_ILLEGAL, BADSESSION, BADSLOT, COMPLETE_ALREADY = 10041, 10044, 10052, 10053, 10054
SEQ_MISORDERED, SEQUENCE_POS, TOO_MANY_OPS, NOT_IN_SESSION = 10063, 10064, 10070, 10071
RESOURCE, REQ_TOO_BIG, REP_TOO_BIG, REP_TOO_BIG_TO_CACHE = 10018, 10065, 10066, 10067
ENCR_ALG_UNSUPP, CLIENTID_BUSY, NOT_ONLY_OP, OLD_STATEID, CONN_NOT_BOUND = (
    10079, 10074, 10081, 10024, 10055)
ZERO = u32(0) + bytes(12)


def expect(got, wanted, what):
    assert got == wanted, f"{what}: {got}, not {wanted}"


def bitmap(*numbers):
    words = [0, 0, 0]
    for number in numbers:
        words[number // 32] |= 1 << (number % 32)
    return u32(3, *words)


def attrs(mode=None, size=None):
    numbers, values = [], b""
    if size is not None:
        numbers.append(4)
        values += u64(size)
    if mode is not None:
        numbers.append(33)
        values += u32(mode)
    return bitmap(*numbers) + opaque(values)


PUTROOTFH, GETFH, SAVEFH, RESTORE, READLINK = u32(24), u32(10), u32(32), u32(31), u32(27)


def putfh(handle):
    return u32(22) + opaque(handle)


def lookup(name):
    return u32(15) + opaque(name)


def open_file(name, access=3, deny=0, owner=b"me", how=None, claim=0):
    return (u32(18, 0, access, deny) + u64(0) + opaque(owner) +
            (u32(0) if how is None else u32(1) + how) + u32(claim) +
            (opaque(name) if claim == 0 else b""))


UNCHECKED, GUARDED = u32(0) + attrs(0o644), u32(1) + attrs(0o644)


class Compound:
    """A reply: overall status, and (operation, status) of each with one Reader over all."""

    def __init__(self, reader):
        self.status = reader.u32()
        self.tag = reader.opaque()
        self.count = reader.u32()
        self.r = reader

    def result(self, op):
        got = self.r.u32()
        assert got == op, f"result of operation {got}, not {op}"
        return self.r.u32()

    def good(self, op):
        expect(self.result(op), OK, f"operation {op}")
        return self.r


def compound(connection, ops, minor=1, tag=b"t", cred=None):
    reply = connection.good(rpc.NFS, 4, 1, opaque(tag) + u32(minor, len(ops)) + b"".join(ops),
                            cred=cred)
    result = Compound(reply)
    expect(result.tag, tag, "tag")
    return result


def exchange_id(owner, verifier=b"v" * 8, flags=0):
    return u32(42) + verifier + opaque(owner) + u32(flags, 0, 0)


# Bytes of a request, of a reply, of one that is kept; operations; slots.
CHANNEL = ((1 << 20) + 4096, (1 << 20) + 4096, 4096, 16, 8)


def create_session(client, sequence, fore=CHANNEL):
    return (u32(43) + u64(client) + u32(sequence, 0) + u32(0, *fore, 0) + u32(0, *CHANNEL, 0) +
            u32(0x40000000, 1, 0))


class Client:
    """One client with one session; ops() sends a compound behind SEQUENCE on slot 0."""

    def __init__(self, connection, owner, cred=None, complete=True, verifier=b"v" * 8, minor=1,
                 fore=CHANNEL):
        self.c, self.cred, self.sequence, self.minor = connection, cred, 0, minor
        r = compound(connection, [exchange_id(owner, verifier)], cred=cred).good(42)
        self.id, self.next = r.u64(), r.u32()
        r = compound(connection, [create_session(self.id, self.next, fore)],
                     cred=cred).good(43)
        self.session = r.take(16)
        expect(r.u32(), self.next, "sequence id")
        r.u32()
        self.fore = [r.u32() for _ in range(6)]
        if complete:
            expect(self.ops(u32(58, 0)).status, OK, "RECLAIM_COMPLETE")

    def sequence_op(self, sequence, slot=0, cache=0, session=None):
        return u32(53) + (session or self.session) + u32(sequence, slot, slot, cache)

    def ops(self, *ops):
        self.sequence += 1
        result = compound(self.c, [self.sequence_op(self.sequence), *ops], self.minor,
                          cred=self.cred)
        r = result.good(53)
        expect(r.take(16), self.session, "session id")
        expect((r.u32(), r.u32()), (self.sequence, 0), "SEQUENCE")
        expect((r.u32(), r.u32(), r.u32()), (self.fore[5] - 1, self.fore[5] - 1, 0), "slots")
        return result

    def fails(self, status, *ops):
        expect(self.ops(*ops).status, status, f"compound of {len(ops)}")

    def walk(self, *names):
        """The handle at a path."""
        result = self.ops(PUTROOTFH, *[lookup(name) for name in names], GETFH)
        result.good(24)
        for _ in names:
            result.good(15)
        return result.good(10).opaque()

    def open(self, directory, name, **how):
        """(handle, stateid) or the failing status."""
        result = self.ops(putfh(directory), open_file(name, **how), GETFH)
        result.good(22)
        status = result.result(18)
        if status != OK:
            return status
        r = result.r
        stateid = r.take(16)
        r.take(4 + 16 + 4)
        for _ in range(r.u32()):
            r.u32()
        expect(r.u32(), 0, "no delegation")
        return result.good(10).opaque(), stateid

    def close(self, handle, stateid):
        return self.ops(putfh(handle), u32(4, 0) + stateid).status

    def write(self, handle, stateid, offset, data):
        return self.ops(putfh(handle), u32(38) + stateid + u64(offset) + u32(2) +
                        opaque(data)).status

    def read(self, handle, stateid, offset, count):
        result = self.ops(putfh(handle), u32(25) + stateid + u64(offset) + u32(count))
        result.good(22)
        status = result.result(25)
        return (result.r.bool(), result.r.opaque()) if status == OK else status


class Suite:
    def __init__(self, server):
        self.server = server
        self.c = server.connect()
        self.client = Client(self.c, b"suite")
        self.root = self.client.walk("files")

    def compounds(self):
        c = self.c
        expect(compound(c, [PUTROOTFH], minor=3).status, MINOR_VERS_MISMATCH, "4.3")
        expect(compound(c, [PUTROOTFH], minor=0).status, OK, "4.0 has no sessions")
        expect(compound(c, [u32(53) + bytes(32)], minor=0).status, OP_ILLEGAL, "nor SEQUENCE")
        expect(compound(c, []).status, OK, "no operation")
        expect(compound(c, [PUTROOTFH, GETFH]).status, NOT_IN_SESSION, "without SEQUENCE")
        result = compound(c, [u32(2)])
        expect((result.status, result.r.u32()), (OP_ILLEGAL, OP_ILLEGAL), "operation 2")
        expect(compound(c, [u32(60000)]).status, OP_ILLEGAL, "operation 60000")
        expect(compound(c, [PUTROOTFH] * 65).status, TOO_MANY_OPS, "65 operations")
        expect(compound(c, [exchange_id(b"x"), PUTROOTFH]).status, NOT_ONLY_OP, "not alone")
        self.client.fails(SEQUENCE_POS, PUTROOTFH, self.client.sequence_op(1))
        self.client.fails(OP_ILLEGAL, PUTROOTFH, u32(2))
        self.client.fails(NOTSUPP, PUTROOTFH, u32(30) + bytes(8))
        self.client.fails(OP_ILLEGAL, PUTROOTFH, u32(59) + bytes(64))
        self.client.fails(BADXDR, PUTROOTFH, u32(15) + u32(0xFFFFFFFF))
        self.client.fails(NOFILEHANDLE, GETFH)
        self.client.fails(RESTOREFH, RESTORE)
        expect(c.ask(rpc.NFS, 4, 1, u32(1 << 30))[0], 4, "tag length lies")
        expect(compound(c, [], tag=b"tag" * 100).status, OK, "long tag")
        for code in (0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xfffd, 0x10000, 0x10fffd):
            expect(compound(c, [], tag=b"a" + chr(code).encode() + b"b").status, OK, f"U+{code:x}")
        # Cut short, no beginning, longer than need be, surrogates, beyond the last plane, no text.
        for tag in (b"a\xc3", b"\xe2\x82", b"\x80", b"\xbfa", b"\xc0\x80", b"\xc1\xbf",
                    b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf",
                    b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xff", b"\xef\xbf\xbe",
                    b"\xc3(", b"\xe2\x28\xa1"):
            for minor in (0, 1, 2):
                result = compound(c, [PUTROOTFH], minor=minor, tag=tag)
                expect((result.status, result.count), (INVAL, 0), f"tag {tag.hex()}")

    def clients(self):
        c = self.c
        first = Client(c, b"restarts")
        r = compound(c, [exchange_id(b"restarts")]).good(42)
        expect((r.u64(), r.u32()), (first.id, first.next + 1), "the same client again")
        assert r.u32() & 0x80000000, "confirmed"
        expect(compound(c, [create_session(first.id, 99)]).status, SEQ_MISORDERED, "sequence 99")
        r = compound(c, [create_session(first.id, first.next)]).good(43)
        expect(r.take(16), first.session, "CREATE_SESSION again")
        expect(compound(c, [create_session(12345, 1)]).status, STALE_CLIENTID, "no such client")
        expect(compound(c, [u32(57) + u64(first.id)]).status, CLIENTID_BUSY, "has a session")
        r = compound(c, [exchange_id(b"restarts", b"another!")]).good(42)
        other, sequence = r.u64(), r.u32()
        assert other != first.id
        first.ops(PUTROOTFH)  # the old one is good until the new one is confirmed
        compound(c, [create_session(other, sequence)]).good(43)
        expect(compound(c, [first.sequence_op(first.sequence + 1)]).status, BADSESSION,
               "the session of the client that restarted")
        expect(compound(c, [exchange_id(b"x", flags=0x10000000)]).status, INVAL, "flags")
        expect(compound(c, [exchange_id(b"nobody", flags=0x40000000)]).status, NOENT, "update")
        for how, status in ((1, INVAL), (2, ENCR_ALG_UNSUPP), (3, BADXDR)):
            asked = u32(42) + b"v" * 8 + opaque(b"x") + u32(0, how) + bytes(64)
            expect(compound(c, [asked]).status, status, f"state protection {how}")
        gone = Client(c, b"goes")
        own = Client(c, b"own")
        expect(own.ops(u32(44) + own.session).status, OK, "DESTROY_SESSION from inside")
        expect(compound(c, [own.sequence_op(own.sequence + 1)]).status, BADSESSION, "gone")
        expect(compound(c, [u32(44) + gone.session]).status, OK, "DESTROY_SESSION")
        expect(compound(c, [u32(44) + gone.session]).status, BADSESSION, "again")
        expect(compound(c, [u32(57) + u64(gone.id)]).status, OK, "DESTROY_CLIENTID")
        expect(compound(c, [u32(57) + u64(gone.id)]).status, STALE_CLIENTID, "again")
        self.client.fails(COMPLETE_ALREADY, u32(58, 0))

    def carriers(self):
        """A session that is in use is destroyed over a connection of its own (RFC 8881 18.37.3)."""
        def destroy(connection, session):
            return compound(connection, [u32(44) + session]).status
        a, b, c3 = (Client(self.c, b"carried %d" % n) for n in range(3))
        with self.server.connect() as other:
            expect(destroy(other, a.session), CONN_NOT_BOUND, "nothing of its came over it")
            mine = Client(other, b"another's")
            mine.fails(CONN_NOT_BOUND, u32(44) + a.session)
            a.sequence += 1
            compound(other, [a.sequence_op(a.sequence)]).good(53)
            expect(destroy(other, a.session), OK, "SEQUENCE did")
            compound(other, [u32(41) + b.session + u32(1, 0)]).good(41)
            expect(destroy(other, b.session), OK, "BIND_CONN_TO_SESSION")
            expect(destroy(other, c3.session), CONN_NOT_BOUND, "each session has its own")
        expect(c3.ops(PUTROOTFH).status, OK, "it is as it was")
        lost = self.server.connect()
        d = Client(lost, b"lost its connection")
        lost.close()
        end = time.monotonic() + 20
        while (status := destroy(self.c, d.session)) == CONN_NOT_BOUND and time.monotonic() < end:
            time.sleep(0.01)
        expect(status, OK, "one whose connections are gone, over any")
        many = [self.server.connect() for _ in range(20)]
        e = Client(self.c, b"many connections")
        for connection in many:
            e.sequence += 1
            compound(connection, [e.sequence_op(e.sequence)]).good(53)
        expect(destroy(many[-1], e.session), OK, "the last of many connections is one of them")
        for connection in many:
            connection.close()

    def slots(self):
        a = Client(self.c, b"slots", complete=False)
        expect(compound(self.c, [a.sequence_op(1, session=b"n" * 16)]).status, BADSESSION, "id")
        expect(compound(self.c, [a.sequence_op(1, slot=500)]).status, BADSLOT, "slot 500")
        expect(compound(self.c, [a.sequence_op(2)]).status, SEQ_MISORDERED, "2 is too soon")
        expect(compound(self.c, [a.sequence_op(0)]).status, SEQ_MISORDERED, "0 was never")
        root = a.walk("files")
        make = [a.sequence_op(2, cache=1), putfh(root),
                u32(6) + u32(2) + opaque("once") + attrs(0o755)]
        first = self.c.good(rpc.NFS, 4, 1, opaque(b"t") + u32(1, 3) + b"".join(make)).data
        with self.server.connect() as other:  # a retry over another connection
            again = other.good(rpc.NFS, 4, 1, opaque(b"t") + u32(1, 3) + b"".join(make)).data
        expect(again[24:], first[24:], "the same answer")
        a.sequence = 2
        a.fails(EXIST, putfh(root), u32(6) + u32(2) + opaque("once") + attrs(0o755))
        expect(compound(self.c, [a.sequence_op(1)]).status, SEQ_MISORDERED, "an old one")
        r = compound(self.c, [u32(41) + a.session + u32(1, 0)]).good(41)
        expect(r.take(16), a.session, "BIND_CONN_TO_SESSION")

    def channels(self):
        """What CREATE_SESSION may ask for."""
        c = self.c
        r = compound(c, [exchange_id(b"channels")]).good(42)
        client, sequence = r.u64(), r.u32()
        gss = u32(3, 0, 6, 1) + opaque("theirs") + opaque("ours") + u32(1, 5) + opaque("me") + u32(
            7, 11, 2, 13, 17)

        def create(fore=CHANNEL, back=CHANNEL, security=u32(1, 0), flags=0):
            return compound(c, [u32(43) + u64(client) + u32(sequence, flags) + u32(0, *fore, 0) +
                                u32(0, *back, 0) + u32(0x40000000) + security]).status
        for what, status, how in (
                ("a request that carries nothing", TOOSMALL, {"fore": (20, 8192, 8192, 8, 8)}),
                ("such a reply", TOOSMALL, {"fore": (8192, 0, 8192, 8, 8)}),
                ("one operation", TOOSMALL, {"fore": (8192, 8192, 8192, 1, 8)}),
                ("no slot", TOOSMALL, {"fore": (8192, 8192, 8192, 8, 0)}),
                ("a call back that carries nothing", TOOSMALL, {"back": (10, 8192, 0, 1, 8)}),
                ("flags that are not there", INVAL, {"flags": 15}),
                ("seventeen groups", BADXDR, {"security": u32(1, 1, 5) + opaque("me") + u32(
                    7, 11, 17, *range(17))}),
                ("no back channel, all kinds of security", OK,
                 {"back": (0,) * 5, "security": gss})):
            expect(create(**how), status, what)

    def bounds(self):
        """What a session was made for: nothing more goes either way, and nothing is done that could
        not be answered."""
        c, reply_max, cached = self.c, 3000, 600
        a = Client(c, b"bounds", fore=(2000, reply_max, cached, 6, 3))
        expect(a.fore, [0, 2000, reply_max, cached, 6, 3], "as asked for")
        expect(compound(c, [a.sequence_op(1, slot=3)]).status, BADSLOT, "the fourth slot")
        expect(compound(c, [a.sequence_op(a.sequence + 1)] + [PUTROOTFH] * 6).status,
               TOO_MANY_OPS, "seven operations")
        handle, state = a.open(self.root, "bounds", how=UNCHECKED)
        long = u32(38) + state + u64(0) + u32(2) + opaque(bytes(2000))
        expect(compound(c, [a.sequence_op(a.sequence + 1), putfh(handle), long]).status,
               REQ_TOO_BIG, "a long WRITE")
        _, writer = self.client.open(self.root, "bounds", owner=b"w")
        expect(self.client.write(handle, writer, 0, bytes(9000)), OK, "by another session")
        expect(a.read(handle, state, 0, 2500), (False, bytes(2500)), "READ")
        expect(a.read(handle, state, 0, 3000), REP_TOO_BIG, "a longer one")

        def cached_read(count, *more):
            ops = [a.sequence_op(a.sequence, cache=1), putfh(handle),
                   u32(25) + state + u64(0) + u32(count), *more]
            return compound(c, ops)
        a.sequence += 1
        first = cached_read(300)
        expect((first.status, first.r.data[24:]), (OK, cached_read(300).r.data[24:]), "a retry")
        a.sequence += 1
        first = cached_read(1000)
        expect(first.status, REP_TOO_BIG_TO_CACHE, "a READ that could not be answered again")
        expect(cached_read(1000).r.data[24:], first.r.data[24:], "its retry")
        a.sequence += 1
        result = cached_read(256, putfh(self.root), u32(6) + u32(2) + opaque("undone") +
                             attrs(0o755))
        expect((result.status, result.count), (REP_TOO_BIG_TO_CACHE, 5), "no room for CREATE")
        a.fails(NOENT, putfh(self.root), lookup("undone"))
        a.close(handle, state)
        self.client.close(handle, writer)

    def pseudo_root(self):
        a = self.client
        result = a.ops(PUTROOTFH, u32(26) + u64(0) + bytes(8) + u32(4096, 8192) + bitmap(1, 20))
        result.good(24)
        r = result.good(26)
        r.take(8)
        names = []
        while r.bool():
            r.u64()
            names.append(r.opaque())
            r.take(4 * r.u32())
            r.opaque()
        expect((sorted(names), r.bool()), ([b"files", b"ro", b"squash"], True), "exports")
        a.fails(NOENT, PUTROOTFH, lookup("nothing"))
        a.fails(ACCESS, PUTROOTFH, lookup("closed"))
        a.fails(1, PUTROOTFH, lookup("secure"))
        a.fails(ROFS, PUTROOTFH, u32(28) + opaque("files"))
        a.fails(NOENT, PUTROOTFH, u32(16))
        result = a.ops(putfh(self.root), u32(16), GETFH)
        result.good(22)
        result.good(16)
        expect(result.good(10).opaque(), a.walk(), "above an export is the root")
        result = a.ops(PUTROOTFH, u32(52, 0), GETFH)
        expect(result.status, NOFILEHANDLE, "SECINFO_NO_NAME consumes the filehandle")
        ro = a.walk("ro")
        a.fails(ROFS, putfh(ro), u32(6) + u32(2) + opaque("d") + attrs(0o755))
        expect(a.open(ro, "x", how=UNCHECKED), ROFS, "OPEN to create there")

    def opens(self):
        a = self.client
        handle, stateid = a.open(self.root, "file", how=GUARDED)
        expect(a.open(self.root, "file", how=GUARDED), EXIST, "GUARDED again")
        expect(a.write(handle, stateid, 0, b"hello"), OK, "WRITE")
        big = os.urandom(300000)
        expect(a.write(handle, stateid, 5, big), OK, "a large WRITE")
        expect(a.read(handle, stateid, 0, 400000), (True, b"hello" + big), "READ")
        same, second = a.open(self.root, "file")
        expect((same, second[4:]), (handle, stateid[4:]), "one owner, one stateid")
        expect(a.write(handle, stateid, 0, b"x"), OLD_STATEID, "its older seqid")
        _, reader = a.open(self.root, "file", access=1, owner=b"reader")
        expect(a.write(handle, reader, 0, b"x"), OPENMODE, "opened to read")
        expect(a.read(handle, reader, 0, 5), (False, b"hello"), "READ by another owner")
        expect(a.write(handle, u32(1) + b"forged state", 0, b"x"), BAD_STATEID, "forged")
        b = Client(self.c, b"stranger")
        expect(b.write(handle, second, 0, b"x"), BAD_STATEID, "somebody else's stateid")
        expect(b.open(b.walk("files"), "file", access=1, deny=2), SHARE_DENIED, "deny write")
        _, denier = b.open(b.walk("files"), "other", access=3, deny=3, how=UNCHECKED)
        expect(a.open(self.root, "other"), SHARE_DENIED, "somebody denies all")
        expect(b.open(b.walk("files"), "other"), SHARE_DENIED, "the same owner too")
        other = a.walk("files", "other")
        expect(a.write(other, ZERO, 0, b"x"), LOCKED, "with the anonymous stateid too")
        expect(b.close(other, denier), OK, "CLOSE")
        expect(b.close(other, denier), BAD_STATEID, "again")
        expect(a.write(other, ZERO, 0, b"x"), OK, "now it may")
        expect(a.open(self.root, "nothing"), NOENT, "not there")
        expect(a.open(a.walk(), "files"), ISDIR, "the root above")
        a.fails(INVAL, putfh(self.root), open_file("x", access=0))
        a.fails(BAD_STATEID, putfh(handle), u32(25) + u32(1) + bytes(12) + u64(0) + u32(1))
        expect(a.open(self.root, ".."), BADNAME, "..")
        expect(a.open(self.root, "a/b"), BADNAME, "a slash")
        a.fails(NO_GRACE, putfh(handle), open_file("", claim=1) + u32(0))
        result = a.ops(putfh(self.root), u32(28) + opaque("file"))
        expect(result.status, OK, "REMOVE of an open file")
        expect(a.read(handle, second, 0, 5), (False, b"hello"), "it is still there")
        expect(a.close(handle, reader), OK, "CLOSE")
        expect(a.close(handle, second), OK, "the last CLOSE")
        expect(a.read(handle, ZERO, 0, 5), STALE, "and then it is gone")
        one = a.open(self.root, "excl", how=u32(3) + b"verifier" + attrs(0o600))
        expect(a.open(self.root, "excl", how=u32(3) + b"verifier" + attrs(0o600))[0], one[0],
               "EXCLUSIVE4_1 again")
        expect(a.open(self.root, "excl", how=u32(3) + b"another!" + attrs(0o600)), EXIST,
               "another verifier")
        self.truncating(b)
        user = Client(self.c, b"user", auth_sys(1000, 1000))
        expect(user.open(user.walk("files"), "excl", access=1), ACCESS, "no right")

    def truncating(self, b):
        """OPEN with a size of 0 cuts a file only when it is opened."""
        a, empty = self.client, u32(0) + attrs(0o644, 0)
        handle, state = a.open(self.root, "cut", how=empty)
        expect(a.write(handle, state, 0, b"kept"), OK, "WRITE")
        a.close(handle, state)
        _, denier = b.open(b.walk("files"), "cut", access=1, deny=2)
        expect(a.open(self.root, "cut", how=empty), SHARE_DENIED, "writing is denied")
        expect(a.read(handle, ZERO, 0, 9), (True, b"kept"), "and nothing was cut")
        b.close(handle, denier)
        user = Client(self.c, b"reader only", auth_sys(1000, 1000))
        expect(user.open(self.root, "cut", how=empty, access=1), ACCESS, "no right to write")
        expect(a.read(handle, ZERO, 0, 9), (True, b"kept"), "nor cut")
        result = a.ops(putfh(self.root), open_file("cut", how=empty))
        result.good(22)
        r = result.good(18)
        state = r.take(16)
        r.take(24)
        expect([r.u32() for _ in range(r.u32())], [1 << 4], "what was set: the size")
        expect(a.read(handle, state, 0, 9), (True, b""), "it is empty")
        expect(a.write(handle, state, 0, b"more"), OK, "WRITE")
        same, state = a.open(self.root, "cut", how=empty)
        expect(a.read(handle, state, 0, 9), (True, b""), "opened again by the same owner: cut")
        expect(same, handle, "the same file")
        a.close(handle, state)
        handle, state = a.open(self.root, "sized", how=u32(0) + attrs(0o644, 32))
        expect(a.read(handle, state, 0, 99), (True, bytes(32)), "a new one gets its size")
        a.close(handle, state)
        a.close(*a.open(self.root, "sized", how=u32(0) + attrs(0o600, 16)))
        result = a.ops(putfh(handle), u32(9) + bitmap(4, 33))
        result.good(22)
        r = result.good(9)
        r.take(4 * r.u32())
        expect((r.opaque()), u64(32) + u32(0o644), "one that is there keeps what it has")

    def full_replies(self):
        """More than a reply holds: what is there is good, and the compound ends with it."""
        a = self.client
        handle, state = a.open(self.root, "full", how=UNCHECKED)
        expect(a.write(handle, state, 0, bytes(range(256)) * 4096), OK, "WRITE")
        read = u32(25) + ZERO + u64(0) + u32(1 << 20)
        for minor, status in ((1, REP_TOO_BIG), (0, RESOURCE)):
            ops = [putfh(handle), read, read, u32(9) + bitmap(4)]
            result = a.ops(*ops) if minor else compound(self.c, ops, minor=0)
            expect((result.status, result.count), (status, 4 if minor else 3), "the second READ")
            result.good(22)
            r = result.good(25)
            expect((r.bool(), r.opaque()), (True, bytes(range(256)) * 4096), "the first READ")
            expect(result.result(25), status, "the second one")
            r.end()
        expect(a.close(handle, state), OK, "CLOSE")

    def attributes(self):
        a = self.client
        handle, stateid = a.open(self.root, "attrs", how=UNCHECKED)
        result = a.ops(putfh(handle), u32(9) + bitmap(1, 4, 19, 33, 36))
        result.good(22)
        r = result.good(9)
        expect([r.u32() for _ in range(r.u32())], [0x80012, 0x12], "what is answered")
        r = rpc.Reader(r.opaque())
        expect((r.u32(), r.u64(), r.opaque(), r.u32(), r.opaque()),
               (1, 0, handle, 0o644, b"0"), "type, size, handle, mode, owner")
        r.end()
        # but for the two that can only be set
        every = u32(9) + u32(3, 0xFFFFFFFF, 0xFFFFFFFF & ~(1 << 16 | 1 << 22), 0xFFFFFFFF)
        for place in (putfh(handle), PUTROOTFH, putfh(self.root)):
            expect(a.ops(place, every).status, OK, "all attributes there are")
        expect(a.ops(putfh(handle), u32(34) + stateid + attrs(0o600, 100)).status, OK, "SETATTR")
        a.fails(ATTRNOTSUPP, putfh(handle), u32(34) + ZERO + bitmap(14) + opaque(u32(1)))
        a.fails(INVAL, putfh(handle), u32(34) + ZERO + bitmap(1) + opaque(u32(1)))
        a.fails(BADXDR, putfh(handle), u32(34) + ZERO + bitmap(33) + opaque(b""))
        a.fails(BADOWNER, putfh(handle), u32(34) + ZERO + bitmap(36) + opaque(opaque("bob@x")))
        size = bitmap(4) + opaque(u64(100))
        expect(a.ops(putfh(handle), u32(37) + size).status, OK, "VERIFY")
        a.fails(10009, putfh(handle), u32(17) + size)
        a.fails(NOT_SAME, putfh(handle), u32(37) + bitmap(4) + opaque(u64(7)))
        expect(a.close(handle, stateid), OK, "CLOSE")

    def names(self):
        a = self.client
        result = a.ops(putfh(self.root), u32(6) + u32(2) + opaque("dir") + attrs(0o755), GETFH)
        result.good(22)
        r = result.good(6)
        assert r.bool() and r.u64() < r.u64(), "change_info"
        for _ in range(r.u32()):
            r.u32()
        d = result.good(10).opaque()
        wanted = {f"n{i}".encode() for i in range(150)}
        for name in wanted:
            handle, stateid = a.open(d, name, how=UNCHECKED)
            a.close(handle, stateid)
        seen, cookie, verifier, eof = [], 0, bytes(8), False
        while not eof:
            result = a.ops(putfh(d), u32(26) + u64(cookie) + verifier + u32(1000, 2000) +
                           bitmap(20))
            result.good(22)
            r = result.good(26)
            verifier = r.take(8)
            while r.bool():
                cookie = r.u64()
                seen.append(r.opaque())
                r.take(4 * r.u32())
                r.opaque()
            eof = r.bool()
        expect((set(seen), len(seen)), (wanted, 150), "READDIR")
        a.fails(TOOSMALL, putfh(d), u32(26) + u64(0) + bytes(8) + u32(100, 20) + bitmap(20))
        a.fails(NOT_SAME, putfh(d), u32(26) + u64(cookie) + b"notmine!" + u32(100, 2000) +
                bitmap(20))
        expect(a.ops(putfh(d), SAVEFH, putfh(self.root),
                     u32(29) + opaque("n1") + opaque("moved")).status, OK, "RENAME")
        expect(a.ops(putfh(a.walk("files", "moved")), SAVEFH, putfh(d),
                     u32(11) + opaque("linked")).status, OK, "LINK")
        a.fails(18, putfh(d), SAVEFH, PUTROOTFH, lookup("squash"),
                u32(29) + opaque("n2") + opaque("x"))
        expect(a.ops(putfh(d), u32(6) + u32(5) + opaque("to/here") + opaque("link") +
                     attrs(), READLINK).status, OK, "symlink")
        a.fails(10029, putfh(d), lookup("link"), lookup("x"))
        a.fails(NOTDIR, putfh(d), lookup("n3"), lookup("x"))
        for handle in (b"x", os.urandom(40), d[:-1] + bytes([d[-1] ^ 1])):
            status = a.ops(putfh(handle)).status
            assert status in (STALE, BADHANDLE), status

    def hostile(self):
        a = Client(self.c, b"hostile")
        whole = [putfh(self.root), open_file("h", how=UNCHECKED), u32(9) + bitmap(1, 4),
                 u32(26) + u64(0) + bytes(8) + u32(100, 2000) + bitmap(1), exchange_id(b"o"),
                 create_session(1, 1), u32(6) + u32(2) + opaque("d") + attrs(0o755),
                 u32(34) + ZERO + attrs(0o600), u32(38) + ZERO + u64(0) + u32(0) + opaque(b"abcd")]
        for op in whole:
            for length in range(4, len(op), 4):
                a.sequence += 1
                body = a.sequence_op(a.sequence) + putfh(self.root) + op[:length]
                status, r = self.c.ask(rpc.NFS, 4, 1, opaque(b"") + u32(1, 3) + body)
                expect(status, 0, "accepted")
                assert r.u32() != OK, f"{length} of {len(op)} bytes of {op[:4]}"
        for number in range(0, 70):
            a.sequence += 1
            body = a.sequence_op(a.sequence) + PUTROOTFH + u32(number) + b"\xff" * 64
            status, r = self.c.ask(rpc.NFS, 4, 1, opaque(b"") + u32(1, 3) + body)
            expect(status, 0, "accepted")
        for i in range(2100):  # clients that never confirm, more than there is room for
            compound(self.c, [exchange_id(b"flood%d" % i)])
        expect(self.client.ops(PUTROOTFH).status, OK, "others are served")


CASES = ("compounds", "clients", "carriers", "slots", "channels", "bounds", "pseudo_root", "opens",
         "full_replies", "attributes", "names", "hostile")


def test(t):
    server = rpc.MemoryServer()
    try:
        suite = Suite(server)
        for name in CASES:
            try:
                getattr(suite, name)()
                t.point(True, name.replace("_", " "))
            except (AssertionError, OSError, rpc.Closed, ValueError, TypeError) as error:
                t.point(False, name.replace("_", " "), f"{type(error).__name__}: {error} "
                        f"(line {error.__traceback__.tb_next.tb_lineno})")
        suite.c.close()
    finally:
        status, said = server.stop()
    t.point(status == 0, "the server ends cleanly", said)


if __name__ == "__main__":
    tap.run(test)
