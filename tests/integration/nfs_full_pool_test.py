#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=150 engines=one asan
"""What clients see of a pool that runs full, over v3 and v4.2: NOSPC and nothing else, also when the
share has no space left for itself; what is there is read, changed and removed; and when there is
space again all goes on, with the same handles and opens, in the same daemon."""

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
from share_users_test import port_of  # pylint: disable=wrong-import-position

OK, NOENT, EXIST, NOSPC = 0, 2, 17, 28
SHARE, MIB = "small/full", 1 << 20
PIECES = (MIB, 65536, 4096)
SLOWLY = 60


def soon(holds):
    limit = time.monotonic() + SLOWLY
    while not holds():
        if time.monotonic() > limit:
            return False
        time.sleep(0.1)
    return True


class V3(rpc.Nfs3):
    """Every status that is answered is kept."""

    def __init__(self, connection):
        super().__init__(connection)
        self.seen = set()

    def ask(self, procedure, arguments):
        status, reply = super().ask(procedure, arguments)
        self.seen.add(status)
        return status, reply


class V4(nfs41.Client):
    def __init__(self, connection):
        self.seen = set()
        super().__init__(connection, b"full", minor=2)

    def ops(self, *ops):
        result = super().ops(*ops)
        self.seen.add(result.status)
        return result

    def make(self, directory, name):
        return self.open(directory, name, how=nfs41.UNCHECKED)

    def available(self, handle):
        r = self.ops(nfs41.putfh(handle), nfs41.u32(9) + nfs41.bitmap(42))
        r.good(22)
        reader = r.good(9)
        reader.take(4 * reader.u32())
        return rpc.Reader(reader.opaque()).u64()


class Bench:
    """A share, a client over v3 and one over v4.2."""

    def __init__(self, points, server, connections):
        self.point, self.server = points.point, server
        self.a, self.b = V3(connections[0]), V4(connections[1])
        self.root = rpc.mount(connections[0], "/full")[1]
        self.root4 = self.b.walk("full")
        self.data = os.urandom(MIB)

    def state(self):
        return json.loads(self.server.granary("share", "show", SHARE, "-o", "json"))["state"]

    def clean(self, when):
        said = {}

        def checked():
            try:
                said.update(json.loads(self.server.granary("share", "check", SHARE, "-o", "json")))
            except RuntimeError:  # it is being opened anew
                return False
            return True
        self.point(soon(checked) and said["clean"], f"the check is clean {when}", said)


def runs_full(t):
    """Both clients write until there is no more."""
    t.kept = t.a.create(t.root, "kept", 1, mode=0o644).handle
    t.point(t.a.write(t.kept, 0, t.data).status == OK, "a file of before")
    t.v3 = t.a.create(t.root, "v3", 1, mode=0o644).handle
    t.file4, t.state4 = t.b.make(t.root4, "v4")
    t.length = t.length4 = 0
    last = set()
    for piece in PIECES:
        while (status := t.a.write(t.v3, t.length, t.data[:piece], stable=0).status) == OK:
            t.length += piece
            if t.b.write(t.file4, t.state4, t.length4, t.data[:piece]) == OK:
                t.length4 += piece
        last.add(status)
    last.add(t.b.write(t.file4, t.state4, t.length4, t.data[:4096]))
    t.point(last == {NOSPC}, "WRITE: no space, over v3 and v4.2", last)
    t.point(t.a.commit(t.v3).status == OK, "COMMIT of what was written")
    t.point(t.length > 8 * MIB and t.length4 > 8 * MIB, "each has a part", (t.length, t.length4))
    back = all(t.a.read(t.v3, at, MIB).data == t.data for at in range(0, t.length - MIB, MIB))
    t.point(back, "all that was taken is there")


