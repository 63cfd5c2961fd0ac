#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=180 engines=one asan
"""A pool that runs full under an initiator gives up snapshots, of those that were approved for it: the
oldest first, one after the other, before a write fails; what was not approved, what is held, has
clones, or is a LUN stays. Said by an alert, the audit log, the log and the status; over kill -9."""

import os
import signal
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import pools  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

MIB = 1 << 20
PART = 24 * MIB  # what each snapshot holds alone
STEP = MIB
PACE = 100  # milliseconds between two writes


def names(daemon, volume="tank/vm"):
    return [one["name"] for one in daemon.json("snapshot", "list", volume)]


def pool(daemon):
    return daemon.json("pool", "show", "tank")


def approved(daemon, name):
    return daemon.json("snapshot", "show", f"tank/vm@{name}")["expendable"]


def said(points, daemon):
    """The ways to say it, and that it is off where nobody has."""
    daemon.serve("tank/vm", "2G")
    daemon.write(0, PART, 0x11)
    daemon.good("snapshot", "create", "tank/vm@stays")
    daemon.write(0, PART, 0x22)
    daemon.good("snapshot", "create", "tank/vm@first", "--expendable")
    daemon.write(0, PART, 0x33)
    daemon.good("snapshot", "create", "tank/vm@held", "--expendable")
    daemon.good("snapshot", "hold", "tank/vm@held")
    daemon.write(0, PART, 0x44)
    daemon.good("snapshot", "create", "tank/vm@cloned", "--expendable")
    daemon.good("volume", "clone", "tank/vm@cloned", "tank/copy")
    daemon.write(0, PART, 0x55)
    daemon.good("snapshot", "create", "tank/vm@shown", "--expendable")
    daemon.good("lun", "map", pools.IQN, "tank/vm@shown", "--lun", "1")
    daemon.write(0, PART, 0x66)
    daemon.good("snapshot", "create", "tank/vm@second")
    daemon.write(0, PART, 0x77)
    points.point(approved(daemon, "first") and not approved(daemon, "stays") and
                 not approved(daemon, "second"), "it is off where nobody has said it")
    daemon.good("snapshot", "set", "tank/vm@second", "--expendable")
    daemon.good("snapshot", "set", "tank/vm@stays", "--expendable")
    daemon.good("snapshot", "set", "tank/vm@stays", "--needed")
    points.point(approved(daemon, "second") and not approved(daemon, "stays"),
                 "and said of one that is there, and taken back")
    result = daemon.run("snapshot", "set", "tank/vm@stays")
    points.point(result.returncode == 1 and "--needed" in result.stderr,
                 "snapshot set wants to be told what", result.stderr)
    daemon.good("volume", "create", "tank/other", "16M")
    daemon.good("snapshot", "schedule", "create", "nightly", "tank/other", "--every", "daily",
                "--expendable")
    daemon.good("snapshot", "schedule", "create", "kept", "tank/other", "--every", "daily",
                "--prefix", "kept")
    for name in ("nightly", "kept"):
        daemon.good("snapshot", "schedule", "run", name)
    made = {one["name"].split("-")[0]: one["expendable"]
            for one in daemon.json("snapshot", "list", "tank/other")}
    points.point(made == {"auto": True, "kept": False},
                 "a schedule's snapshots are approved when the schedule says so", made)
    for name in names(daemon, "tank/other"):  # they are not what is looked at below
        daemon.good("snapshot", "delete", f"tank/other@{name}", "--yes")


def killed(points, daemon):
    daemon.stop(signal.SIGKILL)
    daemon.start()
    schedules = {one["name"]: one["expendable"]
                 for one in daemon.json("snapshot", "schedule", "list")}
    points.point(approved(daemon, "first") and approved(daemon, "second") and
                 not approved(daemon, "stays") and schedules == {"nightly": True, "kept": False},
                 "it lasts over a kill", schedules)


