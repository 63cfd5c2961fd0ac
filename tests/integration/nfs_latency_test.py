#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=90 asan
"""What is told of NFS: how many requests, bytes and how long, by share, by host and by operation, in
the API, on the command line, in /metrics and in the load of the machine."""

import os
import re
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api               # pylint: disable=wrong-import-position
import nfs41_wire_test as nfs41  # pylint: disable=wrong-import-position
import rpc_client as rpc  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position
from latency_test import promtool, series  # pylint: disable=wrong-import-position
from rpc_client import opaque, u32  # pylint: disable=wrong-import-position

V1, HOST = "/api/v1", "127.0.0.1"
KIB = 1 << 10
NOENT = 2


def wait(what, limit=30.0):
    end = time.monotonic() + limit
    while not (value := what()) and time.monotonic() < end:
        time.sleep(0.05)
    return value


def counts(tally):
    return {name: tally[name]["count"] for name in ("read", "write", "commit", "other")}


def set_up(daemon):
    for name in ("vms", "idle"):
        daemon.good("POST", f"{V1}/shares", {"pool": "tank", "name": name})
        daemon.good("POST", f"{V1}/shares/tank/{name}/rules",
                    {"client": HOST, "insecure": True, "squash": "none"})
    return int(re.search(r"^READY .*nfs=(\d+)", daemon.log(), re.M).group(1))


def over_v3(port):
    """Three writes of 8 KiB, two reads of 4 KiB, one of what there is not behind the end of the file,
    a COMMIT, and a name that is looked for in vain."""
    with rpc.Connection(port) as connection:
        _, root = rpc.mount(connection, "/vms")
        nfs = rpc.Nfs3(connection)
        file = nfs.create(root, "disk").handle
        for at in range(3):
            nfs.write(file, at * 8 * KIB, b"3" * 8 * KIB, stable=0)
        nfs.commit(file)
        for at in range(2):
            nfs.read(file, at * 4 * KIB, 4 * KIB)
        nfs.read(file, 1 << 20, 4 * KIB)
        assert nfs.lookup(root, "nothing").status == NOENT
        nfs.null()


def over_v4(port):
    """In one compound: a name, two reads."""
    with rpc.Connection(port) as connection:
        client = nfs41.Client(connection, b"counted")
        root = client.walk("vms")
        file, state = client.open(root, "disk4", how=nfs41.UNCHECKED)
        client.write(file, state, 0, b"4" * 6 * KIB)
        read = u32(25) + state + rpc.u64(0) + u32(KIB)
        client.ops(nfs41.putfh(file), read, read).good(22)
        client.ops(nfs41.putfh(root), u32(15) + opaque("nothing"))
        client.close(file, state)


def after_v3(points, daemon, took):
    told = daemon.good("GET", f"{V1}/shares/tank/vms/latency")
    # CREATE, LOOKUP; what MOUNT asks for is no operation of NFS.
    points.point(counts(told) == {"read": 3, "write": 3, "commit": 1, "other": 2} and
                 (told["read_bytes"], told["write_bytes"]) == (8 * KIB, 24 * KIB),
                 "a share's requests and bytes over NFSv3", told)
    points.point(all(sum(told[name]["buckets"]) == told[name]["count"] and
                     len(told["bounds_ns"]) + 1 == len(told[name]["buckets"])
                     for name in counts(told)) and
                 0 < sum(told[name]["sum_ns"] for name in counts(told)) < took * 1e9 and
                 told["bounds_ns"] == sorted(told["bounds_ns"]),
                 "are each in a bucket, and took no longer than all", (told, took))
    idle = daemon.good("GET", f"{V1}/shares/tank/idle/latency")
    points.point(set(counts(idle).values()) == {0} and idle["write_bytes"] == 0,
                 "and not in another share's", idle)
    points.point(daemon.call("GET", f"{V1}/shares/tank/none/latency")["status"] == 404,
                 "a share that is not there")
    operations = {(one["version"], one["operation"]): one
                  for one in daemon.good("GET", f"{V1}/nfs-operations")}
    points.point([operations["3", name]["count"] for name in
                  ("WRITE", "READ", "COMMIT", "CREATE", "LOOKUP", "NULL")] == [3, 3, 1, 1, 1, 1]
                 and operations["3", "LOOKUP"]["errors"] == 1 and
                 operations["3", "READ"]["errors"] == 0 and set(operations) == {
                     ("3", name) for name in
                     ("WRITE", "READ", "COMMIT", "CREATE", "LOOKUP", "NULL")},
                 "operations of NFSv3, and who looks for what is not there", operations)
    return told


