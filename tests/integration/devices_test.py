#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=150 engines=one asan
"""The devices of a pool in use, through the daemon and the command line: files are added, grow,
are evacuated and removed under an initiator's writes; kill -9 in the middle leaves a pool that opens."""

import os
import signal
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import pools  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

MIB = 1 << 20


def refused(points, daemon, says, *words):
    result = daemon.run(*words)
    points.point(result.returncode == 1 and says in result.stderr,
                 f"refused: granary {' '.join(os.path.basename(word) for word in words)}",
                 result.stdout + result.stderr)


def details(daemon):
    return {os.path.basename(one["path"]): one
            for one in daemon.json("pool", "show", "tank")["device_details"]}


class Load:
    """Writes of 64 KiB that go round a part of the LUN, until stopped."""

    def __init__(self, daemon):
        self.daemon, self.good, self.rounds, self.ending = daemon, True, 0, False
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        while not self.ending or not self.rounds:
            good, _ = self.daemon.io(*(f"write -P 7 {32 * MIB + i * 65536} 64k"
                                       for i in range(64)))
            self.good &= good
            self.rounds += 1

    def stop(self):
        self.ending = True
        self.thread.join()
        return self.good and self.rounds > 0


def adding(points, daemon, folder):
    daemon.serve("tank/one", "512M")
    daemon.write(0, 16 * MIB, 0x11)
    before = daemon.json("pool", "show", "tank")
    load = Load(daemon)
    said = daemon.good("pool", "add", "tank", os.path.join(folder, "b.pool") + ":256M")
    points.point("2 devices" in said, "a file is added to a pool in use", said)
    points.point(load.stop(), "no write fails meanwhile")
    after = daemon.json("pool", "show", "tank")
    points.point(after["size_bytes"] > before["size_bytes"] + 200 * MIB and
                 len(after["devices"]) == 2, "pool show has the space of both", after)
    daemon.write(64 * MIB, 128 * MIB, 0x22)
    used = {name: one["data_bytes"] - one["free_bytes"] for name, one in details(daemon).items()}
    points.point(used["b.pool"] > 32 * MIB and used["a.pool"] > 32 * MIB,
                 "what is written then is spread over both", used)
    refused(points, daemon, "", "pool", "add", "tank", os.path.join(folder, "b.pool"))
    refused(points, daemon, "64 MiB", "pool", "add", "tank", os.path.join(folder, "c.pool") + ":1M")
    points.point(not os.path.exists(os.path.join(folder, "c.pool")),
                 "and a file made for a refused one is not left")
    refused(points, daemon, "no pool named", "pool", "add", "none", folder + "/c.pool:256M")


def growing(points, daemon, folder):
    before = daemon.json("pool", "show", "tank")["size_bytes"]
    daemon.good("pool", "grow", "tank")
    points.point(daemon.json("pool", "show", "tank")["size_bytes"] == before,
                 "where nothing has grown, pool grow changes nothing")
    os.truncate(os.path.join(folder, "b.pool"), 512 * MIB)
    said = daemon.good("pool", "grow", "tank")
    shown = daemon.json("pool", "show", "tank")
    points.point(shown["size_bytes"] > before + 200 * MIB and "2 devices" in said,
                 "a file that has grown is used whole", shown)
    points.point(details(daemon)["b.pool"]["size_bytes"] == 512 * MIB, "and shown so")


def whole(points, daemon, what):
    points.point(daemon.holds(0, 16 * MIB, 0x11) and daemon.holds(64 * MIB, 128 * MIB, 0x22),
                 f"{what}: the data is there")
    check = daemon.json("pool", "check", "tank", "--data")
    points.point(check["clean"], f"{what}: the check is clean", check)


def killed(points, daemon, folder):
    """The file is half added, added and not recorded, or not added; the pool opens all the same."""
    daemon.stop(signal.SIGKILL)
    daemon.start()
    whole(points, daemon, "after a kill")
    adder = threading.Thread(target=daemon.run, args=(
        "pool", "add", "tank", os.path.join(folder, "d.pool") + ":256M"))
    adder.start()
    pools.wait_for(lambda: os.path.exists(os.path.join(folder, "d.pool")))
    daemon.stop(signal.SIGKILL)
    adder.join()
    daemon.start()
    whole(points, daemon, "killed while a file was added")
    if "d.pool" not in details(daemon):
        if os.path.exists(os.path.join(folder, "d.pool")):
            daemon.good("pool", "add", "tank", os.path.join(folder, "d.pool"))
        else:
            daemon.good("pool", "add", "tank", os.path.join(folder, "d.pool") + ":256M")
    points.point("d.pool" in details(daemon), "and the file is added now, or was")


