#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=60 engines=one asan
"""Dry runs of what is made and changed: they say what would be different, change nothing at all, and
are refused what the change is refused, in the same words; and what they said is what happens."""

import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "guest"), HERE]

import api                           # pylint: disable=wrong-import-position
import tap                           # pylint: disable=wrong-import-position
from iscsi_client import Connection  # pylint: disable=wrong-import-position

V1 = "/api/v1"
MIB = 1 << 20
IQN = "iqn.2026-11.org.granary:dry"
SLOW = "iqn.2026-11.org.granary:slow"
T = f"/targets/{IQN}"
V = "/volumes/tank/vm"
S = "/shares/tank/files"


def tried(path):
    return f"{V1}{path}{'&' if '?' in path else '?'}dry_run=1"


def state(daemon):
    """All that a change could have changed; what moves by itself is not in it."""
    lists = {what: daemon.good("GET", f"{V1}/{what}") for what in
             ("configuration", "volumes", "targets", "shares", "pools", "sessions", "hosts", "bin",
              "directories")}
    lists["pools"] = [{name: pool[name] for name in ("name", "state", "reserved_bytes", "provisioned_bytes",
                                                     "volumes", "watermarks")} for pool in lists["pools"]]
    lists["snapshots"] = [daemon.good("GET", f"{V1}/volumes/tank/{volume['name']}/snapshots")
                          for volume in lists["volumes"]]
    lists["rules"] = [daemon.good("GET", f"{V1}/shares/tank/{share['name']}/rules")
                      for share in lists["shares"]]
    lists["audit"] = daemon.good("GET", f"{V1}/audit")
    lists["events"] = [event for event in daemon.good("GET", f"{V1}/events?after=0")["events"]
                       if event["kind"] == "change"]
    return lists


# What is carried out, in order: what it is called, and what would be different.
GOOD = [
    ("POST", "/volumes", {"pool": "tank", "name": "vm", "size": "64M", "reserve": "8M", "quota": "32M"},
     "volume tank/vm", {"size_bytes": 64 * MIB, "reserve_bytes": 8 * MIB, "quota_bytes": 32 * MIB}),
    ("PATCH", V, {"size": "96M"}, "volume tank/vm", {"size_bytes": 96 * MIB}),
    ("PATCH", V, {"size": "64M", "shrink": True}, "volume tank/vm", {"size_bytes": 64 * MIB}),
    ("PATCH", V, {"reserve": 0, "quota": "16M"}, "volume tank/vm",
     {"reserve_bytes": 0, "quota_bytes": 16 * MIB}),
    ("PATCH", V, {"iops": 500, "bandwidth": "10M"}, "volume tank/vm",
     {"iops_limit": 500, "bandwidth_limit_bytes": 10 * MIB}),
    ("PATCH", V, {"name": "other"}, "volume tank/vm", {"name": "other"}),
    ("PATCH", "/volumes/tank/other", {"name": "vm"}, "volume tank/other", {"name": "vm"}),
    ("POST", "/snapshots", {"snapshots": ["tank/vm@one"]}, "snapshots",
     {"snapshots": ["tank/vm@one"]}),
    ("POST", f"{V}/snapshots/one/clone", {"name": "copy"}, "volume tank/copy",
     {"origin": "vm@one", "size_bytes": 64 * MIB}),
    ("PATCH", V, {"size": "128M"}, "volume tank/vm", {"size_bytes": 128 * MIB}),
    ("POST", f"{V}/rollback", {"snapshot": "one", "keep": "kept"}, "volume tank/vm",
     {"content": "vm@one", "keep": "kept", "size_bytes": 64 * MIB}),
    ("POST", "/targets", {"iqn": IQN, "alias": "a name"}, f"target {IQN}",
     {"iqn": IQN, "alias": "a name"}),
    ("PATCH", T, {"redirect": "192.0.2.7"}, f"target {IQN}", {}),
    ("POST", f"{T}/luns", {"pool": "tank", "volume": "vm"}, f"LUN 0 of target {IQN}",
     {"lun": 0, "volume": "vm", "read_only": False, "type": "disk"}),
    ("PATCH", f"{T}/luns/0", {"read_only": True}, f"LUN 0 of target {IQN}", {"read_only": True}),
    ("POST", f"{T}/rules", {"initiator": "any"}, f"target {IQN}", {}),
    ("DELETE", f"{T}/rules", {"initiator": "any"}, f"target {IQN}", {"rules": []}),
    ("POST", "/shares", {"pool": "tank", "name": "files", "quota": "1G", "versions": ["4.1"]},
     "share tank/files", {"quota_bytes": 1 << 30, "versions": ["4.1"]}),
    ("POST", f"{S}/rules", {"client": "10.0.0.0/8", "read_only": True}, "share tank/files", {}),
    ("DELETE", f"{S}/rules", {"client": "10.0.0.0/8"}, "share tank/files", {"rules": []}),
]

