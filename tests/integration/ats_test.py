#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=240 engines=both asan
"""The heartbeat of a cluster file system: 64 hosts with a session each want one block by COMPARE
AND WRITE, round after round (ats_hosts.c), while hosts are lost and the server is killed and
started again: one winner each round. GRANARY_ATS_ROUNDS=N, GRANARY_ATS_KILLS=N for more."""

import os
import queue
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import server as daemon  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position

QUICK = bool(os.environ.get("GRANARY_TEST_QUICK"))
ROUNDS = int(os.environ.get("GRANARY_ATS_ROUNDS", "500" if QUICK else "1500"))
KILLS = int(os.environ.get("GRANARY_ATS_KILLS", "1" if QUICK else "2"))
# In each so many rounds up to 8 hosts are lost; fewer of them in a long run, as a login takes
# longer than a round.
EVERY = 10 if ROUNDS <= 10000 else 50
HOSTS = 64
SILENCE = 300  # seconds without a line


class Hosts:
    """The program, and its lines as they come."""

    def __init__(self, server):
        self.process = subprocess.Popen(
            [os.path.join(daemon.BUILD, "tests", "integration", "ats_hosts"), server.address,
             str(server.port), daemon.DEMO_TARGET, "0", str(ROUNDS), str(EVERY)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.strip())
        self.lines.put(None)

    def line(self):
        """The next one; None at the end."""
        return self.lines.get(timeout=SILENCE)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.reader.join(10)


def start_again(server, state):
    server.process.kill()
    server.process.wait()
    return daemon.Server(state, port=server.port)


def test(points):
    kill_at = {ROUNDS * number // (KILLS + 1) // 100 * 100 for number in range(1, KILLS + 1)}
    with tempfile.TemporaryDirectory(prefix="granary-ats-") as state:
        server = daemon.Server(state)
        hosts = Hosts(server)
        began, said, killed = time.monotonic(), "", 0
        try:
            while (line := hosts.line()) is not None:
                said = line
                if not line.startswith("round "):
                    points.note(line)
                if line.startswith("round ") and int(line[6:]) in kill_at:
                    server = start_again(server, state)
                    killed += 1
            hosts.process.wait(30)
        finally:
            hosts.end()
            status = server.stop()
        points.note(f"in {time.monotonic() - began:.0f} s")
        points.point(hosts.process.returncode == 0 and said.startswith(f"{ROUNDS} rounds"),
                     f"{HOSTS} hosts, one block, {ROUNDS} rounds: one winner each", said)
        points.point(killed == len(kill_at) > 0, f"over {killed} kill -9 of the server")
        # A round that the kill cuts in two, and the next for those who had heard before.
        points.point(said.endswith(" outages") and int(said.split()[-2]) <= 2 * killed,
                     "and no session is lost for another reason", said)
        points.point(status == 0, "clean stop", f"exit status {status}")


if __name__ == "__main__":
    tap.run(test)