def leaving(points, daemon, folder):
    """A device is evacuated under writes and kill -9, and removed."""
    old, first = os.path.join(folder, "b.pool"), os.path.join(folder, "a.pool")
    refused(points, daemon, "journal", "pool", "evacuate", "tank", first)
    refused(points, daemon, "not empty", "pool", "remove", "tank", old, "--yes")
    for more in ((), ("--status",)):
        refused(points, daemon, "is not a device", "pool", "evacuate", "tank", folder + "/none",
                *more)
    daemon.good("snapshot", "create", "tank/one@then")
    daemon.write(96 * MIB, 8 * MIB, 0x33)
    load = Load(daemon)
    daemon.good("pool", "evacuate", "tank", old)
    daemon.good("pool", "evacuate", "tank", old, "--pause")
    points.point(load.stop(), "no write fails meanwhile")
    daemon.stop(signal.SIGKILL)
    daemon.start()
    state = details(daemon)["b.pool"]["state"]
    points.point(state in ("paused", "empty"), "a pause lasts over a kill", state)
    daemon.good("pool", "evacuate", "tank", old, "--resume")
    daemon.stop(signal.SIGKILL)
    daemon.start()
    said = daemon.good("pool", "evacuate", "tank", old, "--status", "--wait")
    points.point("empty" in said, "it goes on after a kill, to its end", said)
    daemon.good("pool", "remove", "tank", old, "--yes")
    points.point("b.pool" not in details(daemon), "an empty device is removed")
    os.unlink(old)
    points.point(daemon.holds(0, 16 * MIB, 0x11) and daemon.holds(64 * MIB, 32 * MIB, 0x22) and
                 daemon.holds(96 * MIB, 8 * MIB, 0x33), "the data is there without its file")
    daemon.good("lun", "map", pools.IQN, "tank/one@then", "--lun", "1")
    points.point(daemon.holds(64 * MIB, 128 * MIB, 0x22, lun=1), "and the snapshot's")
    check = daemon.json("pool", "check", "tank", "--data")
    points.point(check["clean"], "the check is clean", check)
    daemon.stop()
    daemon.start()
    points.point(daemon.holds(96 * MIB, 8 * MIB, 0x33) and "b.pool" not in details(daemon),
                 "after a restart, too")


def named(points, daemon, folder):
    """A pool from elsewhere whose name is taken gets another one; a pool that nothing goes by, too."""
    disk = os.path.join(folder, "n.pool")
    daemon.good("pool", "create", "other", disk + ":128M")
    daemon.good("volume", "create", "other/v", "16M")
    daemon.good("pool", "export", "other")
    daemon.good("pool", "create", "other", os.path.join(folder, "o.pool") + ":128M")
    refused(points, daemon, "another name", "pool", "import", disk)
    refused(points, daemon, "named tank already", "pool", "import", disk, "--name", "tank")
    refused(points, daemon, "must not start", "pool", "import", disk, "--name", ".x")
    plan = daemon.good("pool", "import", disk, "--name", "fresh", "--dry-run")
    points.point("would make pool fresh" in plan, "a dry run says the new name", plan)
    refused(points, daemon, "another name", "pool", "import", disk)
    daemon.good("pool", "import", disk, "--name", "fresh")
    said = daemon.good("pool", "rename", "fresh", "fast")
    points.point("named fast" in said, "a pool in use by nobody is renamed", said)
    refused(points, daemon, "mapped as LUNs", "pool", "rename", "tank", "slow")
    refused(points, daemon, "named tank already", "pool", "rename", "fast", "tank")
    daemon.stop(signal.SIGKILL)
    daemon.start()
    points.point({one["name"] for one in daemon.json("pool", "list")} == {"tank", "other", "fast"} and
                 [one["name"] for one in daemon.json("volume", "list") if one["pool"] == "fast"] == ["v"]
                 and daemon.json("pool", "check", "fast")["clean"],
                 "names last over a kill", daemon.json("pool", "list"))
    daemon.stop()
    os.rename(disk, disk + ".away")
    daemon.start()
    os.rename(disk + ".away", disk)
    refused(points, daemon, "known here as pool fast", "pool", "import", disk, "--name", "faster")
    daemon.good("pool", "import", disk)
    points.point([one["name"] for one in daemon.json("volume", "list") if one["pool"] == "fast"] == ["v"],
                 "one that was away comes back with its own")


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-devices-") as folder:
        daemon = pools.Daemon(os.path.join(folder, "state"))
        try:
            daemon.good("pool", "create", "tank", os.path.join(folder, "a.pool") + ":256M")
            adding(points, daemon, folder)
            growing(points, daemon, folder)
            whole(points, daemon, "added and grown")
            killed(points, daemon, folder)
            leaving(points, daemon, folder)
            named(points, daemon, folder)
        finally:
            points.point(daemon.stop() == 0, "clean stop")


if __name__ == "__main__":
    tap.run(test)
