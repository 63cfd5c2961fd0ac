#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=both asan
"""Shares through the daemon and the command: create, list, quota, check, kill -9, restart, delete;
and what must not happen to a share's volume."""

import json
import os
import re
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import nfs41_wire_test as nfs41  # pylint: disable=wrong-import-position
import rpc_client as rpc  # pylint: disable=wrong-import-position
import server as daemon  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position

SHARE = "tank/docs"
MEBI = 1 << 20


def refused(server, *words):
    """The sentence a command is refused with, "" when it was not."""
    try:
        server.granary(*words)
    except RuntimeError as error:
        return str(error)
    return ""


def show(server):
    return json.loads(server.granary("share", "show", SHARE, "-o", "json"))


def managed(points, server):
    points.point("created" in server.granary("share", "create", SHARE, "--quota", "100M"),
                 "a share is created")
    points.point("already" in refused(server, "share", "create", SHARE)
                 or "exists" in refused(server, "share", "create", SHARE),
                 "the same name again is refused", refused(server, "share", "create", SHARE))
    shares = [share for share in json.loads(server.granary("share", "list", "-o", "json"))
              if share["name"] == SHARE.partition("/")[2]]
    points.point(len(shares) == 1 and shares[0]["state"] == "online"
                 and shares[0]["quota_bytes"] == 100 * MEBI, "it is listed with its quota", shares)
    points.point("is a share" in refused(server, "lun", "map", daemon.DEMO_TARGET, SHARE),
                 "its volume does not become a LUN")
    points.point("is a share" in refused(server, "volume", "delete", SHARE, "--yes"),
                 "its volume is not deleted")
    points.point("no errors" in server.granary("share", "check", SHARE), "its check is clean")
    server.granary("share", "quota", SHARE, "200M")
    versions(points, server)


def versions(points, server):
    """Of NFS, for each share: what the server does and what explain says are the same."""
    port = int(re.search(r"^READY .*nfs=(\d+)", server.log(), re.M).group(1))
    name = "/" + SHARE.partition("/")[2]
    server.granary("share", "allow", SHARE, "--client", "127.0.0.1", "--insecure")
    points.point(show(server)["versions"] == ["3", "4.0", "4.1", "4.2"], "all versions at first")
    points.point("4.5" in refused(server, "share", "set", SHARE, "--versions", "3,4.5")
                 or "versions" in refused(server, "share", "set", SHARE, "--versions", "3,4.5"),
                 "a version that is none is refused")
    for wanted in (["4.1"], ["3"]):
        server.granary("share", "set", SHARE, "--versions", ",".join(wanted))
        points.point(show(server)["versions"] == wanted, f"only {wanted[0]}", show(server))
        with rpc.Connection(port) as c:
            mounted = mount_status(c, name)
            client = nfs41.Client(c, b"versions" + wanted[0].encode())
            looked = client.ops(nfs41.PUTROOTFH, nfs41.lookup(name[1:])).status
        points.point((mounted == 0) == (wanted == ["3"]), "MOUNT agrees", mounted)
        points.point((looked == 0) == (wanted == ["4.1"]), "v4.1 agrees", looked)
        for version in ("3", "4.1"):
            said = subprocess_said(server, "share", "explain", SHARE, "127.0.0.1", "--version",
                                   version)
            points.point(("may use" in said) == (version in wanted), f"explain, {version}", said)
    server.granary("share", "deny", SHARE, "--client", "127.0.0.1")


def mount_status(connection, path):
    """MNT's status."""
    return connection.good(rpc.MOUNT, 3, 1, rpc.opaque(path)).u32()


def subprocess_said(server, *words):
    try:
        return server.granary(*words)
    except RuntimeError as error:
        return str(error)


