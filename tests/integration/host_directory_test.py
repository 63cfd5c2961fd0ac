#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 asan
"""A directory of this machine behind the NFS server (shares/host_directory.h), read-only: libnfs' own
programs over NFSv3 and v4.0, and NFSv3 and v4.2 byte by byte. Opening by handle takes
CAP_DAC_READ_SEARCH, so it is skipped for whoever is not root."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import rpc_client as rpc   # pylint: disable=wrong-import-position
from rpc_client import u32   # pylint: disable=wrong-import-position
from nfs41_wire_test import (  # pylint: disable=wrong-import-position
    expect, lookup, putfh, GETFH, PUTROOTFH, READLINK, UNCHECKED)
from nfs4_delegation_test import (  # pylint: disable=wrong-import-position
    BackConnection, Holder, WANT_READ)
from nfs42_wire_test import Suite as Wire   # pylint: disable=wrong-import-position
from nfs4_locks_test import case   # pylint: disable=wrong-import-position
import tap                 # pylint: disable=wrong-import-position

OK, NOENT, NXIO, ROFS, STALE = 0, 2, 6, 30, 70
MEGABYTE = 1 << 20
IMAGE = 5 * MEGABYTE + 12345


def fill(folder):
    """An image of random bytes, one with holes, a folder, links; what is in the image."""
    data = os.urandom(IMAGE)
    with open(os.path.join(folder, "image.iso"), "wb") as file:
        file.write(data)
    with open(os.path.join(folder, "sparse"), "wb") as file:
        file.truncate(4 * MEGABYTE)
        file.seek(MEGABYTE)
        file.write(data[:65536])
    os.mkdir(os.path.join(folder, "folder"))
    with open(os.path.join(folder, "folder", "in"), "wb") as file:
        file.write(b"inside")
    os.symlink("/etc/passwd", os.path.join(folder, "out"))
    os.mkdir(os.path.join(folder, "many"))
    for number in range(3000):
        with open(os.path.join(folder, "many", f"f{number}"), "wb"):
            pass
    return data


class Suite:
    def __init__(self, server, folder, data):
        self.server, self.folder, self.data = server, folder, data
        self.v3 = rpc.Nfs3(server.connect())
        status, self.root = rpc.mount(server.connect(), b"/directory")
        expect(status, OK, "MOUNT")

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def tool(self, program, name, version, *more):
        port = self.server.port
        url = (f"nfs://127.0.0.1/directory/{name}?version={version}&nfsport={port}"
               f"&mountport={port}")
        done = subprocess.run([program, url, *more], capture_output=True, timeout=60,
                              stdin=subprocess.DEVNULL, check=False)
        expect(done.returncode, 0, f"{program}: {done.stderr!r}")
        return done.stdout

    def libnfs(self):
        for version in (3, 4):
            expect(hashlib.sha256(self.tool("nfs-cat", "image.iso", version)).hexdigest(),
                   hashlib.sha256(self.data).hexdigest(), f"v{version}: the image")
            expect(self.tool("nfs-cat", "folder/in", version), b"inside", "in a folder")
            said = self.tool("nfs-ls", "", version).decode()
            expect({line.split()[-1] for line in said.splitlines() if line},
                   {"image.iso", "sparse", "folder", "out", "many"}, f"v{version}: {said}")
            target = self.folder + ".copy"
            self.tool("nfs-cp", "image.iso", version, target)
            with open(target, "rb") as file:
                expect(file.read() == self.data, True, f"v{version}: nfs-cp")
            os.unlink(target)

    def version_3(self):
        v3, root = self.v3, self.root
        image = v3.lookup(root, b"image.iso")
        about = os.stat(self.path("image.iso"))
        expect((image.attr.size, image.attr.fileid), (about.st_size, about.st_ino), "attributes")
        read = v3.read(image.handle, 1000, 5000)
        expect((read.eof, read.data), (False, self.data[1000:6000]), "READ")
        read = v3.read(image.handle, IMAGE - 10, 5000)
        expect((read.eof, read.data), (True, self.data[-10:]), "READ to the end")
        expect(v3.lookup(root, b"absent").status, NOENT, "LOOKUP")
        link = v3.lookup(root, b"out")
        expect(v3.readlink(link.handle).path, b"/etc/passwd", "READLINK: it is the client's")
        expect(v3.lookup(root, b"..").handle, root, "nothing is above")
        expect(v3.fsstat(root).status, OK, "FSSTAT")
        expect(v3.access(image.handle, 0x3F).granted & 0x1C, 0, "no ACCESS to change")
        expect(v3.access(image.handle, 1).granted, 1, "ACCESS to read")

    def read_only(self):
        v3, root = self.v3, self.root
        image = v3.lookup(root, b"image.iso").handle
        expect(v3.write(image, 0, b"x").status, ROFS, "WRITE")
        expect(v3.commit(image).status, ROFS, "COMMIT: nothing was written")
        expect(v3.setattr(image, mode=0).status, ROFS, "SETATTR")
        expect(v3.create(root, b"new").status, ROFS, "CREATE")
        expect(v3.mkdir(root, b"new").status, ROFS, "MKDIR")
        expect(v3.symlink(root, b"new", b"x").status, ROFS, "SYMLINK")
        expect(v3.remove(root, b"image.iso").status, ROFS, "REMOVE")
        expect(v3.rmdir(root, b"folder").status, ROFS, "RMDIR")
        expect(v3.rename(root, b"image.iso", root, b"x").status, ROFS, "RENAME")
        expect(v3.link(image, root, b"x").status, ROFS, "LINK")
        expect(set(os.listdir(self.folder)), {"image.iso", "sparse", "folder", "out", "many"},
               "nothing has changed")
        with open(self.path("image.iso"), "rb") as file:
            expect(file.read() == self.data, True, "nor what is in it")

    def many_names(self):
        many = self.v3.lookup(self.root, b"many").handle
        wanted = sorted(b"f%d" % number for number in range(3000))
        for plus in (False, True):
            names = [name for name in self.v3.names(many, 4096, plus) if name not in (b".", b"..")]
            expect(sorted(names) == wanted, True, f"{len(names)} names")

    def changed_beside_it(self):
        """What other programs of the machine do is seen."""
        v3, root = self.v3, self.root
        path = self.path("changing")
        with open(path, "wb") as file:
            file.write(b"one")
        file = v3.lookup(root, b"changing").handle
        expect(v3.read(file, 0, 10).data, b"one", "as it was written")
        with open(path, "ab") as more:
            more.write(b", two")
        expect(v3.read(file, 0, 10).data, b"one, two", "and written on")
        os.rename(path, path + ".new")
        expect(v3.getattr(file).status, OK, "a handle follows a rename")
        expect(v3.lookup(root, b"changing").status, NOENT, "the name does not")
        os.unlink(path + ".new")
        expect(v3.getattr(file).status, STALE, "deleted")
        with open(path, "wb"):
            pass
        expect(v3.getattr(file).status, STALE, "another file")
        os.unlink(path)
        forged = bytearray(root)
        forged[-12] ^= 1
        expect(v3.getattr(bytes(forged)).status, STALE, "made up")

    def moved_out(self):
        os.mkdir(self.path("moving"))
        moving = self.v3.lookup(self.root, b"moving").handle
        os.rename(self.path("moving"), self.folder + ".away")
        expect(self.v3.readdir(moving).status, STALE, "a directory that is elsewhere now")
        os.rmdir(self.folder + ".away")

    def no_delegations(self):
        """Others change what is there, and the server does not hear of it."""
        holder = Holder(BackConnection(self.server.port), b"wants one")
        made = holder.make(holder.walk("files"), b"file")
        for path, name, given in ((b"files", b"file", True), (b"directory", b"image.iso", False)):
            handle, state, got = holder.take(holder.walk(path), name, WANT_READ)
            expect(isinstance(got, bytes), given, f"a delegation in /{path.decode()}: {got}")
            expect(holder.close(handle, state), OK, "CLOSE")
            if given:
                expect((handle, holder.give_back(handle, got)), (made, OK), "DELEGRETURN")
        holder.c.close()

    def version_4_2(self):
        wire = Wire(self.server, owner=b"host directory")
        a = wire.a
        root = a.walk(b"directory")
        file, state = a.open(root, b"image.iso", access=1)
        expect(a.read(file, state, 70000, 100), (False, self.data[70000:70100]), "READ")
        expect(a.read(file, state, IMAGE - 5, 100), (True, self.data[-5:]), "READ to the end")
        expect(wire.size(file), IMAGE, "size")
        # open: it is read on when its last name goes
        os.link(self.path("image.iso"), self.path("kept"))
        os.unlink(self.path("image.iso"))
        os.unlink(self.path("kept"))
        expect(a.read(file, state, 0, 50), (False, self.data[:50]), "READ without a name")
        expect(a.close(file, state), OK, "CLOSE")
        expect(a.ops(putfh(file), u32(9, 1, 1)).status, STALE, "then it is gone")
        with open(self.path("image.iso"), "wb") as image:
            image.write(self.data)
        file, state = a.open(root, b"sparse", access=1)
        expect(wire.seek(file, state, 0, 0), (False, MEGABYTE), "SEEK data")
        expect(wire.seek(file, state, 0, 1), (False, 0), "SEEK hole")
        expect(wire.seek(file, state, MEGABYTE, 1), (False, MEGABYTE + 65536), "SEEK its end")
        expect(wire.seek(file, state, 2 * MEGABYTE, 0), NXIO, "SEEK: no more data")
        expect(wire.plus(file, state, MEGABYTE - 4096, 8192),
               (False, [(MEGABYTE - 4096, 4096), (MEGABYTE, self.data[:4096])]), "READ_PLUS")
        expect(wire.space(62, file, state, 0, 4096), ROFS, "DEALLOCATE")
        expect(a.close(file, state), OK, "CLOSE")
        expect(a.open(root, b"image.iso", access=3), ROFS, "OPEN to write")
        expect(a.open(root, b"new", how=UNCHECKED), ROFS, "OPEN to create")
        result = a.ops(PUTROOTFH, lookup(b"directory"), lookup(b"out"), READLINK)
        expect(result.status, OK, "READLINK")
        result = a.ops(PUTROOTFH, lookup(b"directory"), lookup(b"folder"), u32(16), GETFH)
        for op in (24, 15, 15, 16):
            result.good(op)
        expect(result.good(10).opaque(), root, "LOOKUPP")
        # change: as long as nothing does, the same; another one after a change
        before = wire.change(root)
        expect(wire.change(root), before, "change")
        with open(self.path("new"), "wb"):
            pass
        expect(wire.change(root) != before, True, "change after a change")
        os.unlink(self.path("new"))
        wire.c.close()


CASES = ("version_3", "read_only", "many_names", "changed_beside_it", "moved_out", "no_delegations",
         "version_4_2")


def test(t):
    if os.geteuid() != 0:
        raise tap.Skip("only root opens by handle")
    with tempfile.TemporaryDirectory() as base:
        folder = os.path.join(base, "served")
        os.mkdir(folder)
        data = fill(folder)
        server = rpc.MemoryServer(directory=folder)
        try:
            suite = Suite(server, folder, data)
            for name in CASES:
                case(t, name, getattr(suite, name))
            if all(shutil.which(name) for name in ("nfs-cat", "nfs-ls", "nfs-cp")):
                case(t, "libnfs", suite.libnfs)
            else:
                t.note("libnfs' programs are not installed")
        finally:
            status, said = server.stop()
        t.point(status == 0, "the server ends cleanly", said)


if __name__ == "__main__":
    tap.run(test)
