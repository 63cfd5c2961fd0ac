#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=90 engines=one asan
"""How long commands take: histograms of LUNs and initiators in the API and in /metrics (which
promtool finds nothing to say about), and slow commands with what they waited for."""

import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api                    # pylint: disable=wrong-import-position
import iscsi_client as iscsi  # pylint: disable=wrong-import-position
import tap                    # pylint: disable=wrong-import-position

V1 = "/api/v1"
IQN = "iqn.2026-11.org.granary:timed"
HOST = "iqn.2026-11.test:host-a"


def read_cdb(lba):
    return struct.pack(">BBIBHB", 0x28, 0, lba, 0, 1, 0)


def log_in(daemon):
    daemon.good("POST", f"{V1}/volumes", {"pool": "tank", "name": "timed", "size": "64M"})
    daemon.good("POST", f"{V1}/targets", {"iqn": IQN})
    daemon.good("POST", f"{V1}/targets/{IQN}/rules", {"initiator": HOST})
    daemon.good("POST", f"{V1}/targets/{IQN}/luns", {"pool": "tank", "volume": "timed"})
    client = iscsi.Connection("127.0.0.1", daemon.port, timeout=60).login(IQN, initiator=HOST)
    while client.command([0] * 6).status:
        pass
    return client


def series(text, name):
    """{labels: value} of the samples called @name."""
    return {match[1]: float(match[2])
            for match in re.finditer(rf"^{name}(?:\{{(.*)\}})? (\S+)$", text, re.M)}


def histograms(points, daemon, client):
    for lba in range(8):
        client.write(lba * 8, b"x" * 4096)
    for lba in range(5):
        client.command(read_cdb(lba), expected=512)
    for path in (f"{V1}/volumes/tank/timed/latency", f"{V1}/initiators/{HOST}/latency"):
        answer = daemon.good("GET", path)
        points.point(answer["read"]["count"] == 5 and answer["write"]["count"] == 8 and
                     sum(answer["write"]["buckets"]) == 8 and
                     answer["bounds_ns"] == sorted(answer["bounds_ns"]) and
                     len(answer["bounds_ns"]) + 1 == len(answer["read"]["buckets"]),
                     f"{path} has counted them", answer)
    text = daemon.good("GET", "/metrics")
    for name, label in (("granary_lun_command_duration_seconds", f'target="{IQN}",lun="0"'),
                        ("granary_initiator_command_duration_seconds", f'initiator="{HOST}"')):
        row = f'{label},operation="write"'
        bounds = [(float(match[1]), value) for labels, value in
                  series(text, name + "_bucket").items()
                  if labels.startswith(row) and (match := re.search(r'le="([^"]*)"', labels))]
        total = series(text, name + "_count")[row]
        points.point(total == 8 and bounds[-1] == (float("inf"), 8) and
                     bounds == sorted(bounds) and
                     [value for _, value in bounds] == sorted(value for _, value in bounds) and
                     series(text, name + "_sum")[row] > 0,
                     f"{name} is a histogram in seconds", bounds)
    return text


def promtool(points, text):
    """Debian's package prometheus has it."""
    program = shutil.which("promtool")
    if not program:
        points.note("there is no promtool here: the metrics are not checked with it")
        return
    done = subprocess.run([program, "check", "metrics"], input=text, capture_output=True,
                          text=True, timeout=60, check=False)
    points.point(done.returncode == 0 and not done.stdout and not done.stderr,
                 "promtool check metrics has nothing to say", done.stdout + done.stderr)


def slow_commands(points, daemon, client):
    first = daemon.good("GET", f"{V1}/slow")
    points.point(first["limit_ms"] == 500, "half a second is slow, unless it is said", first)
    for limit in ("0.5ms", "2h", "x", "-1s"):
        reply = daemon.call("PATCH", f"{V1}/slow", {"limit": limit})
        points.point(reply["status"] == 400, f"a limit of {limit} is refused", reply)
    said = daemon.granary("slow", "set", "50ms")
    points.point(said.returncode == 0, "granary slow set", said.stderr)
    # A limit on the volume: commands wait for their turn.
    daemon.good("PATCH", f"{V1}/volumes/tank/timed", {"iops": 4, "burst": "1s"})
    for lba in range(12):
        client.command(read_cdb(lba), expected=512)
    daemon.good("PATCH", f"{V1}/volumes/tank/timed", {"iops": 0})
    commands = daemon.good("GET", f"{V1}/slow")["commands"]
    queued = [one for one in commands if one["queue_ms"] > 50]
    points.point(queued and queued[0]["initiator"] == HOST and queued[0]["volume"] == "timed" and
                 queued[0]["command"] == queued[0]["operation"] == "READ(10)" and
                 queued[0]["protocol"] == "iscsi" and
                 queued[0]["number"] == max(one["number"] for one in queued),
                 "what a volume's limit holds back waits in the queue", commands[:3])
    points.point(all(abs(one["total_ms"] - sum(one[f"{part}_ms"] for part in
                                               ("initiator", "queue", "engine", "device",
                                                "share"))) < 0.01
                     for one in commands), "the parts make up the whole", commands[:3])
    daemon.good("PATCH", f"{V1}/slow", {"limit": "800ms"})
    late_data(client)
    last = daemon.good("GET", f"{V1}/slow")["commands"][0]
    points.point(last["command"] == "WRITE(10)" and last["initiator_ms"] >= 990 and
                 last["total_ms"] >= last["initiator_ms"],
                 "data that the host is late with is its own", last)
    told = daemon.granary("slow", "list").stdout
    points.point("WAITED FOR" in told and "WRITE(10)" in told and "initiator" in told,
                 "granary slow list", told[:500])


def late_data(client):
    """A WRITE whose data is asked for, and comes a second later."""
    cdb = struct.pack(">BBIBHB", 0x2A, 0, 0, 0, 1, 0)
    itt = client.send_command(cdb, data=b"y" * 512)
    ask = client.receive()
    while ask.opcode != iscsi.R2T:
        ask = client.receive()
    time.sleep(1)
    client.data_out(itt, ask.ttt, 0, b"y" * 512)
    client.finish(itt)


def kept(points, state):
    """The limit survives a restart."""
    daemon = api.Daemon(state, pool=False)
    try:
        points.point(daemon.good("GET", f"{V1}/slow")["limit_ms"] == 800,
                     "the limit is kept over a restart")
    finally:
        points.point(daemon.stop() == 0, "and stops cleanly again", daemon.log()[-2000:])


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        state = os.path.join(folder, "state")
        daemon = api.Daemon(state)
        client = None
        try:
            client = log_in(daemon)
            promtool(points, histograms(points, daemon, client))
            slow_commands(points, daemon, client)
        finally:
            if client:
                client.close()
            points.point(daemon.stop() == 0, "the daemon stops cleanly", daemon.log()[-2000:])
        kept(points, state)


if __name__ == "__main__":
    tap.run(test)
