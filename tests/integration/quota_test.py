#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan
"""A quota for a volume with its snapshots, as an initiator, the administrator and the alerts see it; what
is promised to a volume, changed while it is used; both in documents, over kill -9."""

import json
import os
import signal
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import pools  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

MIB = 1 << 20


def shown(daemon, name="tank/vm"):
    return daemon.json("volume", "show", name)


def fires(daemon):
    return [alert["object"] for alert in daemon.json("alert", "list")
            if alert["rule"] == "volume-quota" and alert["state"] != "cleared"]


def megabyte(daemon, number, lun=0):
    """A write there, without patience; (good, words)."""
    return daemon.io(f"write -P 0x77 {number * MIB} {MIB}", lun=lun)


def reached(points, daemon):
    daemon.serve("tank/vm", "1G")
    daemon.serve("tank/neighbour", "1G", lun=1)
    daemon.write(0, 16 * MIB, 0x11)
    said = daemon.good("volume", "set", "tank/vm", "--quota", "32M")
    points.point("quota of 32 MiB, 16 MiB" in said, "volume set says what is taken of it",
                 said)
    daemon.good("snapshot", "create", "tank/vm@before")
    daemon.write(0, 14 * MIB, 0x22)
    points.point(shown(daemon)["quota_used_bytes"] == 30 * MIB, "what the snapshot keeps counts",
                 shown(daemon))
    points.point(pools.wait_for(lambda: fires(daemon) == ["tank/vm"]), "an alert says it in time",
                 daemon.json("alert", "list"))
    daemon.write(20 * MIB, 2 * MIB, 0x33)
    good, words = megabyte(daemon, 40)
    points.point(not good and "No space" in words,
                 "a write behind it is told that there is no space", words)
    points.point(megabyte(daemon, 40, 1)[0], "a neighbour writes on")
    daemon.write(0, 14 * MIB, 0x44)
    points.point(daemon.holds(0, 14 * MIB, 0x44) and daemon.holds(14 * MIB, 2 * MIB, 0x11),
                 "what the volume has is written and read")
    points.point(not megabyte(daemon, 14)[0], "a block that the snapshot keeps is one more")


def goes_on(points, daemon):
    daemon.good("snapshot", "delete", "tank/vm@before", "--yes")
    points.point(pools.wait_for(lambda: shown(daemon)["quota_used_bytes"] == 18 * MIB),
                 "deleting the snapshot gives it back", shown(daemon))
    points.point(megabyte(daemon, 40)[0], "and the volume goes on")
    points.point(pools.wait_for(lambda: fires(daemon) == [], 90), "the alert clears",
                 daemon.json("alert", "list"))


def promised(points, daemon):
    free = daemon.json("pool", "show", "tank")
    daemon.good("volume", "set", "tank/vm", "--reserve", "30M")
    after = daemon.json("pool", "show", "tank")
    points.point(after["reserved_bytes"] - free["reserved_bytes"] == 30 * MIB - 19 * MIB,
                 "what is promised beside what is used is kept from others", after)
    for what, options, words in (
            ("more than its size", ["--reserve", "2G", "--quota", "0"], "smaller"),
            ("more than its quota", ["--reserve", "40M"], "quota"),
            ("more than the pool has", ["--reserve", "900M", "--quota", "1G"], "not that much"),
            ("two kinds at once", ["--quota", "1G", "--iops", "100"], "one of these"),
            ("half a block", ["--quota", "1025"], "4096")):
        result = daemon.run("volume", "set", "tank/vm", *options)
        points.point(result.returncode == 1 and words in result.stderr, f"refused: {what}",
                     result.stderr)
    daemon.good("share", "create", "tank/files")
    result = daemon.run("volume", "set", "tank/files", "--quota", "64M")
    points.point(result.returncode == 1 and "share" in result.stderr, "a share has its own",
                 result.stderr)
    daemon.good("share", "delete", "tank/files", "--yes")
    points.point(shown(daemon)["reserve_bytes"] == 30 * MIB and
                 shown(daemon)["quota_bytes"] == 32 * MIB, "and nothing has changed", shown(daemon))


def documents(points, daemon, folder):
    daemon.stop(signal.SIGKILL)
    daemon.start()
    kept = shown(daemon)
    points.point((kept["reserve_bytes"], kept["quota_bytes"], kept["quota_used_bytes"]) ==
                 (30 * MIB, 32 * MIB, 19 * MIB), "all of it lasts over a kill", kept)
    path = os.path.join(folder, "wanted")
    document = json.loads(daemon.good("export"))
    volume = [one for one in document["volumes"] if one["name"] == "vm"][0]
    points.point(volume["reserve_bytes"] == 30 * MIB and volume["quota_bytes"] == 32 * MIB,
                 "the document has it", volume)
    volume.update(reserve_bytes=0, quota_bytes=64 * MIB)
    document["volumes"].append({"pool": "tank", "name": "new", "size_bytes": 64 * MIB,
                                "reserve_bytes": 8 * MIB, "quota_bytes": 48 * MIB})
    with open(path, "w", encoding="ascii") as file:
        json.dump(document, file)
    daemon.good("apply", path)
    one, two = shown(daemon), shown(daemon, "tank/new")
    points.point((one["reserve_bytes"], one["quota_bytes"]) == (0, 64 * MIB) and
                 (two["reserve_bytes"], two["quota_bytes"]) == (8 * MIB, 48 * MIB),
                 "and is carried out, of one that is there and of a new one", (one, two))
    points.point(not json.loads(daemon.good("diff", path, "-o", "json")).get("steps"),
                 "nothing is left to do then", daemon.good("diff", path))
    daemon.good("volume", "set", "tank/vm", "--quota", "0")
    points.point(shown(daemon)["quota_bytes"] == 0 and megabyte(daemon, 100)[0],
                 "without a quota there is no end but the pool's")


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        daemon = pools.Daemon(os.path.join(folder, "state"))
        try:
            pool = os.path.join(folder, "tank.pool")
            daemon.good("pool", "create", "tank", f"{pool}:512M")
            reached(points, daemon)
            goes_on(points, daemon)
            promised(points, daemon)
            documents(points, daemon, folder)
        finally:
            points.point(daemon.stop() == 0, "clean stop")


if __name__ == "__main__":
    tap.run(test)
