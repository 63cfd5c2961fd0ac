#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=360 engines=one asan
"""A device of a pool with mirrored volumes, a file that a FUSE server serves, dies under a writing
initiator and never comes back: another file takes its place while the writer goes on, over a kill
-9; what had its only copy there is named and has to go first; the old one is not taken again. Once
it is the second device, and once the first, which has the journal."""

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


def furnish(daemon, path, there, first):
    """A mirrored LUN, and a volume with one copy that is no LUN any more."""
    away.furnish(daemon, path, there, first)
    away.two_journals(daemon)
    daemon.good("lun", "unmap", pools.IQN, str(PLAIN))
    daemon.good("volume", "create", "tank/four", "8M", "--mirror")
    daemon.good("lun", "map", pools.IQN, "tank/four", "--lun", str(PLAIN))


def replace(daemon, old, new, *options):
    return daemon.run("pool", "replace", "tank", old, new, "--yes", *options)


def refused(points, daemon, says, old, new, *options):
    answer = replace(daemon, old, new, *options)
    points.point(answer.returncode == 1 and says in answer.stderr, f"refused: {says}",
                 answer.stderr)


def told(daemon, there):
    """The device that died is told about as long as it is away."""
    return away.device(daemon, there.path).get("state") == "away"


def taken(daemon, old, new):
    """What is deleted is given up after a while."""
    answer = replace(daemon, old, new)
    return answer if answer.returncode == 0 or "given up" not in answer.stderr else None


def dies(points, daemon, there, writer, new):
    refused(points, daemon, "no device of pool tank is away", there.path, new)
    points.point(writer.more(200), "a writer is at it", writer.trouble)
    there.pull()
    points.point(writer.more(200) and away.becomes(daemon, "degraded") and told(daemon, there),
                 "its device dies: it goes on", writer.trouble)
    refused(points, daemon, "the first is tank/two", there.path, new)
    refused(points, daemon, "is not the device", there.path + ".other", new)
    daemon.good("volume", "delete", "tank/two", "--yes")
    small = new.split(":", maxsplit=1)[0] + ".small:128M"
    answer = pools.wait_for(lambda: taken(daemon, there.path, small), LONG)
    points.point(answer and "too small" in answer.stderr, "refused: too small",
                 answer and answer.stderr)


def replaced(points, daemon, there, writer, new):
    points.point(writer.more(100), "the writer writes", writer.trouble)
    answer = replace(daemon, there.path, new)
    points.point(answer.returncode == 0 and writer.more(300),
                 "another takes its place, and the writer goes on",
                 (answer.stderr, writer.trouble))
    writer.end()
    points.point(not writer.trouble and writer.holds(), "what was written is there", writer.trouble)
    writer.client.close()


def killed(points, daemon, path, writer, there, first):
    daemon.stop(signal.SIGKILL)
    there.plug()  # the old one is there again, and both are found
    daemon.start()
    away.whole(points, daemon, "killed and started, with the old one there, all copies are good")
    devices = daemon.json("pool", "show", "tank")["devices"]
    wanted = [path, there.path + ".new"]
    points.point(devices == (wanted[::-1] if first else wanted), "the new one is the pool's",
                 devices)
    writer.client = away.session(daemon, 1)
    points.point(writer.holds() and daemon.holds(16 * MIB, 32 * MIB, 0x11), "nothing is lost")
    writer.client.close()
    points.point(pools.wait_for(lambda: not [a for a in daemon.json("alert", "list")
                                             if a["rule"] == "pool-degraded"], LONG),
                 "the alert has gone")
    refused_online(points, daemon, there, "no device of pool tank is away")


def refused_online(points, daemon, there, says):
    answer = daemon.run("pool", "online", "tank", there.path)
    points.point(answer.returncode == 1 and says in answer.stderr, f"the old one: {says}",
                 answer.stderr)


def returned(points, daemon, path, there):
    """The old one does not stand in for the new one."""
    daemon.stop()
    new = there.path + ".new"
    os.rename(new, new + ".hidden")
    daemon.start()
    answer = daemon.run("pool", "import", path, there.path)
    points.point(answer.returncode == 1 and "missing" in answer.stderr,
                 "the old one is not taken for the new one", answer.stderr)
    daemon.good("pool", "import", path, there.path, "--degraded")
    refused_online(points, daemon, there, "is not the device")
    daemon.write(20 * MIB, MIB, 0x33)
    os.rename(new + ".hidden", new)
    daemon.good("pool", "online", "tank", new, "--wait")
    away.whole(points, daemon, "the new one is")
    points.point(daemon.holds(20 * MIB, MIB, 0x33) and daemon.holds(16 * MIB, 4 * MIB, 0x11),
                 "with all that was written")


def run(points, first):
    with tempfile.TemporaryDirectory(prefix="granary-replace-") as folder:
        path = os.path.join(folder, "a.pool")
        there = away.Device(folder)
        new = there.path + ".new:256M"
        try:
            daemon = pools.Daemon(os.path.join(folder, "state"))
            try:
                furnish(daemon, path, there, first)
                writer = away.Writer(daemon)
                dies(points, daemon, there, writer, new)
                replaced(points, daemon, there, writer, new)
                killed(points, daemon, path, writer, there, first)
                returned(points, daemon, path, there)
            finally:
                points.point(daemon.stop() == 0, "clean stop")
        finally:
            there.end()


def test(points):
    run(points, False)
    run(points, True)


if __name__ == "__main__":
    tap.run(test)
