#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=60 engines=both
"""What a host was told is written outlives the daemon's process, flushed or not: its next SYNCHRONIZE
CACHE is GOOD, and the host would never send again what the daemon had in its memory alone."""

import os
import random
import signal
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import iscsi_client  # pylint: disable=wrong-import-position
import pools  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

BLOCKS = 32 << 11  # of 512 bytes: 32 MiB
ROUNDS = 6


def connect(daemon):
    connection = iscsi_client.Connection("127.0.0.1", daemon.port)
    connection.login(daemon.iqn)
    for _ in range(3):
        if connection.command(bytes(16)).status == 0:  # what is to be told of the start
            break
    return connection


def unmap(connection, lba, blocks):
    parameters = (22).to_bytes(2, "big") + (16).to_bytes(2, "big") + bytes(4) + \
        lba.to_bytes(8, "big") + blocks.to_bytes(4, "big") + bytes(4)
    cdb = bytes([0x42]) + bytes(6) + len(parameters).to_bytes(2, "big") + bytes(1)
    return connection.command(cdb, data=parameters)


def writes(connection, chance, held):
    """@held: what each block has to be."""
    good = True
    for _ in range(100):
        count = chance.choice((1, 8, 8, 8, 16, 128))
        lba = chance.randrange(BLOCKS // count) * count
        if count >= 8 and chance.random() < 0.1:
            good &= unmap(connection, lba, count).status == 0
            data = bytes(512 * count)
        else:
            data = chance.randbytes(512 * count)
            connection.write(lba, data)
        for i in range(count):
            held[lba + i] = data[512 * i:512 * i + 512]
    return good


def lost(connection, held):
    return [lba for lba, data in held.items() if connection.read(lba, 1) != data]


def test(points):
    chance, held = random.Random(7), {}
    with tempfile.TemporaryDirectory(prefix="granary-written-") as folder:
        daemon = pools.Daemon(os.path.join(folder, "state"))
        try:
            daemon.good("pool", "create", "tank", os.path.join(folder, "a.pool") + ":256M")
            daemon.serve("tank/one", "32M")
            for turn in range(ROUNDS):
                with connect(daemon) as connection:
                    good = writes(connection, chance, held)
                    daemon.stop(signal.SIGKILL)
                daemon.start()
                with connect(daemon) as connection:
                    missing = lost(connection, held)
                points.point(good and not missing, f"killed for the {turn + 1}. time, nothing is lost",
                             (good, len(missing), missing[:10]))
                if turn == ROUNDS // 2:
                    daemon.good("snapshot", "create", "tank/one@then")
            check = daemon.json("pool", "check", "tank", "--data")
            points.point(check["clean"], "and the pool is clean", check)
        finally:
            points.point(daemon.stop() == 0, "clean stop")


if __name__ == "__main__":
    tap.run(test)