def exports(points, server, state):
    """An exports(5) file: refused as a whole, shown, done, and done again to no effect."""
    path = os.path.join(state, "exports")

    def given(text, *more):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return ["share", "import", path, *more]

    def rules(name):
        return [(r["client"], r["read_only"], r["squash"])
                for r in json.loads(server.granary("share", "rules", name, "-o", "json"))]
    points.point("give --pool" in refused(server, *given("/vms *(rw,sync,no_root_squash)\n")),
                 "a share that is not there needs a pool")
    whole = "/vms *(rw,sync,no_root_squash)\n/srv/docs 10.1.0.0/255.255.0.0(rw) 10.0.0.7\n"
    for bad, text in (("/more @hosts(rw)", "not looked up"), ("/more *(rw,nonsense)", "line 3"),
                      ("/more 10.0.0.1 (rw)", "blank"), ("more *(rw)", "no path")):
        said = refused(server, *given(whole + bad + "\n", "--pool", "tank"))
        points.point(text in said and "no share" in refused(server, "share", "show", "tank/vms"),
                     f"{bad}: nothing of the file is done", said)
    said = server.granary(*given(whole, "--pool", "tank", "--dry-run"))
    points.point("would create share tank/vms" in said and "mount as /docs" in said
                 and "no share" in refused(server, "share", "show", "tank/vms"), "a dry run", said)
    server.granary("share", "allow", SHARE, "--client", "10.9.9.9")
    quota = show(server)["quota_bytes"]
    server.granary(*given(whole, "--pool", "tank"))
    points.point(rules("tank/vms") == [("*", False, "none")], "the file is done as it is written",
                 rules("tank/vms"))
    points.point(sorted(rules(SHARE)) == [("10.0.0.7", True, "root"), ("10.1.0.0/16", False, "root")]
                 and show(server)["quota_bytes"] == quota, "old rules go, the quota stays",
                 rules(SHARE))
    points.point("nothing to do" in server.granary(*given(whole)), "again: nothing to do")
    server.granary("share", "delete", "tank/vms", "--yes")


def deleted(points, server):
    server.granary("share", "create", "tank/other")
    points.point("deleted" in server.granary("share", "delete", SHARE, "--yes"), "it is deleted")
    names = [v["name"] for v in json.loads(server.granary("volume", "list", "-o", "json"))]
    points.point("docs" not in names and "other" in names, "and its volume with it", names)
    points.point("no share" in refused(server, "share", "show", SHARE), "it is not there any more")


def moved(points, state):
    """A pool goes to another machine, which is another state directory here; its share with it."""
    disk = os.path.join(state, "moving.pool")
    server = daemon.Server(os.path.join(state, "one"))
    try:
        server.granary("pool", "create", "moving", disk + ":256M")
        server.granary("share", "create", "moving/files", "--quota", "50M")
        server.stop()
        server = daemon.Server(os.path.join(state, "two"))
        server.granary("pool", "import", disk)
        points.point("no share" in refused(server, "share", "show", "moving/files"),
                     "a pool is imported without its shares")
        server.granary("share", "import", "moving/files")
        share = json.loads(server.granary("share", "show", "moving/files", "-o", "json"))
        points.point(share["state"] == "online" and share["quota_bytes"] == 50 * MEBI,
                     "its share is taken in, with its quota", share)
        points.point("no errors" in server.granary("share", "check", "moving/files"),
                     "and its check is clean")
    finally:
        server.stop()


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-share-") as state:
        server = daemon.Server(state)
        try:
            managed(points, server)
            server.process.kill()
            server.process.wait()
            server = daemon.Server(state)
            share = show(server)
            points.point(share["state"] == "online" and share["quota_bytes"] == 200 * MEBI,
                         "after kill -9 it is there with its new quota", share)
            points.point(server.stop() == 0, "the daemon ends cleanly", server.log())
            server = daemon.Server(state)
            points.point(show(server)["state"] == "online", "and it is there after a restart")
            points.point("already" in refused(server, "share", "import", SHARE),
                         "what is a share is not imported")
            server.granary("volume", "create", "tank/plain", "1G")
            points.point("no share" in refused(server, "share", "import", "tank/plain"),
                         "what holds none is not either")
            exports(points, server, state)
            deleted(points, server)
        finally:
            server.stop()
        moved(points, state)


tap.run(test)
