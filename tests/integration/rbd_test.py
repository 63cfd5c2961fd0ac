#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=240 engines=one
"""RBD pools on a real Ceph cluster of one monitor and one OSD: the life of a pool and its volumes,
data and space, identity over restarts, what is refused, kill -9, and a cluster that hangs, dies,
is full, or is away when the daemon starts."""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))
sys.path.insert(0, HERE)

import ceph  # pylint: disable=wrong-import-position
import iscsi_client  # pylint: disable=wrong-import-position
import pools  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

MIB = 1 << 20
ABORT_TASK, FUNCTION_COMPLETE = 1, 0


def alert(daemon, rule):
    """Does it fire, for the pool?"""
    return [one for one in daemon.json("alert", "list")
            if one["rule"] == rule and one["object"] == "far" and one["state"] == "firing"]


def create_pool(daemon, cluster, name="far", *more):
    daemon.good("pool", "create", name, "--backend", "rbd", "--conf", cluster.conf,
                "--ceph-pool", "rbd", "--id", "granary", *more)


def life(points, daemon, cluster):
    """Pools and volumes through the command line."""
    create_pool(daemon, cluster)
    shown = daemon.json("pool", "show", "far")
    points.point(shown["state"] == "online" and shown["backend"] == "rbd", "an RBD pool is made",
                 shown)
    points.point(shown["features"] == ["snapshots", "gateways"] and "scrub" not in shown,
                 "it says what it can do of what not all can", shown)
    for rule in ("pool-waiting", "pool-full"):
        daemon.good("alert", "rule", "set", rule, "--after", "1s", "--clear-after", "1s")
    again = daemon.run("pool", "create", "other", "--backend", "rbd", "--conf", cluster.conf,
                       "--ceph-pool", "rbd", "--id", "granary", "--namespace", "nowhere")
    points.point(again.returncode == 1, "a namespace that is not there is an error", again.stderr)
    daemon.good("volume", "create", "far/a", "64M")
    daemon.good("volume", "resize", "far/a", "96M")
    daemon.good("volume", "rename", "far/a", "b")
    info = cluster.rbd("info", "rbd/b")
    points.point("96 MiB" in info and daemon.run("volume", "create", "far/b", "64M").returncode == 1,
                 "volumes are made, grow and are renamed; a name is taken once", info)
    refused = {
        "checksum": ("volume", "create", "far/x", "64M", "--checksum", "strict"),
        "reserve": ("volume", "create", "far/x", "64M", "--reserve", "32M"),
        "mirror": ("volume", "create", "far/x", "64M", "--mirror"),
        "devices": ("pool", "add", "far", f"{daemon.state}.more:64M"),
        "watermarks": ("pool", "set", "far", "--watermarks", "70,80,90"),
        "scrub": ("pool", "scrub", "far"),
        "check": ("pool", "check", "far"),
        "smaller": ("volume", "resize", "far/b", "64M"),
    }
    for what, words in refused.items():
        result = daemon.run(*words)
        points.point(result.returncode == 1 and len(result.stderr) > 30,
                     f"refused with a sentence: {what}", result.stderr)
    daemon.good("volume", "delete", "far/b", "--yes")
    points.point(cluster.rbd("ls", "rbd") == "", "a deleted volume's image is gone")
    cluster.rbd("create", "--size", "8M", "rbd/theirs")
    daemon.stop()
    daemon.start()
    points.point(daemon.json("volume", "list") == []
                 and daemon.run("volume", "create", "far/theirs", "64M").returncode == 1
                 and "theirs" in cluster.rbd("ls", "rbd"), "somebody else's image is left alone")


def volume(daemon, name):
    return [one for one in daemon.json("volume", "list") if one["name"] == name][0]