def directories(folder):
    """The same, of a directory of this machine; it is away again in the end."""
    path, one, client = os.path.join(folder, "isos"), "/directories/isos", "10.0.0.0/8"
    os.mkdir(path)
    return [
        ("POST", "/directories", {"path": path, "name": "isos", "versions": ["3"]}, "directory isos",
         {"name": "isos", "path": path, "versions": ["3"], "state": "online"}),
        ("PATCH", one, {"versions": ["3", "4.2"]}, "directory isos", {"versions": ["3", "4.2"]}),
        ("POST", f"{one}/rules", {"client": client}, "directory isos", {}),
        ("DELETE", f"{one}/rules", {"client": client}, "directory isos", {"rules": []}),
        ("DELETE", one, {}, "directory isos", {}),
    ]


# What is refused, when all of that is there.
BAD = [
    ("POST", "/volumes", {"pool": "tank", "name": "vm", "size": "1M"}),
    ("POST", "/volumes", {"pool": "tank", "name": "b@d", "size": "1M"}),
    ("POST", "/volumes", {"pool": "nowhere", "name": "new", "size": "1M"}),
    ("POST", "/volumes", {"pool": "tank", "name": "new", "size": "1000"}),
    ("POST", "/volumes", {"pool": "tank", "name": "new", "size": "1M", "reserve": "2M"}),
    ("POST", "/volumes", {"pool": "tank", "name": "new", "size": "8M", "reserve": "4M", "quota": "2M"}),
    ("POST", "/volumes", {"pool": "tank", "name": "new", "size": "1T", "reserve": "1T"}),
    ("POST", "/volumes", {"pool": "tank", "name": "new", "size": "8M", "mirror": True}),
    ("PATCH", V, {"size": "8M"}),
    ("PATCH", V, {"size": "100"}),
    ("PATCH", "/volumes/tank/copy", {"size": "1M", "shrink": True, "reserve": "1M"}),
    ("PATCH", "/volumes/tank/held", {"size": "2M", "shrink": True}),
    ("PATCH", V, {"reserve": "1T"}),
    ("PATCH", V, {"reserve": "60M"}),
    ("PATCH", "/volumes/tank/copy", {"size": "2T", "reserve": "1T"}),
    ("PATCH", V, {"quota": "1025"}),
    ("PATCH", V, {"name": "copy"}),
    ("PATCH", V, {"burst": "never"}),
    ("PATCH", "/volumes/tank/files", {"quota": "1M"}),
    ("POST", "/snapshots", {"snapshots": ["tank/vm@one"]}),
    ("POST", "/snapshots", {"snapshots": ["tank/vm@two", "tank/vm@three"]}),
    ("POST", "/snapshots", {"snapshots": ["tank/none@two"]}),
    ("POST", f"{V}/snapshots/one/clone", {"name": "copy"}),
    ("POST", f"{V}/snapshots/none/clone", {"name": "new"}),
    ("POST", f"{V}/rollback", {"snapshot": "none"}),
    ("POST", f"{V}/rollback", {"snapshot": "one", "keep": "kept"}),
    ("POST", "/targets", {"iqn": IQN}),
    ("POST", "/targets", {"iqn": "no name"}),
    ("PATCH", T, {"redirect": "nowhere at all"}),
    ("POST", f"{T}/luns", {"pool": "tank", "volume": "vm"}),
    ("POST", f"{T}/luns", {"pool": "tank", "volume": "copy", "lun": 0}),
    ("POST", f"{T}/luns", {"pool": "tank", "volume": "files"}),
    ("POST", "/targets/iqn.2026-11.org.granary:second/luns",
     {"pool": "tank", "volume": "vm", "type": "cdrom"}),
    ("PATCH", f"{T}/luns/7", {"read_only": True}),
    ("POST", f"{T}/rules", {"network": "10.0.0.0/99"}),
    ("DELETE", f"{T}/rules", {"initiator": "iqn.2026-11.test:none"}),
    ("POST", "/shares", {"pool": "tank", "name": "vm"}),
    ("POST", "/shares", {"pool": "tank", "name": "new", "versions": ["5"]}),
    ("POST", f"{S}/rules", {"client": "10.0.0.0/99"}),
    ("DELETE", f"{S}/rules", {"client": "10.9.9.9"}),
]


