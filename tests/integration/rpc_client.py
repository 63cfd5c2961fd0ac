# SPDX-License-Identifier: Apache-2.0
"""ONC RPC and XDR by hand, and a client for NFSv3 and MOUNT on top: for tests that say exactly
what goes over the wire, also when it is wrong."""

import itertools
import os
import socket
import struct
import subprocess

PORTMAP, NFS, MOUNT, RQUOTA = 100000, 100003, 100005, 100011
LAST = 0x80000000
XIDS = itertools.count(int.from_bytes(os.urandom(3), "big") << 4)


def u32(*values):
    return b"".join(struct.pack(">I", value & 0xFFFFFFFF) for value in values)


def u64(*values):
    return b"".join(struct.pack(">Q", value & (2**64 - 1)) for value in values)


def opaque(data):
    if isinstance(data, str):
        data = data.encode()
    return u32(len(data)) + data + b"\0" * (-len(data) % 4)


def auth_sys(uid=0, gid=0, groups=(), machine=b"tester"):
    return u32(1) + opaque(u32(0) + opaque(machine) + u32(uid, gid) + u32(len(groups)) +
                           u32(*groups))


AUTH_NONE = u32(0, 0)


class Closed(Exception):
    """The server closed the connection."""


class Reader:
    """Takes XDR apart; asking for more than there is raises."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        if self.at + length > len(self.data):
            raise AssertionError(f"reply of {len(self.data)} bytes is too short")
        piece = self.data[self.at:self.at + length]
        self.at += length
        return piece

    def u32(self):
        return struct.unpack(">I", self.take(4))[0]

    def u64(self):
        return struct.unpack(">Q", self.take(8))[0]

    def bool(self):
        value = self.u32()
        assert value in (0, 1), f"bool {value}"
        return value == 1

    def opaque(self):
        length = self.u32()
        data = self.take(length)
        assert self.take(-length % 4) == b"\0" * (-length % 4), "padding is not zero"
        return data

    def end(self):
        assert self.at == len(self.data), f"{len(self.data) - self.at} bytes left over"
        return self


class Connection:
    def __init__(self, port, address="127.0.0.1", timeout=60.0, source=None):
        self.socket = socket.socket()
        self.socket.settimeout(timeout)
        if source:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(source)
        self.socket.connect((address, port))
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def record(self, body, pieces=1):
        """Sends @body as a record of @pieces fragments."""
        size = max(1, -(-len(body) // pieces))
        parts = [body[at:at + size] for at in range(0, len(body), size)] or [b""]
        for number, part in enumerate(parts, 1):
            self.send(u32(len(part) | (LAST if number == len(parts) else 0)) + part)

    def exactly(self, length):
        while len(self.buffer) < length:
            try:
                piece = self.socket.recv(1 << 20)
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise Closed()
            self.buffer += piece
        data, self.buffer = self.buffer[:length], self.buffer[length:]
        return data

    def reply(self):
        """The next record."""
        mark = struct.unpack(">I", self.exactly(4))[0]
        assert mark & LAST, "a reply in fragments"
        return Reader(self.exactly(mark & ~LAST))

    @staticmethod
    def call_body(program, version, procedure, arguments=b"", cred=None, xid=None,
                  verifier=AUTH_NONE, rpc_version=2):
        xid = next(XIDS) if xid is None else xid
        return (u32(xid, 0, rpc_version, program, version, procedure) +
                (auth_sys() if cred is None else cred) + verifier + arguments)

    def ask(self, program, version, procedure, arguments=b"", **how):
        """One call; (accept status, Reader of the results), or ("denied", Reader)."""
        pieces = how.pop("pieces", 1)
        body = self.call_body(program, version, procedure, arguments, **how)
        self.record(body, pieces)
        return self.accept(body[:4])

    def accept(self, xid=None):
        reply = self.reply()
        got = reply.take(4)
        assert xid is None or got == xid, "another xid"
        assert reply.u32() == 1, "no reply"
        if reply.u32() == 1:
            return "denied", reply
        assert reply.u32() == 0 and reply.opaque() == b"", "verifier"
        return reply.u32(), reply

    def good(self, program, version, procedure, arguments=b"", **how):
        status, reply = self.ask(program, version, procedure, arguments, **how)
        assert status == 0, f"accept status {status}"
        return reply

    def expect_end(self):
        """The server must close; nothing but whole records before."""
        while True:
            try:
                self.reply()
            except Closed:
                return


class Attr:
    FIELDS = ("type", "mode", "nlink", "uid", "gid")

    def __init__(self, reader):
        for name in self.FIELDS:
            setattr(self, name, reader.u32())
        self.size, self.used = reader.u64(), reader.u64()
        self.rdev = (reader.u32(), reader.u32())
        self.fsid, self.fileid = reader.u64(), reader.u64()
        self.atime, self.mtime, self.ctime = ((reader.u32(), reader.u32()) for _ in range(3))


def post_attr(reader):
    return Attr(reader) if reader.bool() else None


class Wcc:
    def __init__(self, reader):
        self.before = None
        if reader.bool():
            self.before = (reader.u64(), (reader.u32(), reader.u32()),
                           (reader.u32(), reader.u32()))
        self.after = post_attr(reader)


def sattr(mode=None, uid=None, gid=None, size=None, atime=None, mtime=None):
    """@atime, @mtime: None, "now" or (seconds, nanoseconds)."""
    body = b""
    for value in (mode, uid, gid):
        body += u32(0) if value is None else u32(1, value)
    body += u32(0) if size is None else u32(1) + u64(size)
    for value in (atime, mtime):
        body += u32(0) if value is None else u32(1) if value == "now" else u32(2, *value)
    return body


class Result:
    """status and what stood behind it."""

    def __init__(self, status, **values):
        self.status = status
        self.__dict__.update(values)


class Nfs3:
    """One method for each procedure; every byte of each reply is accounted for."""

    def __init__(self, connection, cred=None):
        self.c, self.cred = connection, cred

    def ask(self, procedure, arguments):
        reply = self.c.good(NFS, 3, procedure, arguments, cred=self.cred)
        return reply.u32(), reply

    def null(self):
        self.c.good(NFS, 3, 0, cred=AUTH_NONE).end()

    def getattr(self, handle):
        status, r = self.ask(1, opaque(handle))
        result = Result(status, attr=Attr(r) if status == 0 else None)
        r.end()
        return result

    def setattr(self, handle, guard=None, **values):
        status, r = self.ask(2, opaque(handle) + sattr(**values) +
                             (u32(0) if guard is None else u32(1, *guard)))
        result = Result(status, wcc=Wcc(r))
        r.end()
        return result

    def lookup(self, directory, name):
        status, r = self.ask(3, opaque(directory) + opaque(name))
        result = Result(status, handle=r.opaque() if status == 0 else None,
                        attr=post_attr(r) if status == 0 else None, directory=post_attr(r))
        r.end()
        return result

    def access(self, handle, wanted):
        status, r = self.ask(4, opaque(handle) + u32(wanted))
        result = Result(status, attr=post_attr(r), granted=r.u32() if status == 0 else None)
        r.end()
        return result

    def readlink(self, handle):
        status, r = self.ask(5, opaque(handle))
        result = Result(status, attr=post_attr(r), path=r.opaque() if status == 0 else None)
        r.end()
        return result

    def read(self, handle, offset, count):
        status, r = self.ask(6, opaque(handle) + u64(offset) + u32(count))
        result = Result(status, attr=post_attr(r))
        if status == 0:
            result.count, result.eof, result.data = r.u32(), r.bool(), r.opaque()
            assert result.count == len(result.data)
        r.end()
        return result

    def write(self, handle, offset, data, stable=2, count=None):
        status, r = self.ask(7, opaque(handle) + u64(offset) +
                             u32(len(data) if count is None else count, stable) + opaque(data))
        result = Result(status, wcc=Wcc(r))
        if status == 0:
            result.count, result.committed, result.verifier = r.u32(), r.u32(), r.take(8)
        r.end()
        return result

    def made(self, procedure, arguments):
        status, r = self.ask(procedure, arguments)
        result = Result(status, handle=None, attr=None)
        if status == 0:
            result.handle = r.opaque() if r.bool() else None
            result.attr = post_attr(r)
        result.wcc = Wcc(r)
        r.end()
        return result

    def create(self, directory, name, how=0, verifier=b"", **values):
        return self.made(8, opaque(directory) + opaque(name) + u32(how) +
                         (verifier if how == 2 else sattr(**values)))

    def mkdir(self, directory, name, **values):
        return self.made(9, opaque(directory) + opaque(name) + sattr(**values))

    def symlink(self, directory, name, path, **values):
        return self.made(10, opaque(directory) + opaque(name) + sattr(**values) + opaque(path))

    def mknod(self, directory, name, kind, rdev=None, **values):
        return self.made(11, opaque(directory) + opaque(name) + u32(kind) + sattr(**values) +
                         (u32(*rdev) if rdev else b""))

    def gone(self, procedure, directory, name):
        status, r = self.ask(procedure, opaque(directory) + opaque(name))
        result = Result(status, wcc=Wcc(r))
        r.end()
        return result

    def remove(self, directory, name):
        return self.gone(12, directory, name)

    def rmdir(self, directory, name):
        return self.gone(13, directory, name)

    def rename(self, source, name, target, name2):
        status, r = self.ask(14, opaque(source) + opaque(name) + opaque(target) + opaque(name2))
        result = Result(status, source=Wcc(r), target=Wcc(r))
        r.end()
        return result

    def link(self, handle, directory, name):
        status, r = self.ask(15, opaque(handle) + opaque(directory) + opaque(name))
        result = Result(status, attr=post_attr(r), wcc=Wcc(r))
        r.end()
        return result

    def readdir(self, handle, cookie=0, verifier=b"\0" * 8, count=8192):
        return self.listed(16, opaque(handle) + u64(cookie) + verifier + u32(count), False)

    def readdirplus(self, handle, cookie=0, verifier=b"\0" * 8, dircount=8192, maxcount=32768):
        return self.listed(17, opaque(handle) + u64(cookie) + verifier + u32(dircount, maxcount),
                           True)

    def listed(self, procedure, arguments, plus):
        status, r = self.ask(procedure, arguments)
        result = Result(status, attr=post_attr(r), entries=[], length=len(r.data) - 24)
        if status == 0:
            result.verifier = r.take(8)
            while r.bool():
                entry = Result(0, fileid=r.u64(), name=r.opaque(), cookie=r.u64())
                if plus:
                    entry.attr = post_attr(r)
                    entry.handle = r.opaque() if r.bool() else None
                result.entries.append(entry)
            result.eof = r.bool()
        r.end()
        return result

    def names(self, handle, count=8192, plus=False):
        """All names of a directory, in as many calls as it takes."""
        cookie, verifier, names = 0, b"\0" * 8, []
        while True:
            if plus:
                part = self.readdirplus(handle, cookie, verifier, count, count)
            else:
                part = self.readdir(handle, cookie, verifier, count)
            assert part.status == 0, f"READDIR: {part.status}"
            names += [entry.name for entry in part.entries]
            if part.eof:
                return names
            assert part.entries, "no progress"
            cookie, verifier = part.entries[-1].cookie, part.verifier

    def fsstat(self, handle):
        status, r = self.ask(18, opaque(handle))
        result = Result(status, attr=post_attr(r))
        if status == 0:
            result.values = [r.u64() for _ in range(6)] + [r.u32()]
        r.end()
        return result

    def fsinfo(self, handle):
        status, r = self.ask(19, opaque(handle))
        result = Result(status, attr=post_attr(r))
        if status == 0:
            result.values = [r.u32() for _ in range(7)]
            result.file_max = r.u64()
            result.delta, result.properties = (r.u32(), r.u32()), r.u32()
        r.end()
        return result

    def pathconf(self, handle):
        status, r = self.ask(20, opaque(handle))
        result = Result(status, attr=post_attr(r))
        if status == 0:
            result.values = [r.u32() for _ in range(2)] + [r.bool() for _ in range(4)]
        r.end()
        return result

    def commit(self, handle, offset=0, count=0):
        status, r = self.ask(21, opaque(handle) + u64(offset) + u32(count))
        result = Result(status, wcc=Wcc(r))
        if status == 0:
            result.verifier = r.take(8)
        r.end()
        return result


def mount(connection, path, cred=None, version=3):
    """(status, handle or None)."""
    reply = connection.good(MOUNT, version, 1, opaque(path), cred=cred)
    status = reply.u32()
    handle = None
    if status == 0:
        handle = reply.opaque()
        assert [reply.u32() for _ in range(reply.u32())] == [1], "auth flavors"
    reply.end()
    return status, handle


class MemoryServer:
    """The NFS server over file systems in memory, and over a directory (nfs_server.c). @buffers: budget
    of a loop, bytes."""

    def __init__(self, loops=2, lease=0, directory=None, buffers=None):
        build = os.path.abspath(os.environ.get("BUILD", "build"))
        self.process = subprocess.Popen(
            [os.path.join(build, "tests/integration/nfs_server"), str(loops), str(lease),
             directory or "", *([str(buffers)] if buffers is not None else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        line = self.process.stdout.readline().split()
        if len(line) != 2:
            raise RuntimeError(self.process.communicate()[1].decode())
        self.port = int(line[1])

    def connect(self, **how):
        return Connection(self.port, **how)

    def order(self, line):
        """See nfs_server.c."""
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        said = self.process.stdout.readline()
        assert said == b"DONE\n", said

    def resident(self):
        """Bytes of memory it uses."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self):
        """Its exit status, and what it said."""
        try:
            said = self.process.communicate(timeout=20)[1].decode(errors="replace")
        except subprocess.TimeoutExpired:
            self.process.kill()
            said = self.process.communicate()[1].decode(errors="replace")
        return self.process.returncode, said
