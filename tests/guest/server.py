# SPDX-License-Identifier: Apache-2.0
"""The daemon under test, for the tests with real clients."""

import json
import os
import signal
import subprocess
import time

from ports import free_port

BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
DEMO_TARGET = "iqn.2026-11.org.granary:demo"
READY_LIMIT = 60
# rbd_suites_test.py: ceph.conf of a cluster; the suites run on RBD volumes instead of native ones.
CEPH = os.environ.get("GRANARY_TEST_CEPH")


def place_in_ceph():
    """Where a pool of a test's own is to be made there: options of pool create."""
    space = "t" + os.urandom(6).hex()
    subprocess.run(["rbd", "-c", CEPH, "namespace", "create", "rbd/" + space], check=True,
                   stdin=subprocess.DEVNULL, timeout=60)
    return ("--backend", "rbd", "--conf", CEPH, "--ceph-pool", "rbd", "--id", "granary",
            "--namespace", space)


def pause(pid):
    """SIGSTOP, and until each of its threads has: one that waits for a CPU goes on until it does."""
    def stopped(thread):
        with open(f"/proc/{pid}/task/{thread}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] in "TtZX"

    os.kill(pid, signal.SIGSTOP)
    limit = time.monotonic() + READY_LIMIT
    while not all(stopped(thread) for thread in os.listdir(f"/proc/{pid}/task")):
        if time.monotonic() > limit:
            raise TimeoutError(f"process {pid} does not stop")
        time.sleep(0.01)


class Server:
    """granaryd --demo on @address with its state in @state; stop() always, also after a failure.
    @more: further options. @inside: words before the command."""

    def __init__(self, state, address="127.0.0.1", port=None, nfs_port=0, more=(), inside=()):
        self.state = state
        self.address = address
        self.port = port or free_port()
        self.log_path = os.path.join(state, "daemon.log")
        os.makedirs(state, exist_ok=True)
        if CEPH and not os.path.exists(os.path.join(state, "config.db")):
            self.prepare_rbd()
        command = [*inside, os.path.join(BUILD, "granaryd"), "--demo", "--state", state, "--bind",
                   address, "--iscsi-port", str(self.port), "--nfs-port", str(nfs_port), *more]
        engine = os.environ.get("GRANARY_IO_ENGINE")
        if engine:
            command += ["--io-engine", engine]
        self.start(command)

    def prepare_rbd(self):
        """The demo's pool on an RBD namespace of its own; the demo takes what is there."""
        self.start([os.path.join(BUILD, "granaryd"), "--state", self.state, "--bind",
                    self.address, "--iscsi-port", str(free_port()), "--nfs-port", "0"])
        try:
            self.granary("pool", "create", "tank", *place_in_ceph())
        finally:
            self.stop()

    def start(self, command):
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT)
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def wait_ready(self):
        limit = time.monotonic() + READY_LIMIT
        while time.monotonic() < limit:
            if any(line.startswith("READY") for line in self.log().splitlines()):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError("granaryd did not get ready:\n" + self.log())

    def started(self, since):
        """Seconds from @since until now, but for those in which the daemon could have gone on and had
        no processor: other suites had them."""
        taken = time.monotonic() - since
        with open(f"/proc/{self.process.pid}/schedstat", encoding="ascii") as file:
            return taken - int(file.read().split()[1]) / 1e9

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def granary(self, *words):
        """Runs the CLI; a non-zero exit status is an exception with its stderr."""
        result = subprocess.run([os.path.join(BUILD, "granary"), "--state", self.state, *words],
                                stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        if result.returncode != 0:
            raise RuntimeError(f"granary {' '.join(words)}: {result.stderr.decode().strip()}")
        return result.stdout.decode()

    def status(self):
        return json.loads(self.granary("status", "-o", "json"))

    def url(self, lun=0):
        return f"iscsi://{self.address}:{self.port}/{DEMO_TARGET}/{lun}"

    def stop(self):
        """SIGTERM, and SIGKILL for a daemon that does not end in time; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()
