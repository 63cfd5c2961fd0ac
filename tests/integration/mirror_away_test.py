#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=360 engines=one asan
"""A pool with mirrored volumes of which one device, a file that a FUSE server serves, goes away under
a writing initiator and comes back: mirrored LUNs go on, others fail with sense data and are there
again, what differs is made good, over kill -9; an import without the device wants consent. Once it
is the second device, and once the first, which has the journal."""

import os
import signal
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import iscsi_client as iscsi  # pylint: disable=wrong-import-position
import pools                  # pylint: disable=wrong-import-position
import tap                    # pylint: disable=wrong-import-position

MIB = 1 << 20
MIRRORED, PLAIN = 0, 1  # LUNs
LONG = 60               # seconds that something may take on a busy machine


class Device:
    """A pool file that can be pulled: the FUSE server it is on is killed."""

    def __init__(self, folder, name="b.pool"):
        self.path = os.path.join(folder, name)
        self.image = self.path + ".image"
        self.process = None
        with open(self.image, "wb") as file:
            file.truncate(256 * MIB)
        with open(self.path, "wb"):
            pass
        self.plug()

    def mounted(self):
        with open("/proc/mounts", encoding="utf-8") as mounts:
            return f" {self.path} fuse" in mounts.read()

    def plug(self):
        # the test holds its end: what is left of a broken run ends with it
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(os.path.dirname(HERE), "guest", "fuse_file.py"),
             self.image, self.path], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ready = pools.wait_for(lambda: self.mounted() or self.process.poll() is not None, LONG)
        if not ready or self.process.poll() is not None:
            raise tap.Skip("no FUSE here")

    def pull(self):
        self.process.kill()
        self.process.wait()
        subprocess.run(["umount", "-l", self.path], capture_output=True, timeout=20, check=False)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.mounted():
            subprocess.run(["umount", "-l", self.path], capture_output=True, timeout=20,
                           check=False)


def session(daemon, port_id):
    client = iscsi.Connection("127.0.0.1", daemon.port, timeout=LONG)
    client.isid = bytes([0x80, 0, 0, 0, 0, port_id])
    client.login(pools.IQN)
    for lun in (MIRRORED, PLAIN):
        while client.command(bytes(6), lun=lun).status:
            pass  # unit attentions
    return client


class Writer:
    """An initiator that writes to the mirrored LUN all the time, over its first 8 MiB and back."""

    def __init__(self, daemon):
        self.client = session(daemon, 1)
        self.written = 0
        self.trouble = ""
        self.ends = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def data(self, number):
        return number.to_bytes(8, "big") * 512

    def run(self):
        try:
            while not self.ends:
                place = self.written % 2048
                self.client.write(place * 8, self.data(self.written), lun=MIRRORED)
                self.written += 1
        except Exception as trouble:  # pylint: disable=broad-exception-caught
            self.trouble = repr(trouble)

    def more(self, count):
        """Until so many more are written."""
        until = self.written + count
        return pools.wait_for(lambda: self.written >= until or self.trouble, LONG) and \
            not self.trouble

    def end(self):
        """What was written is durable then: SYNCHRONIZE CACHE(10) of all."""
        self.ends = True
        self.thread.join(LONG)
        if self.client.command(bytes([0x35]) + bytes(9), lun=MIRRORED).status:
            self.trouble = self.trouble or "it can not be flushed"

    def holds(self):
        """Is everything there, as it was written last?"""
        good = True
        for place in range(min(2048, self.written)):
            last = self.written - 1 - (self.written - 1 - place) % 2048
            good &= self.client.read(place * 8, 8, lun=MIRRORED) == self.data(last)
        return good


def state(daemon):
    return daemon.json("pool", "show", "tank")["state"]


def device(daemon, path):
    details = daemon.json("pool", "show", "tank")["device_details"]
    return next((one for one in details if one["path"] == path), {})


def becomes(daemon, wanted):
    return pools.wait_for(lambda: state(daemon) == wanted, LONG)


def whole(points, daemon, what):
    """Both copies are good by their checksums."""
    online = becomes(daemon, "online")
    check = daemon.json("pool", "check", "tank", "--data")
    points.point(online and check["clean"], what, (state(daemon), check))


