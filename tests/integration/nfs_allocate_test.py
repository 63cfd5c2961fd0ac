#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=150 engines=one asan
"""ALLOCATE on a share of a thin pool: what it promised is held when the pool is full, when the quota
is, over kill -9; what there is no room for is not begun."""

import json
import os
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import nfs41_wire_test as nfs41  # pylint: disable=wrong-import-position
import rpc_client as rpc  # pylint: disable=wrong-import-position
import server as daemon  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position
from nfs42_wire_test import Suite  # pylint: disable=wrong-import-position
from rpc_client import opaque, u32, u64  # pylint: disable=wrong-import-position
from share_users_test import port_of  # pylint: disable=wrong-import-position

OK, FBIG, NOSPC, DQUOT, DELAY = 0, 27, 28, 69, 10008
SHARE, MIB, BLOCK = "small/full", 1 << 20, 4096
PROMISED = 24 * MIB
SLOWLY = 120


class Files(Suite):
    """A client of the share."""

    def __init__(self, connection, owner, cred=None):  # pylint: disable=super-init-not-called
        self.c = connection
        self.a = nfs41.Client(connection, owner, minor=2, cred=cred)
        self.root = self.a.walk("full")

    def make(self, name):
        return self.a.open(self.root, name, how=nfs41.UNCHECKED)

    def make_soon(self, name):
        """When the pool is seen to have space again."""
        limit = time.monotonic() + SLOWLY
        while True:
            made = self.make(name)
            if made != NOSPC or time.monotonic() > limit:
                return made
            time.sleep(0.1)

    def allocate(self, file, state, offset, length):
        """As Linux does it: NFS4ERR_DELAY is waited for."""
        limit = time.monotonic() + SLOWLY
        while True:
            status = self.space(59, file, state, offset, length)
            if status != DELAY or time.monotonic() > limit:
                return status

    def write(self, file, state, offset, data):
        """FILE_SYNC."""
        return self.a.write(file, state, offset, data)

    def write_fast(self, file, state, offset, data):
        return self.a.ops(nfs41.putfh(file), u32(38) + state + u64(offset) + u32(0) +
                          opaque(data)).status

    def fill(self, name):
        """A file that takes all that is left; its handle, stateid and length."""
        file, state = self.make(name)
        at = 0
        for piece in (MIB, 65536, 4096):
            data = os.urandom(piece)
            while (status := self.write_fast(file, state, at, data)) == OK:
                at += piece
            if status not in (NOSPC, DQUOT):
                raise RuntimeError(f"WRITE: {status}")
        return file, state, at


def used(server):
    pools = json.loads(server.granary("pool", "list", "-o", "json"))
    return next(pool["used_bytes"] for pool in pools if pool["name"] == "small")


def clean(points, server, when):
    said = json.loads(server.granary("share", "check", SHARE, "-o", "json"))
    points.point(said["clean"] and said["unbacked_bytes"] == 0, f"the check is clean {when}", said)


def promise(points, server, files):
    file, state = files.make("promised")
    before = used(server)
    points.point(files.allocate(file, state, 0, PROMISED) == OK, "24 MiB are set aside")
    points.point((files.size(file), files.used(file)) == (PROMISED, PROMISED),
                 "they are the file's size and space", (files.size(file), files.used(file)))
    points.point(used(server) - before >= PROMISED, "and taken from the pool",
                 used(server) - before)
    points.point(files.seek(file, state, 0, 0) == 6 and
                 files.plus(file, state, 0, MIB) == (False, [(0, MIB)]),
                 "they are a hole for SEEK and READ_PLUS")
    before = used(server)
    points.point(files.allocate(file, state, 0, PROMISED) == OK and used(server) == before,
                 "once more takes no more")
    return file, state


def too_much(points, server, files):
    file, state = files.make("too-much")
    before = used(server)
    points.point(files.allocate(file, state, 0, 1 << 40) == NOSPC, "more than the pool has: NOSPC")
    points.point((files.size(file), files.used(file)) == (0, 0) and used(server) - before < MIB,
                 "is not begun", (files.used(file), used(server) - before))
    points.point(files.allocate(file, state, 1 << 44, 1) == FBIG, "past the largest file: FBIG")


def beside_shared(points, server, files):
    """A hole in what a clone shares, where places are reserved to move to."""
    source, one = files.make("shared")
    target, two = files.make("clone")
    data = os.urandom(16 * BLOCK)
    files.write(source, one, 0, data)
    points.point(files.copy(71, source, one, target, two, 0, 0, len(data)) == OK, "a clone")
    files.write(source, one, 0, data[:BLOCK])  # moves, and reserves what is next to it
    points.point(files.space(62, source, one, 2 * BLOCK, BLOCK) == OK
                 and files.allocate(source, one, 2 * BLOCK, 2 * BLOCK) == OK,
                 "a hole in what is shared, and space set aside for it")
    clean(points, server, "with that")
    files.write(source, one, 3 * BLOCK + 100, b"new")
    files.a.ops(nfs41.putfh(source), u32(34) + one + nfs41.attrs(size=8 * BLOCK))
    now = (data[:2 * BLOCK] + bytes(BLOCK) + data[3 * BLOCK:3 * BLOCK + 100] + b"new"
           + data[3 * BLOCK + 103:8 * BLOCK])
    points.point(files.a.read(source, one, 0, 16 * BLOCK)[1] == now
                 and files.a.read(target, two, 0, 16 * BLOCK)[1] == data,
                 "both files have their bytes")