def after_v4(points, daemon, before):
    told = daemon.good("GET", f"{V1}/shares/tank/vms/latency")
    # LOOKUP of the share is one about the root of all; OPEN, LOOKUP, CLOSE.
    points.point(counts(told) == {"read": 5, "write": 4, "commit": 1,
                                  "other": counts(before)["other"] + 4} and
                 (told["read_bytes"], told["write_bytes"]) == (10 * KIB, 30 * KIB),
                 "a share's requests and bytes over NFSv4.1, two reads of one COMPOUND", told)
    operations = {(one["version"], one["operation"]): one
                  for one in daemon.good("GET", f"{V1}/nfs-operations")}
    points.point(operations["4.1", "READ"]["count"] == 2 and
                 operations["4.1", "OPEN"]["count"] == 1 and
                 operations["4.1", "LOOKUP"]["errors"] == 1 and
                 operations["4.1", "SEQUENCE"]["count"] >= 7 and
                 ("4.0", "READ") not in operations and ("4.2", "READ") not in operations,
                 "operations of NFSv4.1", operations)
    host = wait(lambda: [one for one in daemon.good("GET", f"{V1}/nfs-hosts")
                         if one["read_bytes"] == 10 * KIB])
    points.point(len(host) == 1 and host[0]["address"] == HOST and host[0]["reads"] == 5 and
                 host[0]["writes"] == 4 and host[0]["write_bytes"] == 30 * KIB and
                 host[0]["commits"] == 1, "the host, though its connections are gone", host)
    one = daemon.good("GET", f"{V1}/nfs-hosts/{HOST}/latency")
    points.point(counts(one)["read"] == 5 and one["write_bytes"] == 30 * KIB,
                 "and its latency", one)
    none = daemon.good("GET", f"{V1}/nfs-hosts/10.1.2.3/latency")
    points.point(set(counts(none).values()) == {0}, "a host that never came", none)
    return told


def on_metrics(points, daemon):
    text = daemon.good("GET", "/metrics")
    for name, row, total in (
            ("granary_share_request_duration_seconds", 'share="/vms",operation="read"', 5),
            ("granary_nfs_host_request_duration_seconds", f'host="{HOST}",operation="write"', 4),
            ("granary_nfs_operation_duration_seconds", 'version="3",operation="WRITE"', 3)):
        bounds = [(float(match[1]), value) for labels, value in
                  series(text, name + "_bucket").items()
                  if labels.startswith(row) and (match := re.search(r'le="([^"]*)"', labels))]
        points.point(series(text, name + "_count")[row] == total and
                     bounds[-1] == (float("inf"), total) and bounds == sorted(bounds) and
                     [value for _, value in bounds] == sorted(value for _, value in bounds),
                     f"{name} is a histogram", bounds)
    points.point(series(text, "granary_share_read_bytes_total") ==
                 {'share="/vms"': 10 * KIB, 'share="/idle"': 0} and
                 series(text, "granary_nfs_host_written_bytes_total") ==
                 {f'host="{HOST}"': 30 * KIB} and
                 series(text, "granary_nfs_operation_errors_total")
                 ['version="3",operation="LOOKUP"'] == 1, "bytes and errors", text[-3000:])
    promtool(points, text)


def on_command_line(points, daemon):
    hosts, operations = (daemon.granary("share", verb).stdout for verb in ("hosts", "operations"))
    points.point(re.search(rf"^{HOST} +5 +10 KiB +[0-9.]+ +[0-9.]+ +4 +30 KiB ", hosts, re.M), "granary share hosts", hosts)
    points.point(re.search(r"^3 +LOOKUP +1 +1 ", operations, re.M), "granary share operations",
                 operations)


def load(points, daemon, port):
    """The dashboard's: a box that serves NFS alone is not idle."""
    seen = []

    def busy():
        with rpc.Connection(port) as connection:
            _, root = rpc.mount(connection, "/vms")
            nfs = rpc.Nfs3(connection)
            file = nfs.lookup(root, "disk").handle
            nfs.write(file, 0, b"5" * 256 * KIB)
            nfs.read(file, 0, 256 * KIB)
        told = daemon.good("GET", f"{V1}/performance")
        seen[:] = told["samples"]
        return any(min(sample[1:]) > 0 for sample in seen)

    points.point(wait(busy), "reads and writes over NFS are in the load of the machine", seen[-5:])


def rules_change(points, daemon, before):
    daemon.good("POST", f"{V1}/shares/tank/vms/rules", {"client": "10.9.0.0/16"})
    told = daemon.good("GET", f"{V1}/shares/tank/vms/latency")
    points.point(counts(told) == counts(before), "a new rule forgets nothing", told)


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        daemon = api.Daemon(os.path.join(folder, "state"))
        try:
            port = set_up(daemon)
            began = time.monotonic()
            over_v3(port)
            told = after_v3(points, daemon, time.monotonic() - began)
            over_v4(port)
            told = after_v4(points, daemon, told)
            rules_change(points, daemon, told)
            on_metrics(points, daemon)
            on_command_line(points, daemon)
            load(points, daemon, port)
        finally:
            points.point(daemon.stop() == 0, "the daemon stops cleanly", daemon.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)
