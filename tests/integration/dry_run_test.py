#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan
"""Dry runs of what is made and changed: they say what would be different, change nothing at all, and
are refused what the change is refused, in the same words; and what they said is what happens."""

import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "guest"), HERE]

import api                           # pylint: disable=wrong-import-position
import pools as pools_of              # pylint: disable=wrong-import-position
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
              "snapshot-schedules", "slow", "discovery", "isns", "alert-rules", "alert-silences",
              "alert-channels", "accounts", "tokens", "smb", "directories")}
    lists["pools"] = [{name: pool[name] for name in ("name", "state", "reserved_bytes", "provisioned_bytes",
                                                     "volumes", "watermarks")} |
                      {"devices": [(one["path"], one["state"], one["size_bytes"])
                                   for one in pool.get("device_details", [])]}
                      for pool in lists["pools"]]
    lists["snapshots"] = [daemon.good("GET", f"{V1}/volumes/tank/{volume['name']}/snapshots")
                          for volume in lists["volumes"] if volume["pool"] == "tank"]
    for name in ("state", "reason"):  # of the server, which may not have been found yet
        lists["isns"].pop(name, None)
    lists["ups"] = daemon.call("GET", f"{V1}/ups")["body"].get("host")
    lists["groups"] = [daemon.good("GET", f"{V1}/targets/{target['iqn']}/groups")
                       for target in lists["targets"]]
    lists["rules"] = [daemon.good("GET", f"{V1}/shares/tank/{share['name']}/rules")
                      for share in lists["shares"]]
    lists["audit"] = daemon.good("GET", f"{V1}/audit")
    lists["events"] = [event for event in daemon.good("GET", f"{V1}/events?after=0")["events"]
                       if event["kind"] == "change"]
    return lists


WHO = "iqn.2026-11.test:who"
GONE = None  # there before, and nothing of it after

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
        ("DELETE", one, {}, "directory isos", GONE),
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

