#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 asan
"""NFSv3, MOUNT and the portmapper over the wire (RFC 1813, 5531, 1833): every procedure, every byte
of each reply, the errors the RFC names, and what a hostile client may send."""

import os
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import rpc_client as rpc   # pylint: disable=wrong-import-position
from rpc_client import u32, u64, opaque, auth_sys   # pylint: disable=wrong-import-position
import tap                 # pylint: disable=wrong-import-position
from ports import free_port  # pylint: disable=wrong-import-position

OK, PERM, NOENT, ACCES, EXIST, XDEV, NOTDIR, ISDIR, INVAL = 0, 1, 2, 13, 17, 18, 20, 21, 22
FBIG, ROFS, NAMETOOLONG, NOTEMPTY, STALE, BADHANDLE = 27, 30, 63, 66, 70, 10001
NOT_SYNC, BAD_COOKIE, TOOSMALL, BADTYPE = 10002, 10003, 10005, 10007
REG, DIR, BLK, CHR, LNK, SOCK, FIFO = range(1, 8)
MEMORY_GROWTH_MAX = 256 << 20


def expect(got, wanted, what):
    assert got == wanted, f"{what}: {got}, not {wanted}"


class Suite:
    def __init__(self, server):
        self.server = server
        self.connection = server.connect()
        self.nfs = rpc.Nfs3(self.connection)
        status, self.root = rpc.mount(self.connection, "/files")
        expect(status, OK, "mount of /files")
        self.fresh = 0

    def folder(self):
        """A new folder for one test."""
        self.fresh += 1
        made = self.nfs.mkdir(self.root, f"test{self.fresh}", mode=0o755)
        expect(made.status, OK, "MKDIR")
        return made.handle

    def file(self, directory, name="file", data=b"", **values):
        made = self.nfs.create(directory, name, 1, mode=values.pop("mode", 0o644), **values)
        expect(made.status, OK, f"CREATE {name}")
        if data:
            expect(self.nfs.write(made.handle, 0, data).status, OK, "WRITE")
        return made.handle

    def as_user(self, uid, gid=None, groups=()):
        return rpc.Nfs3(self.connection, auth_sys(uid, uid if gid is None else gid, groups))

    # -- RPC ---------------------------------------------------------------------------------
    def rpc_errors(self):
        c = self.connection
        expect(c.ask(rpc.NFS, 3, 0)[0], 0, "NULL")
        expect(c.ask(400000, 1, 0)[0], 1, "PROG_UNAVAIL")
        status, r = c.ask(rpc.NFS, 9, 0)
        expect(status, 2, "PROG_MISMATCH")
        low, high = r.u32(), r.u32()
        assert low <= 3 <= high < 9, (low, high)
        status, r = c.ask(rpc.MOUNT, 7, 0)
        expect((status, r.u32(), r.u32()), (2, 1, 3), "MOUNT versions")
        expect(c.ask(rpc.NFS, 3, 22)[0], 3, "PROC_UNAVAIL")
        expect(c.ask(rpc.NFS, 3, 1)[0], 4, "GARBAGE_ARGS: nothing")
        expect(c.ask(rpc.NFS, 3, 1, u32(0xFFFFFFFF))[0], 4, "GARBAGE_ARGS: length lies")
        expect(c.ask(rpc.NFS, 3, 3, opaque(self.root) + u32(8) + b"abc")[0], 4, "cut off name")
        status, r = c.ask(rpc.NFS, 3, 0, rpc_version=3)
        expect((status, r.u32(), r.u32(), r.u32()), ("denied", 0, 2, 2), "RPC_MISMATCH")

    def credentials(self):
        c = self.connection

        def denied(cred, verifier=rpc.AUTH_NONE):
            status, r = c.ask(rpc.NFS, 3, 1, opaque(self.root), cred=cred, verifier=verifier)
            assert status == "denied", f"accepted: {status}"
            expect(r.u32(), 1, "AUTH_ERROR")
            return r.u32()
        expect(denied(u32(1) + opaque(b"\0" * 3)), 1, "short AUTH_SYS")
        expect(denied(auth_sys(groups=range(17))), 1, "17 groups")
        expect(denied(auth_sys(machine=b"m" * 256)), 1, "machine name of 256")
        expect(denied(u32(6) + opaque(b"")), 1, "a flavor that is not there")
        expect(denied(u32(77) + opaque(b"x" * 400)), 1, "an unknown flavor")
        expect(c.ask(rpc.NFS, 3, 1, opaque(self.root), cred=auth_sys(groups=range(16)))[0], 0,
               "16 groups")
        expect(c.ask(rpc.NFS, 3, 1, opaque(self.root), cred=rpc.AUTH_NONE)[0], 0, "AUTH_NONE")

    def records(self):
        """Fragments, several calls in one segment, replies to all of them."""
        c = self.connection
        for pieces in (1, 2, 3, 60):
            expect(c.ask(rpc.NFS, 3, 1, opaque(self.root), pieces=pieces)[0], 0, pieces)
        body = c.call_body(rpc.NFS, 3, 0)
        c.send(u32(0) + u32(len(body)) + body + u32(rpc.LAST))
        expect(c.accept(body[:4])[0], 0, "empty fragments around")
        bodies = [c.call_body(rpc.NFS, 3, 1, opaque(self.root)) for _ in range(300)]
        c.send(b"".join(u32(len(b) | rpc.LAST) + b for b in bodies))
        seen = set()
        for _ in bodies:
            reply = c.reply()
            seen.add(reply.take(4))
        expect(seen, {b[:4] for b in bodies}, "replies to 300 calls in one go")
        for byte in u32(len(body) | rpc.LAST) + body:
            c.send(bytes([byte]))
        expect(c.accept(body[:4])[0], 0, "byte by byte")

    # -- MOUNT, portmapper -------------------------------------------------------------------
    def mounting(self):
        c = self.connection
        for version in (1, 3):
            c.good(rpc.MOUNT, version, 0).end()
        assert len(self.root) <= 56, len(self.root)
        expect(rpc.mount(c, "/nothing")[0], NOENT, "no such export")
        expect(rpc.mount(c, "")[0], NOENT, "empty path")
        expect(rpc.mount(c, "/closed")[0], ACCES, "not for this client")
        expect(rpc.mount(c, "/secure")[0], PERM, "from a port above 1023")
        expect(rpc.mount(c, "/files/../ro")[0], INVAL, "dots")
        expect(rpc.mount(c, "/files/nothing")[0], NOENT, "no such folder")
        expect(rpc.mount(c, "/files", version=1)[0], ACCES, "version 1")
        sub = self.folder()
        expect(rpc.mount(c, f"/files//test{self.fresh}/"), (OK, sub), "a folder in the share")
        self.file(self.root, "plainfile")
        expect(rpc.mount(c, "/files/plainfile")[0], NOTDIR, "a file")
        expect(c.ask(rpc.MOUNT, 3, 1, opaque("/" * 1025))[0], 4, "a path of 1025")
        expect(rpc.mount(c, "/" + "n" * 1000)[0], NOENT, "a long path")

    def mount_lists(self):
        c = self.connection

        def dump():
            r, found = c.good(rpc.MOUNT, 3, 2), []
            while r.bool():
                found.append((r.opaque(), r.opaque()))
            r.end()
            return found
        rpc.mount(c, "/ro")
        assert (b"127.0.0.1", b"/ro") in dump(), dump()
        c.good(rpc.MOUNT, 3, 3, opaque("/ro")).end()
        assert (b"127.0.0.1", b"/ro") not in dump(), dump()
        c.good(rpc.MOUNT, 3, 4).end()
        expect(dump(), [], "after UMNTALL")
        for version in (1, 3):
            r, exports = c.good(rpc.MOUNT, version, 5), {}
            while r.bool():
                path, groups = r.opaque(), []
                while r.bool():
                    groups.append(r.opaque())
                exports[path] = groups
            r.end()
            expect(exports[b"/ro"], [b"127.0.0.0/8"], "EXPORT")
            expect(len(exports), 5, "exports")

    def portmapper(self):
        c, port = self.connection, self.server.port

        def get_port(program, version, protocol):
            r = c.good(rpc.PORTMAP, 2, 3, u32(program, version, protocol, 0))
            got = r.take(4)
            r.end()
            return got
        for program in (rpc.NFS, rpc.MOUNT, rpc.PORTMAP):
            expect(get_port(program, 3, 6), u32(port), f"GETPORT {program}")
        expect(get_port(rpc.NFS, 3, 17), u32(0), "UDP")
        expect(get_port(300000, 3, 6), u32(0), "unknown program")
        r, found = c.good(rpc.PORTMAP, 2, 4), set()
        while r.bool():
            found.add(tuple(r.u32() for _ in range(4)))
        assert {(rpc.NFS, 3, 6, port), (rpc.MOUNT, 1, 6, port), (rpc.MOUNT, 3, 6, port)} <= found
        address = f"127.0.0.1.{port >> 8}.{port & 255}".encode()
        for version in (3, 4):
            c.good(rpc.PORTMAP, version, 0).end()
            for netid, wanted in (("tcp", address), ("udp", b""), ("tcp6", b"")):
                r = c.good(rpc.PORTMAP, version, 3,
                           u32(rpc.NFS, 3) + opaque(netid) + opaque("") + opaque("rpcb"))
                expect(r.opaque(), wanted, f"GETADDR {netid}")
            r, found = c.good(rpc.PORTMAP, version, 4), []
            while r.bool():
                found.append((r.u32(), r.u32(), r.opaque(), r.opaque(), r.opaque()))
            assert (rpc.NFS, 3, b"tcp", address, b"granary") in found, found
            expect(abs(c.good(rpc.PORTMAP, version, 6).u32() - time.time()) < 5, True, "GETTIME")
        for procedure in (1, 2):
            r = c.good(rpc.PORTMAP, 2, procedure, u32(rpc.NFS, 3, 6, 1))
            expect(r.bool(), False, "nobody registers here")
        expect(get_port(rpc.NFS, 3, 6), u32(port), "after SET and UNSET")
        expect(c.ask(rpc.PORTMAP, 2, 5)[0], 3, "CALLIT")

    # -- NFSv3 -------------------------------------------------------------------------------
    def attributes(self):
        n, d = self.nfs, self.folder()
        n.null()
        f = self.file(d, data=b"x" * 100)
        attr = n.getattr(f).attr
        expect((attr.type, attr.mode, attr.nlink, attr.size), (REG, 0o644, 1, 100), "GETATTR")
        expect(n.getattr(d).attr.type, DIR, "of a folder")
        changed = n.setattr(f, mode=0o4711, uid=7, gid=8, size=10, atime=(100, 5),
                            mtime=(200, 6))
        expect(changed.status, OK, "SETATTR")
        expect(changed.wcc.before[0], 100, "size before")
        after = changed.wcc.after
        expect((after.mode, after.uid, after.gid, after.size, after.atime, after.mtime),
               (0o4711, 7, 8, 10, (100, 5), (200, 6)), "after")
        expect(n.setattr(f, guard=after.ctime, mode=0o600).status, OK, "guard that holds")
        expect(n.setattr(f, guard=(1, 1), mode=0o644).status, NOT_SYNC, "guard that does not")
        expect(n.getattr(f).attr.mode, 0o600, "unchanged")
        expect(n.setattr(f, atime="now", mtime="now").status, OK, "server's time")
        assert abs(n.getattr(f).attr.mtime[0] - time.time()) < 5
        user = self.as_user(1000)
        expect(user.setattr(f, mode=0o777).status, PERM, "somebody else's mode")
        expect(user.setattr(f, size=0).status, ACCES, "somebody else's size")
        expect(n.setattr(f, size=1 << 62).status, FBIG, "too large")
        expect(n.create(d, "too large", 0, size=1 << 62).status, FBIG, "to begin with")
        expect(n.lookup(d, "too large").status, NOENT, "it is not made")
        expect(n.setattr(d, size=0).status in (ISDIR, INVAL), True, "size of a folder")

    def lookups(self):
        n, d = self.nfs, self.folder()
        f = self.file(d)
        found = n.lookup(d, "file")
        expect((found.status, found.handle), (OK, f), "LOOKUP")
        assert found.attr.fileid == n.getattr(f).attr.fileid and found.directory.type == DIR
        expect(n.lookup(d, ".").handle, d, ".")
        expect(n.lookup(d, "..").handle, self.root, "..")
        expect(n.lookup(self.root, "..").handle, self.root, "the root's ..")
        expect(n.lookup(d, "nothing").status, NOENT, "no entry")
        expect(n.lookup(f, "file").status, NOTDIR, "in a file")
        expect(n.lookup(d, "n" * 255).status, NOENT, "255 bytes")
        expect(n.lookup(d, "n" * 256).status, NAMETOOLONG, "256 bytes")
        for name in (b"", b"a/b", b"a\0b", b"/etc/passwd", b"../../etc", b"\0"):
            expect(n.lookup(d, name).status, INVAL, name)
        hidden = n.mkdir(d, "hidden", mode=0o700).handle
        expect(self.as_user(1000).lookup(hidden, "x").status, ACCES, "in a closed folder")

    def accesses(self):
        n, d = self.nfs, self.folder()
        f = self.file(d, mode=0o640, uid=1000, gid=50)
        every = 0x3F
        expect(n.access(f, every).granted & 0x0D, 0x0D, "root")
        expect(self.as_user(1000).access(f, every).granted, 0x0D, "owner")
        expect(self.as_user(2000, 50).access(f, every).granted, 0x01, "group")
        expect(self.as_user(2000, 2, (3, 50)).access(f, every).granted, 0x01, "16 groups")
        expect(self.as_user(3000).access(f, every).granted, 0, "others")
        expect(self.as_user(3000).access(d, every).granted, 0x03, "a folder of 0755")
        expect(n.access(f, 0x04).granted, 0x04, "only what was asked")

    def data(self):
        n, d = self.nfs, self.folder()
        f = self.file(d)
        payload = os.urandom(100000)
        for stable in (0, 1, 2):
            wrote = n.write(f, 0, payload, stable)
            expect((wrote.status, wrote.count), (OK, len(payload)), "WRITE")
            assert wrote.committed >= stable and wrote.wcc.after.size == len(payload)
        expect(n.commit(f).verifier, wrote.verifier, "one verifier")
        for offset, count in ((0, 100000), (1, 99), (4095, 4098), (99999, 1)):
            part = n.read(f, offset, count)
            expect(part.data, payload[offset:offset + count], f"READ {offset} {count}")
            expect(part.eof, offset + count >= len(payload), "eof")
        part = n.read(f, 99000, 5000)
        expect((part.count, part.eof), (1000, True), "over the end")
        for offset in (100000, 1 << 40, 2**64 - 1, 2**64 - 4096):
            part = n.read(f, offset, 65536)
            expect((part.status, part.count, part.eof), (OK, 0, True), f"READ at {offset}")
        part = n.read(f, 0, 0)
        expect((part.status, part.count), (OK, 0), "READ of nothing")
        expect(n.read(f, 0, 0xFFFFFFFF).count, len(payload), "READ of all there can be")
        big = os.urandom(1 << 20)
        expect(n.write(f, 3, big, 0).count, 1 << 20, "WRITE of 1 MiB, not aligned")
        expect(n.read(f, 3, 1 << 20).data, big, "READ of 1 MiB")
        expect(n.write(f, 50 << 30, b"end").wcc.after.size, (50 << 30) + 3, "sparse")
        expect(n.read(f, 40 << 30, 4096).data, bytes(4096), "hole")
        expect(n.write(f, 2**64 - 4, b"12345678").status, FBIG, "WRITE over 2^64")
        expect(n.write(f, 1 << 62, b"1").status, FBIG, "WRITE too far out")
        expect(n.write(f, 0, b"", 2).status, OK, "WRITE of nothing")
        expect(n.write(f, 0, b"abc", count=2).status, INVAL, "count and data differ")
        expect(n.read(d, 0, 10).status in (ISDIR, INVAL), True, "READ of a folder")
        expect(n.write(d, 0, b"x").status in (ISDIR, INVAL), True, "WRITE to a folder")
        c = self.connection
        expect(c.ask(rpc.NFS, 3, 7, opaque(f) + u64(0) + u32(4, 3) + opaque(b"data"))[0], 4,
               "stable_how 3")
        expect(c.ask(rpc.NFS, 3, 7, opaque(f) + u64(0) + u32(1 << 21, 0) +
                     u32(1 << 21) + b"x" * 4096)[0], 4, "data that is not there")
        pieces = c.call_body(rpc.NFS, 3, 7, opaque(f) + u64(0) + u32(len(big), 2) + opaque(big))
        c.record(pieces, 100)
        expect((c.accept()[0], n.read(f, 0, 1 << 20).data), (0, big), "WRITE in 100 fragments")
        owner = self.as_user(1000)
        locked = self.file(d, "locked", mode=0o444, uid=1000)
        expect(owner.write(locked, 0, b"mine").status, OK, "the owner writes to a 0444 file")
        expect(self.as_user(1001).write(locked, 0, b"not").status, ACCES, "others do not")

    def making(self):
        n, d = self.nfs, self.folder()
        made = n.create(d, "a", 0, mode=0o600)
        expect((made.status, made.attr.mode), (OK, 0o600), "UNCHECKED")
        n.write(made.handle, 0, b"12345")
        again = n.create(d, "a", 0, mode=0o644, size=0)
        expect((again.status, again.handle, again.attr.size), (OK, made.handle, 0), "again")
        expect(n.create(d, "a", 1).status, EXIST, "GUARDED")
        one = n.create(d, "x", 2, b"verifier")
        expect(one.status, OK, "EXCLUSIVE")
        expect(n.create(d, "x", 2, b"verifier").handle, one.handle, "the same again")
        expect(n.create(d, "x", 2, b"another!").status, EXIST, "another verifier")
        expect(n.setattr(one.handle, mode=0o640).status, OK, "SETATTR behind it")
        folder = n.mkdir(d, "dir", mode=0o711)
        expect((folder.attr.type, folder.attr.mode, folder.attr.nlink), (DIR, 0o711, 2), "MKDIR")
        expect(n.mkdir(d, "dir").status, EXIST, "MKDIR again")
        assert folder.wcc.before and folder.wcc.after
        link = n.symlink(d, "link", "../some/where")
        expect((link.attr.type, n.readlink(link.handle).path), (LNK, b"../some/where"), "SYMLINK")
        expect(n.readlink(folder.handle).status, INVAL, "READLINK of a folder")
        expect(n.symlink(d, "long", "p" * 5000).status, NAMETOOLONG, "path of 5000")
        expect(n.symlink(d, "empty", "").status, INVAL, "empty path")
        for kind, rdev in ((BLK, (8, 1)), (CHR, (1, 3)), (SOCK, None), (FIFO, None)):
            node = n.mknod(d, f"node{kind}", kind, rdev, mode=0o600)
            expect((node.status, node.attr.type), (OK, kind), "MKNOD")
            if rdev:
                expect(node.attr.rdev, rdev, "rdev")
        for kind in (REG, DIR, LNK):
            status, _ = n.ask(11, opaque(d) + opaque("bad") + u32(kind))
            expect(status, BADTYPE, f"MKNOD of type {kind}")
        expect(self.connection.ask(rpc.NFS, 3, 11, opaque(d) + opaque("bad") + u32(9))[0], 4,
               "MKNOD of type 9")
        expect(self.as_user(1000).mknod(d, "dev", BLK, (8, 0)).status in (PERM, ACCES), True,
               "a device by anybody")
        for name, status in ((b"", INVAL), (b"a/b", INVAL), (b"a\0b", INVAL), (b".", EXIST),
                             (b"..", EXIST), (b"n" * 256, NAMETOOLONG)):
            for make in (n.create, n.mkdir):
                expect(make(d, name).status, status, name)
            expect(n.symlink(d, name, "x").status, status, name)
        expect(n.create(d, "dir", 0).status in (EXIST, ISDIR), True, "UNCHECKED over a folder")
        expect(n.create(made.handle, "y").status, NOTDIR, "in a file")
        expect(self.as_user(1000).create(d, "theirs").status, ACCES, "no right")
        expect(self.connection.ask(rpc.NFS, 3, 8, opaque(d) + opaque("z") + u32(3))[0], 4,
               "createmode 3")

    def removing(self):
        n, d = self.nfs, self.folder()
        f = self.file(d, data=b"still here")
        sub = n.mkdir(d, "sub").handle
        self.file(sub, "inside")
        expect(n.remove(d, "sub").status, ISDIR, "REMOVE of a folder")
        expect(n.rmdir(d, "file").status, NOTDIR, "RMDIR of a file")
        expect(n.rmdir(d, "sub").status, NOTEMPTY, "RMDIR, not empty")
        expect(n.rmdir(d, ".").status, INVAL, "RMDIR .")
        expect(n.rmdir(d, "..").status, EXIST, "RMDIR ..")
        expect(n.remove(d, "nothing").status, NOENT, "no such entry")
        expect(self.as_user(1000).remove(d, "file").status, ACCES, "no right")
        gone = n.remove(d, "file")
        expect(gone.status, OK, "REMOVE")
        assert gone.wcc.before and gone.wcc.after.mtime >= gone.wcc.before[1]
        expect(n.getattr(f).status, STALE, "its handle")
        expect(n.remove(sub, "inside").status, OK, "REMOVE")
        expect(n.rmdir(d, "sub").status, OK, "RMDIR")
        expect(n.lookup(sub, "x").status, STALE, "in a folder that is gone")
        sticky = n.mkdir(d, "sticky", mode=0o1777).handle
        self.file(sticky, "one", uid=1000)
        expect(self.as_user(1001).remove(sticky, "one").status in (PERM, ACCES), True, "sticky")
        expect(self.as_user(1000).remove(sticky, "one").status, OK, "sticky, the owner")

    def renaming(self):
        n, d = self.nfs, self.folder()
        f = self.file(d, "a", b"data")
        other = n.mkdir(d, "other").handle
        moved = n.rename(d, "a", other, "b")
        expect(moved.status, OK, "RENAME")
        assert moved.source.after.fileid != moved.target.after.fileid
        expect(n.lookup(other, "b").handle, f, "moved")
        self.file(d, "c", b"old")
        expect(n.rename(other, "b", d, "c").status, OK, "over a file")
        expect(n.read(n.lookup(d, "c").handle, 0, 9).data, b"data", "replaced")
        expect(n.rename(d, "nothing", d, "x").status, NOENT, "no source")
        expect(n.rename(d, "c", d, "other").status in (ISDIR, EXIST), True, "file over folder")
        expect(n.rename(d, "other", d, "c").status in (NOTDIR, EXIST), True, "folder over file")
        expect(n.rename(d, "other", other, "in").status, INVAL, "into itself")
        full = n.mkdir(d, "full").handle
        self.file(full, "x")
        expect(n.rename(d, "other", d, "full").status in (NOTEMPTY, EXIST), True, "over a full one")
        for name in (b"..", b".", b"a/b", b""):
            expect(n.rename(d, "c", d, name).status in (INVAL, EXIST), True, name)
        _, ro = rpc.mount(self.connection, "/ro")
        expect(n.rename(d, "c", ro, "c").status in (XDEV, ROFS), True, "to another share")
        _, squash = rpc.mount(self.connection, "/squash")
        expect(n.rename(d, "c", squash, "c").status, XDEV, "to another share")
        hard = n.link(f, other, "hard")
        expect((hard.status, hard.attr.nlink), (OK, 2), "LINK")
        expect(n.lookup(other, "hard").handle, f, "one object")
        expect(n.rename(d, "c", other, "hard").status, OK, "two names of one object")
        expect(n.link(f, other, "hard").status, EXIST, "LINK again")
        expect(n.link(other, d, "l").status in (ISDIR, PERM, INVAL), True, "LINK of a folder")
        expect(n.link(f, f, "l").status, NOTDIR, "LINK in a file")
        expect(n.link(f, squash, "l").status, XDEV, "LINK to another share")

    def listing(self):
        n, d = self.nfs, self.folder()
        names = {f"file-{i:04}-{'x' * (i % 40)}".encode() for i in range(700)}
        for name in sorted(names):
            self.file(d, name)
        wanted = names | {b".", b".."}
        for count in (600, 8192, 1 << 20):
            for plus in (False, True):
                got = n.names(d, count, plus)
                expect(len(got), len(set(got)), "each once")
                expect(set(got), wanted, f"names with {count}")
        part = n.readdir(d, count=2000)
        assert part.length <= 2000, part.length
        expect(n.readdir(d, part.entries[-1].cookie, b"notmine!", 2000).status, BAD_COOKIE,
               "another verifier")
        for plus in (n.readdir(d, count=30), n.readdirplus(d, maxcount=64)):
            expect(plus.status, TOOSMALL, "no room for one")
        expect(n.readdir(self.file(self.root, f"f{self.fresh}")).status, NOTDIR, "a file")
        first = n.readdirplus(d, maxcount=4000)
        for entry in first.entries:
            expect(n.lookup(d, entry.name).handle, entry.handle, entry.name)
            expect(entry.attr.fileid, entry.fileid, "fileid")
        cookie, verifier = first.entries[-1].cookie, first.verifier
        for name in sorted(names)[::2]:
            n.remove(d, name)
        rest = n.readdirplus(d, cookie, verifier, 1 << 16, 1 << 17)
        seen = {e.name for e in first.entries} | {e.name for e in rest.entries}
        assert set(sorted(names)[1::2]) <= seen, "an entry is lost when others are removed"
        expect(len({e.name for e in first.entries} & {e.name for e in rest.entries}), 0, "twice")
        expect(self.as_user(1).readdir(n.mkdir(d, "shut", mode=0o700).handle).status, ACCES,
               "no right")

    def whole_system(self):
        n = self.nfs
        stat = n.fsstat(self.root).values
        assert stat[0] >= stat[1] >= stat[2] > 0 and stat[3] >= stat[4] >= stat[5], stat
        info = n.fsinfo(self.root)
        expect(info.values[:2], [1 << 20, 1 << 20], "rtmax")
        assert info.file_max >= 1 << 40 and info.properties & 0x1B == 0x1B, vars(info)
        conf = n.pathconf(self.root).values
        assert conf[0] > 1 and conf[1:] == [255, True, True, False, True], conf

    def handles(self):
        n, d = self.nfs, self.folder()
        f = self.file(d)
        for length in list(range(1, 65)):
            status = n.getattr(os.urandom(length)).status
            expect(status in (STALE, BADHANDLE), True, f"{length} random bytes: {status}")
        expect(n.getattr(b"").status, BADHANDLE, "no bytes")
        for at in range(len(f)):
            for bit in (1, 0x80):
                forged = bytearray(f)
                forged[at] ^= bit
                expect(n.getattr(bytes(forged)).status in (STALE, BADHANDLE), True, f"byte {at}")
        expect(n.getattr(f + b"\0").status in (STALE, BADHANDLE), True, "longer")
        expect(n.getattr(f[:-1]).status in (STALE, BADHANDLE), True, "shorter")
        expect(self.connection.ask(rpc.NFS, 3, 1, opaque(b"x" * 65))[0], 4, "65 bytes")
        for procedure in range(1, 22):
            body = opaque(b"\1" * 28) + b"\0" * 200
            status, r = self.connection.ask(rpc.NFS, 3, procedure, body)
            if status == 0:
                expect(r.u32() in (STALE, BADHANDLE), True, f"procedure {procedure}")

    def rules(self):
        n = self.nfs
        _, ro = rpc.mount(self.connection, "/ro")
        for status in (n.create(ro, "x").status, n.mkdir(ro, "x").status,
                       n.setattr(ro, mode=0o777).status, n.remove(ro, "x").status,
                       n.write(ro, 0, b"x").status, n.symlink(ro, "x", "y").status):
            expect(status, ROFS, "on a read-only export")
        expect(n.access(ro, 0x3F).granted & 0x1C, 0, "ACCESS on it")
        _, squash = rpc.mount(self.connection, "/squash")
        expect(n.create(squash, "x").status, ACCES, "root is nobody here")
        low = None
        for port in range(700, 1024):
            try:
                low = self.server.connect(source=("127.0.0.1", port))
                break
            except OSError:
                continue
        if low:
            with low:
                status, handle = rpc.mount(low, "/secure")
                expect(status, OK, "from a low port")
                expect(rpc.Nfs3(low).getattr(handle).status, OK, "and its handle")
            expect(n.getattr(handle).status, PERM, "the handle from a high port")

    def duplicates(self):
        """The same xid again over a new connection from the same port: not done twice."""
        d = self.folder()
        self.file(d, "once")
        source = ("127.0.0.1", free_port())  # nobody else has it meanwhile
        first = self.server.connect(source=source)
        body = first.call_body(rpc.NFS, 3, 12, opaque(d) + opaque("once"), xid=0x77001122)
        first.record(body)
        answer = first.reply().data
        expect(struct.unpack(">I", answer[24:28])[0], OK, "REMOVE")
        first.record(body)
        expect(first.reply().data, answer, "again on the same connection")
        first.socket.setsockopt(1, 13, struct.pack("ii", 1, 0))  # reset: no TIME_WAIT
        first.close()
        time.sleep(0.1)
        with self.server.connect(source=source) as second:
            second.record(body)
            expect(second.reply().data, answer, "again after a reconnect")
            other = second.call_body(rpc.NFS, 3, 12, opaque(d) + opaque("two"), xid=0x77001122)
            second.record(other)
            expect(struct.unpack(">I", second.reply().data[24:28])[0], NOENT, "other arguments")

    # -- hostile -----------------------------------------------------------------------------
    def hostile_records(self):
        for data in (u32(0x7FFFFFFF), u32(0xFFFFFFFF), u32(rpc.LAST | (1 << 21)),
                     u32(rpc.LAST | 4) + b"junk", u32(rpc.LAST), u32(rpc.LAST | 12) + u32(1, 1, 2),
                     b"GET / HTTP/1.1\r\n\r\n", u32(0) * 2000,
                     u32(rpc.LAST | 40) + u32(5, 0, 2, rpc.NFS, 3, 1, 1, 404, 0, 0)):
            with self.server.connect() as bad:
                try:
                    bad.send(data)
                    bad.expect_end()
                except (BrokenPipeError, ConnectionResetError):
                    pass
        with self.server.connect() as bad:  # a record of endless fragments
            try:
                for _ in range(3000):
                    bad.send(u32(1024) + b"\0" * 1024)
                bad.expect_end()
            except (BrokenPipeError, ConnectionResetError):
                pass
        expect(self.nfs.getattr(self.root).status, OK, "others are served")

    def hostile_peers(self):
        """Peers that vanish in the middle, and one that never takes its replies."""
        for length in (1, 4, 50, 5000, 300000):
            bad = self.server.connect()
            bad.send(u32(rpc.LAST | 400000) + b"\0" * (length - 4) if length > 4 else b"\x80")
            bad.close()
        d = self.folder()
        f = self.file(d, "big", os.urandom(1 << 20))
        before = self.rss()
        greedy = []
        for _ in range(8):
            bad = self.server.connect()
            bad.socket.settimeout(0.2)
            body = bad.call_body(rpc.NFS, 3, 6, opaque(f) + u64(0) + u32(1 << 20))
            try:
                for _ in range(400):
                    bad.record(body)
            except (TimeoutError, OSError):
                pass
            greedy.append(bad)
        grown = self.rss() - before
        assert grown < MEMORY_GROWTH_MAX, f"{grown >> 20} MiB for replies nobody takes"
        expect(self.nfs.read(f, 0, 100).status, OK, "others are served")
        for bad in greedy:
            bad.close()
        many = [self.server.connect() for _ in range(200)]
        expect(self.nfs.getattr(self.root).status, OK, "beside 200 silent ones")
        for bad in many:
            bad.close()

    def rss(self):
        with open(f"/proc/{self.server.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * 4096

    def cut_arguments(self):
        """Every procedure with arguments that end anywhere."""
        d = self.folder()
        f = self.file(d)
        whole = {1: opaque(f), 2: opaque(f) + rpc.sattr(mode=0o644) + u32(0),
                 3: opaque(d) + opaque("abc"), 4: opaque(f) + u32(63), 5: opaque(f),
                 6: opaque(f) + u64(0) + u32(10), 7: opaque(f) + u64(0) + u32(4, 2, 4) + b"data",
                 8: opaque(d) + opaque("n") + u32(0) + rpc.sattr(),
                 9: opaque(d) + opaque("m") + rpc.sattr(),
                 10: opaque(d) + opaque("s") + rpc.sattr() + opaque("to"),
                 11: opaque(d) + opaque("k") + u32(FIFO) + rpc.sattr(),
                 12: opaque(d) + opaque("n"), 13: opaque(d) + opaque("m"),
                 14: opaque(d) + opaque("s") + opaque(d) + opaque("t"),
                 15: opaque(f) + opaque(d) + opaque("l"),
                 16: opaque(d) + u64(0) + bytes(8) + u32(4096),
                 17: opaque(d) + u64(0) + bytes(8) + u32(4096, 4096), 18: opaque(d),
                 19: opaque(d), 20: opaque(d), 21: opaque(f) + u64(0) + u32(0)}
        for procedure, body in whole.items():
            for length in range(0, len(body), 4):
                status, _ = self.connection.ask(rpc.NFS, 3, procedure, body[:length])
                expect(status, 4, f"procedure {procedure} with {length} of {len(body)} bytes")
            status, r = self.connection.ask(rpc.NFS, 3, procedure, body)
            expect(status, 0, f"procedure {procedure}")


def scarce_buffers(server):
    """One connection has all of the budget and stops before its last byte: others' writes come to an
    end, in one fragment and in fragments that outgrow what the first was given."""
    clients = [server.connect(timeout=20.0) for _ in range(4)]
    root = rpc.mount(clients[0], "/files")[1]
    nfs = rpc.Nfs3(clients[0])
    handle = nfs.create(root, "scarce", 1, mode=0o644).handle
    data = [bytes([number]) * (1 << 20) for number in range(4)]
    bodies = [rpc.Connection.call_body(rpc.NFS, 3, 7, opaque(handle) + u64(number << 20) +
                                       u32(1 << 20, 2) + opaque(data[number]))
              for number in range(4)]
    record = u32(len(bodies[0]) | rpc.LAST) + bodies[0]
    clients[0].send(record[:-1])
    time.sleep(0.3)
    for number, pieces in ((1, 1), (2, 50), (3, 3), (1, 1)):
        clients[number].record(bodies[number], pieces)
        expect(clients[number].accept(bodies[number][:4])[0], 0, f"{pieces} fragments")
    clients[0].send(record[-1:])
    expect(clients[0].accept(bodies[0][:4])[0], 0, "the first one")
    for number, wanted in enumerate(data):
        expect(nfs.read(handle, number << 20, 1 << 20).data, wanted, f"part {number}")
    for client in clients:
        client.close()


CASES = ("rpc_errors", "credentials", "records", "mounting", "mount_lists", "portmapper",
         "attributes", "lookups", "accesses", "data", "making", "removing", "renaming", "listing",
         "whole_system", "handles", "rules", "duplicates", "hostile_records", "hostile_peers",
         "cut_arguments")


def test(t):
    server = rpc.MemoryServer()
    try:
        suite = Suite(server)
        for name in CASES:
            try:
                getattr(suite, name)()
                t.point(True, name.replace("_", " "))
            except (AssertionError, OSError, rpc.Closed, ValueError) as error:
                t.point(False, name.replace("_", " "), f"{type(error).__name__}: {error}")
                suite.connection.close()
                suite.connection = server.connect()
                suite.nfs = rpc.Nfs3(suite.connection)
        suite.connection.close()
    finally:
        status, said = server.stop()
    t.point(status == 0, "the server ends cleanly", said)
    server = rpc.MemoryServer(loops=1, buffers=1 << 20)
    try:
        scarce_buffers(server)
        t.point(True, "scarce buffers")
    except (AssertionError, OSError, rpc.Closed, ValueError) as error:
        t.point(False, "scarce buffers", f"{type(error).__name__}: {error}")
    finally:
        status, said = server.stop()
    t.point(status == 0, "that server ends cleanly too", said)


if __name__ == "__main__":
    tap.run(test)