def full_for_names(files):
    """What is made in a full pool meanwhile is removed again."""
    limit = time.monotonic() + SLOWLY
    for number in range(1 << 30):
        made = files.make(f"late-{number}")
        if made == NOSPC:
            return True
        files.a.ops(nfs41.putfh(files.root), u32(28) + opaque(f"late-{number}"))
        if time.monotonic() > limit:
            return False
        time.sleep(0.1)
    return False


def busy(files, file, state):
    """More commits than the share's log takes."""
    mode = u32(34) + bytes(16) + nfs41.attrs(mode=0o600)
    for number in range(1500):
        if number % 2:
            status = files.a.ops(nfs41.putfh(file), mode).status
        else:
            status = files.write(file, state, (number // 2 % 24) * MIB + 9000, b"busy")
        if status != OK:
            return False
    return files.write(file, state, 5 * MIB + 9000, bytes(4)) == OK


def full_pool(points, server, files, file, state):
    other, other_state = files.make("other")
    _, _, length = files.fill("rest")
    points.point(length > MIB, "the pool is full", length)
    points.point(files.allocate(other, other_state, 0, MIB) == NOSPC and
                 files.size(other) == 0, "nothing is promised of a full pool")
    points.point(full_for_names(files), "nor are new files made, before long")
    data = os.urandom(MIB)
    seen = {files.write(file, state, at, data) for at in range(0, PROMISED, MIB)}
    points.point(seen == {OK}, "every byte that was promised is written", seen)
    points.point(files.write(file, state, 5 * MIB + 7, b"changed") == OK, "and written again")
    points.point(busy(files, file, state), "and many times, as a file that is in use is")
    clean(points, server, "then")
    return data


def comes_back(points, server, files, data):
    file, state = files.a.open(files.root, "promised")
    data = data[:9000] + b"busy" + data[9004:]
    good = all(files.a.read(file, state, at, MIB)[1] == data for at in range(0, PROMISED, MIB)
               if at != 5 * MIB)
    points.point(good, "it is all there after kill -9")
    piece = files.a.read(file, state, 5 * MIB, MIB)[1]
    points.point(piece == data[:7] + b"changed" + data[14:9000] + bytes(4) + data[9004:],
                 "the last changes too")
    points.point(files.write(file, state, 0, data) == OK, "it is written in a full pool that was "
                 "opened as one")
    clean(points, server, "after kill -9")
    removed = files.a.ops(nfs41.putfh(files.root), u32(28) + opaque("rest"))
    points.point(removed.status == OK, "what filled it is removed")


def quotas(points, server, files, ann):
    file, state = files.make_soon("quota")
    server.granary("share", "quota", SHARE, f"{(PROMISED + 8 * MIB) >> 20}M")
    points.point(files.allocate(file, state, 0, 9 * MIB) == DQUOT and files.used(file) == 0,
                 "over the share's quota: DQUOT, and not begun", files.used(file))
    points.point(files.allocate(file, state, 0, 4 * MIB) == OK, "within it")
    files.fill("quota-rest")
    data = os.urandom(MIB)
    points.point({files.write(file, state, at * MIB, data) for at in range(4)} == {OK},
                 "what was set aside is written when the quota is used up")
    server.granary("share", "quota", SHARE, "1M")
    points.point(files.write(file, state, MIB, data) == OK, "and over one that was made smaller")
    server.granary("share", "quota", SHARE, "0")
    server.granary("share", "limit", SHARE, "1000", "--size", "2M")
    mine, mine_state = ann.make("of-ann")
    points.point(ann.allocate(mine, mine_state, 0, 3 * MIB) == DQUOT and ann.used(mine) == 0,
                 "over the owner's limit: DQUOT")
    points.point(ann.allocate(mine, mine_state, 0, 2 * MIB) == OK, "up to it")
    points.point(ann.write(mine, mine_state, MIB, data) == OK, "and written")
    clean(points, server, "in the end")


def served(server, folder):
    """The share of a pool that is full soon."""
    server.granary("pool", "create", "small", os.path.join(folder, "small.pool") + ":256M")
    server.granary("share", "create", SHARE)
    server.granary("share", "allow", SHARE, "--client", "127.0.0.1", "--insecure",
                   "--no-root-squash")


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-allocate-") as state:
        server = daemon.Server(state)
        try:
            served(server, state)
            with rpc.Connection(port_of(server), timeout=60) as connection:
                files = Files(connection, b"first")
                file, stateid = promise(points, server, files)
                beside_shared(points, server, files)
                too_much(points, server, files)
                data = full_pool(points, server, files, file, stateid)
            server.process.kill()
            server.process.wait()
            server = daemon.Server(state)
            with rpc.Connection(port_of(server), timeout=60) as connection, \
                    rpc.Connection(port_of(server), timeout=60) as other:
                root = Files(connection, b"first")
                comes_back(points, server, root, data)
                root.a.ops(nfs41.putfh(root.root), u32(34) + bytes(16) + nfs41.attrs(mode=0o777))
                quotas(points, server, root,
                       Files(other, b"ann", cred=rpc.auth_sys(1000, 1000)))
        finally:
            server.stop()


if __name__ == "__main__":
    tap.run(test)
