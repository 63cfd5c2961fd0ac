#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one
"""A year of the box's load, made up while the daemon was away: hours are made of minutes, what is
too old goes, the store stays small, and a chart of any range is a few hundred samples. How long
those take is told."""

import os
import random
import sqlite3
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

V1 = "/api/v1"
DAYS = 365
STATE_MAX = 200 << 20
CHART_MS = 300
SAMPLES_MAX = 601
ANSWER_MAX = 100 << 10


def make_up(path):
    """A row for each minute of a year up to now, as if none had ever been folded; the reads of some
    hours to compare with."""
    now = int(time.time()) // 60
    dice = random.Random(7)
    with sqlite3.connect(path) as store:
        store.executemany(
            "insert or replace into load_minute values(?, ?, ?, ?, ?, ?, ?)",
            ((minute, dice.randrange(1 << 32), dice.randrange(1 << 32), minute // 60 % 1000,
              dice.randrange(100000), dice.randrange(1 << 20), dice.randrange(1 << 20))
             for minute in range(now - DAYS * 1440, now)))
    return now


def counted(path):
    with sqlite3.connect(path) as store:
        return tuple(store.execute(f"select count(*) from {table}").fetchone()[0]
                     for table in ("load_minute", "load_hour"))


def size_of(folder):
    return sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder)
               if not name.endswith(".pool"))


def charts(points, daemon, now):
    for hours in (1, 24, 168, 720, 8760):
        taken, tries = 1000.0, 0
        while taken >= CHART_MS and tries < 8:  # on a machine that has time for it
            started = time.monotonic()
            answer = daemon.good("GET", f"{V1}/history?hours={hours}")
            taken, tries = (time.monotonic() - started) * 1000, tries + 1
        points.point(taken < CHART_MS, f"{hours} hours are there within {CHART_MS} ms", taken)
        samples = answer["samples"]
        step = answer["interval_seconds"]
        points.note(f"{hours} hours: {len(samples)} samples in {taken:.0f} ms")
        points.point(len(samples) <= SAMPLES_MAX and len(str(answer)) < ANSWER_MAX and
                     len(samples) >= min(hours * 60, 300) - 2 and
                     [one[0] for one in samples] == sorted(one[0] for one in samples) and
                     samples[0][0] >= (now * 60 - hours * 3600 - 2 * step) * 1000 and
                     all(len(one) == len(answer["columns"]) for one in samples),
                     f"{hours} hours are a few hundred samples, the oldest first",
                     (len(samples), step, samples[:2]))
    month = daemon.good("GET", f"{V1}/history?hours=168")
    hour = month["interval_seconds"] // 60
    inside = [one for one in month["samples"][1:-1] if one[0] // 60000 % 60 + hour <= 60]
    points.point(inside and all(one[3] == one[0] // 3600000 % 1000 for one in inside),
                 "a sample is the average of its minutes", inside[:3])
    for query in ("hours=0", "hours=9601", "hours=x", "hours=-1", "hours="):
        reply = daemon.call("GET", f"{V1}/history?{query}")
        points.point(reply["status"] == 400, f"?{query} is refused", reply)


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        state = os.path.join(folder, "state")
        path = os.path.join(state, "history.db")
        daemon = api.Daemon(state)
        points.point(daemon.stop() == 0, "the daemon stops cleanly", daemon.log()[-2000:])
        now = make_up(path)
        points.note(f"a year of minutes takes {os.path.getsize(path) >> 20} MiB")
        daemon = api.Daemon(state, pool=False)
        try:
            minutes, hours = counted(path)
            points.point(minutes <= 7 * 1440 + 5 and DAYS * 24 - 2 <= hours <= 400 * 24 + 1,
                         "minutes of a week and hours of a year are kept", (minutes, hours))
            points.point(size_of(state) < STATE_MAX, "the state directory stays below 200 MiB",
                         size_of(state))
            points.note(f"the state directory: {size_of(state) >> 20} MiB")
            charts(points, daemon, now)
        finally:
            points.point(daemon.stop() == 0, "and cleanly again", daemon.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)
