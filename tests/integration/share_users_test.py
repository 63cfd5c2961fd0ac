#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan
"""Limits of users in a share: by the command, exactly, over v3 and v4.1; RQUOTA; kill -9."""

import json
import os
import re
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import nfs41_wire_test as nfs41  # pylint: disable=wrong-import-position
import rpc_client as rpc  # pylint: disable=wrong-import-position
import server as daemon  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position

SHARE, PATH = "tank/files", "/files"
ANN, BOB = 1000, 1001
OK, DQUOT = 0, 69
QUOTA_OK, QUOTA_NONE, QUOTA_PERM = 1, 2, 3
KIBI = 1 << 10


def port_of(server):
    return int(re.search(r"^READY .*nfs=(\d+)", server.log(), re.M).group(1))


def users(server):
    return {user["uid"]: user
            for user in json.loads(server.granary("share", "users", SHARE, "-o", "json"))}


def paged(server):
    """The users' numbers, asked for one by one."""
    seen, cursor = [], ""
    for _ in range(10):
        reply = api.Daemon.raw(server, json.dumps({
            "method": "GET", "path": f"/api/v1/shares/{SHARE}/users?limit=1{cursor}"}).encode())
        seen += [user["uid"] for user in reply["body"]]
        if "next" not in reply:
            break
        cursor = "&cursor=" + reply["next"]
    return seen


def refused(server, *words):
    try:
        server.granary(*words)
    except RuntimeError as error:
        return str(error)
    return ""


def clean(server):
    return "no errors" in server.granary("share", "check", SHARE)


class Quota:
    """RQUOTA as @uid."""

    def __init__(self, connection, uid=0):
        self.c, self.cred = connection, rpc.auth_sys(uid, uid)

    def ask(self, uid, version=1, path=PATH, kind=0, procedure=1):
        """(status, the numbers behind it)."""
        body = rpc.opaque(path) + (rpc.u32(kind) if version == 2 else b"") + rpc.u32(uid)
        reply = self.c.good(rpc.RQUOTA, version, procedure, body, cred=self.cred)
        status = reply.u32()
        numbers = [reply.u32() for _ in range(10)] if status == QUOTA_OK else []
        reply.end()
        return status, numbers


def nobody_yet(points, server, connection):
    points.point(users(server) == {}, "nobody is counted before the first limit")
    points.point(Quota(connection).ask(ANN) == (QUOTA_NONE, []), "RQUOTA says: no quota")
    for words in (("x", "--size", "1G"), ("-1", "--size", "1G"), ("4294967296", "--size", "1G"),
                  ("1000",), ("1000", "--size", "much"), ("1000", "--files", "many")):
        points.point(refused(server, "share", "limit", SHARE, *words) != "",
                     f"limit {' '.join(words)} is refused")
    points.point(users(server) == {}, "and nobody is counted for it")


def over_v3(points, server, connection, handle):
    """Up to the last block, and to the last file."""
    root, ann = rpc.Nfs3(connection), rpc.Nfs3(connection, cred=rpc.auth_sys(ANN, ANN))
    folder = root.mkdir(handle, "folder", mode=0o777).handle
    file = ann.create(folder, "a", mode=0o644).handle
    points.point(ann.write(file, 0, bytes(40 * KIBI)).status == OK, "a file of before the limit")
    server.granary("share", "limit", SHARE, str(ANN), "--size", "64K", "--files", "3")
    shown = users(server)
    points.point((shown[ANN]["used_bytes"], shown[ANN]["files"], shown[ANN]["limit_bytes"],
                  shown[ANN]["limit_files"]) == (40 * KIBI, 1, 64 * KIBI, 3),
                 "what was there is counted", shown)
    points.point(ann.write(file, 40 * KIBI, bytes(24 * KIBI)).status == OK, "up to the limit")
    points.point(ann.write(file, 64 * KIBI, b"x").status == DQUOT, "NFS3ERR_DQUOT behind it")
    points.point(root.write(file, 64 * KIBI, b"x").status == DQUOT,
                 "for root too: it is the owner's file")
    points.point(ann.write(file, 10, bytes(60 * KIBI)).status == OK, "what is there is written")
    made = [ann.create(folder, name, mode=0o644).status for name in ("b", "c", "d")]
    points.point(made == [OK, OK, DQUOT], "so many files and no more", made)
    points.point(ann.mkdir(folder, "e").status == DQUOT, "folders are files")
    other = root.create(folder, "root", mode=0o644).handle
    points.point(root.write(other, 0, b"x").status == OK and
                 root.setattr(other, uid=ANN).status == DQUOT and
                 root.setattr(other, uid=BOB).status == OK, "a file goes to who may have it")
    points.point(users(server)[BOB]["used_bytes"] == 4 * KIBI, "and counts there", users(server))
    points.point(paged(server) == sorted(users(server)), "pages hold each user once", paged(server))
    points.point(ann.fsstat(folder).values[2] == 0 and root.fsstat(folder).values[2] > 0,
                 "df shows what the user may still have")
    points.point(clean(server), "the check is clean")
    return folder, file