# The same of what else there is, when all of that has been tried.
MORE = [
    ("PATCH", S, {"quota": "2G", "versions": ["4.1", "4.2"], "snapshots": "visible"}, "share tank/files",
     {"quota_bytes": 2 << 30, "versions": ["4.1", "4.2"], "snapshots": "visible"}),
    ("POST", "/snapshots", {"snapshots": ["tank/files@one"]}, "snapshots",
     {"snapshots": ["tank/files@one"]}),
    ("POST", "/volumes/tank/files/rollback", {"snapshot": "one", "keep": "kept"}, "volume tank/files",
     {"content": "files@one", "keep": "kept"}),
    ("PATCH", f"{T}/luns/0", {"write_cache": False, "read_only": False}, f"LUN 0 of target {IQN}",
     {"write_cache": False, "read_only": False}),
    ("PATCH", f"{T}/luns/0", {"write_cache": True}, f"LUN 0 of target {IQN}", {"write_cache": True}),
    ("POST", "/hosts", {"name": "one", "initiators": [WHO]}, "host group one",
     {"name": "one", "initiators": [WHO]}),
    ("PATCH", "/hosts/one", {"add": [WHO + "2"], "remove": [WHO]}, "host group one",
     {"initiators": [WHO + "2"]}),
    ("PUT", f"{T}/luns/0/hosts", {"hosts": ["one"]}, f"LUN 0 of target {IQN}", {"hosts": ["one"]}),
    ("PUT", f"{T}/luns/0/hosts", {"hosts": []}, f"LUN 0 of target {IQN}", {"hosts": []}),
    ("PATCH", f"{T}/groups/1", {"access": "standby", "preferred": True},
     f"portal group 1 of target {IQN}", {"access": "standby", "preferred": True}),
    ("DELETE", f"{T}/luns/0", None, f"LUN 0 of target {IQN}", GONE),
    ("DELETE", "/hosts/one", None, "host group one", GONE),
    ("PATCH", f"{V}/snapshots/one", {"name": "uno"}, "snapshot tank/vm@one", {"name": "uno"}),
    ("PATCH", f"{V}/snapshots/uno", {"held": True}, "snapshot tank/vm@uno", {"held": True}),
    ("PATCH", f"{V}/snapshots/uno", {"held": False}, "snapshot tank/vm@uno", {"held": False}),
    ("PATCH", f"{V}/snapshots/uno", {"expendable": True}, "snapshot tank/vm@uno", {"expendable": True}),
    ("PATCH", f"{V}/snapshots/uno", {"name": "one"}, "snapshot tank/vm@uno", {"name": "one"}),
    ("POST", "/snapshots", {"snapshots": ["tank/vm@short"]}, "snapshots",
     {"snapshots": ["tank/vm@short"]}),
    ("DELETE", f"{V}/snapshots/short", None, "snapshot tank/vm@short", GONE),
    ("POST", "/volumes/tank/copy/promote", None, "volume tank/copy", {"origin": ""}),
    ("PATCH", "/pools/tank", {"watermarks": "70,80,92", "undelete_hours": 5, "scrub_every": "weekly"}, "pool tank",
     {"watermarks": [70, 80, 92], "undelete_hours": 5, "scrub_every": "weekly"}),
    ("PUT", "/metadata", {"object": "/api/v1/pools/tank", "metadata": {"a": "b"}},
     "metadata of /api/v1/pools/tank", {"a": "b"}),
    ("POST", "/snapshot-schedules", {"name": "often", "volumes": ["tank/vm"], "every": "daily"},
     "snapshot schedule often", {"name": "often"}),
    ("PATCH", "/snapshot-schedules/often", {"every": "0 3 * * *", "zone": "Asia/Shanghai", "keep": "last=3"},
     "snapshot schedule often", {"every": "0 3 * * *", "zone": "Asia/Shanghai", "keep": "last=3"}),
    ("DELETE", "/snapshot-schedules/often", None, "snapshot schedule often", GONE),
    ("PATCH", "/slow", {"limit": "200ms"}, "slow commands", {"limit_ms": 200.0}),
    ("PUT", "/discovery", {"chap_user": "someone", "chap_secret": "a secret of 16 b"}, "discovery",
     {"chap_user": "someone"}),
    ("DELETE", "/discovery", None, "discovery", {"chap_user": ""}),
    ("PUT", "/isns", {"server": "127.0.0.1:1"}, "iSNS", {"server": "127.0.0.1:1"}),
    ("DELETE", "/isns", None, "iSNS", {"server": ""}),
    ("PUT", "/ups", {"host": "127.0.0.1", "ups": "one", "port": 1}, "UPS", {"host": "127.0.0.1"}),
    ("DELETE", "/ups", None, "UPS", GONE),
    ("PATCH", "/alert-rules/pool-filling", {"severity": "info", "after": "2m"}, "alert rule pool-filling",
     {"severity": "info"}),
    ("POST", "/alert-silences", {"for": "2h", "reason": "why not"}, "silence", {"reason": "why not"}),
    ("DELETE", "/alert-silences/1", None, "silence 1", GONE),
    ("POST", "/alert-channels", {"name": "hook", "kind": "webhook", "url": "http://127.0.0.1:1/x",
                                 "enabled": False}, "alert channel hook", {"kind": "webhook"}),
    ("PATCH", "/alert-channels/hook", {"language": "zh-CN"}, "alert channel hook",
     {"language": "zh-CN"}),
    ("DELETE", "/alert-channels/hook", None, "alert channel hook", GONE),
    ("POST", "/accounts", {"name": "first", "role": "admin", "password": "a pass phrase"},
     "account first", {"role": "admin"}),
    ("POST", "/accounts", {"name": "someone", "role": "viewer", "password": "a pass phrase"},
     "account someone", {"role": "viewer"}),
    ("PATCH", "/accounts/someone", {"role": "operator"}, "account someone", {"role": "operator"}),
    ("DELETE", "/accounts/someone", None, "account someone", GONE),
    ("POST", "/tokens", {"name": "robot", "role": "viewer", "days": 3}, "token robot",
     {"role": "viewer"}),
    ("DELETE", "/tokens/robot", None, "token robot", GONE),
    ("PUT", f"{S}/users/1000", {"limit": "1G", "files": 100}, "user 1000 of share tank/files",
     {"space_limit_bytes": 1 << 30, "limit_files": 100}),
    ("PUT", f"{S}/users/1000", {"files": 7}, "user 1000 of share tank/files", {"limit_files": 7}),
    ("PUT", f"{S}/users/1000", {"limit": 0}, "user 1000 of share tank/files", {"space_limit_bytes": None}),
    ("PUT", "/smb/users/ann", {"password": "a pass phrase", "uid": 1001}, "SMB user ann",
     {"uid": 1001}),
    ("PUT", f"{S}/smb", {"users": ["ann"], "read_only": True}, "SMB of share tank/files",
     {"users": ["ann"], "read_only": True}),
    ("DELETE", f"{S}/smb", None, "SMB of share tank/files", GONE),
    ("DELETE", "/smb/users/ann", None, "SMB user ann", GONE),
]

