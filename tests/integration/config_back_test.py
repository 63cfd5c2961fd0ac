#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: engines=one timeout=120
"""A configuration that a newer release migrated: the daemon says no to it, and with --go-back serves
from the copy that was made before, raises an alert, and keeps the newer one."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../guest"))

from server import BUILD, Server  # pylint: disable=wrong-import-position
import tap                        # pylint: disable=wrong-import-position

RULE = "configuration-went-back"
GIVEN_UP = "release-given-up"


def number(path):
    with sqlite3.connect(path) as database:
        return database.execute("pragma user_version").fetchone()[0]


def migrate(path):
    """What a release after this one does: the copy, then its schema."""
    known = number(path)
    shutil.copyfile(path, f"{path}.v{known}")
    database = sqlite3.connect(path)
    database.executescript(f"create table later(a); pragma user_version = {known + 1}")
    database.close()
    return known


def alerts(server, rule=RULE):
    return [alert for alert in json.loads(server.granary("alert", "list", "-o", "json"))
            if alert["rule"] == rule]


def wait_for(look, seconds=30):
    limit = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < limit:
        time.sleep(0.2)
    return found


def refuses(state, *more):
    return subprocess.run([os.path.join(BUILD, "granaryd"), "--state", state, "--bind", "127.0.0.1",
                           "--iscsi-port", "0", "--nfs-port", "0", *more],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          check=False)


def others_stay(points, state, name, known):
    """With a copy beside it too; and the configuration does not go back for nothing."""
    other, path = os.path.join(state, name), os.path.join(state, "config.db")
    newer = number(other)
    shutil.copyfile(other, f"{other}.v{newer}")
    with sqlite3.connect(other) as database:
        database.execute(f"pragma user_version = {newer + 1}")
    done = refuses(state, "--go-back")
    said = f"{name} was written by a newer Granary: it has schema version {newer + 1}"
    points.point(done.returncode == 1 and said in done.stderr and
                 number(other) == newer + 1 and number(path) == known + 1,
                 f"{name} never goes back, nor the configuration then", done.stderr)
    with sqlite3.connect(other) as database:
        database.execute(f"pragma user_version = {newer}")


def given_up(points, server, state):
    """What the appliance's granary-update leaves there; beside the other, nothing is "as it was"."""
    with open(os.path.join(state, GIVEN_UP), "w", encoding="ascii"):
        pass
    found = wait_for(lambda: alerts(server, GIVEN_UP))
    points.point(found and "unless another alert says that it went back" in found[0]["todo"] and
                 "除非另有告警提示配置已恢复" in found[0]["todo_zh"],
                 "that a release was given up does not say that the configuration stayed", found)


def test(points):
    with tempfile.TemporaryDirectory() as state:
        path = os.path.join(state, "config.db")
        server = Server(state)
        points.point(server.stop() == 0, "a configuration, and the daemon stops")
        known = migrate(path)
        with sqlite3.connect(path) as database:
            database.execute("insert into target(iqn) values('iqn.2026-11.org.example:since')")
        done = refuses(state)
        points.point(done.returncode == 1 and "newer Granary" in done.stderr and
                     "a copy from before lies beside it" in done.stderr and
                     number(path) == known + 1, "who was not told to go back says no", done.stderr)
        for name in ("reservations.db", "replication.db"):
            others_stay(points, state, name, known)
        server = Server(state, more=("--go-back",))
        try:
            log = server.log()
            targets = server.granary("target", "list")
            points.point("demo" in targets and "since" not in targets,
                         "it serves what was configured before", targets)
            found = wait_for(lambda: alerts(server))
            points.point(found and found[0]["severity"] == "critical" and
                         f"config.db.newer-v{known + 1}" in json.dumps(found) and
                         time.strftime("%Y-%m-%dT", time.gmtime()) in json.dumps(found),
                         "an alert names the time and the newer one", found)
            given_up(points, server, state)
        finally:
            points.point(server.stop() == 0, "it stops cleanly", server.log()[-3000:])
        with sqlite3.connect(f"{path}.newer-v{known + 1}") as database:
            rows = database.execute("select count(*) from target where iqn like '%since'").fetchone()
        points.point(number(path) == known and rows == (1,), "the newer one is kept whole", rows)
        server = Server(state, more=("--go-back",))
        try:
            points.point("is an older one again" not in server.log() and
                         wait_for(lambda: alerts(server)), "after a restart the alert is still there",
                         server.log())
            os.unlink(f"{path}.newer-v{known + 1}")
            points.point(wait_for(lambda: not [a for a in alerts(server)
                                               if a["state"] == "firing"]),
                         "until the file is taken away", alerts(server))
        finally:
            server.stop()
        points.point("is an older one again" in log, "the log says so", log)


if __name__ == "__main__":
    tap.run(test)
