# SPDX-License-Identifier: Apache-2.0
"""A daemon with pools and LUNs of the test's own, driven by the command line and by qemu-io (libiscsi)
as the initiator; several starts on one state."""

import json
import os
import signal
import subprocess
import time

from server import BUILD, CEPH, free_port, place_in_ceph

IQN = "iqn.2026-11.org.example:guard"


def tool(*words):
    """Did it end well?"""
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=120).returncode == 0


def wait_for(what, limit=60):
    """What @what() says as soon as it is true, at last whatever it says."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        value = what()
        if value:
            return value
        time.sleep(0.1)
    return what()


class Daemon:
    """granaryd on a free port of 127.0.0.1 with its state in @state."""

    iqn = IQN
    bind = "127.0.0.1"  # and ",GROUP"

    def __init__(self, state, *options):
        self.state = state
        self.port = self.choose_port()
        self.log_path = state + ".log"
        self.options = options
        self.process = None
        self.start()

    @staticmethod
    def choose_port():
        return free_port()

    def start(self):
        command = [os.path.join(BUILD, "granaryd"), "--state", self.state, "--bind", self.bind,
                   "--nfs-port", "0",
                   "--iscsi-port", str(self.port), *self.options]
        if os.environ.get("GRANARY_IO_ENGINE"):
            command += ["--io-engine", os.environ["GRANARY_IO_ENGINE"]]
        with open(self.log_path, "ab") as log:
            start = log.tell()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT)
        limit = time.monotonic() + 60
        while not any(line.startswith("READY") for line in self.log()[start:].splitlines()):
            if self.process.poll() is not None or time.monotonic() > limit:
                self.stop()
                raise RuntimeError("granaryd did not get ready:\n" + self.log()[-3000:])
            time.sleep(0.02)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def stop(self, how=signal.SIGTERM):
        """The exit status; 99 when a sanitizer build has complained."""
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if "Sanitizer" in self.log() or "runtime error" in self.log():
            return 99
        return self.process.returncode

    def run(self, *words):
        if CEPH and words[:2] == ("pool", "create") and "--backend" not in words:
            words = (*words[:3], *place_in_ceph())
        return subprocess.run([os.path.join(BUILD, "granary"), "--state", self.state, *words],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=120)

    def good(self, *words):
        result = self.run(*words)
        if result.returncode:
            raise RuntimeError(f"granary {' '.join(words)}: {result.stderr}")
        return result.stdout

    def json(self, *words):
        return json.loads(self.good(*words, "-o", "json"))

    def json_of(self, *words):
        """What it prints even when its verdict is bad."""
        return json.loads(self.run(*words, "-o", "json").stdout)

    def url(self, lun=0):
        return f"iscsi://127.0.0.1:{self.port}/{self.iqn}/{lun}"

    def serve(self, volume, size, *options, lun=0):
        """Creates a volume and maps it; the target is made with LUN 0."""
        self.good("volume", "create", volume, size, *options)
        if lun == 0:
            self.good("target", "create", self.iqn)
            self.good("target", "allow", self.iqn, "--network", "127.0.0.0/8")
        self.good("lun", "map", self.iqn, volume, "--lun", str(lun))

    def io(self, *commands, lun=0, options=()):
        """qemu-io on a LUN; (good, its words)."""
        words = ["qemu-io", "-f", "raw", *options, self.url(lun)]
        for command in commands:
            words += ["-c", command]
        result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                timeout=120)
        text = result.stdout + result.stderr
        return result.returncode == 0 and "failed" not in text, text

    def write(self, offset, length, byte, lun=0):
        good, text = self.io(f"write -P {byte} {offset} {length}", "flush", lun=lun)
        if not good:
            raise RuntimeError(f"write of {length} bytes at {offset}: {text}")

    def holds(self, offset, length, byte, lun=0):
        """Does the range hold @byte? None: it can not be read, or there is no such LUN."""
        good, text = self.io(f"read -P {byte} {offset} {length}", lun=lun, options=["-r"])
        if "Pattern verification failed" in text:
            return False
        return True if good else None