# What of that is refused.
MORE_BAD = [
    ("PATCH", S, {"quota": "nonsense"}),
    ("PATCH", S, {"versions": ["9"]}),
    ("PATCH", S, {"snapshots": "sometimes"}),
    ("PATCH", "/shares/tank/none", {"quota": "1G"}),
    ("POST", "/volumes/tank/files/rollback", {"snapshot": "none"}),
    ("POST", "/volumes/tank/files/rollback", {"snapshot": "one", "keep": "kept"}),
    ("DELETE", f"{T}/luns/9", None),
    ("PATCH", f"{T}/luns/9", {"write_cache": True}),
    ("PUT", f"{T}/luns/1/hosts", {"hosts": ["none"]}),
    ("DELETE", f"{T}/luns/9/reservations", None),
    ("PATCH", f"{T}/groups/1", {"access": "sometimes"}),
    ("PATCH", f"{T}/groups/9", {"access": "standby"}),
    ("POST", "/hosts", {"name": "b@d"}),
    ("POST", "/hosts", {"name": "some", "initiators": ["no name"]}),
    ("PATCH", "/hosts/none", {"add": [WHO]}),
    ("DELETE", "/hosts/none", None),
    ("DELETE", "/hosts/kept", None),
    ("DELETE", "/volumes/tank/copy/snapshots/one", None),
    ("PATCH", "/volumes/tank/copy/snapshots/one", {"name": "b@d"}),
    ("PATCH", "/volumes/tank/files/snapshots/one", {"name": "kept"}),
    ("PATCH", "/volumes/tank/files/snapshots/one", {"held": False, "name": "two"}),
    ("POST", "/volumes/tank/slow/promote", None),
    ("PATCH", "/pools/tank", {"watermarks": "90,80,70"}),
    ("PATCH", "/pools/tank", {"undelete_hours": 99999}),
    ("PATCH", "/pools/tank", {"scrub_every": "sometimes"}),
    ("PUT", "/metadata", {"object": "/api/v1/pools/none", "metadata": {"a": "b"}}),
    ("PUT", "/metadata", {"object": "/api/v1/pools/tank", "metadata": {"a b": "c"}}),
    ("POST", "/snapshot-schedules", {"name": "new", "volumes": ["tank/vm"], "every": "never"}),
    ("PATCH", "/snapshot-schedules/none", {"every": "daily"}),
    ("PATCH", "/slow", {"limit": "1ns"}),
    ("PUT", "/discovery", {"chap_user": "someone", "chap_secret": "short"}),
    ("PUT", "/isns", {"server": "no address"}),
    ("PUT", "/ups", {"host": "", "ups": "one"}),
    ("PATCH", "/alert-rules/pool-filling", {"severity": "dire"}),
    ("POST", "/alert-silences", {"for": "never"}),
    ("DELETE", "/alert-silences/99", None),
    ("POST", "/alert-channels", {"name": "new", "kind": "webhook", "url": "nowhere"}),
    ("DELETE", "/alert-channels/none", None),
    ("DELETE", "/accounts/first", None),
    ("PATCH", "/accounts/first", {"role": "viewer"}),
    ("POST", "/accounts", {"name": "first", "role": "viewer", "password": "a pass phrase"}),
    ("POST", "/tokens", {"name": "new", "role": "viewer", "days": 0}),
    ("PUT", "/smb/users/Root", {"password": "a pass phrase"}),
    ("PUT", f"{S}/smb", {"users": []}),
    ("DELETE", "/smb/users/none", None),
    ("DELETE", "/sessions/99", None),
    ("DELETE", "/bin/tank/none", None),
]


