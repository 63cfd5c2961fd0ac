# SPDX-License-Identifier: Apache-2.0
"""A Ceph cluster of one monitor and one OSD on loopback, for the tests of RBD pools: no manager,
no cephadm, BlueStore on a sparse file, cephx on. About five seconds and 120 MiB to start."""

import os
import shutil
import signal
import subprocess
import time
import uuid

from server import free_port, pause
from tap import Skip

TOOLS = ("ceph-mon", "ceph-osd", "ceph", "rbd", "rados", "ceph-authtool", "monmaptool")
START_LIMIT = 120

CONF = """[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{v2}/0,v1:127.0.0.1:{v1}/0]
keyring = {keyring}
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
run dir = {top}
log file =
log to stderr = false
err to stderr = true
admin socket =
crash dir = {top}
mon cluster log file =
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
mon warn on pool no redundancy = false
osd crush chooseleaf type = 0
ms bind ipv6 = false
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
mon data avail crit = 1
mon data avail warn = 2
mon osd down out interval = 600
osd max object name len = 256
osd max object namespace len = 64
fatal signal handlers = false

[mon]
mon data = {top}/mon
mon lease = 2
paxos propose interval = 0.1
mon osd adjust heartbeat grace = false

[osd]
osd data = {top}/osd
osd objectstore = bluestore
osd memory target = 939524096
osd memory cache min = 67108864
bluestore cache autotune = false
bluestore cache size = 33554432
bluestore block size = {size}
bluestore block path =
bluestore fsck on mount = false
bluestore prefer deferred size = 0
osd heartbeat grace = 20
osd op num shards = 1
osd op num threads per shard = 2
ms async op threads = 1
osd class load list = *
osd class default list = *
"""


def missing():
    """The tools that are not installed, "" when all are."""
    return " ".join(tool for tool in TOOLS if not shutil.which(tool))


class Ceph:
    """One monitor, one OSD, one pool "rbd" in the directory @top; stop() always."""

    def __init__(self, top, size=4 << 30, pools=("rbd",)):
        if missing():
            raise Skip(f"no Ceph here (not installed: {missing()})")
        self.top = os.path.abspath(top)
        self.conf = os.path.join(self.top, "ceph.conf")
        self.keyring = os.path.join(self.top, "keyring")
        self.pools = pools
        self.mon = self.osd = None
        os.makedirs(os.path.join(self.top, "mon"))
        os.makedirs(os.path.join(self.top, "osd"))
        try:
            self.make(size)
        except BaseException:
            self.stop()
            raise

    # ---- commands

    def environment(self):
        """Without the configuration of a cluster this machine may belong to."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("CEPH_")}
        return {**clean, "CEPH_CONF": self.conf}

    def run(self, *words, timeout=120):
        result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True,
                                env=self.environment(), timeout=timeout)
        if result.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {result.stderr.decode().strip()}")
        return result.stdout.decode()

    def ceph(self, *words):
        return self.run("ceph", "--connect-timeout", "30", *words)

    def rbd(self, *words, timeout=120):
        return self.run("rbd", *words, timeout=timeout)

    # ---- making

    def make(self, size):
        fsid = str(uuid.uuid4())
        with open(self.conf, "w", encoding="utf-8") as file:
            file.write(CONF.format(fsid=fsid, v1=free_port(), v2=free_port(), top=self.top,
                                   keyring=self.keyring, size=size))
        self.run("ceph-authtool", "--create-keyring", self.keyring, "--gen-key", "-n", "mon.",
                 "--cap", "mon", "allow *")
        self.run("ceph-authtool", self.keyring, "--gen-key", "-n", "client.admin",
                 "--cap", "mon", "allow *", "--cap", "osd", "allow *")
        self.run("ceph-authtool", self.keyring, "--gen-key", "-n", "client.granary",
                 "--cap", "mon", "profile rbd", "--cap", "osd", "profile rbd")
        self.run("ceph-authtool", self.keyring, "--gen-key", "-n", "osd.0",
                 "--cap", "mon", "allow profile osd", "--cap", "osd", "allow *")
        monmap = os.path.join(self.top, "monmap")
        with open(self.conf, encoding="utf-8") as file:
            address = [line for line in file if line.startswith("mon host")][0].split()[3]
        self.run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, monmap)
        self.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", self.keyring,
                 "-c", self.conf)
        self.start_mon()
        osd_uuid = str(uuid.uuid4())
        self.ceph("osd", "new", osd_uuid)
        self.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd_uuid, "-c", self.conf)
        self.start_osd()
        for pool in self.pools:
            self.ceph("osd", "pool", "create", pool, "8", "8")
            self.rbd("pool", "init", pool)

    def start(self, *command):
        with open(os.path.join(self.top, command[0] + ".log"), "ab") as log:
            return subprocess.Popen([*command, "-f", "-c", self.conf], stdin=subprocess.DEVNULL,
                                    stdout=log, stderr=log, env=self.environment())

    def start_mon(self):
        self.mon = self.start("ceph-mon", "-i", "a")

    def start_osd(self, wait=True):
        self.osd = self.start("ceph-osd", "-i", "0")
        limit = time.monotonic() + START_LIMIT
        while wait and "1 up" not in self.ceph("osd", "stat"):
            if self.osd.poll() is not None or time.monotonic() > limit:
                with open(os.path.join(self.top, "ceph-osd.log"), encoding="utf-8",
                          errors="replace") as log:
                    raise RuntimeError("the OSD did not get ready:\n" + log.read()[-2000:])
            time.sleep(0.1)

    # ---- faults

    def pause_osd(self):
        pause(self.osd.pid)

    def resume_osd(self):
        self.osd.send_signal(signal.SIGCONT)

    def kill_osd(self):
        self.osd.kill()
        self.osd.wait()

    def kill_mon(self):
        self.mon.kill()
        self.mon.wait()

    def stop(self):
        """SIGTERM, and SIGKILL for what does not end in time."""
        for process in (self.osd, self.mon):
            if not process or process.poll() is not None:
                continue
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
