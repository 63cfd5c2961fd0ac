#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=240 engines=one asan=never
"""A guest boots Linux from a disk that is a file on a share, through QEMU's own NFS driver (libnfs),
writes numbered and summed records, and is live-migrated to a second QEMU and back, as
guest_boot_test.py does it with a LUN."""

import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import uml                                   # pylint: disable=wrong-import-position
from guest_boot_test import check_lun, debian_kernel, live  # pylint: disable=wrong-import-position
from server import Server                    # pylint: disable=wrong-import-position
from tap import Skip, run                    # pylint: disable=wrong-import-position

IMAGE = "/files/guest.raw"


def test(tap):
    for program in ("qemu-system-x86_64", "qemu-img", "mke2fs", "debugfs", "apt-get"):
        if not shutil.which(program):
            raise Skip(f"no {program}")
    uml.needs()
    debian_kernel()  # there is no way out of the namespace to load it by
    uml.enter()  # libnfs asks port 111 where MOUNT is: it has to be ours
    folder = tempfile.mkdtemp(prefix="granary-guest-nfs-")
    server, machines = None, []
    try:
        server = Server(os.path.join(folder, "state"), uml.SERVER, nfs_port=2049)
        server.granary("share", "allow", "tank/files", "--client", uml.SERVER, "--no-root-squash",
                       "--insecure")
        url = f"nfs://{uml.SERVER}{IMAGE}"
        made = subprocess.run(["qemu-img", "create", "-q", "-f", "raw", url, "128M"],
                              capture_output=True, text=True, timeout=60)
        if not tap.point(made.returncode == 0, "a file for the disk", made.stderr):
            return
        live(tap, folder, url, machines)
        for machine in machines:
            machine.stop()
        if len(machines) == 3:
            check_lun(tap, folder, url, machines)
        tap.point(server.stop() == 0, "the daemon stops cleanly", server.log()[-3000:])
    finally:
        for machine in machines:
            machine.stop()
        if server:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    run(test)