def good(points, daemon, tries):
    for method, path, body, what, wanted in tries:
        before = state(daemon)
        reply = daemon.call(method, tried(path), body)
        plan, after = reply["body"], state(daemon)
        said = plan.get("after", {})
        as_wanted = said == {} if wanted is GONE else \
            said and all(said.get(name) == value for name, value in wanted.items())
        told = reply["status"] == 200 and plan.get("dry_run") is True and plan["what"] == what and \
            as_wanted and said != plan["before"]
        points.point(told, f"{method} {path} {body}: what would be different", reply)
        points.point(before == after, "and nothing is",
                     [(name, before[name], after[name]) for name in before if before[name] != after[name]])
        done = daemon.good(method, f"{V1}{path}", body)
        if method == "PATCH" and isinstance(done, dict):
            points.point(all(done[name] == value for name, value in said.items() if name in done),
                         "and then it is as it was said", [said, done])


def bad(points, daemon, tries):
    for method, path, body in tries:
        before = state(daemon)
        plan = daemon.call(method, tried(path), body)
        after = state(daemon)
        change = daemon.call(method, f"{V1}{path}", body)
        points.point(plan == change and change["status"] >= 400 and before == after,
                     f"{method} {path} {body} is refused alike",
                     [plan, change, [(name, before[name], after[name])
                                     for name in before if before[name] != after[name]]])


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
    (["target", "set", IQN, "--max-sessions", "5"], ["max_sessions     0 -> 5"]),
    (["target", "redirect", IQN], [f"would change target {IQN}:", "redirect"]),
    (["target", "allow", IQN, "--network", "10.0.0.0/8"], ["rules            [] -> [", "10.0.0.0/8"]),
    (["lun", "map", IQN, "tank/copy", "--ro"], [f"would make LUN 1 of target {IQN}:", "read_only        true"]),
    (["lun", "set", IQN, "0", "--rw"], ["read_only        true -> false"]),
    (["share", "create", "tank/new", "--quota", "1G"], ["would make share tank/new:"]),
    (["share", "allow", "tank/files", "--client", "10.0.0.1"], ["rules            [] -> [", "10.0.0.1"]),
]

MORE_COMMANDS = [
    (["lun", "unmap", IQN, "1"], [f"would take away LUN 1 of target {IQN}:", "volume           copy"]),
    (["lun", "mask", IQN, "1"], ['hosts            ["kept"] -> []']),
    (["host", "add", "kept", WHO], ["would change host group kept:", f'[] -> ["{WHO}"]']),
    (["share", "set", "tank/files", "--snapshots", "none"], ["snapshots        visible -> none"]),
    (["share", "quota", "tank/files", "3G"], ["quota_bytes      2147483648 -> 3221225472"]),
    (["snapshot", "delete", "tank/files@one"], ["would take away snapshot tank/files@one:"]),
    (["snapshot", "hold", "tank/files@one"], ["held             false -> true"]),
    (["pool", "set", "tank", "--undelete-hours", "7"], ["undelete_hours   5 -> 7"]),
    (["target", "delete", IQN], ["would be gone:", f"deleted          {IQN}"]),
    (["token", "create", "robot"], ["would make token robot:"]),
    (["slow", "set", "1s"], ["limit_ms         200.0 -> 1000.0"]),
]


def registered(points, daemon):
    """What reservations and sessions there are is shown, and stays."""
    lun = f"/targets/{SLOW}/luns/0/reservations"
    with Connection("127.0.0.1", daemon.port, timeout=60) as connection:
        connection.login(SLOW)
        while connection.command(bytes(6)).status:
            pass
        # PERSISTENT RESERVE OUT: register with a key of its own (SPC-4 6.16)
        connection.command(bytes([0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0]), bytes(8) + bytes([9] * 8) + bytes(8))
        there = daemon.good("GET", f"{V1}{lun}")
        plan = daemon.call("DELETE", tried(lun))["body"]
        points.point(len(there["registrations"]) == 1 and plan["after"] == {"registrations": []} and
                     plan["before"]["registrations"] == there["registrations"] and
                     daemon.good("GET", f"{V1}{lun}") == there, "registrations would go, and stay", plan)
        session = [one for one in daemon.good("GET", f"{V1}/sessions") if one["target"] == SLOW][0]
        plan = daemon.call("DELETE", tried(f"/sessions/{session['id']}"))["body"]
        points.point(plan["after"] == {} and plan["before"]["initiator"] == session["initiator"] and
                     not connection.command(bytes(6)).status, "a session would be dropped, and goes on",
                     plan)