def good(points, daemon, rows):
    for method, path, body, what, wanted in rows:
        before = state(daemon)
        reply = daemon.call(method, tried(path), body)
        plan, after = reply["body"], state(daemon)
        said = plan.get("after", {})
        told = reply["status"] == 200 and plan.get("dry_run") is True and plan["what"] == what and \
            all(said.get(name) == value for name, value in wanted.items()) and \
            (said or method == "DELETE") and \
            said != plan["before"]
        points.point(told, f"{method} {path} {body}: what would be different", reply)
        points.point(before == after, "and nothing is",
                     [(name, before[name], after[name]) for name in before if before[name] != after[name]])
        done = daemon.good(method, f"{V1}{path}", body)
        if method == "PATCH" and isinstance(done, dict):
            points.point(all(done[name] == value for name, value in said.items()),
                         "and then it is as it was said", [said, done])


def bad(points, daemon):
    daemon.good("POST", f"{V1}/targets", {"iqn": "iqn.2026-11.org.granary:second"})
    daemon.good("POST", f"{V1}/volumes", {"pool": "tank", "name": "held", "size": "8M", "reserve": "4M"})
    for method, path, body in BAD:
        before = state(daemon)
        plan = daemon.call(method, tried(path), body)
        after = state(daemon)
        change = daemon.call(method, f"{V1}{path}", body)
        points.point(plan == change and change["status"] >= 400 and before == after,
                     f"{method} {path} {body} is refused alike", [plan, change])


# Words for the command, and what it says; all of what good() has made is there.
COMMANDS = [
    (["volume", "create", "tank/new", "8M", "--quota", "4M"], ["would make volume tank/new:", "quota_bytes      4194304"]),
    (["volume", "resize", "tank/vm", "80M"], ["would change volume tank/vm:", "size_bytes       67108864 -> 83886080"]),
    (["volume", "set", "tank/vm", "--quota", "0"], ["quota_bytes      16777216 -> 0"]),
    (["volume", "set", "tank/vm", "--quota", "16M"], ["would change volume tank/vm: nothing"]),
    (["volume", "rename", "tank/vm", "tank/new"], ["name             vm -> new"]),
    (["volume", "clone", "tank/vm@one", "tank/new"], ["would make volume tank/new:", "origin           vm@one"]),
    (["volume", "rollback", "tank/vm@one"], ["content          vm@one"]),
    (["snapshot", "create", "tank/vm@new"], ["would make snapshots:", 'snapshots        ["tank/vm@new"]']),
    (["target", "create", "iqn.2026-11.org.granary:new"], ["would make target iqn.2026-11.org.granary:new:"]),
    (["target", "set", IQN, "--async-events", "on"], [f"would change target {IQN}:"]),
    (["target", "redirect", IQN], [f"would change target {IQN}:", "redirect"]),
    (["target", "allow", IQN, "--network", "10.0.0.0/8"], ["rules            [] -> [", "10.0.0.0/8"]),
    (["lun", "map", IQN, "tank/copy", "--ro"], [f"would make LUN 1 of target {IQN}:", "read_only        true"]),
    (["lun", "set", IQN, "0", "--rw"], ["read_only        true -> false"]),
    (["share", "create", "tank/new", "--quota", "1G"], ["would make share tank/new:"]),
    (["share", "allow", "tank/files", "--client", "10.0.0.1"], ["rules            [] -> [", "10.0.0.1"]),
]


