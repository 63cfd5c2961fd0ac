#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan
"""Schedules of snapshots through the daemon and the command line: runs at their time and by hand, one
instant for all volumes, what is kept and what goes, what is missed or skipped, restarts. (Times
themselves: tests/unit/snapshots.)"""

import os
import re
import signal
import sqlite3
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import pools  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

NAME = r"-\d{4}-\d\d-\d\d_\d\d-\d\db?"


def schedule(daemon, *words):
    return daemon.run("snapshot", "schedule", *words)


def shown(daemon, name):
    return daemon.json("snapshot", "schedule", "show", name)


def names(daemon, volume):
    return [one["name"] for one in daemon.json("snapshot", "list", volume)]


def refused(points, daemon, says, *words):
    result = schedule(daemon, *words)
    points.point(result.returncode == 1 and says in result.stderr,
                 f"refused: schedule {' '.join(words)}", result.stdout + result.stderr)


def making(points, daemon):
    for volume in ("one", "two", "three"):
        daemon.good("volume", "create", f"tank/{volume}", "16M")
    daemon.good("snapshot", "schedule", "create", "both", "tank/one", "tank/two",
                "--every", "30 2 * * 1-5", "--keep", "last=2,daily=7")
    row = shown(daemon, "both")
    points.point(row["volumes"] == ["tank/one", "tank/two"] and row["every"] == "30 2 * * 1-5"
                 and row["keep"] == "last=2,daily=7" and row["prefix"] == "auto"
                 and row["next"] and row["last"] is None and row["runs"] == 0,
                 "a schedule is shown as it was made", row)
    points.point([one["name"] for one in daemon.json("snapshot", "schedule", "list")] == ["both"],
                 "and listed")
    refused(points, daemon, "already", "create", "both", "tank/three", "--every", "1h")
    refused(points, daemon, "another prefix", "create", "x", "tank/two", "--every", "1h")
    refused(points, daemon, "no volume", "create", "x", "tank/none", "--every", "1h")
    refused(points, daemon, "twice", "create", "x", "tank/three", "tank/three", "--every", "1h")
    refused(points, daemon, "interval", "create", "x", "tank/three", "--every", "often")
    refused(points, daemon, "never comes", "create", "x", "tank/three", "--every", "0 0 31 2 *")
    refused(points, daemon, "kept", "create", "x", "tank/three", "--every", "1h", "--keep", "9")
    refused(points, daemon, "--every", "create", "x", "tank/three")
    refused(points, daemon, "no snapshot schedule", "run", "x")


def seconds_of_day(moment, offset):
    return (moment + offset) % 86400


def zones(points, daemon):
    """The same half past two, by the clocks of two places without summer time."""
    daemon.good("volume", "create", "tank/far", "16M")
    for name, zone in (("east", "Asia/Shanghai"), ("west", "America/Phoenix")):
        daemon.good("snapshot", "schedule", "create", name, "tank/far", "--every", "30 2 * * *",
                    "--prefix", name, "--zone", zone)
    east, west = shown(daemon, "east"), shown(daemon, "west")
    points.point(east["zone"] == "Asia/Shanghai" and west["zone"] == "America/Phoenix" and
                 shown(daemon, "both")["zone"] == "" and
                 seconds_of_day(east["next"], 8 * 3600) == seconds_of_day(west["next"], -7 * 3600)
                 == 9000, "a schedule goes by the time of its own zone", (east, west))
    now = time.time()
    row = daemon.json("snapshot", "schedule", "run", "east")
    stamps = [time.strftime("east-%Y-%m-%d_%H-%M", time.gmtime(moment + 8 * 3600))
              for moment in (now, time.time())]
    points.point(names(daemon, "tank/far")[0] in stamps and row["runs"] == 1,
                 "and so do the names of its snapshots", (names(daemon, "tank/far"), stamps))
    for zone, says in (("Mars/Phobos", "knows no time zone"), ("../../../etc/localtime", "named as"),
                       ("tzdata.zi", "no file of a time zone"), ("right/UTC", "zone")):
        refused(points, daemon, says, "create", "x", "tank/far", "--every", "daily", "--prefix", "x",
                "--zone", zone)
    with sqlite3.connect(os.path.join(daemon.state, "config.db")) as store:
        store.execute("update snapshot_schedule set zone = 'Mars/Phobos' where name = 'west'")
    store.close()
    daemon.stop()
    daemon.start()
    row = shown(daemon, "west")
    points.point(row["next"] is None and "knows no time zone" in row["result"] and
                 shown(daemon, "east")["next"] == east["next"],
                 "one whose zone is gone is never due, and says so; others are as before", row)
    row = daemon.json("snapshot", "schedule", "run", "west")
    points.point(row["runs"] == 0 and row["skipped"] == 1 and "time zone" in row["result"],
                 "nor does it run by hand", row)


