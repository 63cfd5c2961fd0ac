#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=240 engines=one asan
"""What is deleted stays in the bin of its pool: not to be found, its name free, its space counted; back
with identity, data, snapshots and limits, a share with its rules; over kill -9, also in the middle. It
goes when its time is over, and before its pool is full, ahead of any snapshot."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import pools  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

MIB = 1 << 20
PART = 16 * MIB


def listed(daemon):
    return [f"{one['pool']}/{one['name']}" for one in daemon.json("volume", "list")]


def binned(daemon):
    return [one["name"] for one in daemon.json("bin", "list")]


def pool(daemon, name="tank"):
    return daemon.json("pool", "show", name)


def refused(points, daemon, text, *words):
    result = daemon.run(*words)
    points.point(result.returncode == 1 and text in result.stderr, f"refused: {' '.join(words)}",
                 result.stderr)


@contextlib.contextmanager
def store(daemon):
    """The configuration of a daemon that is killed, and started again."""
    daemon.stop(signal.SIGKILL)
    config = sqlite3.connect(os.path.join(daemon.state, "config.db"), isolation_level=None)
    try:
        yield config
    finally:
        config.close()
        daemon.start()


def unmap(daemon):
    daemon.good("target", "delete", pools.IQN, "--yes")


def show_again(daemon, volume):
    daemon.good("target", "create", pools.IQN)
    daemon.good("target", "allow", pools.IQN, "--network", "127.0.0.0/8")
    daemon.good("lun", "map", pools.IQN, volume, "--lun", "0")


def deleted(points, daemon):
    """Into the bin, and what that means."""
    daemon.serve("tank/db", "1G")
    daemon.write(0, PART, 0x11)
    daemon.good("snapshot", "create", "tank/db@monday")
    daemon.write(0, PART, 0x22)
    daemon.good("volume", "set", "tank/db", "--iops", "777")
    daemon.good("snapshot", "schedule", "create", "nightly", "tank/db", "--every", "daily")
    before = daemon.json("volume", "show", "tank/db")
    refused(points, daemon, "is LUN 0", "volume", "delete", "tank/db", "--to-bin", "--yes")
    unmap(daemon)
    refused(points, daemon, "has snapshots", "volume", "delete", "tank/db", "--to-bin", "--yes")
    refused(points, daemon, "has snapshots", "volume", "delete", "tank/db", "--yes")
    daemon.good("snapshot", "hold", "tank/db@monday")
    refused(points, daemon, "is held", "volume", "delete", "tank/db", "--with-snapshots", "--to-bin", "--yes")
    daemon.good("snapshot", "release", "tank/db@monday")
    daemon.good("volume", "clone", "tank/db@monday", "tank/clone")
    refused(points, daemon, "has clones", "volume", "delete", "tank/db", "--with-snapshots", "--to-bin", "--yes")
    daemon.good("volume", "delete", "tank/clone", "--yes")
    points.point(not binned(daemon), "deleted without --to-bin is not in the bin", binned(daemon))
    used = pool(daemon)
    said = daemon.good("volume", "delete", "tank/db", "--with-snapshots", "--to-bin", "--yes")
    points.point("granary bin restore tank/db" in said, "the answer says how to have it back", said)
    shown = daemon.json("bin", "list")
    points.point(len(shown) == 1 and shown[0]["name"] == "db" and shown[0]["kind"] == "volume" and
                 shown[0]["snapshots"] == 1 and shown[0]["used_bytes"] == PART and
                 shown[0]["by"].startswith("local:") and
                 shown[0]["until"] - shown[0]["deleted"] == 72 * 3600, "three days in the bin", shown)
    after = pool(daemon)
    points.point(after["bin_volumes"] == 1 and after["bin_used_bytes"] == PART and
                 after["used_bytes"] >= used["used_bytes"] and after["volumes"] == 0 and
                 after["undelete_hours"] == 72, "its space is counted and shown", after)
    return before


def not_there(points, daemon):
    kept = f"deleted-{daemon.json('bin', 'list')[0]['id'][:8]}-db"
    points.point(listed(daemon) == [] and
                 daemon.run("volume", "show", "tank/db").returncode == 1 and
                 daemon.run("volume", "show", f"tank/{kept}").returncode == 1, "it is not to be found")
    daemon.good("target", "create", pools.IQN)
    for name in ("db", kept, f"{kept}@monday"):
        refused(points, daemon, "no volume named", "lun", "map", pools.IQN, f"tank/{name}")
    refused(points, daemon, "no snapshot named", "volume", "clone", f"tank/{kept}@monday", "tank/x")
    refused(points, daemon, "no volume named", "snapshot", "create", f"tank/{kept}@x")
    refused(points, daemon, "no volume named", "share", "import", f"tank/{kept}")
    daemon.good("target", "delete", pools.IQN, "--yes")
    document = json.loads(daemon.good("export"))
    points.point(not document["volumes"], "nor is it in the configuration's document", document)
    run = daemon.json("snapshot", "schedule", "run", "nightly")
    points.point("skipped" in run["result"] and
                 daemon.json("bin", "list")[0]["snapshots"] == 1,
                 "no schedule makes snapshots of it", run)


def restored(points, daemon, before):
    daemon.good("volume", "create", "tank/db", "32M")
    points.point(listed(daemon) == ["tank/db"] and binned(daemon) == ["db"],
                 "its name is free for another one")
    daemon.stop(signal.SIGKILL)
    daemon.start()
    points.point(listed(daemon) == ["tank/db"] and binned(daemon) == ["db"], "all that over a kill",
                 (listed(daemon), binned(daemon)))
    refused(points, daemon, "already", "bin", "restore", "tank/db")
    daemon.good("bin", "restore", "tank/db", "--as", "old")
    points.point(listed(daemon) == ["tank/db", "tank/old"] and not binned(daemon),
                 "it is back by another name", listed(daemon))
    now = daemon.json("volume", "show", "tank/old")
    same = ("uuid", "naa", "serial", "size_bytes", "used_bytes", "iops_limit", "checksum")
    points.point(all(now[key] == before[key] for key in same) and now["iops_limit"] == 777,
                 "with identity, size and limits", (before, now))
    show_again(daemon, "tank/old")
    daemon.good("lun", "map", pools.IQN, "tank/old@monday", "--lun", "1")
    points.point(daemon.holds(0, PART, 0x22) and daemon.holds(0, PART, 0x11, lun=1),
                 "its data and its snapshot's are what they were")
    run = daemon.json("snapshot", "schedule", "run", "nightly")
    points.point("made" in run["result"] and run["volumes"] == ["tank/old"],
                 "its schedule goes on", run)
    for name in (one["name"] for one in daemon.json("snapshot", "list", "tank/old")):
        if name != "monday":
            daemon.good("snapshot", "delete", f"tank/old@{name}", "--yes")
    daemon.good("snapshot", "schedule", "delete", "nightly", "--yes")
    daemon.good("volume", "delete", "tank/db", "--to-bin", "--yes")
    refused(points, daemon, "has no", "bin", "restore", "tank/other")
    daemon.good("bin", "restore", "tank/db")
    points.point("tank/db" in listed(daemon), "and one by its own name")
    daemon.good("volume", "delete", "tank/db", "--yes")
    unmap(daemon)


def timed(points, daemon):
    """Its time is over while the daemon is down, and while it runs."""
    used = pool(daemon)["used_bytes"]
    daemon.good("volume", "delete", "tank/old", "--with-snapshots", "--to-bin", "--yes")
    points.point(pool(daemon)["used_bytes"] == used, "its space is not free while it is in the bin")
    with store(daemon) as config:
        config.execute("update bin set until = ?", (int(time.time()) + 5,))
    points.point(binned(daemon) == ["old"], "it is there until its time is over", binned(daemon))
    gone = pools.wait_for(lambda: not binned(daemon))
    points.point(gone and pools.wait_for(lambda: pool(daemon)["used_bytes"] <= used - 2 * PART),
                 "then it goes, with its snapshots and their space", pool(daemon))
    audit = [one for one in daemon.json("audit", "list") if one["path"].endswith("/give-up")]
    points.point(len(audit) == 1 and audit[0]["who"] == "granaryd" and audit[0]["status"] == 200,
                 "the audit log has it", audit)
    with sqlite3.connect(os.path.join(daemon.state, "config.db")) as config:
        points.point(config.execute("select count(*) from volume_limit").fetchone()[0] == 0,
                     "and nothing of it stays behind")


def cut_off(points, daemon):
    """Killed between the row and the name, on the way in and on the way out."""
    daemon.good("volume", "create", "tank/half", "16M")
    daemon.good("share", "create", "tank/files")
    daemon.good("share", "allow", "tank/files", "--client", "127.0.0.1")
    uuids = {one["name"]: bytes.fromhex(one["uuid"].replace("-", ""))
             for one in daemon.json("volume", "list")}
    with store(daemon) as config:
        for name, uuid in uuids.items():
            config.execute("insert into bin(volume, pool, name, kept_as, who, deleted, until)"
                           " values(?, 'tank', ?, ?, 'x', 1, 2)", (uuid, name, f"deleted-{name}"))
    share = daemon.json("share", "show", "tank/files")
    points.point(not binned(daemon) and "tank/half" in listed(daemon) and
                 share["state"] == "online" and
                 len(daemon.json("share", "rules", "tank/files")) == 1,
                 "what was on its way and is not there is what it was", (binned(daemon), share))
    daemon.good("volume", "delete", "tank/half", "--to-bin", "--yes")
    with store(daemon) as config:
        config.execute("insert into bin(volume, pool, name, kept_as, who, deleted, until) values"
                       "(x'00112233445566778899aabbccddeeff', 'tank', 'no', 'deleted-no', 'x', 1, 2)")
    points.point(binned(daemon) == ["half"], "a row without a volume goes", binned(daemon))
    daemon.good("bin", "empty", "tank", "--yes")
    points.point(not binned(daemon), "the bin is emptied")


def shares(points, daemon):
    daemon.good("share", "smb", "enable", "tank/files", "--guest")
    daemon.good("share", "set", "tank/files", "--snapshots", "visible")
    daemon.good("share", "quota", "tank/files", "32M")
    before = daemon.json("share", "show", "tank/files")
    rules = daemon.json("share", "rules", "tank/files")
    said = daemon.good("share", "delete", "tank/files", "--to-bin", "--yes")
    points.point("bin restore" in said and not daemon.json("share", "list") and
                 [one["kind"] for one in daemon.json("bin", "list")] == ["share"] and
                 not daemon.json("share", "smb", "list")["shares"], "a share goes there too", said)
    daemon.stop(signal.SIGKILL)
    daemon.start()
    points.point(not daemon.json("share", "list") and binned(daemon) == ["files"], "over a kill")
    daemon.good("pool", "create", "other", os.path.join(os.path.dirname(daemon.state), "o") + ":96M")
    daemon.good("share", "create", "other/files")
    daemon.good("share", "allow", "other/files", "--client", "127.0.0.1")
    refused(points, daemon, "another share is served", "bin", "restore", "tank/files")
    daemon.good("share", "deny", "other/files", "--client", "127.0.0.1")
    daemon.good("bin", "restore", "tank/files")
    now = daemon.json("share", "show", "tank/files")
    points.point(now == before and daemon.json("share", "rules", "tank/files") == rules and
                 len(daemon.json("share", "smb", "list")["shares"]) == 1,
                 "and comes back with its quota, rules and SMB", (before, now))
    daemon.stop(signal.SIGKILL)
    daemon.start()
    points.point(daemon.json("share", "show", "tank/files")["state"] == "online" and
                 daemon.json("share", "rules", "tank/files") == rules, "which lasts")
    check = daemon.json_of("share", "check", "tank/files")
    points.point(check["clean"], "its structures are whole", check)
    daemon.good("share", "delete", "tank/files", "--yes")
    points.point(not binned(daemon) and not daemon.json("share", "smb", "list")["shares"],
                 "without --to-bin it is for good")


def pool_goes(points, daemon):
    """Nothing is lost with a pool that is forgotten."""
    daemon.good("share", "delete", "other/files", "--to-bin", "--yes")
    daemon.good("volume", "create", "other/v", "16M")
    daemon.good("volume", "delete", "other/v", "--to-bin", "--yes")
    daemon.good("pool", "delete", "other", "--yes")
    points.point(not binned(daemon), "a pool goes with its bin")
    daemon.good("pool", "import", os.path.join(os.path.dirname(daemon.state), "o"))
    names = listed(daemon)
    points.point(len(names) == 2 and all(name.startswith("other/deleted-") for name in names),
                 "what was in it is seen when the pool comes back", names)
    daemon.good("pool", "export", "other")


def set_off(points, daemon):
    refused(points, daemon, "0 to 8760", "pool", "set", "tank", "--undelete-hours", "9000")
    daemon.good("pool", "set", "tank", "--undelete-hours", "0")
    daemon.good("volume", "create", "tank/v", "16M")
    refused(points, daemon, "undelete_hours", "volume", "delete", "tank/v", "--to-bin", "--yes")
    daemon.good("volume", "delete", "tank/v", "--yes")
    points.point(not binned(daemon), "with 0 hours nothing goes there")
    daemon.good("pool", "set", "tank", "--undelete-hours", "5", "--watermarks", "70,80,95")
    daemon.stop(signal.SIGKILL)
    daemon.start()
    shown = pool(daemon)
    points.point(shown["undelete_hours"] == 5 and shown["watermarks"] == [70, 80, 95],
                 "the setting lasts", shown)
    daemon.good("volume", "create", "tank/v", "16M")
    daemon.good("volume", "delete", "tank/v", "--to-bin", "--yes")
    one = daemon.json("bin", "list")[0]
    points.point(one["until"] - one["deleted"] == 5 * 3600, "and counts", one)
    daemon.good("bin", "delete", "tank/v", "--yes")


def fill(daemon, name, percent):
    """A volume that takes the pool up to so much, and is deleted; as one did who sees no error."""
    shown = pool(daemon)
    room = shown["size_bytes"] * percent // 100 - shown["used_bytes"]
    at, good, text = 0, True, ""
    while good and room > 0:
        commands = []
        for _ in range(8):
            commands += [f"write -P 0x77 {at} {MIB}", "sleep 60"]
            at += MIB
            room -= MIB
        good, text = daemon.io(*commands)
    return good, text, name


def gives_way(points, daemon):
    """Two are in the bin and a snapshot may be given up: the older one goes, then the other."""
    for name in ("first", "second"):
        daemon.serve(f"tank/{name}", "512M")
        daemon.write(0, 32 * MIB, 0x55)
        unmap(daemon)
        daemon.good("volume", "delete", f"tank/{name}", "--to-bin", "--yes")
    daemon.serve("tank/vm", "1G")
    daemon.write(1000 * MIB, 8 * MIB, 0x66)
    daemon.good("snapshot", "create", "tank/vm@spare", "--expendable")
    good, text, _ = fill(daemon, "vm", 92)
    points.point(good and sorted(binned(daemon)) == ["first", "second"], "nothing goes while there is space",
                 (binned(daemon), text[-300:]))
    size = pool(daemon)["size_bytes"]
    good, text = True, ""
    at = 500 * MIB
    for _ in range(size * 8 // 100 // MIB):
        good, text = daemon.io(f"write -P 0x78 {at} {MIB}", "sleep 100")
        at += MIB
        if not good:
            break
    points.point(good and binned(daemon) == ["second"], "the writer sees no error, the older one went",
                 (binned(daemon), text[-300:], pool(daemon)))
    points.point([one["name"] for one in daemon.json("snapshot", "list", "tank/vm")] == ["spare"],
                 "and no snapshot before it")
    points.point("goes before its time: the pool is at its end" in daemon.log(), "the log says why")
    check = daemon.json_of("pool", "check", "tank", "--data")
    points.point(check["clean"], "the check is clean", check)


def completion(points):
    text = subprocess.run([os.path.join(pools.BUILD, "granary"), "bin", "--help"], text=True,
                          capture_output=True, check=False).stdout
    points.point("bin restore" in text and "bin empty" in text, "the help has it", text)


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-bin-") as folder:
        daemon = pools.Daemon(os.path.join(folder, "state"))
        try:
            daemon.good("pool", "create", "tank", os.path.join(folder, "tank.pool") + ":320M")
            before = deleted(points, daemon)
            not_there(points, daemon)
            restored(points, daemon, before)
            timed(points, daemon)
            cut_off(points, daemon)
            shares(points, daemon)
            pool_goes(points, daemon)
            set_off(points, daemon)
            gives_way(points, daemon)
            completion(points)
        finally:
            points.point(daemon.stop() == 0, "clean stop")


if __name__ == "__main__":
    tap.run(test)
