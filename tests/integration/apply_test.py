#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=90 engines=one asan
"""granary export, diff, apply: a document of the whole box goes out and comes back, on the same
machine without a step, on another one to the same document; and dry runs change nothing."""

import json
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

V1 = "/api/v1"
IQN = "iqn.2026-11.org.granary:vm"
NOTED = ("pools/tank", "volumes/tank/second", "shares/tank/iso", f"targets/{IQN}", "hosts/cluster",
         "snapshot-schedules/nightly", "alert-channels/mail")


def fill(daemon):
    daemon.good("POST", f"{V1}/provision", {"purpose": "vm-disks", "name": "vm", "size": "64M",
                                            "hosts": ["iqn.2026-11.test:a", "10.0.0.0/24"]})
    daemon.good("POST", f"{V1}/volumes", {"pool": "tank", "name": "second", "size": "32M",
                                          "checksum": "strict"})
    daemon.good("POST", f"{V1}/hosts", {"name": "cluster", "initiators": ["iqn.2026-11.test:a",
                                                                          "iqn.2026-11.test:b"]})
    daemon.good("POST", f"{V1}/targets/{IQN}/luns", {"pool": "tank", "volume": "second", "lun": 7})
    daemon.good("PUT", f"{V1}/targets/{IQN}/luns/7/hosts", {"hosts": ["cluster"]})
    daemon.good("POST", f"{V1}/volumes", {"pool": "tank", "name": "disc", "size": "1M"})
    daemon.good("POST", f"{V1}/targets/{IQN}/luns", {"pool": "tank", "volume": "disc", "lun": 8,
                                                     "type": "cdrom"})
    daemon.good("POST", f"{V1}/volumes", {"pool": "tank", "name": "golden", "size": "1M",
                                          "reserve": "1M"})
    daemon.good("PATCH", f"{V1}/volumes/tank/golden", {"iops": 500, "bandwidth": "8M",
                                                       "burst": "3s"})
    daemon.good("POST", f"{V1}/targets/{IQN}/luns", {"pool": "tank", "volume": "golden", "lun": 9,
                                                     "read_only": True})
    daemon.good("POST", f"{V1}/shares", {"pool": "tank", "name": "iso", "quota": "100M",
                                         "versions": ["3", "4.1"]})
    daemon.good("PATCH", f"{V1}/shares/tank/iso", {"snapshots": "none"})
    daemon.good("POST", f"{V1}/shares/tank/iso/rules", {"client": "10.0.0.0/24", "read_only": True})
    daemon.good("PATCH", f"{V1}/targets/{IQN}", {"redirect": "10.0.0.9", "async_events": True,
                                                 "max_sessions": 12,
                                                 "max_sessions_per_initiator": 3})
    daemon.good("PATCH", f"{V1}/targets/{IQN}/luns/7", {"write_cache": False})
    daemon.good("POST", f"{V1}/snapshot-schedules", {
        "name": "nightly", "volumes": ["tank/vm", "tank/second"], "every": "30 2 * * *",
        "keep": "daily=7,last=2", "zone": "Asia/Shanghai", "expendable": True})
    daemon.good("POST", f"{V1}/snapshot-schedules", {"name": "often", "volumes": ["tank/vm"],
                                                     "every": "15m", "prefix": "often"})
    daemon.good("PUT", f"{V1}/isns", {"server": "127.0.0.1:1", "esi_port": 9})
    watch(daemon)


