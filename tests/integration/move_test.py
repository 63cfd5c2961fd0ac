#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=200 engines=one asan
"""A volume moves from one pool to another and back while a host writes numbered records to it, and
the daemon is killed with -9 again and again: there is one volume of that name at any time, it holds
every record that was acknowledged, and hosts see the same LUN. GRANARY_KILLS: how many kills."""

import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))
sys.path.insert(0, HERE)

import iscsi_client  # pylint: disable=wrong-import-position
import pools  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position
from server import BUILD  # pylint: disable=wrong-import-position

MIB = 1 << 20
KILLS = int(os.environ.get("GRANARY_KILLS", "5"))
KEY = 0x4D4F5645
LIMIT = 60


class Load:
    """One host that writes numbered records and logs in again when it has to."""

    def __init__(self, daemon, folder):
        self.daemon = daemon
        self.log_path = os.path.join(folder, "records")
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [os.path.join(BUILD, "tests/integration/cut_load"), "follow",
             f"127.0.0.1:{self.daemon.port}", pools.IQN, "1", str(self.newest() + 1),
             self.log_path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)

    def newest(self):
        """Of those that were acknowledged."""
        try:
            with open(self.log_path, encoding="ascii") as file:
                whole = [line for line in file if line.endswith("\n")]
        except FileNotFoundError:
            return 0
        return int(whole[-1].split()[0]) if whole else 0

    def grows(self):
        before = self.newest()
        return pools.wait_for(lambda: self.newest() > before + 5, LIMIT)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def verify(self):
        """(Are all that were acknowledged there? what it says)"""
        result = subprocess.run(
            [os.path.join(BUILD, "tests/integration/cut_load"), "verify",
             f"127.0.0.1:{self.daemon.port}", pools.IQN, "1"], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=LIMIT)
        said = result.stdout.strip()
        return result.returncode == 0 and int(said) >= self.newest(), (said, self.newest())


def where(daemon, name="v"):
    """Pools that have a volume of this name or a part of one."""
    return [one["pool"] for one in daemon.json("volume", "list") if one["name"].startswith(name)]


def settled(daemon):
    """Nothing is on the move, and what was is gone from where it was."""
    return pools.wait_for(lambda: "is not on the move" in
                          daemon.good("volume", "move", "tank/v", "--status") and
                          "is not on the move" in
                          daemon.good("volume", "move", "other/v", "--status"), LIMIT)


def identity(daemon):
    volume = [one for one in daemon.json("volume", "list") if one["name"] == "v"]
    return [(one["naa"], one["serial"], one["uuid"]) for one in volume]


def designation(client):
    """VPD 80h and 83h as a host reads them."""
    pages = []
    for page in (0x80, 0x83):
        for _ in range(4):
            result = client.command(bytes([0x12, 1, page, 0, 255, 0]), expected=255)
            if result.status == 0:
                break
        pages.append(result.data)
    return pages


def register(client):
    data = struct.pack(">QQ", 0, KEY) + bytes([0, 0, 0, 0, 1, 0, 0, 0])  # APTPL
    cdb = struct.pack(">BBBHIB", 0x5F, 0, 0, 0, 24, 0)
    for _ in range(4):
        result = client.finish(client.send_command(cdb, data=data, immediate=data), data)
        if result.status == 0:
            return True
    return False


def keys(client):
    for _ in range(8):
        result = client.command(bytes([0x5E, 0, 0, 0, 0, 0, 0, 0, 255, 0]), expected=255)
        if result.status == 0:
            break
    return [value for (value,) in struct.iter_unpack(">Q", result.data[8:])]


def connect(daemon):
    client = iscsi_client.Connection("127.0.0.1", daemon.port, timeout=30.0)
    client.login(pools.IQN, "iqn.2026-11.org.example:witness")
    while client.command(bytes(6)).status:
        pass
    return client


