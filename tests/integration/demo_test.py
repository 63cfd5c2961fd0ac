#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=200 engines=both
"""make run, as a newcomer types it: READY in time, the printed lines work, qemu-img gets a disk
image onto the LUN and back, a sparse LUN shows its holes, Ctrl-C is a clean stop, and the next
start finds everything again."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import server as daemon  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position

ROOT = os.path.dirname(os.path.dirname(HERE))
READY_MAX = 2.0      # seconds from the start of the built daemon
IMAGE = 96 << 20     # bytes of the disk image that travels
LUN = 20 << 30


class MakeRun:
    """make run in the foreground, with its output in a file."""

    def __init__(self, state, port, log):
        command = ["make", "--no-print-directory", "run", f"STATE={state}", "BIND=127.0.0.1",
                   f"ISCSI_PORT={port}", "WEB_PORT=0", f"BUILD={daemon.BUILD}"]
        self.log = log
        self.started = time.monotonic()
        with open(log, "wb") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL,
                                            stdout=output, stderr=subprocess.STDOUT,
                                            start_new_session=True)

    def text(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_ready(self, limit=90):
        """Seconds from the start of make to READY; None when it does not come."""
        while time.monotonic() - self.started < limit and self.process.poll() is None:
            if re.search(r"^READY\b", self.text(), re.M):
                return time.monotonic() - self.started
            time.sleep(0.02)
        return None

    def interrupt(self):
        """Ctrl-C: SIGINT to the whole foreground group; make's exit status."""
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait()

    def end(self):
        if self.process.poll() is None:
            self.interrupt()


def run(*command):
    """Output of a client; an exception with its words when it fails."""
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=180)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)}: {result.stdout}{result.stderr}")
    return result.stdout


def make_image(folder):
    """A real disk image: an ext4 file system with files in it, and holes."""
    tree = os.path.join(folder, "tree")
    os.makedirs(tree)
    for number in range(40):
        with open(os.path.join(tree, f"file{number}"), "wb") as file:
            file.write(os.urandom(64 << 10) * (1 + number % 5))
    image = os.path.join(folder, "disk.raw")
    run("mke2fs", "-q", "-t", "ext4", "-d", tree, image, f"{IMAGE >> 10}k")
    return image


def clients(points, port, folder):
    """The clients of the issue, on a fresh demo LUN."""
    portal = f"iscsi://127.0.0.1:{port}"
    url = f"{portal}/{daemon.DEMO_TARGET}/0"
    listed = run("iscsi-ls", "-s", portal)
    points.point(daemon.DEMO_TARGET in listed and "Lun:0" in listed, "iscsi-ls -s", listed)
    inquiry = run("iscsi-inq", url)
    points.point("DIRECT_ACCESS" in inquiry, "iscsi-inq", inquiry)
    capacity = run("iscsi-readcapacity16", url)
    points.point(str(LUN // 512 - 1) in capacity or str(LUN) in capacity, "iscsi-readcapacity16",
                 capacity)
    image = make_image(folder)
    run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, url)
    back = os.path.join(folder, "back.raw")
    run("qemu-img", "convert", "-f", "raw", "-O", "raw", url, back)
    with open(back, "rb+") as file:
        file.seek(0, os.SEEK_END)
        points.point(file.tell() == LUN, "qemu-img convert back: the size of the LUN")
        file.truncate(os.path.getsize(image))
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", image, back)
    points.point(True, "qemu-img compare: identical")
    run("e2fsck", "-fn", back)
    points.point(True, "e2fsck -fn on what came back")
    extents = json.loads(run("qemu-img", "map", "-f", "raw", "--output=json", url))
    data = sum(extent["length"] for extent in extents if extent["data"])
    points.point(0 < data < 2 * IMAGE and len(extents) > 1, "qemu-img map shows the holes",
                 f"{data} bytes of data in {len(extents)} extents")
    return back


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        state = os.path.join(folder, "state")
        port = daemon.free_port()
        first = MakeRun(state, port, os.path.join(folder, "first.log"))
        second = None
        try:
            ready = first.wait_ready()
            if not points.point(ready is not None, "make run prints READY", first.text()):
                return
            text = first.text()
            for word in ("iscsiadm", f"iscsi://127.0.0.1:{port}/{daemon.DEMO_TARGET}/0",
                         "xe sr-create", "pvesm add iscsi"):
                points.point(word in text, f"the lines to copy have {word}", text)
            scsi_id = re.search(r"SCSIid=(\S+)", text)
            points.point(bool(scsi_id) and bool(re.fullmatch(r"36[0-9a-f]{31}",
                                                             scsi_id.group(1).strip("'\""))),
                         "the SCSIid for XCP-ng is 3 + NAA-6", text)
            back = clients(points, port, folder)
            # make dies of the signal too, once the daemon is through.
            points.point(first.interrupt() in (0, 130, -signal.SIGINT) and
                         re.search(r"stopped$", first.text(), re.M), "Ctrl-C is a clean stop",
                         first.text())
            for number in range(3):  # one of them undisturbed by what else the machine does
                second = MakeRun(state, port, os.path.join(folder, f"second{number}.log"))
                ready = second.wait_ready()
                if ready is None or ready < READY_MAX + 2:
                    break
                second.interrupt()
            points.point(ready is not None and ready < READY_MAX + 2,
                         "the next start is quick (make included)", f"{ready} s")
            again = os.path.join(folder, "again.raw")
            run("qemu-img", "convert", "-f", "raw", "-O", "raw",
                f"iscsi://127.0.0.1:{port}/{daemon.DEMO_TARGET}/0", again)
            os.truncate(again, os.path.getsize(back))
            run("qemu-img", "compare", "-f", "raw", "-F", "raw", back, again)
            points.point(True, "and finds everything again")
        finally:
            first.end()
            if second:
                second.end()
        started = time.monotonic()
        server = daemon.Server(state, port=port)
        taken = server.started(started)
        server.stop()
        points.point(taken < READY_MAX, "the built daemon is READY within two seconds",
                     f"{taken:.2f} s")


if __name__ == "__main__":
    tap.run(test)
