#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=both asan
"""Snapshots of shares: /.snapshot over NFSv3 and v4.1 (what was, read-only, hidden or not), handles
of a snapshot that is deleted, one file brought back, a share rolled back under its clients."""

import json
import os
import re
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import nfs41_wire_test as nfs41  # pylint: disable=wrong-import-position
import nfs4_delegation_test as delegation  # pylint: disable=wrong-import-position
import rpc_client as rpc  # pylint: disable=wrong-import-position
import server as daemon  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position

SHARE = "tank/docs"
OK, NOENT, EXIST, XDEV, ROFS, STALE = 0, 2, 17, 18, 30, 70
MODIFY_EXTEND_DELETE = 0x4 | 0x8 | 0x10
READ_LOOKUP = 0x1 | 0x2


def until(what, limit=60):
    end = time.monotonic() + limit
    while not what() and time.monotonic() < end:
        time.sleep(0.05)


def refused(server, *words):
    """The sentence a command is refused with, "" when it was not."""
    try:
        server.granary(*words)
    except RuntimeError as error:
        return str(error)
    return ""


class Bench:
    def __init__(self, points, state):
        self.points, self.state = points, state
        self.server = daemon.Server(state)
        self.open()

    def open(self):
        self.port = int(re.search(r"^READY .*nfs=(\d+)", self.server.log(), re.M).group(1))
        self.connection = rpc.Connection(self.port)
        self.nfs = rpc.Nfs3(self.connection)

    def restart(self, kill):
        self.connection.close()
        if kill:
            self.server.process.kill()
            self.server.process.wait()
        else:
            self.points.point(self.server.stop() == 0, "the daemon ends cleanly",
                              self.server.log())
        self.server = daemon.Server(self.state)
        self.open()

    def close(self):
        self.connection.close()
        self.server.stop()

    def mount(self, path="/docs"):
        return rpc.mount(self.connection, path)

    def make(self, directory, name, data):
        made = self.nfs.create(directory, name, 1, mode=0o640)
        assert made.status == OK, made.status
        assert self.nfs.write(made.handle, 0, data).status == OK
        return made.handle

    def at(self, directory, *names):
        """The handle at a path, or the status of the first name that fails."""
        for name in names:
            found = self.nfs.lookup(directory, name)
            if found.status != OK:
                return found.status
            directory = found.handle
        return directory

    def names(self, directory, **how):
        """Without "." and ".."."""
        return [n for n in self.nfs.names(directory, **how) if n not in (b".", b"..")]

    def contents(self, directory, *names):
        handle = self.at(directory, *names)
        return self.nfs.read(handle, 0, 1 << 16).data if isinstance(handle, bytes) else handle


def prepare(b):
    b.server.granary("share", "create", SHARE)
    b.server.granary("share", "allow", SHARE, "--client", "127.0.0.1", "--insecure",
                     "--no-root-squash")
    root = b.mount()[1]
    b.make(root, "plan", b"as it was")
    folder = b.nfs.mkdir(root, "deep", mode=0o755).handle
    b.make(folder, "inner", b"inside, then")
    for number in range(300):
        b.make(folder, f"file{number}", b"")
    b.server.granary("share", "snapshot", SHARE + "@one")
    assert b.nfs.write(b.at(root, "plan"), 0, b"what it is now").status == OK
    assert b.nfs.remove(folder, "inner").status == OK
    return root