def refused(points, daemon):
    def says(part, text, *words):
        result = daemon.run("volume", "move", *words)
        points.point(result.returncode == 1 and part in result.stderr, text, result.stderr)

    says("is in that pool already", "a move to where it is is refused", "tank/v", "tank")
    says("no pool named", "so is one to a pool that is not there", "tank/v", "nowhere")
    says("not on the move", "there is nothing to pause", "tank/v", "--pause")
    daemon.good("share", "create", "tank/files", "--quota", "32M")
    says("it is a share", "a share stays in its pool", "tank/files", "other")
    daemon.good("share", "delete", "tank/files", "--yes")
    daemon.good("volume", "create", "other/taken", "8M")
    daemon.good("volume", "create", "tank/taken", "8M")
    says("already a volume named", "the name may not be taken there", "tank/taken", "other")
    daemon.good("volume", "delete", "other/taken", "--yes")
    daemon.good("snapshot", "create", "tank/taken@monday")
    says("do not go along", "snapshots do not go along", "tank/taken", "other")
    daemon.good("snapshot", "hold", "tank/taken@monday")
    says("is held", "one that is held is not deleted by a move", "tank/taken", "other",
         "--without-snapshots")
    daemon.good("snapshot", "release", "tank/taken@monday")
    daemon.good("volume", "move", "tank/taken", "other", "--without-snapshots", "--wait")
    points.point(where(daemon, "taken") == ["other"] and
                 daemon.json("snapshot", "list", "other/taken") == [],
                 "--without-snapshots moves it without them")
    daemon.good("snapshot", "schedule", "create", "nightly", "other/taken", "--every", "1h",
                "--keep", "last=3")
    says("snapshot schedule nightly names it", "one with a schedule is refused", "other/taken",
         "tank")
    daemon.good("snapshot", "schedule", "delete", "nightly", "--yes")
    daemon.good("volume", "delete", "other/taken", "--yes")


def seen_from_outside(points, daemon, load):
    """A host is logged in all the time: nothing changes for it."""
    client = connect(daemon)
    before = designation(client), register(client), keys(client)
    known = identity(daemon)
    begin = time.monotonic()
    daemon.good("volume", "move", "tank/v", "other", "--wait")
    took = time.monotonic() - begin
    points.point(where(daemon) == ["other"] and identity(daemon) == known,
                 f"a volume moves ({took:.1f} s) and keeps NAA, serial number and UUID",
                 daemon.log()[-1500:])
    result = client.command(bytes(6))
    points.point(result.status == 0 and (designation(client), True, keys(client)) == before and
                 before[2] == [KEY],
                 "a session that was there all the time hears nothing of it; its reservation key "
                 "is there", (result.status, result.sense, keys(client), before[2]))
    client.close()
    luns = daemon.json("lun", "list", pools.IQN)
    points.point([lun["volume"] for lun in luns] == ["v"] and luns[0]["pool"] == "other",
                 "the LUN is in the other pool", luns)
    points.point(load.grows() and all(daemon.holds(at * MIB, MIB, byte) for at, byte in DATA),
                 "the host goes on, and what was there is there")


DATA = ((8, 0x11), (21, 0x22), (47, 0x33))


def killed(points, daemon, load, dice):
    """At any moment of a move there and back."""
    wrong, kills, cut = [], 0, 0
    while kills < KILLS:
        home = where(daemon)[0]
        away = "other" if home == "tank" else "tank"
        rate = ["--rate", "24M"] if kills % 2 == 0 else []
        result = daemon.run("volume", "move", f"{home}/v", away, *rate)
        if result.returncode:
            wrong.append(result.stderr)
            break
        time.sleep(dice.uniform(0.0, 1.2 if rate else 0.3))
        daemon.stop(signal.SIGKILL)
        kills += 1
        daemon.start()
        there = where(daemon)
        cut += there == [home]
        if len(there) != 1:
            wrong.append((kills, there))
        status = daemon.run("volume", "move", f"{home}/v", "--rate", "0")
        if status.returncode and "not on the move" not in status.stderr and \
                "already" not in status.stderr:
            wrong.append(status.stderr)
        if not settled(daemon) or where(daemon) != [away]:
            wrong.append((kills, where(daemon)))
            break
        if not load.grows():
            wrong.append((kills, "the host does not go on"))
            break
    points.point(not wrong, f"{kills} kills, {cut} of them before the switch: one volume each "
                 "time, and the move is brought to its end", f"{wrong}\n{daemon.log()[-2500:]}")


