#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=300 engines=one asan
"""The third device of a pool with mirrored volumes is evacuated under a writing initiator and taken out:
over a kill -9, and while it, or a device that things are moved to, goes away in the middle of it. A
snapshot and a LUN with one copy move along."""

import os
import signal
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import mirror_away_test as away  # pylint: disable=wrong-import-position
import pools                     # pylint: disable=wrong-import-position
import tap                       # pylint: disable=wrong-import-position
from mirror_away_test import LONG, MIB, MIRRORED, PLAIN, Device  # pylint: disable=wrong-import-position


def refused(points, daemon, says, path):
    answers = [daemon.run("pool", "evacuate", "tank", path, *options)
               for options in (("--dry-run",), ())]
    points.point(all(answer.returncode == 1 and says in answer.stderr for answer in answers),
                 f"refused: {says}", [answer.stderr for answer in answers])


def emptied(daemon, path):
    return pools.wait_for(lambda: away.device(daemon, path)["state"] == "empty", LONG)


def filled(daemon, lun, size, seed):
    """Numbers that no other write of this test has."""
    for at in range(0, size, MIB):
        daemon.write(at, MIB, seed + at // MIB % 7, lun=lun)


def held(daemon, lun, begin, size, seed):
    return all(daemon.holds(at, MIB, seed + at // MIB % 7, lun=lun)
               for at in range(begin, size, MIB))


def moves(points, daemon, path, writer):
    """Under writes, over a kill -9."""
    points.point(writer.more(100), "a writer is at it", writer.trouble)
    daemon.good("pool", "evacuate", "tank", path)
    points.point(pools.wait_for(lambda: away.device(daemon, path)["moved_bytes"] > MIB, LONG) and
                 writer.more(100), "it goes on while things are moved", writer.trouble)
    writer.end()
    daemon.stop(signal.SIGKILL)
    daemon.start()
    writer.client = away.session(daemon, 1)
    points.point(writer.holds(), "killed: nothing is lost")
    writer.client.close()


def loses(points, daemon, path, there, writer):
    """The device @there goes away while @path is evacuated."""
    daemon.good("pool", "evacuate", "tank", path)
    begun = pools.wait_for(lambda: away.device(daemon, path)["moved_bytes"] > MIB, LONG)
    there.pull()
    points.point(begun and writer.more(200) and away.becomes(daemon, "degraded"),
                 "a device goes away meanwhile, and the writer goes on",
                 (writer.trouble, away.state(daemon)))
    there.plug()
    daemon.good("pool", "online", "tank", "--wait")
    points.point(writer.more(100), "it is back", writer.trouble)
    writer.end()
    writer.client = away.session(daemon, 1)
    points.point(writer.holds(), "nothing is lost")
    writer.client.close()


def taken_out(points, daemon, path, has_plain):
    points.point(emptied(daemon, path), "it is empty", away.device(daemon, path))
    daemon.good("pool", "remove", "tank", path, "--yes")
    away.whole(points, daemon, "it is taken out, and all copies are good")
    points.point(held(daemon, MIRRORED, 16 * MIB, 48 * MIB, 0x11) and
                 (not has_plain or held(daemon, PLAIN, 0, 48 * MIB, 0x33)), "all that was there is")
    shown = daemon.json("pool", "show", "tank")
    points.point(path not in shown["devices"] and shown["data_repairs"] == 0 and
                 not any(one["vital"] for one in shown["device_details"]),
                 "the others have both copies, and it goes on without any of them", shown)


def run(points, pulled):
    """@pulled: nothing, "c": the third device, "b": another."""
    with tempfile.TemporaryDirectory(prefix="granary-evacuate-") as folder:
        paths = {name: os.path.join(folder, name + ".pool") for name in "abc"}
        there = Device(folder, pulled + ".pool") if pulled else None
        daemon = pools.Daemon(os.path.join(folder, "state"))
        named = {name: path if name == pulled else path + ":256M" for name, path in paths.items()}
        try:
            daemon.good("pool", "create", "tank", named["a"], named["b"])
            daemon.serve("tank/one", "64M", "--mirror")
            daemon.good("pool", "add", "tank", named["c"])
            daemon.serve("tank/two", "48M", "--mirror" if pulled else "--checksum=standard", lun=PLAIN)
            filled(daemon, MIRRORED, 48 * MIB, 0x11)
            filled(daemon, PLAIN, 48 * MIB, 0x33)
            daemon.good("snapshot", "create", "tank/one@then")
            points.point(away.two_journals(daemon), "there are two journals")
            refused(points, daemon, "journal", paths["a"])
            refused(points, daemon, "journal", paths["b"])
            writer = away.Writer(daemon)
            if pulled:
                loses(points, daemon, paths["c"], there, writer)
            else:
                moves(points, daemon, paths["c"], writer)
            taken_out(points, daemon, paths["c"], True)
            refused(points, daemon, "journal", paths["b"])
        finally:
            points.point(daemon.stop() == 0, "clean stop")
            if there:
                there.end()


def test(points):
    for pulled in ("", "c", "b"):
        run(points, pulled)


if __name__ == "__main__":
    tap.run(test)