def over_v4(points, connection):
    ann = nfs41.Client(connection, b"limits", cred=rpc.auth_sys(ANN, ANN))
    folder = ann.walk("files", "folder")
    points.point(ann.open(folder, "f", how=nfs41.UNCHECKED) == DQUOT, "v4.1: OPEN of a new file")
    handle, stateid = ann.open(folder, "a")
    points.point(ann.write(handle, stateid, 64 * KIBI, b"x") == DQUOT, "v4.1: WRITE")
    points.point(ann.write(handle, stateid, 0, b"x") == OK, "v4.1: WRITE of what is there")
    ann.close(handle, stateid)


def rquota(points, connection, server):
    ann, root, bob = Quota(connection, ANN), Quota(connection), Quota(connection, BOB)
    wanted = [4096, 1, 16, 16, 16, 3, 3, 3, 0, 0]
    for version in (1, 2):
        for procedure in (1, 2):
            points.point(ann.ask(ANN, version, procedure=procedure) == (QUOTA_OK, wanted),
                         f"version {version}, procedure {procedure}: the user's own",
                         ann.ask(ANN, version, procedure=procedure))
    points.point(root.ask(ANN) == (QUOTA_OK, wanted), "root may ask for everybody's")
    points.point(root.ask(ANN, path=PATH + "/folder") == (QUOTA_OK, wanted), "a folder of the share")
    points.point(root.ask(ANN, path=PATH[1:]) == (QUOTA_OK, wanted)
                 and root.ask(ANN, path=PATH[1:] + "/folder") == (QUOTA_OK, wanted),
                 "without the slash in front, as for a mount of NFSv4")
    points.point(bob.ask(ANN) == (QUOTA_PERM, []), "others may not")
    points.point(root.ask(77)[1][2:] == [0] * 8, "a user without anything", root.ask(77))
    points.point(root.ask(ANN, path="/nothing")[0] == QUOTA_NONE
                 and root.ask(ANN, path="")[0] == QUOTA_NONE
                 and root.ask(ANN, path="/" + PATH)[0] == QUOTA_NONE, "a path that is none")
    points.point(root.ask(ANN, version=2, kind=1)[0] == QUOTA_NONE, "there are none of groups")
    for version, body in ((1, b""), (1, rpc.opaque(PATH)), (1, rpc.u32(0xFFFFFFFF)),
                          (2, rpc.opaque(PATH) + rpc.u32(0)), (1, rpc.opaque("x" * 1025) + rpc.u32(0))):
        points.point(connection.ask(rpc.RQUOTA, version, 1, body)[0] == 4,
                     f"garbage of {len(body)} bytes is said to be that")
    points.point(connection.ask(rpc.RQUOTA, 1, 3)[0] == 3, "nobody sets limits this way")
    points.point(connection.ask(rpc.RQUOTA, 3, 1)[0] == 2, "a version that is not there")
    reply = connection.good(rpc.PORTMAP, 2, 3, rpc.u32(rpc.RQUOTA, 1, 6, 0))
    points.point(reply.u32() == port_of(server), "the portmapper knows it")
    server.granary("share", "limit", SHARE, str(BOB), "--size", "100T")
    status, numbers = root.ask(BOB)
    points.point(status == QUOTA_OK and numbers[0] * numbers[2] >= 100 << 40
                 and numbers[2] < 1 << 32, "a limit over 2^32 blocks has larger blocks", numbers)


def after_crash(points, first, state, folder, file):
    """What was answered is counted, and nothing twice."""
    before = users(first)
    first.process.kill()
    first.process.wait()
    server = daemon.Server(state)
    try:
        points.point(users(server) == before, "after kill -9 all is as it was",
                     (before, users(server)))
        points.point(clean(server), "and the check is clean")
        with rpc.Connection(port_of(server)) as connection:
            ann = rpc.Nfs3(connection, cred=rpc.auth_sys(ANN, ANN))
            points.point(ann.write(file, 64 * KIBI, b"x").status == DQUOT, "the limit holds")
            points.point(ann.setattr(file, size=0).status == OK and
                         users(server)[ANN]["used_bytes"] == 0, "space comes back",
                         users(server))
            points.point(ann.remove(folder, "b").status == OK and
                         ann.create(folder, "d", mode=0o644).status == OK, "files come back")
        server.granary("share", "limit", SHARE, str(ANN), "--size", "0", "--files", "0")
        points.point(users(server)[ANN]["limit_bytes"] == 0, "limits are taken away")
        points.point(clean(server), "and the check is clean again")
    finally:
        server.stop()


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-users-") as state:
        server = daemon.Server(state)
        try:
            with rpc.Connection(port_of(server)) as connection:
                _, handle = rpc.mount(connection, PATH)
                nobody_yet(points, server, connection)
                folder, file = over_v3(points, server, connection, handle)
                over_v4(points, connection)
                rquota(points, connection, server)
            after_crash(points, server, state, folder, file)
        finally:
            server.stop()


if __name__ == "__main__":
    tap.run(test)
