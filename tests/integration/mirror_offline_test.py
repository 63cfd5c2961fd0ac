#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=240 engines=one asan
"""A device of a pool with mirrored volumes that is whole is sent away under a writing initiator and had
back, then sent away for good: another takes its place, over a kill -9. Data with one copy on it is
named and has to go first. Once it is the second device, and once the first, which has the
journal."""

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
from mirror_away_test import LONG, MIB, PLAIN  # pylint: disable=wrong-import-position


def offline(daemon, path, *options):
    return daemon.run("pool", "offline", "tank", path, "--yes", *options)


def refused(points, daemon, says, path):
    answers = [offline(daemon, path, *options) for options in (("--dry-run",), ())]
    points.point(all(answer.returncode == 1 and says in answer.stderr for answer in answers)
                 and away.state(daemon) in ("online", "degraded"), f"refused: {says}",
                 [answer.stderr for answer in answers])


def sent(daemon, path):
    """What is deleted is given up after a while."""
    answer = offline(daemon, path)
    return answer if answer.returncode == 0 or "given up" not in answer.stderr else None


def alone(points, daemon, path):
    refused(points, daemon, "the first is tank/two", path)
    refused(points, daemon, "is not a device", path + ".none")
    daemon.good("lun", "unmap", pools.IQN, str(PLAIN))
    daemon.good("volume", "delete", "tank/two", "--yes")
    points.point(pools.wait_for(lambda: "given up" not in offline(daemon, path, "--dry-run").stderr, LONG) and
                 away.state(daemon) == "online", "a dry run says that it would go, and it stays")


def there_and_back(points, daemon, path, other, writer):
    points.point(writer.more(100), "a writer is at it", writer.trouble)
    answer = pools.wait_for(lambda: sent(daemon, path), LONG)
    points.point(answer and answer.returncode == 0 and away.state(daemon) == "degraded" and
                 away.device(daemon, path)["state"] == "away" and writer.more(200),
                 "it goes, and the writer goes on", (answer and answer.stderr, writer.trouble))
    refused(points, daemon, "is away", other)
    daemon.good("pool", "online", "tank", "--wait")
    points.point(writer.more(100), "it is had back")
    away.whole(points, daemon, "and all copies are good")


def for_good(points, daemon, path, new, writer):
    answer = pools.wait_for(lambda: sent(daemon, path), LONG)
    points.point(answer and answer.returncode == 0 and writer.more(100), "it goes again",
                 (answer and answer.stderr, writer.trouble))
    writer.end()
    daemon.stop(signal.SIGKILL)
    daemon.start()
    away.whole(points, daemon, "killed: a start takes back what it finds")
    answer = pools.wait_for(lambda: sent(daemon, path), LONG)
    points.point(answer and answer.returncode == 0, "it goes once more", answer and answer.stderr)
    writer.client = away.session(daemon, 1)
    points.point(writer.holds(), "nothing is lost")
    writer.client.close()
    daemon.good("pool", "replace", "tank", path, new, "--yes", "--wait")
    away.whole(points, daemon, "another has its place, and all copies are good")
    writer.client = away.session(daemon, 1)
    points.point(writer.holds() and daemon.holds(16 * MIB, 32 * MIB, 0x11), "nothing is lost")
    writer.client.close()


def run(points, first):
    with tempfile.TemporaryDirectory(prefix="granary-offline-") as folder:
        paths = [os.path.join(folder, name + ".pool") for name in "ab"]
        daemon = pools.Daemon(os.path.join(folder, "state"))
        try:
            daemon.good("pool", "create", "tank", *[path + ":256M" for path in paths])
            daemon.serve("tank/one", "64M", "--mirror")
            daemon.serve("tank/two", "96M", lun=PLAIN)
            daemon.write(16 * MIB, 32 * MIB, 0x11)
            daemon.write(0, 64 * MIB, 0x22, lun=PLAIN)
            points.point(away.two_journals(daemon), "there are two journals")
            alone(points, daemon, paths[not first])
            daemon.good("volume", "create", "tank/four", "8M", "--mirror")
            daemon.good("lun", "map", pools.IQN, "tank/four", "--lun", str(PLAIN))
            writer = away.Writer(daemon)
            there_and_back(points, daemon, paths[not first], paths[first], writer)
            for_good(points, daemon, paths[not first], paths[not first] + ".new:256M", writer)
        finally:
            points.point(daemon.stop() == 0, "clean stop")


def test(points):
    for first in (False, True):
        run(points, first)


if __name__ == "__main__":
    tap.run(test)