def view(b, root):
    """What a client sees of a snapshot, and that it can not change it."""
    point, nfs = b.points.point, b.nfs
    point(b".snapshot" not in nfs.names(root), "the directory is in no listing at first")
    there = nfs.lookup(root, ".snapshot")
    point(there.status == OK and there.attr.type == 2 and there.attr.mode == 0o555,
          "but there for who asks for it")
    point(b.names(there.handle) == [b"one"] and b.names(there.handle, plus=True) == [b"one"],
          "it lists the snapshots")
    one = b.at(there.handle, "one")
    point(b.contents(one, "plan") == b"as it was" and b.contents(root, "plan") ==
          b"what it is now", "a file is what it was there, and what it is here")
    point(b.contents(one, "deep", "inner") == b"inside, then", "a deleted one is there")
    point(len(set(b.names(b.at(one, "deep"), count=2048))) == 301 and
          len(b.names(b.at(one, "deep"), plus=True)) == 301, "a long directory is listed whole")
    seen = nfs.lookup(one, "plan")
    here = nfs.lookup(root, "plan")
    point(seen.attr.fileid != here.attr.fileid and seen.handle != here.handle and
          seen.attr.fsid == here.attr.fsid and seen.attr.size == 9,
          "the file's number is another one, in the same file system")
    entry = [e for e in nfs.readdirplus(one).entries if e.name == b"plan"][0]
    point(entry.fileid == seen.attr.fileid and entry.handle == seen.handle and
          entry.attr.fileid == seen.attr.fileid, "a listing says the same of it")
    point(b.at(one, "..") == there.handle and b.at(there.handle, "..") == root and
          b.at(one, "deep", "..") == one and b.at(one, ".") == one, "the way up is the way down")
    point(nfs.access(seen.handle, 0x3f).granted & MODIFY_EXTEND_DELETE == 0 and
          nfs.access(one, READ_LOOKUP).granted == READ_LOOKUP, "ACCESS grants reading only")
    point(b.at(there.handle, "two") == NOENT and b.at(one, "nothing") == NOENT, "what is not")
    status, mounted = b.mount("/docs/.snapshot/one")
    point(status == OK and mounted == one, "a snapshot can be mounted")
    forged = bytearray(seen.handle)
    forged[30] ^= 1
    point(nfs.getattr(bytes(forged)).status == STALE, "a forged handle is none")
    point(nfs.fsstat(one).status == OK and nfs.pathconf(one).status == OK
          and nfs.commit(seen.handle).status in (OK, ROFS), "what asks about it is answered")
    refuses(b, root, there.handle, one, seen.handle)


def refuses(b, root, there, one, plan):
    nfs = b.nfs
    for what, status, wanted in (
            ("WRITE", nfs.write(plan, 0, b"x").status, ROFS),
            ("SETATTR", nfs.setattr(plan, size=0).status, ROFS),
            ("CREATE", nfs.create(one, "new", 1).status, ROFS),
            ("MKDIR", nfs.mkdir(one, "new").status, ROFS),
            ("SYMLINK", nfs.symlink(one, "new", "x").status, ROFS),
            ("REMOVE", nfs.remove(one, "plan").status, ROFS),
            ("RMDIR", nfs.rmdir(there, "one").status, ROFS),
            ("MKDIR in the list", nfs.mkdir(there, "new").status, ROFS),
            ("RENAME out", nfs.rename(one, "plan", root, "stolen").status, ROFS),
            ("RENAME in", nfs.rename(root, "plan", one, "given").status, ROFS),
            ("RENAME of it", nfs.rename(root, ".snapshot", root, "x").status, ROFS),
            ("RENAME over it", nfs.rename(root, "plan", root, ".snapshot").status, ROFS),
            ("LINK out", nfs.link(plan, root, "stolen").status, XDEV),
            ("LINK in", nfs.link(b.at(root, "plan"), one, "given").status, ROFS),
            ("MKDIR of its name", nfs.mkdir(root, ".snapshot").status, EXIST),
            ("RMDIR of it", nfs.rmdir(root, ".snapshot").status, ROFS)):
        b.points.point(status == wanted, f"{what}: status {wanted}", status)


def four(b):
    """The same over v4.1, with opens."""
    client = nfs41.Client(b.connection, b"snapshots")
    one = client.walk("docs", ".snapshot", "one")
    handle, stateid = client.open(one, "plan", access=1)
    b.points.point(client.read(handle, stateid, 0, 100) == (True, b"as it was"), "OPEN and READ")
    b.points.point(client.write(handle, nfs41.ZERO, 0, b"x") == ROFS, "WRITE is refused")
    status = client.open(one, "new", how=nfs41.UNCHECKED)
    b.points.point(status == ROFS, "OPEN does not create", status)
    b.points.point(client.close(handle, stateid) == OK, "CLOSE")
    b.points.point(client.walk("docs") == client.walk("docs") and
                   client.ops(nfs41.putfh(one), nfs41.u32(16), nfs41.u32(16)).status == OK,
                   "LOOKUPP goes up to the share")