def binned(points, daemon):
    """What would come back from the bin."""
    daemon.good("DELETE", f"{V1}/volumes/tank/held?to_bin=1")
    before = state(daemon)
    plan = daemon.call("POST", tried("/bin/tank/held/restore"), {"name": "back"})["body"]
    taken = [daemon.call("POST", path, {"name": "vm"}) for path in
             (tried("/bin/tank/held/restore"), f"{V1}/bin/tank/held/restore")]
    points.point(plan.get("after") == {"pool": "tank", "name": "back", "size_bytes": 8 * MIB} and
                 taken[0] == taken[1] and taken[0]["status"] == 409 and
                 {**before, "audit": 0} == {**state(daemon), "audit": 0},
                 "what would come back from the bin", [plan, taken])
    daemon.good("POST", f"{V1}/bin/tank/held/restore", {"name": "back"})


def device(points, daemon, folder):
    """A file as it is: with the first of them the pool would come too, and does not."""
    path = os.path.join(folder, "raw")
    with open(path, "wb") as file:
        file.truncate(3 * MIB)
    body = {"pool": "passthrough", "name": "raw", "device": path}
    before = state(daemon)
    plan = daemon.call("POST", tried("/volumes"), body)["body"]
    points.point(plan.get("after") == {"pool": "passthrough", "name": "raw", "device": path,
                                       "size_bytes": 3 * MIB, "read_only": False} and
                 before == state(daemon), "a device that would be served as it is", plan)
    daemon.good("POST", f"{V1}/volumes", body)
    for wrong in (body, {**body, "name": "other"}, {**body, "name": "new", "device": path + "-none"}):
        replies = [daemon.call("POST", where, wrong) for where in (tried("/volumes"), f"{V1}/volumes")]
        points.point(replies[0] == replies[1] and replies[0]["status"] >= 400,
                     f"{wrong} is refused alike", replies)


def scrubs(points, daemon):
    """Begun, paused, gone on with and given up: only said; refused in the same words."""
    where, what = "/pools/tank/scrub", "scrub of pool tank"
    volume = f"{V1}/volumes/tank/scrubbed"
    bad(points, daemon, [("POST", where, {"action": action}) for action in ("pause", "resume", "stop", "dance")])
    daemon.good("POST", f"{V1}/volumes", {"pool": "tank", "name": "scrubbed", "size": "64M"})

    def scrub():
        shown = daemon.good("GET", f"{V1}{where}")
        return {name: shown.get(name) for name in ("state", "started", "rate_bytes")}

    before, first = state(daemon), scrub()
    plan = daemon.call("POST", tried(where), {"action": "start", "rate": "1M"})["body"]
    points.point(plan.get("what") == what and plan["after"]["state"] == "running" and
                 plan["after"]["rate_bytes"] == MIB and before == state(daemon) and
                 scrub() == first and first["state"] == "never", "a scrub would begin, and has not", [plan, scrub()])
    told = daemon.granary("pool", "scrub", "tank", "--dry-run")
    points.point(told.returncode == 0 and "would change scrub of pool tank" in told.stdout and
                 scrub() == first, "the command says it, too", told)
    daemon.good("POST", f"{V1}{where}", {"action": "start", "rate": 4096})
    bad(points, daemon, [("POST", where, {"action": action}) for action in ("start", "resume")])
    for action, then in (("pause", "paused"), ("resume", "running"), ("stop", "stopped")):
        first = scrub()
        plan = daemon.call("POST", tried(where), {"action": action})["body"]
        points.point(plan.get("after") == {"state": then} and scrub() == first, f"{action}: only said",
                     [plan, first, scrub()])
        points.point(daemon.good("POST", f"{V1}{where}", {"action": action})["state"] == then,
                     "and then it is so")
    daemon.good("DELETE", volume)