def in_a_full_pool(t):
    """What is there lives; nothing new is made."""
    made = []

    def refused():
        made.append(f"late{len(made)}")
        status = t.a.create(t.root, made[-1], 1, mode=0o644).status
        if status == OK:
            t.a.remove(t.root, made[-1])
        return status == NOSPC
    t.point(soon(refused), "CREATE: no space, before long")
    answers = {"MKDIR": t.a.mkdir(t.root, "folder").status,
               "SYMLINK": t.a.symlink(t.root, "symlink", "to").status,
               "LINK": t.a.link(t.kept, t.root, "link").status,
               "OPEN": t.b.make(t.root4, "open4"),
               "past the end": t.a.write(t.kept, 100 * MIB, b"x").status}
    t.point(set(answers.values()) == {NOSPC}, "nothing new is made", answers)
    t.point(t.a.fsstat(t.root).values[2] == 0 and t.b.available(t.root4) == 0,
            "df shows no space", (t.a.fsstat(t.root).values, t.b.available(t.root4)))
    file4, t.state4 = t.b.make(t.root4, "v4")
    answers = {"OPEN": file4 == t.file4,
               "CREATE": t.a.create(t.root, "kept", 0).status == OK,
               "CREATE, guarded": t.a.create(t.root, "kept", 1).status == EXIST,
               "WRITE": t.a.write(t.kept, 5000, b"changed").status == OK,
               "WRITE, v4.2": t.b.write(t.file4, t.state4, MIB, b"changed") == OK,
               "SETATTR": t.a.setattr(t.kept, mode=0o600).status == OK,
               "RENAME": t.a.rename(t.root, "kept", t.root, "moved").status == OK,
               "names": b"moved" in t.a.names(t.root),
               "READ": t.a.read(t.kept, 4999, 9).data == t.data[4999:5000] + b"changed" +
               t.data[5007:5008]}
    t.point(all(answers.values()), "what is there lives on", answers)


def used_up(t):
    """Snapshots keep what the share's log and tree had: they take what a pool keeps back, all of
    it."""
    snapshots = []

    def refused():
        snapshots.append(f"{SHARE}@s{len(snapshots)}")
        t.server.granary("snapshot", "create", snapshots[-1])
        return any(t.a.setattr(t.kept, mode=0o600 + n % 2).status == NOSPC for n in range(800))
    t.point(soon(refused), "even what the pool keeps back is used up", len(snapshots))
    t.point(t.a.remove(t.root, "moved").status == NOSPC and
            t.b.write(t.file4, t.state4, 0, b"x") == NOSPC, "then nothing is changed")
    t.point(t.a.read(t.v3, 0, MIB).data == t.data and t.a.lookup(t.root, "moved").status == OK,
            "but all is read")
    t.point(t.state() == "read-only", "the share says so", t.state())
    for snapshot in snapshots:
        t.server.granary("snapshot", "delete", snapshot, "--yes")
    t.server.granary("volume", "delete", "small/other", "--now", "--yes")


def goes_on(t):
    """There is space again."""
    t.point(soon(lambda: t.b.write(t.file4, t.state4, 0, t.data) == OK),
            "WRITE with the same stateid, in the same daemon")
    t.point(t.a.write(t.v3, 0, t.data).status == OK and t.state() == "online", "and over v3")
    t.point(t.a.read(t.kept, 4999, 9).data[1:8] == b"changed", "what had been changed is there")
    t.clean("then")
    t.point(t.a.remove(t.root, "v3").status == OK and t.a.remove(t.root, "moved").status == OK,
            "files are removed")
    t.point(soon(lambda: t.a.fsstat(t.root).values[2] > t.length // 2), "df shows the space")
    fresh = t.a.create(t.root, "fresh", 1, mode=0o644)
    t.point(fresh.status == OK and
            {t.a.write(fresh.handle, at, t.data).status for at in range(0, 8 * MIB, MIB)} == {OK},
            "it is there for a new file")
    t.point(t.b.read(t.file4, t.state4, MIB, 7)[1] == b"changed", "the other file is as it was")
    t.clean("in the end")
    t.point(t.a.seen <= {OK, NOENT, EXIST, NOSPC} and t.b.seen <= {OK, NOSPC},
            "no client has seen another error", (t.a.seen, t.b.seen))


def served(server, folder):
    """A share of a small pool, in which another volume takes some MiB."""
    server.granary("pool", "create", "small", os.path.join(folder, "small.pool") + ":128M")
    server.granary("volume", "create", "small/other", "16M", "--reserve", "16M")
    server.granary("share", "create", SHARE)
    server.granary("share", "allow", SHARE, "--client", "127.0.0.1", "--insecure",
                   "--no-root-squash")


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-full-") as state:
        server = daemon.Server(state)
        try:
            served(server, state)
            with rpc.Connection(port_of(server), timeout=60) as one, \
                    rpc.Connection(port_of(server), timeout=60) as other:
                t = Bench(points, server, (one, other))
                runs_full(t)
                in_a_full_pool(t)
                used_up(t)
                goes_on(t)
        finally:
            server.stop()


if __name__ == "__main__":
    tap.run(test)