def settings(b, root):
    point, nfs = b.points.point, b.nfs
    point(nfs.lookup(root, ".snapshot").attr.nlink == 3, "a link for each snapshot")
    b.server.granary("share", "set", SHARE, "--snapshots", "visible")
    point(nfs.names(root).count(b".snapshot") == 1 and
          sorted(b.names(root, count=512, plus=True)) == [b".snapshot", b"deep", b"plan"],
          "visible: it is listed", nfs.names(root, plus=True))
    entry = [e for e in nfs.readdirplus(root).entries if e.name == b".snapshot"][0]
    point(entry.handle == b.at(root, ".snapshot") and entry.attr.fileid == entry.fileid,
          "with its handle")
    b.server.granary("share", "set", SHARE, "--snapshots", "none")
    point(b.at(root, ".snapshot") == NOENT and nfs.getattr(entry.handle).status == STALE,
          "none: it is not there")
    b.restart(kill=True)
    show = json.loads(b.server.granary("share", "show", SHARE, "-o", "json"))
    point(show["snapshots"] == "none" and b.at(root, ".snapshot") == NOENT,
          "which holds after kill -9", show)
    b.server.granary("share", "set", SHARE, "--snapshots", "hidden")
    point("hidden, visible" in refused(b.server, "share", "set", SHARE, "--snapshots", "maybe"),
          "another word is refused")


def many(b, root):
    """More of them than are kept open, and the list while they come and go."""
    point, nfs = b.points.point, b.nfs
    before = nfs.getattr(b.at(root, ".snapshot")).attr
    plan = b.at(root, "plan")
    for number in range(10):
        assert nfs.write(plan, 0, b"turn %02d        " % number).status == OK
        b.server.granary("snapshot", "create", f"{SHARE}@s{number}")
    there = b.at(root, ".snapshot")
    after = nfs.getattr(there).attr
    point(after.mtime > before.mtime and after.nlink == before.nlink + 10,
          "the directory changes with them")
    point(sorted(b.names(there, count=600, plus=True)) ==
          sorted([b"one"] + [b"s%d" % n for n in range(10)]), "all are listed")
    for _ in range(2):
        got = [b.contents(there, f"s{n}", "plan")[:7] for n in range(10)]
        point(got == [b"turn %02d" % n for n in range(10)], "each is what it was then", got)
    old = b.at(there, "s3")
    inner = b.at(old, "plan")
    b.server.granary("snapshot", "rename", SHARE + "@s3", "third")
    point(nfs.read(inner, 0, 7).data == b"turn 03" and b.at(there, "third") == old and
          b.at(there, "s3") == NOENT, "a new name, the same handles")
    b.server.granary("snapshot", "delete", SHARE + "@third", "--yes")
    point(nfs.getattr(old).status == STALE and nfs.read(inner, 0, 7).status == STALE and
          b.at(there, "third") == NOENT, "deleted: its handles are stale at once")
    b.server.granary("snapshot", "create", SHARE + "@third")
    point(nfs.getattr(old).status == STALE and b.at(there, "third") != old,
          "and stay so when there is another one of that name")
    for number in (4, 5, 6, 7, 8, 9):
        b.server.granary("snapshot", "delete", f"{SHARE}@s{number}", "--yes")
    b.restart(kill=False)
    point(b.contents(b.at(root, ".snapshot"), "s2", "plan")[:7] == b"turn 02" and
          nfs41_same(b, root), "handles are good over a restart")


def nfs41_same(b, root):
    client = nfs41.Client(b.connection, b"later")
    return client.walk("docs") == root


def crowd(b, root):
    """Deleted while clients read it: they get what was there, or stale."""
    there = b.at(root, ".snapshot")
    b.server.granary("snapshot", "create", SHARE + "@busy")
    plan = b.at(there, "busy", "plan")
    wrong, counts = [], [0, 0]
    stop = threading.Event()

    def read():
        with rpc.Connection(b.port) as connection:
            nfs = rpc.Nfs3(connection)
            while not stop.is_set():
                got = nfs.read(plan, 0, 7)
                if got.status == OK and got.data == b"turn 09":
                    counts[0] += 1
                elif got.status == STALE:
                    counts[1] += 1
                else:
                    wrong.append(got.status)
    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    until(lambda: counts[0] > 20)
    b.server.granary("snapshot", "delete", SHARE + "@busy", "--yes")
    until(lambda: counts[1] > 20)
    stop.set()
    for reader in readers:
        reader.join()
    b.points.point(not wrong and all(counts), "a snapshot goes under its readers",
                   f"{wrong[:5]} {counts}")