def given_up(points, daemon, load):
    home = where(daemon)[0]
    away = "other" if home == "tank" else "tank"
    daemon.good("volume", "move", f"{home}/v", away, "--rate", "1M")
    daemon.good("volume", "move", f"{home}/v", "--pause")
    shown = daemon.json("volume", "move", f"{home}/v", "--status")
    points.point(shown["state"] == "paused" and not shown["switched"] and
                 0 <= shown["progress"] < 1, "a move can be paused", shown)
    said = [daemon.run("volume", "resize", f"{home}/v", "128M"),
            daemon.run("volume", "delete", f"{home}/v", "--yes"),
            daemon.run("volume", "rename", f"{home}/v", "w"),
            daemon.run("snapshot", "create", f"{home}/v@now"),
            daemon.run("volume", "show", f"{away}/v.moving"),
            daemon.run("pool", "export", away, "--yes")]
    points.point(all(one.returncode == 1 for one in said) and
                 all("being moved" in one.stderr for one in said[:4]) and
                 "on its way" in said[5].stderr,
                 "meanwhile it is not resized, deleted, renamed or snapshot; its copy is nobody's "
                 "volume, its pools stay", [one.stderr for one in said])
    daemon.stop()
    daemon.start()
    shown = daemon.json("volume", "move", f"{home}/v", "--status")
    points.point(shown["state"] == "paused", "it is paused after a restart, too", shown)
    daemon.good("volume", "move", f"{home}/v", "--stop")
    points.point(settled(daemon) and where(daemon) == [home] and load.grows(),
                 "a move that is given up leaves the volume where it was")
    daemon.good("volume", "create", f"{away}/v.moving", "8M")
    daemon.good("volume", "delete", f"{away}/v.moving", "--yes")


def full(points, daemon):
    """No room in the other pool: it says so, and goes on when there is some."""
    daemon.good("pool", "create", "small", os.path.join(os.path.dirname(daemon.state),
                                                        "small:64M"))
    home = where(daemon)[0]
    daemon.good("volume", "create", "tank/big", "128M")
    daemon.good("lun", "map", pools.IQN, "tank/big", "--lun", "7")
    daemon.write(0, 100 * MIB, 0x77, lun=7)
    result = daemon.run("volume", "move", "tank/big", "small", "--wait")
    points.point(result.returncode == 1 and "No space" in result.stderr and
                 where(daemon, "big") == ["tank"] and daemon.holds(90 * MIB, MIB, 0x77, lun=7),
                 "a move without room is stuck and says why; guests go on", result.stderr)
    daemon.good("pool", "add", "small", os.path.join(os.path.dirname(daemon.state), "more:256M"))
    daemon.good("volume", "move", "tank/big", "--resume")
    points.point(pools.wait_for(lambda: where(daemon, "big") == ["small"], LIMIT) and
                 daemon.holds(0, 100 * MIB, 0x77, lun=7), "with room it goes on to the end",
                 daemon.log()[-1500:])
    return home


def test(points):
    dice = random.Random(int(os.environ.get("GRANARY_TEST_SEED", "1")))
    with tempfile.TemporaryDirectory(dir=os.environ.get("GRANARY_TEST_TMP")) as folder:
        daemon = pools.Daemon(os.path.join(folder, "state"))
        load = Load(daemon, folder)
        try:
            daemon.good("pool", "create", "tank", os.path.join(folder, "tank:512M"))
            daemon.good("pool", "create", "other", os.path.join(folder, "other:512M"))
            daemon.serve("tank/v", "64M")
            for at, byte in DATA:
                daemon.write(at * MIB, 4 * MIB, byte)
            load.start()
            points.point(load.grows(), "a host writes")
            refused(points, daemon)
            seen_from_outside(points, daemon, load)
            killed(points, daemon, load, dice)
            given_up(points, daemon, load)
            load.stop()
            good, said = load.verify()
            points.point(good, f"{load.newest()} numbered records, all there", said)
            points.point(all(daemon.holds(at * MIB, 4 * MIB, byte) for at, byte in DATA) and
                         daemon.holds(30 * MIB, 8 * MIB, 0), "and everything else")
            full(points, daemon)
            checks = [daemon.run("pool", "check", pool, "--data")
                      for pool in ("tank", "other", "small")]
            points.point(all(one.returncode == 0 for one in checks), "the pools are whole",
                         [one.stdout + one.stderr for one in checks])
            points.point(daemon.stop() == 0, "the daemon ends well", daemon.log()[-1500:])
        finally:
            load.stop()
            daemon.stop()


if __name__ == "__main__":
    tap.run(test)