def furnish(daemon, path, there, first=False):
    """@first: it is the first device that goes away later."""
    daemon.good("pool", "create", "tank", there.path if first else path + ":256M")
    daemon.good("pool", "add", "tank", path + ":256M" if first else there.path)
    daemon.serve("tank/one", "64M", "--mirror")
    daemon.serve("tank/two", "96M", lun=PLAIN)
    daemon.write(16 * MIB, 32 * MIB, 0x11)
    daemon.write(0, 64 * MIB, 0x22, lun=PLAIN)


def plain(daemon):
    """Of each MiB of the LUN with one copy: is it what was written, or (None) an error?"""
    return {daemon.holds(at * MIB, MIB, 0x22, lun=PLAIN) for at in range(0, 64, 4)}


def refusal(daemon):
    """The sense keys of writes over the LUN with one copy."""
    client, keys = session(daemon, 2), set()
    for at in range(0, 64 * 2048, 2048):
        data = bytes([0x22]) * 4096
        answer = client.command(bytes([0x2A, 0]) + at.to_bytes(4, "big") + bytes([0, 0, 8, 0]),
                                data, lun=PLAIN)
        if answer.status == 2:
            keys.add(answer.key_asc_ascq[0])
    client.close()
    return keys


def pulled(points, daemon, there):
    writer = Writer(daemon)
    points.point(writer.more(200), "a writer is at it", writer.trouble)
    there.pull()
    points.point(writer.more(2500), "its device is pulled: it goes on", writer.trouble)
    points.point(becomes(daemon, "degraded"), "the pool is degraded", state(daemon))
    points.point(device(daemon, there.path).get("state") == "away", "and says which device is away",
                 device(daemon, there.path))
    points.point(pools.wait_for(lambda: [a for a in daemon.json("alert", "list")
                                         if a["rule"] == "pool-degraded"], LONG),
                 "an alert is raised")
    good = daemon.holds(16 * MIB, 32 * MIB, 0x11)
    points.point(good, "the mirrored LUN is read from the other device", good)
    seen, keys = plain(daemon), refusal(daemon)
    points.point(seen == {True, None} and keys and keys <= {3, 4},
                 "of the other LUN what is on the device fails with a medium or hardware error, the "
                 "rest is there", (seen, keys))
    daemon.good("volume", "create", "tank/three", "8M", "--mirror")
    daemon.good("snapshot", "create", "tank/one@degraded")
    points.point(writer.more(100), "volumes and snapshots are made meanwhile", writer.trouble)
    refused = daemon.run("pool", "add", "tank", there.path + ".other:128M")
    points.point(refused.returncode == 1 and "away" in refused.stderr, "devices are not added",
                 refused.stderr)
    writer.end()
    points.point(not writer.trouble and writer.holds(), "what was written is there", writer.trouble)
    writer.client.close()
    return writer


def killed(points, daemon, there, writer):
    daemon.stop(signal.SIGKILL)
    daemon.start()
    writer.client = session(daemon, 1)
    points.point(state(daemon) == "degraded" and writer.holds(),
                 "killed and started without the device it goes on, and nothing is lost",
                 state(daemon))
    failed = daemon.run("pool", "online", "tank")
    points.point(failed.returncode == 1 and state(daemon) == "degraded",
                 "what is not there is not taken back", failed.stderr)
    writer.client.close()
    there.plug()


def back(points, daemon, there, writer):
    daemon.good("pool", "online", "tank", there.path)
    daemon.stop(signal.SIGKILL)
    daemon.start()
    whole(points, daemon, "back, over a kill -9 of the daemon, all copies are good")
    writer.client = session(daemon, 1)
    points.point(writer.holds() and daemon.holds(16 * MIB, 32 * MIB, 0x11) and
                 plain(daemon) == {True}, "all LUNs are whole, also the one with one copy")
    writer.client.close()
    again = [line for line in daemon.log().splitlines() if "is good again" in line]
    words = again[-1].split(": ")[-1].split() if again else []
    points.point(len(words) > 2 and int(words[0]) < 24 <= 32 < int(words[2]),
                 "only what had changed was moved", again)
    points.point(pools.wait_for(lambda: not [a for a in daemon.json("alert", "list")
                                             if a["rule"] == "pool-degraded"], LONG),
                 "the alert has gone")


