#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan
"""The release before is started again, on databases that a newer one has migrated: it goes on while
nothing is used that it does not know, and says what stands in the way where something is."""

import os
import shutil
import sqlite3
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

V1 = "/api/v1"
IQN = "iqn.2026-11.org.granary:later"
STORES = ("config.db", "access.db", "reservations.db", "history.db", "replication.db")
LATER = "select (select count(*) from later_thing) + (select count(*) from later_other)"


def work(daemon, name):
    """Some of everything that is written into the databases."""
    volume = {"pool": "tank", "name": name, "size": "64M"}
    daemon.good("POST", f"{V1}/volumes", volume)
    target = IQN + name
    daemon.good("POST", f"{V1}/targets", {"iqn": target})
    daemon.good("POST", f"{V1}/hosts", {"name": name, "initiators": [f"iqn.2026-11.test:{name}"]})
    daemon.good("POST", f"{V1}/targets/{target}/luns",
                {"lun": 0, "pool": "tank", "volume": name, "hosts": [name]})
    daemon.good("POST", f"{V1}/targets/{target}/rules",
                {"chap_user": "alice", "chap_secret": "a-secret-of-alice"})
    daemon.good("POST", f"{V1}/shares", {"pool": "tank", "name": name + "s", "quota": "64M"})
    daemon.good("POST", f"{V1}/shares/tank/{name}s/rules", {"client": "127.0.0.1"})
    daemon.good("POST", f"{V1}/snapshots", {"snapshots": [f"tank/{name}@a"]})
    daemon.good("POST", f"{V1}/snapshot-schedules",
                {"name": name, "volumes": [f"tank/{name}"], "every": "1h", "keep": "last=2"})


def stores(state):
    return [os.path.join(state, name) for name in STORES
            if os.path.exists(os.path.join(state, name))]


def migrate(path, beyond):
    """As a newer release does: a column more in each table, a table more."""
    store = sqlite3.connect(path, isolation_level=None)
    version = store.execute("pragma user_version").fetchone()[0]
    tables = [row[0] for row in store.execute("select name from sqlite_master where type = 'table'"
                                              " and name not like 'sqlite_%' and name <> 'step'")]
    store.execute("begin")
    for table in tables:
        store.execute(f"alter table {table} add column later text not null default ''")
    store.execute("create table later_thing(name text)")
    store.execute("create table later_other(name text)")
    store.execute("insert into step(version, summary, beyond) values(?, 'later things', ?)",
                  (version + 1, beyond))
    store.execute(f"pragma user_version = {version + 1}")
    store.execute("commit")
    store.close()
    return version, len(tables)


def change(path, statement):
    store = sqlite3.connect(path, isolation_level=None)
    store.execute(statement)
    store.close()


def start(state):
    """Whether the daemon starts, and what it says."""
    try:
        daemon = api.Daemon(state, pool=False)
    except RuntimeError as error:
        return False, str(error)
    said = daemon.log()
    daemon.stop()
    return True, said


def goes_on(points, state):
    found = {}
    for path in stores(state):
        shutil.copyfile(path, path + ".before")
        found[path] = migrate(path, LATER)
        os.rename(path + ".before", f"{path}.v{found[path][0]}")
    points.point(len(found) >= 4 and all(tables for _, tables in found.values()),
                 "databases with a schema from later", found)
    daemon = api.Daemon(state, "--go-back", pool=False)
    try:
        told = [path for path in found
                if f"{path} was written by a newer Granary" in daemon.log()]
        points.point(sorted(told) == sorted(found), "it starts, and says of each what it is",
                     daemon.log()[-3000:])
        work(daemon, "after")
        luns = [len(daemon.good("GET", f"{V1}/targets/{IQN}{name}/luns"))
                for name in ("before", "after")]
        points.point(luns == [1, 1], "what was there is served, and what is new", luns)
    finally:
        status = daemon.stop()
    points.point(status == 0, "clean stop", daemon.log()[-2000:])
    kept = []
    for path, (version, _) in found.items():
        store = sqlite3.connect(path)
        kept.append(store.execute("pragma user_version").fetchone()[0] == version + 1)
        store.close()
    points.point(all(kept), "the schema's version is still the newer one", kept)
    points.point(not [name for name in os.listdir(state) if ".newer-v" in name],
                 "nothing had to go back to a copy", os.listdir(state))


def stands_in_the_way(points, state):
    """Without accounts and charts it serves; what is exported to whom it has to know."""
    for path in stores(state):
        name = os.path.basename(path)
        change(path, "insert into later_other values('used')")
        started, said = start(state)
        points.point(started == (name in ("access.db", "history.db")) and
                     f"{path} was written by a newer Granary" in said and
                     "would pass over \"later things\", which is in use" in said,
                     f"{name}: what is in use stands in the way", said)
        change(path, "delete from later_other")
    change(stores(state)[0], "update step set beyond = null where summary = 'later things'")
    started, said = start(state)
    points.point(not started and "pass over \"later things\". Start the newer release" in said,
                 "what can not be passed over is not", said)


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        state = os.path.join(folder, "state")
        daemon = api.Daemon(state)
        try:
            work(daemon, "before")
        finally:
            points.point(daemon.stop() == 0, "clean stop", daemon.log()[-2000:])
        goes_on(points, state)
        stands_in_the_way(points, state)


if __name__ == "__main__":
    tap.run(test)