def restore(b, root):
    point, nfs, server = b.points.point, b.nfs, b.server
    holes = b.make(root, "disk", b"")
    assert nfs.write(holes, 5 << 20, b"behind a hole").status == OK
    assert nfs.setattr(holes, size=64 << 20, uid=77, mode=0o4751).status == OK
    nfs.symlink(root, "way", "deep/inner")
    server.granary("snapshot", "create", SHARE + "@good")
    assert nfs.setattr(holes, size=0).status == OK
    nfs.remove(root, "way")
    server.granary("share", "restore", SHARE, "good", "disk")
    back = nfs.lookup(root, "disk")
    point(back.attr.size == 64 << 20 and back.attr.used <= 1 << 20 and back.attr.uid == 77 and
          back.attr.mode == 0o4751 and nfs.read(back.handle, 5 << 20, 13).data ==
          b"behind a hole" and back.handle != holes, "a file is back, its holes too",
          vars(back.attr))
    server.granary("share", "restore", SHARE, "good", "way")
    point(nfs.readlink(b.at(root, "way")).path == b"deep/inner", "a symbolic link is")
    server.granary("share", "restore", SHARE, "one", "deep/inner", "--to", "/deep/old-inner")
    point(b.contents(root, "deep", "old-inner") == b"inside, then", "one under another name")
    for words, text in ((("good", "deep/nothing"), "is not in snapshot"),
                        (("gone", "disk"), "is not in snapshot"),
                        (("good", "deep"), "no file"),
                        (("good", "../docs/disk"), "is not in snapshot"),
                        (("good", "disk", "--to", "plan"), "there already"),
                        (("good", "disk", "--to", "no/where"), "folder"),
                        (("good", "disk", "--to", ".snapshot/one/x"), "made beside")):
        said = refused(server, "share", "restore", SHARE, *words)
        point(text in said, f"restore {' '.join(words)} is refused", said)
    server.granary("share", "set", SHARE, "--snapshots", "none")
    server.granary("share", "restore", SHARE, "good", "disk", "--to", "disk2")
    server.granary("share", "set", SHARE, "--snapshots", "hidden")
    point(b.contents(root, "disk2") is not None and
          sorted(n for n in nfs.names(root) if n.startswith(b".granary")) == [],
          "it works where clients see none; nothing is left beside")


def files(b):
    return json.loads(b.server.granary("share", "show", SHARE, "-o", "json"))["files"]


def settled(b):
    """How many there are when that has not changed for two seconds: what was removed goes later."""
    last, same = files(b), 0
    while same < 10:
        time.sleep(0.2)
        now = files(b)
        last, same = now, same + 1 if now == last else 0
    return last


def clear(b, root):
    for name in set(b.names(root)) - {b"plan", b"deep"}:
        assert b.nfs.remove(root, name).status == OK