def consent(points, daemon, path, there):
    daemon.stop()
    there.pull()
    daemon.start()
    points.point(state(daemon) == "unavailable", "without a device the pool is not opened",
                 state(daemon))
    refused = daemon.run("pool", "import", path)
    points.point(refused.returncode == 1 and "missing" in refused.stderr, "nor imported",
                 refused.stderr)
    daemon.good("pool", "import", path, "--degraded")
    daemon.write(20 * MIB, MIB, 0x33)
    points.point(state(daemon) == "degraded" and daemon.holds(16 * MIB, 4 * MIB, 0x11),
                 "with consent it is, and served", state(daemon))
    there.plug()
    daemon.good("pool", "online", "tank", there.path, "--wait")
    whole(points, daemon, "the device is back and good")
    daemon.stop()
    daemon.start()
    points.point(state(daemon) == "online" and daemon.holds(20 * MIB, MIB, 0x33),
                 "a restart finds both devices")


def two_journals(daemon):
    """The pool could go on without either device. The second root that knows is under way, and a
    look at where the metadata is."""
    def ready():
        tank = daemon.json("pool", "show", "tank")
        return tank["journal_copies"] == 2 and not any(device["vital"]
                                                       for device in tank["device_details"])
    return pools.wait_for(ready, LONG)


def run(points, first):
    with tempfile.TemporaryDirectory(prefix="granary-away-") as folder:
        path = os.path.join(folder, "a.pool")
        there = Device(folder)
        try:
            daemon = pools.Daemon(os.path.join(folder, "state"))
            try:
                furnish(daemon, path, there, first)
                points.point(two_journals(daemon), "the %s device is to go; there are two journals"
                             % ("first" if first else "second"))
                writer = pulled(points, daemon, there)
                killed(points, daemon, there, writer)
                back(points, daemon, there, writer)
                consent(points, daemon, path, there)
            finally:
                points.point(daemon.stop() == 0, "clean stop")
        finally:
            there.end()


def split(points):
    """Each device by itself, by consent: they are not put together again without being asked."""
    with tempfile.TemporaryDirectory(prefix="granary-split-") as folder:
        paths = [os.path.join(folder, name + ".pool") for name in "ab"]
        daemon = pools.Daemon(os.path.join(folder, "state"))
        try:
            daemon.good("pool", "create", "tank", *[path + ":128M" for path in paths])
            daemon.serve("tank/one", "32M", "--mirror")
            daemon.write(0, MIB, 0x11)
            two_journals(daemon)
            for number, path in enumerate(paths):
                daemon.stop()
                hidden = paths[1 - number]
                os.rename(hidden, hidden + ".hidden")
                daemon.start()
                daemon.good("pool", "import", path, "--degraded")
                daemon.write(MIB, MIB, 0x21 + number)
                points.point(daemon.holds(0, MIB, 0x11) and daemon.holds(MIB, MIB, 0x21 + number),
                             f"device {number} by itself, with consent")
                daemon.stop()
                os.rename(hidden + ".hidden", hidden)
            os.rename(paths[1], paths[1] + ".hidden")  # or the start finds it
            daemon.start()
            os.rename(paths[1] + ".hidden", paths[1])
            refused = daemon.run("pool", "import", *paths)
            points.point(refused.returncode == 1 and "without each other" in refused.stderr,
                         "both together are refused", refused.stderr)
            daemon.good("pool", "import", paths[1])
            points.point(daemon.holds(MIB, MIB, 0x22), "one is imported")
            refused = daemon.run("pool", "online", "tank", paths[0])
            points.point(refused.returncode == 1 and "gone on" in refused.stderr,
                         "the other one is not taken back", refused.stderr)
            daemon.good("pool", "replace", "tank", "missing", paths[0], "--force", "--yes")
            whole(points, daemon, "but as a new device it is")
            points.point(daemon.holds(MIB, MIB, 0x22), "and the data is that of the one")
        finally:
            points.point(daemon.stop() == 0, "clean stop")


def test(points):
    run(points, False)
    run(points, True)
    split(points)


if __name__ == "__main__":
    tap.run(test)