def data(points, daemon, cluster, folder):
    """What is written is there, for RBD's own tools too, and what is discarded takes no space."""
    daemon.serve("far/v", "256M")
    image = os.path.join(folder, "image.raw")
    content = os.urandom(24 * MIB)
    with open(image, "wb") as file:
        file.write(content)
        file.truncate(256 * MIB)
    good = pools.tool("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, daemon.url())
    same = pools.tool("qemu-img", "compare", "-f", "raw", "-F", "raw", image, daemon.url())
    points.point(good and same, "qemu-img convert and compare agree")
    out = os.path.join(folder, "exported.raw")
    cluster.rbd("export", "--no-progress", "rbd/v", out)
    with open(out, "rb") as file:
        seen = hashlib.sha256(file.read(24 * MIB)).digest()
    points.point(seen == hashlib.sha256(content).digest(), "rbd export reads the same")
    os.unlink(out)
    shown = subprocess.run(["qemu-img", "map", "--output=json", "-f", "raw", daemon.url()],
                           capture_output=True, text=True, timeout=60).stdout
    points.point('"length": 243269632, "depth": 0' in shown and '"zero": true' in shown,
                 "what was never written is unmapped", shown)
    used = pools.wait_for(lambda: volume(daemon, "v")["used_bytes"] == 24 * MIB)
    daemon.io("discard 8M 8M", "discard 20M 64k")
    less = pools.wait_for(lambda: volume(daemon, "v")["used_bytes"] == 16 * MIB)
    points.point(used and less, "used space is counted, and comes back by discard",
                 volume(daemon, "v"))
    good, text = daemon.io("read -P 0 8M 8M", "read -P 0 20M 64k")
    points.point(good and "verification failed" not in text, "what was discarded reads as zeros",
                 text)
    daemon.io("discard 4095k 2k")
    good, text = daemon.io("read -P 0 4095k 2k")
    points.point(good and "verification failed" not in text, "odd ends of a discard too", text)


def identity(points, daemon):
    before = volume(daemon, "v")
    daemon.write(30 * MIB, MIB, 0x77)
    daemon.stop(signal.SIGKILL)
    daemon.start()
    after = volume(daemon, "v")
    points.point(all(before[key] == after[key] for key in ("uuid", "naa", "serial", "size_bytes")),
                 "identity is the same after kill -9", (before, after))
    points.point(daemon.holds(30 * MIB, MIB, 0x77), "flushed data is there after kill -9")


def stalls(points, daemon, cluster):
    """The OSD hangs: other LUNs, logins and NOPs go on, an abort is answered, nothing is lost."""
    daemon.good("pool", "create", "near", f"{daemon.state}.pool:128M")
    daemon.serve("near/n", "32M", lun=1)
    with iscsi_client.Connection("127.0.0.1", daemon.port) as client:
        client.login(pools.IQN)
        client.command(bytes(6))  # takes the unit attention
        client.write(0, b"\x11" * 4096, lun=0)
        cluster.pause_osd()
        try:
            stuck = client.send_command(bytes([0x2a, 0, 0, 0, 0, 0, 0, 0, 8, 0]),
                                        data=b"\x22" * 4096, immediate=b"\x22" * 4096, lun=0)
            begin = time.monotonic()
            good, text = daemon.io("write -P 5 0 64k", "read -P 5 0 64k", lun=1)
            client.ping(b"still here")
            points.point(good and time.monotonic() - begin < 5,
                         "other LUNs, logins and NOPs go on while the OSD hangs", text)
            begin = time.monotonic()
            answer = client.task_management(ABORT_TASK, referenced=stuck, lun=0)
            took = time.monotonic() - begin
            points.point(answer == FUNCTION_COMPLETE and took < 5,
                         f"an abort is answered while the OSD hangs ({took:.2f} s)", answer)
            begin = time.monotonic()
            late = daemon.run("volume", "create", "far/late", "16M")
            points.point(late.returncode == 1 and "does not answer" in late.stderr
                         and time.monotonic() - begin < 30,
                         f"a change is answered too ({time.monotonic() - begin:.0f} s)", late.stderr)
            points.point(daemon.json("pool", "show", "far")["state"] == "waiting",
                         "the pool is shown as waiting")
            points.point(pools.wait_for(lambda: alert(daemon, "pool-waiting"), 30),
                         "an alert says that it waits", daemon.json("alert", "list"))
        finally:
            cluster.resume_osd()
        client.write(0, b"\x44" * 4096, lun=0)
        points.point(client.read(0, 8, lun=0) == b"\x44" * 4096,
                     "an aborted write does not come after a later one")
    points.point(pools.wait_for(lambda: daemon.json("pool", "show", "far")["state"] == "online"),
                 "the pool is online again")
    points.point(pools.wait_for(lambda: not alert(daemon, "pool-waiting"), 30), "the alert clears")


def restarts(points, daemon, cluster):
    """The OSD is killed under I/O; a write waits and is done when it is back."""
    with iscsi_client.Connection("127.0.0.1", daemon.port, timeout=60.0) as client:
        client.login(pools.IQN)
        client.command(bytes(6))  # takes the unit attention
        cluster.kill_osd()
        waiting = client.send_command(bytes([0x2a, 0, 0, 0, 0, 16, 0, 0, 8, 0]),
                                      data=b"\x55" * 4096, immediate=b"\x55" * 4096, lun=0)
        time.sleep(1)
        cluster.start_osd()
        reply = client.finish(waiting)
        points.point(reply.status == 0 and client.read(16, 8, lun=0) == b"\x55" * 4096,
                     "kill -9 of the OSD and back: a pause, no error", reply.status)


def full(points, daemon, cluster):
    """No space: 07h/27h at once, reads and discards go on, and writes when there is space."""
    places = iter(range(207 * MIB, 256 * MIB, 64 * 1024))

    def write():  # new space each time: what is there already may be written over
        return daemon.io(f"write -P 9 {next(places)} 64k")

    daemon.write(110 * MIB, 96 * MIB, 3)
    for kind, ratio in (("nearfull", "0.005"), ("backfillfull", "0.01"), ("full", "0.015")):
        cluster.ceph("osd", f"set-{kind}-ratio", ratio)
    text = pools.wait_for(lambda: "0x2707" in write()[1] and write()[1], 30)
    points.point(text and "DATA PROTECT" in text, "a full cluster is 07h/27h to a write", text)
    points.point(daemon.json("pool", "show", "far")["state"] == "full"
                 and daemon.holds(30 * MIB, MIB, 0x77), "the pool says so; reads go on")
    points.point(pools.wait_for(lambda: alert(daemon, "pool-full"), 30), "an alert says so, too",
                 daemon.json("alert", "list"))
    points.point(daemon.io("discard 110M 96M")[0], "and so do discards")
    cluster.ceph("osd", "set-full-ratio", "0.95")
    points.point(pools.wait_for(lambda: write()[0] and write()[0], 30)
                 and daemon.json("pool", "show", "far")["state"] == "online",
                 "with space again writes are done, and the pool is online")
    points.point(pools.wait_for(lambda: not alert(daemon, "pool-full"), 30), "the alert clears")


def away(points, daemon, cluster):
    """The whole cluster is away when the daemon starts, and comes later."""
    shown = volume(daemon, "v")
    daemon.stop()
    cluster.stop()
    begin = time.monotonic()
    daemon.start()
    took = time.monotonic() - begin
    pool = daemon.json("pool", "show", "far")
    points.point(took < 15 and pool["state"] == "waiting" and pool["reason"],
                 f"the daemon starts while the cluster is away ({took:.1f} s)", pool)
    points.point(daemon.holds(0, 4096, 5, lun=1), "and serves what is near")
    points.point(daemon.run("volume", "create", "far/x", "16M").returncode == 1,
                 "a volume can not be made meanwhile")
    cluster.start_mon()
    cluster.start_osd()
    back = pools.wait_for(lambda: daemon.json("pool", "show", "far")["state"] == "online", 30)
    points.point(back and volume(daemon, "v")["naa"] == shown["naa"]
                 and pools.wait_for(lambda: daemon.holds(30 * MIB, MIB, 0x77)),
                 "what is on it is served when it comes", daemon.log()[-2000:])


def test(points):
    with tempfile.TemporaryDirectory(dir=os.environ.get("GRANARY_TEST_TMP")) as folder:
        cluster = ceph.Ceph(os.path.join(folder, "ceph"))
        daemon = None
        try:
            daemon = pools.Daemon(os.path.join(folder, "state"))
            life(points, daemon, cluster)
            data(points, daemon, cluster, folder)
            identity(points, daemon)
            stalls(points, daemon, cluster)
            restarts(points, daemon, cluster)
            full(points, daemon, cluster)
            away(points, daemon, cluster)
            status = daemon.stop()
            points.point(status == 0, "the daemon ends well", daemon.log()[-2000:])
        finally:
            if daemon:
                daemon.stop()
            cluster.stop()


if __name__ == "__main__":
    tap.run(test)