def setting(points, daemon):
    """Changed in place: what is named, and nothing else."""
    before = shown(daemon, "east")
    daemon.good("snapshot", "schedule", "set", "east", "--every", "0 4 * * 1-5", "--keep", "last=3")
    row = shown(daemon, "east")
    points.point(dict(before, every="0 4 * * 1-5", keep="last=3", next=row["next"]) == row and
                 seconds_of_day(row["next"], 8 * 3600) == 4 * 3600,
                 "a schedule is changed in place; what is not named stays, its runs too", row)
    daemon.good("snapshot", "schedule", "set", "east", "tank/three", "--zone", "", "--prefix", "other",
                "--expendable")
    daemon.stop(signal.SIGKILL)
    daemon.start()
    row = shown(daemon, "east")
    points.point([row[name] for name in ("volumes", "zone", "prefix", "expendable", "every", "runs")] ==
                 [["tank/three"], "", "other", True, "0 4 * * 1-5", 1],
                 "its volumes, zone and prefix too, and that is durable", row)
    daemon.good("snapshot", "schedule", "set", "west", "--zone", "Asia/Tokyo")
    row = shown(daemon, "west")
    points.point(row["next"] and seconds_of_day(row["next"], 9 * 3600) == 9000,
                 "one whose zone was gone is given another", row)
    daemon.good("snapshot", "schedule", "set", "west", "tank/three")
    for says, words in (("another prefix", ("west", "--prefix", "other")),
                        ("never comes", ("west", "--every", "0 0 31 2 *")),
                        ("interval", ("west", "--every", "often")),
                        ("knows no time zone", ("west", "--zone", "Mars/Phobos")),
                        ("no volume", ("west", "tank/none")), ("kept", ("west", "--keep", "9")),
                        ("--expendable or --needed", ("west", "--expendable", "--needed")),
                        ("say what", ("west",)), ("no snapshot schedule", ("x", "--keep", "all"))):
        refused(points, daemon, says, "set", *words)
    points.point(shown(daemon, "west") == dict(row, volumes=["tank/three"]), "what is refused changes nothing")
    for name in ("east", "west"):
        daemon.good("snapshot", "schedule", "delete", name)


def running(points, daemon):
    row = daemon.json("snapshot", "schedule", "run", "both")
    one, two = names(daemon, "tank/one"), names(daemon, "tank/two")
    points.point(row["runs"] == 1 and row["last"] and len(one) == 1 and one == two and
                 re.fullmatch("auto" + NAME, one[0]), "a run makes a snapshot of each", row)
    groups = {daemon.json("snapshot", "show", f"tank/{name}@{one[0]}")["group"]
              for name in ("one", "two")}
    points.point(len(groups) == 1, "of one instant", groups)
    daemon.good("volume", "rename", "tank/one", "first")
    row = daemon.json("snapshot", "schedule", "run", "both")
    points.point(row["volumes"] == ["tank/first", "tank/two"] and row["runs"] == 2 and
                 len(names(daemon, "tank/first")) == 2,
                 "a renamed volume stays in its schedule, and a name that is taken gets a letter",
                 row)


def keeping(points, daemon):
    """Of five, last=1: the newest stays, one is held, one has a clone, one is a LUN, one goes."""
    for number in range(1, 5):
        daemon.good("snapshot", "create", f"tank/three@keep-2020-01-0{number}_00-00")
    daemon.good("snapshot", "create", "tank/three@keep-mine")
    daemon.good("snapshot", "hold", "tank/three@keep-2020-01-01_00-00")
    daemon.good("volume", "clone", "tank/three@keep-2020-01-02_00-00", "tank/clone")
    daemon.good("target", "create", pools.IQN)
    daemon.good("lun", "map", pools.IQN, "tank/three@keep-2020-01-03_00-00", "--lun", "5")
    daemon.good("snapshot", "schedule", "create", "few", "tank/three", "--every", "1h",
                "--keep", "last=1", "--prefix", "keep")
    row = daemon.json("snapshot", "schedule", "run", "few")
    left = names(daemon, "tank/three")
    points.point(left[:4] == ["keep-2020-01-01_00-00", "keep-2020-01-02_00-00",
                              "keep-2020-01-03_00-00", "keep-mine"] and len(left) == 5 and
                 "1 deleted, 3 could not be" in row["result"],
                 "what is kept no longer goes; not what is held, cloned, exported or another's",
                 (left, row))
    daemon.good("snapshot", "release", "tank/three@keep-2020-01-01_00-00")
    row = daemon.json("snapshot", "schedule", "run", "few")
    points.point("keep-2020-01-01_00-00" not in names(daemon, "tank/three") and
                 "2 deleted, 2 could not be" in row["result"],
                 "and goes with a later run when it may", row)


def rewind_store(daemon, name, seconds):
    """As if nothing had run for so long."""
    with sqlite3.connect(os.path.join(daemon.state, "config.db")) as store:
        store.execute("update snapshot_schedule set settled = settled - ? where name = ?",
                      (seconds, name))
    store.close()


def not_at_the_hour():
    """What is due each hour is not to become due in the middle."""
    left = 3600 - time.time() % 3600
    if left < 40:
        time.sleep(left + 1)


