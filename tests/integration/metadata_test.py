#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=60 engines=one asan
"""What is noted of objects, through the API and the command line: of every kind, shown with them and in
lists, over renames and restarts, gone with them; bad input changes nothing."""

import os
import signal
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api    # pylint: disable=wrong-import-position
import pools  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

V1 = "/api/v1"
IQN = "iqn.2026-11.org.example:one"
OBJECTS = [("pool", "tank", "/pools/tank"), ("volume", "tank/one", "/volumes/tank/one"),
           ("snapshot", "tank/one@s", "/volumes/tank/one/snapshots/s"), ("share", "tank/files", "/shares/tank/files"),
           ("target", IQN, f"/targets/{IQN}"), ("schedule", "nightly", "/snapshot-schedules/nightly"),
           ("channel", "log", "/alert-channels/log")]


class Daemon(pools.Daemon):
    call, raw = api.Daemon.call, api.Daemon.raw


def put(daemon, path, values, query=""):
    return daemon.call("PUT", f"{V1}/metadata{query}", {"object": f"{V1}{path}", "metadata": values})


def shown(daemon, path):
    return daemon.call("GET", f"{V1}{path}")["body"].get("metadata")


def kinds(points, daemon):
    for kind, name, path in OBJECTS:
        said = daemon.good("metadata", "set", kind, name, f"owner={kind}", "ticket=7")
        points.point(said == f"owner={kind}\nticket=7\n" and
                     shown(daemon, path) == {"owner": kind, "ticket": "7"} and
                     daemon.good("metadata", "show", kind, name) == said, f"a {kind} has some", said)
    daemon.good("metadata", "set", "volume", "tank/one", "ticket=", "k8s/pvc=a b 中")
    points.point(shown(daemon, "/volumes/tank/one") == {"owner": "volume", "k8s/pvc": "a b 中"},
                 "one is taken away, another added")
    rows = daemon.call("GET", f"{V1}/volumes")["body"]
    points.point([row.get("metadata", {}).get("owner") for row in rows if row["name"] == "one"] == ["volume"] and
                 not [row for row in rows if row["name"] == "two" and "metadata" in row],
                 "a list shows it of those that have some", rows)
    points.point(daemon.call("GET", f"{V1}/targets")["body"][0]["metadata"]["owner"] == "target",
                 "of what has no UUID, too")
    points.point(daemon.call("GET", f"{V1}/volumes?limit=1")["body"][0].get("metadata") is not None or
                 daemon.call("GET", f"{V1}/volumes?limit=1")["body"][0]["name"] != "one", "in pages, too")


def refused(points, daemon):
    before = [shown(daemon, path) for _, _, path in OBJECTS]
    for path, values, status in (
            ("/volumes/tank/none", {"a": "b"}, 404), ("/nothing", {"a": "b"}, 404), ("/volumes", {"a": "b"}, 404),
            ("/volumes/tank/one", {"a": 1}, 400), ("/volumes/tank/one", {"a b": "c"}, 400),
            ("/volumes/tank/one", {"": "c"}, 400), ("/volumes/tank/one", {"a": "x" * 1025}, 400),
            ("/volumes/tank/one", {"n" * 64: "x"}, 400), ("/volumes/tank/one", {str(i): "" for i in range(33)}, 400),
            ("/volumes/tank/one?limit=1", {"a": "b"}, 400), ("/volumes/tank/one", ["a"], 400),
            ("/openapi.json", {"a": "b"}, 404), ("x" * 2000, {"a": "b"}, 400), ("/audit/export", {"a": "b"}, 404)):
        answer = put(daemon, path, values)
        points.point(answer["status"] in (status, 400) and answer["body"].get("detail"),
                     f"refused: {path[:40]} {str(values)[:30]}", answer)
    points.point(daemon.run("metadata", "set", "volume", "tank/one", "noequals").returncode == 1 and
                 daemon.run("metadata", "set", "house", "one", "a=b").returncode == 1 and
                 daemon.run("metadata", "set", "volume", "one", "a=b").returncode == 1, "so does the command line")
    plan = put(daemon, "/volumes/tank/one", {"owner": "bob"}, "?dry_run=1")["body"]
    points.point(plan["after"] == {"owner": "bob"} and plan["before"]["owner"] == "volume", "a dry run tells", plan)
    points.point([shown(daemon, path) for _, _, path in OBJECTS] == before, "and nothing has changed")


def lasting(points, daemon):
    daemon.good("volume", "rename", "tank/one", "first")
    daemon.good("snapshot", "rename", "tank/first@s", "t")
    points.point(shown(daemon, "/volumes/tank/first")["owner"] == "volume", "a volume that is renamed keeps it")
    points.point(shown(daemon, "/volumes/tank/first/snapshots/t") in ({"owner": "snapshot", "ticket": "7"}, None),
                 "and its snapshot is no other's")
    daemon.stop(signal.SIGKILL)
    daemon.start()
    points.point(shown(daemon, "/volumes/tank/first")["owner"] == "volume" and
                 shown(daemon, f"/targets/{IQN}")["ticket"] == "7", "all is there after a kill")
    daemon.good("target", "delete", IQN, "--yes")
    daemon.good("target", "create", IQN)
    points.point(shown(daemon, f"/targets/{IQN}") is None, "a new object of an old name has none")
    daemon.good("metadata", "set", "pool", "tank", "--clear")
    points.point(shown(daemon, "/pools/tank") is None, "all of it can be taken away")


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-metadata-") as folder:
        daemon = Daemon(os.path.join(folder, "state"))
        try:
            daemon.good("pool", "create", "tank", os.path.join(folder, "tank.pool") + ":512M")
            daemon.good("volume", "create", "tank/one", "16M")
            daemon.good("volume", "create", "tank/two", "16M")
            daemon.good("snapshot", "create", "tank/one@s")
            daemon.good("share", "create", "tank/files")
            daemon.good("target", "create", IQN)
            daemon.good("snapshot", "schedule", "create", "nightly", "tank/one", "--every", "daily")
            daemon.good("alert", "channel", "create", "log", "syslog", "--url", "udp://192.0.2.1:514")
            for part in (kinds, refused, lasting):
                part(points, daemon)
        finally:
            points.point(daemon.stop() == 0, "clean stop")


if __name__ == "__main__":
    tap.run(test)