def devices(points, daemon, folder):
    """What would become of a device that is evacuated and taken out."""
    paths = [os.path.join(os.path.realpath(folder), name) for name in ("first.pool", "other.pool")]
    where, out = "/pools/two/evacuate", "/pools/two/remove"
    daemon.good("POST", f"{V1}/pools", {"name": "two", "devices": [
        {"path": path, "size": "256M"} for path in paths]})
    daemon.good("POST", f"{V1}/volumes", {"pool": "two", "name": "vm", "size": "64M"})
    other, what = {"device": paths[1]}, f"device {paths[1]} of pool two"
    bad(points, daemon, [
        ("POST", where, {"device": paths[0]}), ("POST", where, {"device": folder + "/none"}),
        ("POST", where, {**other, "action": "pause"}), ("POST", where, {**other, "action": "dance"}),
        ("POST", where, {**other, "action": 1}), ("POST", out, other),
        ("POST", "/pools/none/evacuate", other), ("POST", out, {"device": paths[0]})])
    good(points, daemon, [("POST", where, other, what, {"state": "evacuating"})])

    def emptied():
        """A pass may find something once more: empty, and nothing written for a second."""
        end, quiet, was = time.monotonic() + 120, 0, None
        while quiet < 10 and time.monotonic() < end:
            pool = daemon.good("GET", f"{V1}/pools/two")
            now = pool["device_details"][1]["state"], pool["generation"]
            quiet = quiet + 1 if now == was and now[0] == "empty" else 0
            was = now
            time.sleep(0.1)
        return quiet == 10

    points.point(emptied(), "it is evacuated", daemon.good("GET", f"{V1}/pools/two"))
    bad(points, daemon, [("POST", where, other)])
    good(points, daemon, [("POST", where, {**other, "action": "pause"}, what, {"state": "paused"}),
                          ("POST", where, {**other, "action": "stop"}, what, {"state": "active"}),
                          ("POST", where, other, what, {"state": "evacuating"})])
    points.point(emptied(), "it is evacuated again", daemon.good("GET", f"{V1}/pools/two"))
    command(points, daemon, [
        (["pool", "evacuate", "two", paths[1], "--stop"], [f"would change {what}:", "-> active"]),
        (["pool", "remove", "two", paths[1]], [f"would take away {what}:"])])
    good(points, daemon, [("POST", out, other, what, GONE)])
    daemon.good("DELETE", f"{V1}/volumes/two/vm")
    daemon.good("DELETE", f"{V1}/pools/two")


def sums(paths):
    return [hashlib.sha256(Path(path).read_bytes()).hexdigest() if os.path.exists(path) else None
            for path in paths]