def watch(daemon):
    """What watches over the box, and what is noted of its objects."""
    daemon.good("PATCH", f"{V1}/pools/tank", {"scrub_every": "weekly", "undelete_hours": 7})
    daemon.good("PATCH", f"{V1}/targets/{IQN}/groups/1", {"access": "standby", "preferred": True})
    daemon.good("PATCH", f"{V1}/alert-rules/pool-nearly-full", {"severity": "warning",
                                                                "after": "90s"})
    daemon.good("PATCH", f"{V1}/alert-rules/pool-full", {"enabled": False})
    daemon.good("POST", f"{V1}/alert-channels", {"name": "log", "kind": "syslog", "audit": True,
                                                 "url": "udp://127.0.0.1:9", "severity": "info"})
    daemon.good("POST", f"{V1}/alert-channels", {
        "name": "mail", "kind": "email", "url": "smtps://mail.example.org:465", "tls": True,
        "from": "box@example.org", "to": ["a@example.org", "b@example.org"], "language": "zh-CN",
        "enabled": False})
    daemon.good("PATCH", f"{V1}/slow", {"limit": "250ms"})
    daemon.good("PUT", f"{V1}/ups", {"host": "127.0.0.1", "ups": "rack", "port": 9,
                                     "shutdown_at": "120"})
    for path in NOTED:
        daemon.good("PUT", f"{V1}/metadata", {"object": f"{V1}/{path}", "metadata": {
            "owner": path, "ticket": "77"}})