def missing(points, daemon):
    not_at_the_hour()
    daemon.good("volume", "create", "tank/late", "16M")
    daemon.good("snapshot", "schedule", "create", "late", "tank/late", "--every", "1h",
                "--prefix", "late")
    daemon.good("snapshot", "schedule", "create", "gone", "tank/clone", "--every", "1h",
                "--prefix", "gone")
    before = shown(daemon, "few")
    daemon.stop(signal.SIGKILL)
    rewind_store(daemon, "late", 5 * 3600)
    rewind_store(daemon, "gone", 3600)
    daemon.start()
    row = pools.wait_for(lambda: (lambda one: one["runs"] and one)(shown(daemon, "late")))
    points.point(row and row["missed"] == 4 and row["runs"] == 1 and
                 len(names(daemon, "tank/late")) == 1,
                 "what was due while the daemon was down is missed, and one run made up for", row)
    points.point("4 runs were missed" in daemon.log() and shown(daemon, "few") == before,
                 "it is in the log, and other schedules are as they were after a kill")
    points.point(pools.wait_for(lambda: shown(daemon, "gone")["runs"]) == 1,
                 "a run that was due once is not missed when it comes late")
    name = names(daemon, "tank/clone")[0]
    daemon.good("snapshot", "delete", f"tank/clone@{name}", "--yes")
    daemon.good("volume", "delete", "tank/clone", "--yes")
    row = daemon.json("snapshot", "schedule", "run", "gone")
    points.point(row["skipped"] == 1 and row["runs"] == 1 and "not there" in row["result"] and
                 "skipped" in daemon.log(), "a run that can not be is skipped, and says why", row)


def ahead(points, daemon):
    """The clock was a month ahead when it ran last."""
    daemon.stop()
    rewind_store(daemon, "late", -30 * 86400)
    daemon.start()
    points.point(pools.wait_for(lambda: shown(daemon, "late")["next"] < time.time() + 7200),
                 "a clock that was ahead does not stop a schedule", shown(daemon, "late"))


def rule_since(daemon, seconds):
    """The rule of the only pool's scrubs was made so long ago."""
    daemon.stop()
    with sqlite3.connect(os.path.join(daemon.state, "config.db")) as store:
        name, value = store.execute("select name, value from setting where name like 'scrub-every-%'").fetchone()
        store.execute("update setting set value = ? where name = ?",
                      (f"{int(time.time()) - seconds} {value.split(' ', 1)[1]}", name))
    daemon.start()


def scrubs(points, daemon):
    """A pool is scrubbed by itself, when it is due, and not else."""
    def state():
        return daemon.json("pool", "show", "tank")

    points.point(state()["scrub_every"] == "monthly" and state()["scrub"]["state"] == "never",
                 "a pool is scrubbed monthly unless it is said", state())
    for bad in ("bogus", "30s", "1 2 3 4", ""):
        points.point(daemon.run("pool", "set", "tank", "--scrub-every", bad).returncode == 1,
                     f"no rule: {bad!r}")
    daemon.good("pool", "set", "tank", "--scrub-every", "weekly")
    rule_since(daemon, 0)
    time.sleep(3)
    points.point(state()["scrub_every"] == "weekly" and state()["scrub"]["state"] == "never",
                 "a rule lasts, and nothing is begun before it is due", state()["scrub"])
    rule_since(daemon, 15 * 86400)
    points.point(pools.wait_for(lambda: state()["scrub"]["state"] == "done"),
                 "one that was due while the daemon was down is begun", state()["scrub"])
    started = state()["scrub"]["started"]
    rule_since(daemon, 15 * 86400)
    time.sleep(3)
    points.point(state()["scrub"]["started"] == started, "once", state()["scrub"])
    entries = [one for one in daemon.json("audit", "list") if one["path"].endswith("/tank/scrub")]
    points.point(len(entries) == 1 and entries[0]["who"] == "granaryd", "the audit log has it", entries)
    daemon.good("pool", "set", "tank", "--scrub-every", "none")
    rule_since(daemon, 400 * 86400)
    time.sleep(3)
    points.point(state()["scrub"]["started"] == started and state()["scrub_every"] == "none",
                 "none is none", state()["scrub"])


def deleting(points, daemon):
    kept = names(daemon, "tank/first")
    daemon.good("snapshot", "schedule", "delete", "both")
    points.point(names(daemon, "tank/first") == kept and
                 [one["name"] for one in daemon.json("snapshot", "schedule", "list")] ==
                 ["few", "gone", "late"], "a schedule goes, its snapshots stay")
    daemon.stop()
    daemon.start()
    points.point(len(daemon.json("snapshot", "schedule", "list")) == 3,
                 "and is not back after a restart")


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-schedule-") as folder:
        daemon = pools.Daemon(os.path.join(folder, "state"))
        try:
            daemon.good("pool", "create", "tank", os.path.join(folder, "tank.pool") + ":512M")
            for part in (making, zones, setting, running, keeping, missing, ahead, scrubs, deleting):
                part(points, daemon)
        finally:
            points.point(daemon.stop() == 0, "clean stop")


if __name__ == "__main__":
    tap.run(test)
