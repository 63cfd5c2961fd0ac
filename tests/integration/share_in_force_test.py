#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=60 engines=both
"""When the answer to a change of a share's rules is here, the rules are in force, on connections
that were there before, too: also when the I/O loops get their processor late."""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "guest"), HERE]

import api               # pylint: disable=wrong-import-position
import ports             # pylint: disable=wrong-import-position
import rpc_client as rpc  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position

TURNS = 100
RULES = "/api/v1/shares/tank/docs/rules"
RULE = {"client": "127.0.0.1", "insecure": True}


def late(process):
    """The daemon's I/O loops get little beside whatever else wants to run, and two programs do."""
    loops = 0
    for task in os.listdir(f"/proc/{process.pid}/task"):
        with open(f"/proc/{process.pid}/task/{task}/comm", encoding="ascii") as file:
            if file.read().strip() in ("io0", "io1"):
                os.setpriority(os.PRIO_PROCESS, int(task), 15)
                loops += 1
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"], stdin=subprocess.DEVNULL)
            for _ in range(2)]
    return busy, loops


def test(points):
    with tempfile.TemporaryDirectory() as top:
        port = ports.free_port()
        options = ["--nfs-port", str(port)]
        if os.environ.get("GRANARY_IO_ENGINE"):
            options += ["--io-engine", os.environ["GRANARY_IO_ENGINE"]]
        node, busy = api.Daemon(os.path.join(top, "state"), *options), []
        try:
            node.good("POST", "/api/v1/shares", {"pool": "tank", "name": "docs"})
            node.good("POST", RULES, RULE)
            connections = [rpc.Connection(port) for _ in range(2)]
            points.point(all(rpc.mount(one, "/docs")[0] == 0 for one in connections),
                         "clients that a rule lets in")
            busy, loops = late(node.process)
            points.point(loops > 0, "the I/O loops are late", loops)
            wrong = 0
            for turn in range(TURNS):
                out = turn % 2 == 0
                node.good("DELETE" if out else "POST", RULES, {"client": "127.0.0.1"} if out else RULE)
                wrong += sum((rpc.mount(one, "/docs")[0] == 0) == out for one in connections)
            points.point(wrong == 0, "are shut out, and let in again, when the answer is here",
                         f"{wrong} of {4 * TURNS}")
            for one in connections:
                one.close()
        finally:
            for one in busy:
                one.kill()
                one.wait()
            points.point(node.stop() == 0, "stops cleanly")


if __name__ == "__main__":
    tap.run(test)