def rollback(b, root):
    """Under a client that writes, reads and has files open."""
    point, nfs, server = b.points.point, b.nfs, b.server
    plan = b.at(root, "plan")
    clear(b, root)
    count = settled(b)
    assert nfs.write(plan, 0, b"the good one  ").status == OK
    server.granary("snapshot", "create", SHARE + "@base")
    later = b.make(root, "later", b"made after it")
    assert nfs.write(plan, 0, b"a mistake     ").status == OK
    unstable = nfs.write(plan, 0, b"a mistake     ", stable=0)
    client = nfs41.Client(b.connection, b"open")
    handle, stateid = client.open(client.walk("docs"), "plan", access=1)
    gone = client.open(client.walk("docs"), "later", access=1, owner=b"gone")
    keeper = delegation.Holder(delegation.BackConnection(b.port), b"keeps what it has read")
    kept = keeper.take(keeper.walk("docs"), "plan", delegation.WANT_READ)
    assert isinstance(kept[2], bytes), kept
    listed = [c for c in json.loads(server.granary("share", "clients", "-o", "json"))
              if c["name"] == "keeps what it has read"]
    point(len(listed) == 1 and listed[0]["delegations"] == 1 and listed[0]["opens"] == 1 and
          listed[0]["callable"] and listed[0]["address"] == "127.0.0.1",
          "what clients have open and delegated is listed", listed)
    wrong, seen = [], set()
    stop = threading.Event()

    def work(number):
        with rpc.Connection(b.port) as connection:
            mine = rpc.Nfs3(connection)
            while not stop.is_set():
                got = mine.read(plan, 0, 14)
                made = mine.create(root, f"work{number}", 0, mode=0o600)
                if got.status or made.status not in (OK, STALE):
                    wrong.append((got.status, made.status))
                    return
                seen.add(got.data)
    workers = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for worker in workers:
        worker.start()
    until(lambda: b"a mistake     " in seen)
    server.granary("volume", "rollback", SHARE + "@base", "--keep", "kept", "--yes")
    until(lambda: b"the good one  " in seen or wrong)
    stop.set()
    for worker in workers:
        worker.join()
    call = keeper.c.wait()
    point(call and call.recall[1] == kept[2] and keeper.give_back(kept[0], kept[2]) == OK and
          keeper.close(kept[0], kept[1]) == OK, "what clients keep of it is called back")
    server.granary("share", "release", listed[0]["id"])
    point(nfs41.compound(keeper.c, [keeper.sequence_op(keeper.sequence + 1)]).status == 10052 and
          "no NFS client" in refused(server, "share", "release", listed[0]["id"]),
          "and taken from one when it is ordered")
    keeper.c.close()
    point(not wrong and seen == {b"a mistake     ", b"the good one  "},
          "clients go on over a rollback", f"{wrong} {seen}")
    point(b.contents(root, "plan") == b"the good one  " and b.at(root, "plan") == plan,
          "what is in the snapshot keeps its handle")
    point(nfs.getattr(later).status == STALE and b.at(root, "later") == NOENT,
          "what is not is stale")
    point(nfs.commit(plan).verifier != unstable.verifier, "the write verifier is another one")
    point(client.read(handle, stateid, 0, 14)[1] == b"the good one  " and
          client.close(handle, stateid) == OK, "an open file is still open")
    fresh = {b.make(root, f"again{n}", b"") for n in range(20)}
    point(later not in fresh and nfs.getattr(later).status == STALE,
          "no new file is taken for one that was")
    clear(b, root)
    closed = client.close(*gone)
    until(lambda: files(b) <= count)
    point(files(b) == count, "nor held by those who had that one open", f"{closed} {files(b)}")
    point(b.contents(b.at(root, ".snapshot"), "kept", "later") == b"made after it",
          "what was before is kept")
    point("no errors" in server.granary("share", "check", SHARE), "the check is clean")
    point("no snapshot" in refused(server, "volume", "rollback", SHARE + "@gone", "--yes"),
          "to no snapshot: refused")
    b.restart(kill=True)
    point(b.contents(root, "plan") == b"the good one  " and
          "no errors" in b.server.granary("share", "check", SHARE), "and it holds after kill -9")
    for name in ("base", "kept"):
        b.server.granary("snapshot", "delete", f"{SHARE}@{name}", "--yes")
    clear(b, root)


def ended(b):
    point, server = b.points.point, b.server
    point("snapshots" in refused(server, "share", "delete", SHARE, "--yes"),
          "a share with snapshots is not deleted")
    for snapshot in json.loads(server.granary("snapshot", "list", SHARE, "-o", "json")):
        server.granary("snapshot", "delete", f"{SHARE}@{snapshot['name']}", "--yes")
    server.granary("share", "delete", SHARE, "--yes")
    point(server.stop() == 0, "the daemon ends cleanly", server.log())


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-share-") as state:
        b = Bench(points, state)
        try:
            root = prepare(b)
            view(b, root)
            four(b)
            rollback(b, root)
            settings(b, root)
            many(b, root)
            crowd(b, root)
            restore(b, root)
            ended(b)
        finally:
            b.close()


if __name__ == "__main__":
    tap.run(test)