class Writer:
    """Fills the LUN behind what snapshots hold, from where it was on."""

    def __init__(self, daemon):
        self.daemon, self.at = daemon, PART

    def write(self, length, pace=PACE):
        """Did all of it go well?"""
        commands = []
        for _ in range(length // STEP):
            commands += [f"write -P 0x99 {self.at} {STEP}", f"sleep {pace}"]
            self.at += STEP
        return self.daemon.io(*commands)

    def up_to(self, percent):
        """Without waiting, up to so much of the pool."""
        shown = pool(self.daemon)
        return self.write(shown["size_bytes"] * percent // 100 - shown["used_bytes"], 0)


def filled(points, daemon):
    writer = Writer(daemon)
    before = pool(daemon)
    points.point(before["gives_up_percent"] == 97 and before["given_up"] == 0 and
                 "given_up_at" not in before, "a pool says where it begins", before)
    good, text = writer.up_to(92)
    points.point(good and "first" in names(daemon), "nothing goes while there is space", text)
    good, text = writer.write(before["size_bytes"] * 6 // 100)
    points.point(good, "the writer sees no error when the pool reaches its end", text[-500:])
    left = names(daemon)
    points.point(left == ["stays", "held", "cloned", "shown", "second"],
                 "the oldest that was approved has gone, and no other", left)
    shown = pool(daemon)
    points.point(shown["given_up"] == 1 and shown["given_up_last"] == "vm@first" and
                 shown["given_up_at"], "the pool tells", shown)
    points.point("given up" in daemon.good("status"), "and the status")
    alerts = pools.wait_for(lambda: [one for one in daemon.json("alert", "list")
                                     if one["rule"] == "snapshots-given-up"])
    points.point(len(alerts) == 1 and alerts[0]["object"] == "tank" and
                 "vm@first" in alerts[0]["text"], "an alert", alerts)
    audit = [one for one in daemon.json("audit", "list")
             if one["path"].endswith("/volumes/tank/vm/snapshots/first/give-up")]
    points.point(len(audit) == 1 and audit[0]["who"] == "granaryd" and audit[0]["status"] == 200,
                 "an entry of the audit log", audit)
    points.point("snapshot tank/vm@first" in daemon.log(), "and the log")
    return writer


def to_the_end(points, daemon, writer):
    """The next one goes, and then there is none that may: only then writes fail."""
    size = pool(daemon)["size_bytes"]
    room = size * 97 // 100 - pool(daemon)["used_bytes"]
    good, text = writer.write(max(room, 0) + size * 2 // 100)
    points.point(good and names(daemon) == ["stays", "held", "cloned", "shown"],
                 "the next one goes when it is needed", (names(daemon), text[-500:]))
    good, text = writer.write(PART + size * 4 // 100)
    points.point(not good and "No space" in text, "with nothing left to give up writes fail",
                 text[-300:])
    points.point(names(daemon) == ["stays", "held", "cloned", "shown"] and
                 daemon.holds(0, PART, 0x77) and daemon.holds(0, PART, 0x55, lun=1),
                 "what stays is whole", names(daemon))
    daemon.good("snapshot", "release", "tank/vm@held")
    gone = pools.wait_for(lambda: "held" not in names(daemon))
    points.point(gone and pools.wait_for(lambda: daemon.io(f"write -P 0x99 {writer.at} {STEP}")[0]),
                 "one that is held no more goes, and writes go on", names(daemon))
    audit = [(one["path"].split("/")[-2], one["status"]) for one in daemon.json("audit", "list")
             if one["path"].endswith("/give-up")]
    points.point(sorted(audit) == [("first", 200), ("held", 200), ("second", 200)],
                 "those that stay were not tried", audit)
    check = daemon.json_of("pool", "check", "tank", "--data")
    points.point(check["clean"], "the check is clean", check)


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-expiry-") as folder:
        daemon = pools.Daemon(os.path.join(folder, "state"))
        try:
            daemon.good("pool", "create", "tank", os.path.join(folder, "tank.pool") + ":320M")
            said(points, daemon)
            killed(points, daemon)
            writer = filled(points, daemon)
            to_the_end(points, daemon, writer)
        finally:
            points.point(daemon.stop() == 0, "clean stop")


if __name__ == "__main__":
    tap.run(test)