def pools(points, daemon, folder):
    """What takes devices: nothing is made, written or opened for good; each is refused alike."""
    folder = os.path.realpath(folder)
    one, two, three, spare = [os.path.join(folder, name) for name in ("one", "two", "three", "spare")]
    for path, size in ((three, 96), (os.path.join(folder, "tiny"), 8), (spare, 128)):
        with open(path, "wb") as file:
            file.truncate(size * MIB)
    with open(os.path.join(folder, "xfs"), "wb") as file:
        file.write(b"XFSB")
        file.truncate(96 * MIB)
    new = {"name": "pair", "devices": [{"path": one, "size": "128M"}, {"path": two, "size": "128M"}]}
    bad(points, daemon, [
        ("POST", "/pools", {**new, "name": "tank"}), ("POST", "/pools", {**new, "name": "p@ir"}),
        ("POST", "/pools", {**new, "devices": []}), ("POST", "/pools", {**new, "devices": ["relative"]}),
        ("POST", "/pools", {**new, "devices": [f"{folder}/none"]}),
        ("POST", "/pools", {**new, "devices": [f"{folder}/tiny"]}),
        ("POST", "/pools", {**new, "devices": [f"{folder}/xfs"]}),
        ("POST", "/pools", {**new, "devices": [{"path": f"{folder}/none/file", "size": "128M"}]}),
        ("POST", "/pools", {**new, "devices": [{"path": one, "size": "8M"}]}),
        ("POST", "/pools/import", {"devices": [spare]}), ("POST", "/pools/import", {"devices": [f"{folder}/none"]}),
        ("POST", "/pools/import", {"devices": [spare], "rewind": True, "degraded": True}),
        ("POST", "/pools/none/prove", None), ("POST", "/pools/tank/prove", {"seconds": 0}),
        ("POST", "/disks/prove", {"path": f"{folder}/none"}), ("POST", "/disks/prove", {"path": f"{folder}/xfs"}),
        ("POST", "/disks/prove", {"path": one, "size": "128M", "seconds": 0}),
        ("POST", "/pools/none/grow", None), ("POST", "/pools/none/devices", {"devices": [three]}),
        ("POST", "/pools/tank/online", None),
        ("POST", "/pools/tank/replace", {"device": "missing", "devices": [spare]})])
    twice = daemon.call("POST", tried("/pools"), {**new, "devices": [{"path": one, "size": "128M"}] * 2})
    points.point(twice["status"] == 409, "a file that would be made twice is refused", twice)
    files = [one, two, three, spare]
    before = sums(files)
    daemon.call("POST", tried("/pools"), new)
    daemon.call("POST", tried("/pools"), {**new, "devices": [three]})
    points.point(sums(files) == before and before[0] is None, "no file is made, and none is written to")
    good(points, daemon, [("POST", "/pools", new, "pool pair", {"name": "pair", "devices": [one, two]})])
    bad(points, daemon, [("POST", "/pools/pair/devices", {"devices": [path]}) for path in
                         (one, f"{folder}/tiny", f"{folder}/xfs", f"{folder}/none")])
    before = sums(files)
    daemon.call("POST", tried("/pools/pair/devices"), {"devices": [three]})
    points.point(sums([three]) == before[2:3], "a device that would be added is not labelled")
    good(points, daemon, [("POST", "/pools/pair/devices", {"devices": [three]}, "pool pair",
                           {"devices": [one, two, three]})])
    plan = daemon.call("POST", tried("/pools/pair/grow"))["body"]
    points.point(plan["before"] == plan["after"] == {}, "nothing has grown", plan)
    with open(three, "r+b") as file:
        file.truncate(160 * MIB)
    was = state(daemon)
    plan = daemon.call("POST", tried("/pools/pair/grow"))["body"]
    points.point(plan["after"]["devices_bytes"] - plan["before"]["devices_bytes"] == 64 * MIB and
                 was == state(daemon), "a device has grown, and the pool has not", plan)
    grown = daemon.good("POST", f"{V1}/pools/pair/grow")
    points.point(sum(device["size_bytes"] for device in grown["device_details"]) ==
                 plan["after"]["devices_bytes"], "and then it is so", grown)
    plan = daemon.call("POST", tried("/pools/pair/prove"), {"seconds": 3})["body"]
    points.point(plan["after"] == {"volume": "granary-prove", "seconds": 3} and
                 not [volume for volume in daemon.good("GET", f"{V1}/volumes") if volume["pool"] == "pair"],
                 "a proof would have a volume", plan)
    daemon.good("POST", f"{V1}/volumes", {"pool": "pair", "name": "granary-prove", "size": "8M"})
    bad(points, daemon, [("POST", "/pools/pair/prove", None)])
    daemon.good("DELETE", f"{V1}/volumes/pair/granary-prove")
    command(points, daemon, [
        (["pool", "create", "other", f"{folder}/other:128M"], ["would make pool other:", f'["{folder}/other"]']),
        (["pool", "add", "pair", spare], ["would change pool pair:", f'"{spare}"]']),
        (["pool", "grow", "pair"], ["would change pool pair: nothing"]),
        (["pool", "prove", f"{folder}/other:128M"], [f"would make proof of {folder}/other:", "written_over_bytes"]),
        (["pool", "prove", "pair", "--seconds", "2"], ["would make proof of pool pair:", "seconds          2"])])
    away(points, daemon, [one, two, three, spare])