def write(folder, document):
    path = os.path.join(folder, "box.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file)
    return path


def same_box(points, daemon, folder):
    out = daemon.granary("export")
    document = json.loads(out.stdout)
    points.point(out.returncode == 0 and document["version"] == 1 and
                 {"name": "iso", "pool": "tank", "quota_bytes": 100 << 20, "mirror": False,
                  "versions": ["3", "4.1"], "snapshots": "none",
                  "metadata": {"owner": "shares/tank/iso", "ticket": "77"}, "rules": document["shares"][0]["rules"]} == document["shares"][0] and
                 [(lun["lun"], lun["type"], lun["read_only"])
                  for lun in document["targets"][0]["luns"]] ==
                 [(0, "disk", False), (7, "disk", False), (8, "cdrom", True), (9, "disk", True)] and
                 [volume["name"] for volume in document["volumes"]] ==
                 ["disc", "golden", "second", "vm"] and
                 [document["volumes"][1][name] for name in
                  ("reserve_bytes", "iops_limit", "bandwidth_limit_bytes", "burst_ms")] ==
                 [1 << 20, 500, 8 << 20, 3000],
                 "granary export", out.stdout + out.stderr)
    points.point([(lun["lun"], lun.get("write_cache")) for lun in document["targets"][0]["luns"]] ==
                 [(0, True), (7, False), (8, None), (9, True)] and
                 document["targets"][0]["redirect"] == "10.0.0.9:3260" and
                 document["targets"][0]["async_events"] and
                 document["targets"][0]["max_sessions"] == 12 and
                 document["targets"][0]["max_sessions_per_initiator"] == 3 and
                 document["isns"] == {"server": "127.0.0.1:1", "esi_port": 9} and
                 document["schedules"] == [
                     {"name": "nightly", "volumes": ["tank/vm", "tank/second"], "every": "30 2 * * *",
                      "keep": "last=2,daily=7", "prefix": "auto", "zone": "Asia/Shanghai",
                      "expendable": True, "metadata": {"owner": "snapshot-schedules/nightly",
                                                       "ticket": "77"}},
                     {"name": "often", "volumes": ["tank/vm"], "every": "15m", "keep": "all",
                      "prefix": "often", "zone": "", "expendable": False}] and
                 "Secrets are not in this document" in document["note"],
                 "with write caches, redirection, events, iSNS server and schedules", document)
    path = write(folder, document)
    for verb in ("diff", "apply"):
        done = daemon.granary(verb, path)
        points.point(done.returncode == 0 and done.stdout == "nothing to do\n",
                     f"granary {verb} of what was exported does nothing", done)
    return document


def other_box(points, daemon, folder, one, document):
    """From YAML, which is the same document."""
    path = os.path.join(folder, "box.yaml")
    out = one.granary("export", "-o", "yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(out.stdout)
    points.point(out.stdout.startswith("version: 1\n") and "\n- pool: tank\n  name: disc\n" in out.stdout
                 and "every: \"30 2 * * *\"" in out.stdout, "granary export -o yaml", out)
    points.point(one.granary("diff", path).stdout == "nothing to do\n",
                 "and that is what the box is", one.granary("diff", path))
    before = daemon.good("GET", f"{V1}/configuration")
    planned = daemon.granary("diff", path)
    points.point(planned.returncode == 0 and "would create volume tank/vm" in planned.stdout and
                 daemon.good("GET", f"{V1}/configuration") == before,
                 "granary diff on an empty box tells the steps and takes none", planned)
    done = daemon.granary("apply", path)
    points.point(done.returncode == 0 and
                 len(done.stdout.splitlines()) == len(planned.stdout.splitlines()),
                 "granary apply takes them", done)
    after = daemon.good("GET", f"{V1}/configuration")
    points.point(after == document, "and the box is what the document says", [after, document])
    points.point(daemon.granary("apply", path).stdout == "nothing to do\n", "once is enough")


def same_after(points, daemon, folder, wanted, steps, text):
    """Applied, then again without a step."""
    path = write(folder, wanted)
    done = daemon.granary("apply", path)
    again = daemon.granary("apply", path)
    points.point(done.returncode == 0 and len(done.stdout.splitlines()) == steps and
                 again.stdout == "nothing to do\n", text, [done, again])
    return daemon.good("GET", f"{V1}/configuration")


def left_out(points, daemon, folder, document):
    """What an object of the document does not name stays as it is."""
    bare = {"version": 1, "hosts": [{"name": "cluster"}], "targets": [{"iqn": IQN}],
            "shares": [{"pool": "tank", "name": "iso"}],
            "volumes": [{"pool": "tank", "name": "golden", "size_bytes": "1M"}]}
    done = daemon.granary("apply", write(folder, bare))
    points.point(done.stdout == "nothing to do\n" and
                 daemon.good("GET", f"{V1}/configuration") == document,
                 "members that are left out stay: rules, LUNs, initiators, quota, limits", done)
    bare = {"version": 1, "targets": [{"iqn": IQN, "luns": [
        {"lun": lun, "pool": "tank", "volume": volume}
        for lun, volume in ((0, "vm"), (7, "second"), (8, "disc"), (9, "golden"))]}],
            "shares": [{"pool": "tank", "name": "iso", "rules": [{"client": "10.0.0.0/24"}]}]}
    done = daemon.granary("apply", write(folder, bare))
    points.point(done.stdout == "nothing to do\n" and
                 daemon.good("GET", f"{V1}/configuration") == document,
                 "so do those of LUNs and of a share's rules", done)


def rules(points, daemon, folder, document):
    """A rule that names only one of initiator and network is for any of the other."""
    wanted = {"version": 1, "targets": [{"iqn": IQN, "rules": [
        {"initiator": "iqn.2026-11.test:z"}, {"network": "10.0.0.0/24"}]}]}
    now = same_after(points, daemon, folder, wanted, 2, "rules without a network are made once")
    points.point([(rule["initiator"], rule["network"]) for rule in now["targets"][0]["rules"]] ==
                 [("any", "10.0.0.0/24"), ("iqn.2026-11.test:z", "any")], "and stay", now["targets"])
    same_after(points, daemon, folder, {"version": 1, "targets": document["targets"]}, 2,
               "and back again")


def modes(points, daemon, folder):
    """LUNs' modes, versions and limits are changed by a document too."""
    document = daemon.good("GET", f"{V1}/configuration")
    wanted = json.loads(json.dumps(document))
    luns = wanted["targets"][0]["luns"]
    luns[1]["read_only"], luns[3]["read_only"], luns[2]["type"] = True, False, "disk"
    luns[2]["read_only"] = False
    wanted["shares"][0]["versions"] = ["4.2"]
    wanted["shares"][0]["snapshots"] = "visible"
    wanted["volumes"][1]["iops_limit"] = 0
    now = same_after(points, daemon, folder, wanted, 7, "modes, versions and limits are changed")
    luns[2]["write_cache"] = True  # a disk has one
    points.point(now == wanted, "to what the document says", [now, wanted])
    same_after(points, daemon, folder, document, 7, "and back again")
    for name, value in (("checksum", "strict"), ("reserve_bytes", []), ("iops_limit", [])):
        wrong = json.loads(json.dumps(document))
        wrong["volumes"][1][name] = value
        reply = daemon.call("PUT", f"{V1}/configuration", {"document": wrong})
        points.point(reply["status"] == 422 and reply["body"]["code"] == "bad_document",
                     f"refused: another {name} of a volume that is there", reply)


def care(points, daemon, folder):
    """What a document changes of redirection, events, caches, schedules and the iSNS server."""
    document = daemon.good("GET", f"{V1}/configuration")
    ran = daemon.good("POST", f"{V1}/snapshot-schedules/nightly/run")
    wanted = json.loads(json.dumps(document))
    target = wanted["targets"][0]
    target["redirect"], target["async_events"], target["luns"][1]["write_cache"] = "", False, True
    target["luns"][0]["write_cache"] = False
    target["max_sessions"], target["max_sessions_per_initiator"] = 0, 4
    wanted["schedules"][0].update(every="daily", volumes=["tank/vm"], keep="last=3")
    wanted["isns"] = {"server": ""}
    now = same_after(points, daemon, folder, wanted, 5, "redirection, caches, schedules are changed")
    wanted["isns"] = {"server": "", "esi_port": 0}
    points.point(now == wanted, "to what the document says", [now, wanted])
    row = daemon.good("GET", f"{V1}/snapshot-schedules/nightly")
    points.point(row["runs"] == ran["runs"] == 1 and row["every"] == "daily",
                 "and a schedule is the same one: its runs are counted on", row)
    same_after(points, daemon, folder, document, 5, "and back again")


def watched(points, daemon, folder):
    """What watches over the box, and what is noted of objects, follow a document too."""
    document = daemon.good("GET", f"{V1}/configuration")
    points.point(document["pools"] == [{"name": "tank", "watermarks": "80,90,95",
                                        "scrub_every": "weekly", "undelete_hours": 7,
                                        "metadata": {"owner": "pools/tank", "ticket": "77"}}] and
                 document["targets"][0]["groups"] == [{"group": 1, "access": "standby",
                                                       "preferred": True}] and
                 [(rule["rule"], rule["enabled"], rule["severity"], rule["after_seconds"])
                  for rule in document["alert_rules"]] ==
                 [("pool-full", False, "critical", 0), ("pool-nearly-full", True, "warning", 90)]
                 and document["alert_channels"] == [
                     {"name": "log", "kind": "syslog", "audit": True, "url": "udp://127.0.0.1:9",
                      "language": "en", "severity": "info", "enabled": True},
                     {"name": "mail", "kind": "email", "url": "smtps://mail.example.org:465",
                      "from": "box@example.org", "to": ["a@example.org", "b@example.org"],
                      "user": "", "tls": True, "language": "zh-CN", "severity": "warning",
                      "enabled": False, "metadata": {"owner": "alert-channels/mail",
                                                     "ticket": "77"}}] and
                 document["slow_limit"] == "250ms" and document["ups"] == {
                     "host": "127.0.0.1", "ups": "rack", "port": 9, "shutdown_at": "120"},
                 "settings of pools, portal groups, alerts, slow commands and the UPS are exported",
                 document)
    wanted = json.loads(json.dumps(document))
    wanted["pools"][0].update(scrub_every="none", undelete_hours=0, metadata={"rack": "3"})
    wanted["targets"][0]["groups"][0].update(access="optimized", preferred=False)
    wanted["alert_rules"] = [{"rule": "pool-full", "enabled": True},
                             {"rule": "pool-nearly-full", "severity": "info", "clear_seconds": 7},
                             {"rule": "pool-waiting", "after_seconds": 10}]  # as it is
    wanted["alert_channels"][0]["audit"] = False
    wanted["alert_channels"][1].update(to=["c@example.org"], metadata={})
    wanted["slow_limit"] = "none"
    wanted["ups"] = {"host": ""}
    now = same_after(points, daemon, folder, wanted, 10, "they are changed")
    del wanted["alert_channels"][1]["metadata"]
    wanted["alert_rules"] = [{"rule": "pool-nearly-full", "enabled": True, "severity": "info",
                              "after_seconds": 90, "clear_seconds": 7}]
    points.point(now == wanted, "to what the document says", [now, wanted])
    document["alert_rules"][1]["clear_seconds"] = 30
    same_after(points, daemon, folder, document, 10, "and back again")
    points.point(daemon.good("GET", f"{V1}/configuration") == document, "whole")
    for wrong, says in ((("alert_rules", [{"rule": "nothing"}]), "there is no alert rule nothing"),
                        (("alert_channels", [{"name": "log", "kind": "snmp"}]), "the kind of a"),
                        (("hosts", [{"name": "cluster", "metadata": {"x": 1}}]),
                         "hosts[0].metadata.x: this has to be a text")):
        reply = daemon.call("PUT", f"{V1}/configuration", {"document": {"version": 1,
                                                                        wrong[0]: wrong[1]}})
        points.point(reply["status"] == 422 and says in reply["body"]["detail"], f"refused: {says}",
                     reply)


def spelled(points, daemon, folder):
    """The same thing said in other words asks for nothing."""
    before = daemon.good("GET", f"{V1}/configuration")
    done = daemon.granary("apply", write(folder, {
        "version": 1, "isns": {"server": "127.0.0.1:1"}, "slow_limit": "250ms",
        "alert_channels": [{"name": "log", "kind": "syslog"}],
        "targets": [{"iqn": IQN, "redirect": "10.0.0.9"}],
        "schedules": [{"name": "nightly", "volumes": ["tank/second", "tank/vm"],
                       "every": "30 2 * * *", "keep": "daily=7,last=2"}]}))
    points.point(done.stdout == "nothing to do\n" and
                 daemon.good("GET", f"{V1}/configuration") == before,
                 "addresses, counts and volumes in another order are the same", done)


def pools(points, daemon, folder):
    """A pool is looked for, or made; what is of it follows."""
    path = os.path.join(folder, "pools.yaml")
    text = "version: 1\npools:\n- name: tank\n- name: attic\n"
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    done = daemon.granary("apply", path)
    points.point(done.returncode == 1 and f"{path}: line 4: pools[1]: pool attic is missing" in
                 done.stderr and "granary pool create attic" in done.stderr,
                 "a pool that is not there: what to do, and the line", done)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"""{text}  watermarks: 70,80,90
  devices:
  - path: {folder}/attic.pool
    size: 256M
volumes:
- pool: attic
  name: no
  size_bytes: 16M
- {{pool: attic, name: 0815, size_bytes: 16777216}}
""")
    done = daemon.granary("apply", path)
    now = daemon.good("GET", f"{V1}/configuration")
    points.point(done.returncode == 0 and
                 [pool["watermarks"] for pool in now["pools"] if pool["name"] == "attic"] ==
                 ["70,80,90"] and
                 [volume["name"] for volume in now["volumes"] if volume["pool"] == "attic"] ==
                 ["0815", "no"], "one with devices is made; names are texts without quotes", done)
    points.point(daemon.granary("apply", path).stdout == "nothing to do\n", "once")
    for name in ("no", "0815"):
        daemon.good("DELETE", f"{V1}/volumes/attic/{name}")
    daemon.good("DELETE", f"{V1}/pools/attic")


def broken(points, daemon, folder):
    """Documents that are refused, with line and path, before the first step."""
    before = daemon.good("GET", f"{V1}/configuration")
    path = os.path.join(folder, "broken.yaml")
    volume = "version: 1\nvolumes:\n- pool: tank\n  name: x\n"
    for text, says in (
            ("version: 1\nversion: 1\n", "line 2, column 1: version: a member that is there twice"),
            ("version: 1\n---\nversion: 1\n", "line 2, column 1: there is more than one"),
            ("version: 1\nvolumes:\n\t- pool: tank\n", "line 3, column 1: volumes: no value begins"),
            ("version: 1\nhosts: &a [*a]\n", "line 2, column 8: hosts: anchors and tags"),
            (volume + "  size_bytes: 1M\n  sise: 2M\n", "line 6: volumes[0].sise: a member of this"),
            (volume, "line 3: volumes[0]: member \"size_bytes\" is missing"),
            (volume + "  size_bytes: big\n", "line 3: volumes[0]: size_bytes of x is no size"),
            (volume + "  size_bytes: 1M\n  mirror: yes\n",
             "line 6: volumes[0].mirror: this has to be true or false"),
            (volume + "  size_bytes: 1M\n  iops_limit: -1\n", "line 6: volumes[0].iops_limit: this has"),
            (volume.replace("x", "~"), "line 4, column 9: volumes[0].name: a text is wanted"),
            ("version: 2\n", "line 1: version: this has to be 1"),
            ("[1]\n", "line 1: this is no document"), ("", "line 1: this is no document"),
            ('{"version": 1,\n "volumes": [{"pool": 1}]}', "line 2: volumes[0].pool: this has to be"),
            ('\n\n{"version": 1,\n "volumes": [}', "line 4:"),
            ("version: 1\nisns: {server: no address}\n", ": isns.server:"),
            (f"version: 1\ntargets:\n- iqn: {IQN}\n  alias: other\n",
             "line 3: targets[0]: the alias"),
            (f"version: 1\ntargets:\n- iqn: {IQN}\n  redirect: a b\n",
             "line 3: targets[0]: redirect:")):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        done = daemon.granary("apply", path)
        points.point(done.returncode == 1 and says in done.stderr and f"{path}: " in done.stderr,
                     f"refused: {says}", [text, done])
    points.point(daemon.good("GET", f"{V1}/configuration") == before, "and nothing was changed")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\ufeff# flow, with a mark before it\n{version: 1, hosts: [{name: cluster}]}\n")
    points.point(daemon.granary("apply", path).stdout == "nothing to do\n",
                 "YAML in braces is YAML, and UTF-8's mark is passed over")
    done = daemon.granary("-o", "yaml", "volume", "list")
    points.point(done.returncode == 2 and "export alone" in done.stderr, "-o yaml is for export", done)


def changes(points, daemon, folder, document):
    wanted = json.loads(json.dumps(document))
    wanted["volumes"][2]["size_bytes"] = "48M"
    wanted["targets"][0]["luns"] = wanted["targets"][0]["luns"][:1]
    wanted["targets"][0]["rules"] = [{"initiator": "iqn.2026-11.test:c", "network": "any"}]
    wanted["hosts"] = []
    wanted["shares"][0]["rules"] = []
    done = daemon.granary("apply", write(folder, wanted))
    now = daemon.good("GET", f"{V1}/configuration")
    points.point(done.returncode == 0 and now["volumes"][2]["size_bytes"] == 48 << 20 and
                 [lun["lun"] for lun in now["targets"][0]["luns"]] == [0] and
                 [rule["initiator"] for rule in now["targets"][0]["rules"]] ==
                 ["iqn.2026-11.test:c"] and not now["shares"][0]["rules"] and
                 len(now["hosts"]) == 1, "what it names is changed, what it does not name stays",
                 [done, now])
    wanted["targets"], wanted["schedules"] = [], wanted["schedules"][:1]
    done = daemon.granary("apply", write(folder, wanted), "--prune")
    now = daemon.good("GET", f"{V1}/configuration")
    points.point(done.returncode == 0 and not now["targets"] and not now["hosts"] and
                 len(now["volumes"]) == 4 and [one["name"] for one in now["schedules"]] == ["nightly"],
                 "with --prune targets, groups and schedules go, data stays",
                 [done, now])


def refused(points, daemon, folder, document):
    before = daemon.good("GET", f"{V1}/configuration")
    small = json.loads(json.dumps(document))
    small["volumes"][2]["size_bytes"] = 1 << 20
    for what, wrong in (("a smaller volume", small), ("an unknown member", {**document, "x": 1}),
                        ("another version", {**document, "version": 2}),
                        ("a pool that is not there", {"version": 1, "pools": [{"name": "no"}]}),
                        ("no list", {"version": 1, "volumes": {}}),
                        ("a list of texts", {"version": 1, "targets": ["a"]})):
        reply = daemon.call("PUT", f"{V1}/configuration", {"document": wrong})
        points.point(reply["status"] == 422 and reply["body"]["code"] == "bad_document",
                     f"refused before the first step: {what}", reply)
    reply = daemon.call("PUT", f"{V1}/configuration", {"document": {
        "version": 1, "volumes": [{"pool": "tank", "name": "good", "size_bytes": "1M"},
                                  {"pool": "nowhere", "name": "bad", "size_bytes": "1M"},
                                  {"pool": "tank", "name": "never", "size_bytes": "1M"}]}})
    points.point(reply["status"] == 404 and "step 2 of 3" in reply["body"]["detail"],
                 "a step that fails ends it and says which", reply)
    daemon.good("DELETE", f"{V1}/volumes/tank/good")
    points.point(daemon.good("GET", f"{V1}/configuration") == before, "nothing else was changed")
    broken = os.path.join(folder, "broken.json")
    with open(broken, "w", encoding="utf-8") as file:
        file.write('{"version": 1,\n "volumes": [}')
    done = daemon.granary("apply", broken)
    points.point(done.returncode == 1 and "line 2" in done.stderr, "a broken file: the line", done)


def dry(points, daemon):
    body = {"purpose": "vm-disks", "name": "maybe", "size": "1M", "hosts": ["10.0.0.1"]}
    reply = daemon.call("POST", f"{V1}/provision?dry_run=1", body)
    points.point(reply["status"] == 200 and reply["body"]["dry_run"] and
                 reply["body"]["target"].endswith(":maybe"), "a provisioning tried", reply)
    reply = daemon.call("POST", f"{V1}/pools/tank/check?dry_run=1")
    points.point(reply["status"] == 422 and reply["body"]["code"] == "no_dry_run",
                 "who has no dry run says so", reply)
    names = [one["name"] for what in ("volumes", "hosts") for one in daemon.good("GET", f"{V1}/{what}")]
    points.point("maybe" not in names, "and neither made anything", names)


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        one = api.Daemon(os.path.join(folder, "one"))
        other = None
        try:
            fill(one)
            document = same_box(points, one, folder)
            other = api.Daemon(os.path.join(folder, "other"))
            other_box(points, other, folder, one, document)
            left_out(points, other, folder, document)
            rules(points, other, folder, document)
            modes(points, other, folder)
            care(points, other, folder)
            watched(points, other, folder)
            spelled(points, other, folder)
            pools(points, other, folder)
            broken(points, other, folder)
            changes(points, other, folder, document)
            refused(points, one, folder, document)
            dry(points, one)
        finally:
            for daemon in (one, other):
                if daemon:
                    points.point(daemon.stop() == 0, "the daemon stops cleanly",
                                 daemon.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)
