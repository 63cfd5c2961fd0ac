#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: engines=one timeout=120
"""What goes wrong with the state directory or a pool's disk, and is no reason to be shut out: a full
file system, a disk that is missing, a configuration that is damaged or no database at all. What is
wrong is said, the rest is served, and it is mended without anything but the command line."""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import pools  # pylint: disable=wrong-import-position
import tap    # pylint: disable=wrong-import-position

MIB = 1 << 20


def fill(path):
    """Until not a byte more goes in."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for size in (4096, 1):
            try:
                while os.write(file, bytes(size)):
                    pass
            except OSError:
                continue
    finally:
        os.close(file)


def full(points, daemon):
    """The state's file system: what is served goes on, also after a restart."""
    filler = os.path.join(daemon.state, "filler")
    fill(filler)
    done = daemon.run("lun", "map", pools.IQN, "tank/b", "--lun", "1")
    points.point(done.returncode == 1 and "no space" in done.stderr,
                 "full state: a change is refused with a sentence", done.stderr)
    daemon.write(MIB, MIB, 0x22)
    daemon.stop()
    daemon.start()
    points.point(daemon.holds(MIB, MIB, 0x22) and len(daemon.json("target", "list")) == 1,
                 "the daemon starts and serves what is configured")
    os.unlink(filler)
    done = daemon.run("lun", "map", pools.IQN, "tank/b", "--lun", "1")
    points.point(done.returncode == 0 and daemon.holds(0, MIB, 0, lun=1),
                 "with space again it is done", done.stderr)


def on_small_file_system(points, folder):
    state = os.path.join(folder, "small")
    os.mkdir(state)
    mounted = os.getuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", state], check=False,
        capture_output=True).returncode == 0
    if not mounted:
        points.point(True, "a full state # SKIP no file system can be mounted here")
        return
    daemon = None
    try:
        daemon = pools.Daemon(state)
        daemon.good("pool", "create", "tank", os.path.join(folder, "small.pool:256M"))
        daemon.serve("tank/a", "64M")
        daemon.good("volume", "create", "tank/b", "64M")
        full(points, daemon)
    finally:
        if daemon:
            daemon.stop()
        subprocess.run(["umount", "-l", state], check=False)


def missing(points, daemon, folder):
    """The disk of one pool of two."""
    away = os.path.join(folder, "away.pool")
    daemon.good("pool", "create", "away", f"{away}:128M")
    daemon.good("volume", "create", "away/v", "32M")
    daemon.good("lun", "map", pools.IQN, "away/v", "--lun", "1")
    daemon.write(0, MIB, 0x33, lun=1)
    daemon.stop()
    os.rename(away, away + ".hidden")
    daemon.start()
    shown = daemon.json("pool", "show", "away")
    points.point(shown["state"] == "unavailable" and away in shown["reason"],
                 "missing disk: the pool says which", shown)
    points.point(daemon.holds(0, MIB, 0x11), "the other pool's LUN is served")
    daemon.stop()
    os.rename(away + ".hidden", away)
    daemon.start()
    points.point(daemon.holds(0, MIB, 0x33, lun=1), "with its disk back all is as it was")


def starts(daemon):
    try:
        daemon.start()
    except RuntimeError:
        return False
    return True


def damaged(points, daemon, folder):
    """The configuration, in two ways; from a backup, and without one."""
    config, failure = (os.path.join(daemon.state, name) for name in ("config.db", "failure"))
    phrase, backup = os.path.join(folder, "phrase"), os.path.join(folder, "backup")
    with open(phrase, "w", encoding="ascii") as file:
        file.write("correct horse\n")
    daemon.good("config", "backup", backup, "--passphrase-file", phrase)
    daemon.stop()
    with open(config, "rb") as file:
        whole = file.read()
    for what, data in (("no database", os.urandom(len(whole))),
                       ("half of it", whole[:len(whole) // 2])):
        with open(config, "wb") as file:
            file.write(data)
        started = starts(daemon)
        with open(failure, encoding="utf-8") as file:
            why = file.read()
        points.point(not started and config in why and why in daemon.log(),
                     f"damaged configuration ({what}): said on stderr and for the console", why)
    daemon.good("config", "restore", backup, "--passphrase-file", phrase, "--yes")
    points.point(starts(daemon) and not os.path.exists(failure) and daemon.holds(0, MIB, 0x11),
                 "a restored backup serves as before")
    daemon.stop()
    with open(config, "wb") as file:
        file.write(os.urandom(4096))
    daemon.good("config", "reset", "--yes")
    points.point(starts(daemon) and daemon.json("pool", "list") == [],
                 "without a backup a reset makes it start")
    daemon.good("pool", "import", os.path.join(folder, "tank.pool"))
    daemon.good("target", "create", pools.IQN)
    daemon.good("target", "allow", pools.IQN, "--network", "127.0.0.0/8")
    daemon.good("lun", "map", pools.IQN, "tank/a", "--lun", "0")
    points.point(daemon.holds(0, MIB, 0x11), "and the imported pool has its data")


def test(points):
    with tempfile.TemporaryDirectory(dir=os.environ.get("GRANARY_TEST_TMP")) as folder:
        on_small_file_system(points, folder)
        daemon = pools.Daemon(os.path.join(folder, "state"))
        try:
            daemon.good("pool", "create", "tank", os.path.join(folder, "tank.pool:256M"))
            daemon.serve("tank/a", "64M")
            daemon.write(0, MIB, 0x11)
            missing(points, daemon, folder)
            damaged(points, daemon, folder)
        finally:
            points.point(daemon.stop() == 0, "the daemon ends well", daemon.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)
