#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=330 engines=one
"""What is done seldom, in a real browser (tests/browser/seldom.mjs): certificates of NFS over TLS, proof
of a pool's storage, a volume that moves to another pool, a device that has grown, a volume taken from
another gateway, an iSNS server, a first
image on a disk, which the other node then takes in. PICTURES=DIR keeps pictures."""

import os
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import browser  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position
from iscsi_client import Connection  # pylint: disable=wrong-import-position
from tls_client import make_certificates  # pylint: disable=wrong-import-position


IQN = "iqn.2026-11.org.granary:seldom"


def fill(daemon):
    """A volume with 8 MiB of data, and a pool that it can go to; a file that is a volume as it is."""
    daemon.good("POST", "/api/v1/pools", {"name": "far", "devices": [
        {"path": os.path.abspath(daemon.state) + "/far.pool", "size": "1G"}]})
    daemon.good("POST", "/api/v1/volumes", {"pool": "tank", "name": "vm", "size": "64M"})
    daemon.good("POST", "/api/v1/targets", {"iqn": IQN})
    daemon.good("POST", f"/api/v1/targets/{IQN}/luns", {"pool": "tank", "volume": "vm"})
    daemon.good("POST", f"/api/v1/targets/{IQN}/rules", {"network": "127.0.0.0/8"})
    with Connection("127.0.0.1", daemon.port) as host:
        host.login(IQN)
        host.command(bytes(6))  # the unit attention of a new session
        for at in range(32):
            host.write(at * 512, bytes([at + 1]) * (256 << 10))
    raw = os.path.join(os.path.dirname(os.path.abspath(daemon.state)), "raw.img")
    with open(raw, "wb") as file:
        file.truncate(16 << 20)
    daemon.good("POST", "/api/v1/volumes",
                {"pool": "passthrough", "name": "raw", "device": raw})


def take_in(points, other, path):
    """What the pages have written is a first image for the other node."""
    other.good("POST", "/api/v1/replica/seeds", {"path": path})
    limit = time.monotonic() + 60
    while (group := other.good("GET", "/api/v1/replica/groups/carried"))["seed"]["running"] and \
            time.monotonic() < limit:
        time.sleep(0.05)
    points.point(group["seed"]["state"] == "imported", "the other node takes the first image in", group)


def test(points):
    found = browser.needed()
    port = api.free_port()
    with tempfile.TemporaryDirectory() as folder:
        make_certificates(folder)
        with browser.daemon(points, os.path.join(folder, "state"), "--nfs-port",
                            str(api.free_port()), "--repl-port", str(api.free_port())) as daemon, \
                browser.daemon(points, os.path.join(folder, "other"), "--repl-port", str(port),
                               name="the other one") as other:
            fill(daemon)
            code = other.good("POST", "/api/v1/replica/code", {})["code"]
            browser.walk(points, found, daemon, "seldom.mjs", folder=folder,
                         peer={"address": f"127.0.0.1:{port}", "code": code})
            take_in(points, other, os.path.join(folder, "it.seed"))


if __name__ == "__main__":
    tap.run(test)
