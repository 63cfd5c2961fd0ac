#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=both asan
"""Two initiators with four sessions each and every operation code at once (scsi_hammer.c), and two
more with two sessions of four connections each (mcs_hammer.c), while LUNs are taken away and come
back, grow, are reserved and cleared: the daemon lives, stops cleanly, and serves what is written
afterwards. HAMMER_SECONDS=N for longer, HAMMER_SEED=N."""

import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "guest"), HERE]

from iscsi_client import Connection  # pylint: disable=wrong-import-position
import server as daemon              # pylint: disable=wrong-import-position
import tap                           # pylint: disable=wrong-import-position

IQN = "iqn.2026-11.org.granary:hammer"
LUNS = 3
SECONDS = float(os.environ.get("HAMMER_SECONDS", "4"))
SEED = os.environ.get("HAMMER_SEED", "1")


def change(server, turn):
    """What an administrator does meanwhile; LUN 0 stays."""
    lun = 1 + turn % (LUNS - 1)
    server.granary("lun", "unmap", IQN, str(lun))
    if turn % 3 == 0:
        server.granary("volume", "resize", f"tank/v{lun}", f"{17 + turn // 3 % 1000}M")
    server.granary("lun", "map", IQN, f"tank/v{lun}", "--lun", str(lun))


def start(program, where, seconds, *more):
    return subprocess.Popen(
        [os.path.join(daemon.BUILD, "tests", "integration", program), *where, IQN, str(LUNS),
         str(seconds), SEED, *more],
        # What libiscsi does not free of an aborted command is not ours to look for.
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def dropped(server):
    """What the daemon says of connections that it ended itself."""
    return "".join(line for line in server.log().splitlines(True) if " dropped" in line)[-3000:]


def several_connections(points, server):
    """Alone: nobody resets the target, so no connection may be lost but those that are cut."""
    program = start("mcs_hammer", (server.address, str(server.port)), SECONDS / 2, "alone")
    try:
        output, _ = program.communicate(timeout=SECONDS / 2 + 90)
    finally:
        program.kill()
        program.wait()
    points.note(output.strip()[-300:])
    points.point(program.returncode == 0, "several connections a session: nothing is lost that was "
                 "not cut", output[-3000:] + dropped(server))


def hammer(points, server):
    sessions = start("scsi_hammer", (f"{server.address}:{server.port}",), SECONDS)
    connections = start("mcs_hammer", (server.address, str(server.port)), SECONDS)
    turns, end = 0, time.monotonic() + SECONDS
    try:
        while time.monotonic() < end and sessions.poll() is None:
            change(server, turns)
            turns += 1
            time.sleep(0.2)
        outputs = [program.communicate(timeout=90)[0] for program in (sessions, connections)]
    finally:
        for program in (sessions, connections):
            program.kill()
            program.wait()
    for output in outputs:
        points.note(output.strip()[-300:])
    points.point(sessions.returncode == 0, "all is answered in time", outputs[0][-3000:])
    points.point(connections.returncode == 0, "also over several connections", outputs[1][-3000:])
    points.point(turns > 0 and server.process.poll() is None, f"LUNs come and go, {turns} times")


def works(server):
    """Afterwards LUN 0 takes a write, whoever has reserved or sanitized it."""
    server.granary("lun", "release", IQN, "0", "--yes")
    with Connection(server.address, server.port, timeout=30) as connection:
        connection.login(IQN)
        limit = time.monotonic() + 30
        while connection.command(bytes(6)).status and time.monotonic() < limit:
            time.sleep(0.05)
        connection.write(64, b"w" * 4096)
        return connection.read(64, 8) == b"w" * 4096


def test(points):
    with tempfile.TemporaryDirectory() as state:
        server = daemon.Server(state)
        try:
            server.granary("target", "create", IQN)
            server.granary("target", "allow", IQN, "--initiator", "any",
                           "--network", "127.0.0.0/8")
            for lun in range(LUNS):
                server.granary("volume", "create", f"tank/v{lun}", "16M")
                server.granary("lun", "map", IQN, f"tank/v{lun}", "--lun", str(lun))
            several_connections(points, server)
            hammer(points, server)
            points.point(works(server), "it serves afterwards")
        finally:
            status = server.stop()
            log = server.log()
        points.point(status == 0, "clean stop", f"exit status {status}\n{log[-6000:]}")


if __name__ == "__main__":
    tap.run(test)