def away(points, daemon, files):
    """Without one of its devices: taken in, had back, replaced."""
    one, two, three, spare = files
    daemon.good("POST", f"{V1}/volumes", {"pool": "pair", "name": "vm", "size": "16M", "mirror": True})
    points.point(pools_of.wait_for(
        lambda: not any(device["vital"] for device in
                        daemon.good("GET", f"{V1}/pools/pair")["device_details"])),
                 "it could go on without any of its devices")
    bad(points, daemon, [("POST", "/pools/pair/offline", {"device": spare})])
    gone = daemon.call("POST", tried("/pools/pair/offline"), {"device": two})["body"]
    points.point(gone.get("after") == {"state": "away"} and gone["before"] == {"state": "active"} and
                 daemon.good("GET", f"{V1}/pools/pair")["state"] == "online", "one would be sent away", gone)
    daemon.good("POST", f"{V1}/pools/pair/export")
    os.rename(two, two + ".away")
    there = {"devices": [one, two, three]}
    before = sums([one, three])
    bad(points, daemon, [("POST", "/pools/import", there), ("POST", "/pools/import", {"devices": [three]})])
    for _ in range(2):
        plan = daemon.call("POST", tried("/pools/import"), {**there, "degraded": True})
    points.point(plan["status"] == 200 and plan["body"]["after"]["name"] == "pair" and
                 plan["body"]["after"]["volumes"] == 1 and sums([one, three]) == before and
                 daemon.call("GET", f"{V1}/pools/pair")["status"] == 404,
                 "a pool would be taken in without a device; nothing is written to the others", plan)
    daemon.good("POST", f"{V1}/pools/import", {**there, "degraded": True})
    tiny = os.path.join(os.path.dirname(one), "tiny")
    bad(points, daemon, [
        ("POST", "/pools/pair/online", None), ("POST", "/pools/pair/online", {"device": spare}),
        ("POST", "/pools/pair/replace", {"device": one, "devices": [spare]}),
        ("POST", "/pools/pair/replace", {"device": two, "devices": [tiny]}),
        ("POST", "/pools/pair/devices", {"devices": [spare]}), ("POST", "/pools/pair/grow", None)])
    was, before = state(daemon), sums([two + ".away", spare])
    back = daemon.call("POST", tried("/pools/pair/online"), {"device": two + ".away"})["body"]
    other = daemon.call("POST", tried("/pools/pair/replace"), {"device": two, "devices": [spare]})["body"]
    made = daemon.call("POST", tried("/pools/pair/replace"),
                       {"device": two, "devices": [{"path": two + ".new", "size": "128M"}]})["body"]
    points.point(back.get("after") == {"path": two + ".away", "state": "resilvering"} and
                 other.get("after") == {"path": spare, "state": "resilvering"} and
                 made.get("after") == {"path": two + ".new", "state": "resilvering"} and
                 was == state(daemon) and sums([two + ".away", spare]) == before and
                 not os.path.exists(two + ".new"), "one would be back, or another in its place",
                 [back, other, made])
    command(points, daemon, [
        (["pool", "online", "pair", two + ".away"], [f"would change device {two} of pool pair:", "away -> resilvering"]),
        (["pool", "replace", "pair", two, spare], [f"{two} -> {spare}"])])
    shown = daemon.good("POST", f"{V1}/pools/pair/replace", {"device": two, "devices": [spare]})
    points.point(spare in [device["path"] for device in shown["device_details"]], "and then it is so", shown)
    daemon.good("DELETE", f"{V1}/volumes/pair/vm")
    daemon.good("DELETE", f"{V1}/pools/pair")


def command(points, daemon, commands):
    before = state(daemon)
    for words, wanted in commands:
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
            ("POST", "/volumes/tank/files/rescan", None),
            ("POST", "/pools/tank/check", None),
            ("POST", "/pools/check", {"devices": ["/none"]}),
            ("POST", f"{S}/check", None),
            ("POST", "/replica/code", None)):
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
    lists = {name: value for name, value in state(daemon).items()
             if name not in ("audit", "events", "sessions")}
    for snapshot in sum(lists["snapshots"], []):  # what is measured is measured again
        for name in ("space", "exclusive_bytes", "reclaimable_bytes"):
            snapshot.pop(name)
    return lists


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "state")
        daemon = api.Daemon(path, "--directories-in", os.path.realpath(folder))
        try:
            good(points, daemon, GOOD)
            if os.geteuid() == 0:
                good(points, daemon, directories(os.path.realpath(folder)))
            daemon.good("POST", f"{V1}/targets", {"iqn": "iqn.2026-11.org.granary:second"})
            daemon.good("POST", f"{V1}/volumes",
                        {"pool": "tank", "name": "held", "size": "8M", "reserve": "4M"})
            bad(points, daemon, BAD)
            none(points, daemon)
            command(points, daemon, COMMANDS)
            burst(points, daemon)
            good(points, daemon, MORE)
            daemon.good("POST", f"{V1}{T}/luns", {"pool": "tank", "volume": "copy", "lun": 1})
            daemon.good("POST", f"{V1}/hosts", {"name": "kept"})
            daemon.good("PUT", f"{V1}{T}/luns/1/hosts", {"hosts": ["kept"]})
            bad(points, daemon, MORE_BAD)
            command(points, daemon, MORE_COMMANDS)
            registered(points, daemon)
            binned(points, daemon)
            device(points, daemon, folder)
            devices(points, daemon, folder)
            pools(points, daemon, folder)
            scrubs(points, daemon)
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