def command(points, daemon):
    before = state(daemon)
    for words, wanted in COMMANDS:
        done = daemon.granary(*words, "--dry-run")
        points.point(done.returncode == 0 and all(one in done.stdout for one in wanted),
                     f"granary {' '.join(words)} --dry-run", done)
    refused = daemon.granary("volume", "resize", "tank/vm", "8M", "--dry-run")
    points.point(refused.returncode == 1 and "shrink" in refused.stderr, "it is refused what the change is",
                 refused)
    points.point(before == state(daemon), "and the command has changed nothing")


def none(points, daemon):
    """Those that have none say so, and do nothing."""
    before = state(daemon)
    for method, path, body in (
            ("POST", "/volumes", {"pool": "passthrough", "name": "raw", "device": "/dev/null"}),
            ("POST", "/volumes/tank/files/rollback", {"snapshot": "one"}),
            ("PATCH", f"{T}/luns/0", {"write_cache": False}),
            ("POST", "/hosts", {"name": "maybe"})):
        reply = daemon.call(method, tried(path), body)
        points.point(reply["status"] == 422 and reply["body"]["code"] == "no_dry_run",
                     f"{method} {path} {body} has none and says so", reply)
    now = state(daemon)
    # What is refused at the door is no change that was tried; it is written down all the same.
    points.point({**before, "audit": 0} == {**now, "audit": 0}, "and changes nothing")


def burst(points, daemon):
    """A tighter limit that is only tried out takes nothing of what may come at once."""
    target = f"{V1}/targets/{SLOW}"
    daemon.good("POST", f"{V1}/volumes", {"pool": "tank", "name": "slow", "size": "8M"})
    daemon.good("POST", f"{V1}/targets", {"iqn": SLOW})
    daemon.good("POST", f"{target}/rules", {"initiator": "any", "network": "127.0.0.0/8"})
    daemon.good("POST", f"{target}/luns", {"pool": "tank", "volume": "slow"})
    daemon.good("PATCH", f"{V1}/volumes/tank/slow", {"iops": 2, "burst": "10s"})
    with Connection("127.0.0.1", daemon.port, timeout=60) as connection:
        connection.login(SLOW)
        while connection.command(bytes(6)).status:
            pass
        connection.read(0, 8)
        reply = daemon.call("PATCH", tried("/volumes/tank/slow"), {"iops": 1, "burst": "1s"})
        for _ in range(15):
            connection.read(0, 8)
    delayed = daemon.good("GET", f"{V1}/volumes/tank/slow")["delayed"]
    points.point(reply["status"] == 200 and delayed == 0 and
                 reply["body"]["after"] == {"iops_limit": 1, "burst_ms": 1000},
                 "a limit that is tried out holds nothing up", [reply, delayed])


def lasting(daemon):
    """What has to be there again after a restart: a change may be on disk before it shows."""
    return {name: value for name, value in state(daemon).items()
            if name not in ("audit", "events", "sessions")}


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "state")
        path = os.path.realpath(path)
        daemon = api.Daemon(path, "--directories-in", os.path.realpath(folder))
        try:
            good(points, daemon, GOOD)
            if os.geteuid() == 0:
                good(points, daemon, directories(os.path.realpath(folder)))
            bad(points, daemon)
            none(points, daemon)
            command(points, daemon)
            burst(points, daemon)
            before = lasting(daemon)
            points.point(daemon.stop() == 0, "clean stop", daemon.log()[-2000:])
            daemon = api.Daemon(path, pool=False)
            after = lasting(daemon)
            points.point(before == after, "nor has anything that a restart shows",
                         [(name, before[name], after[name]) for name in before if before[name] != after[name]])
        finally:
            points.point(daemon.stop() == 0, "clean stop", daemon.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)
