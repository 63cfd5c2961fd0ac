#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=150 engines=both asan
"""Persistent reservations through the real daemon: nodes of a cluster that arbitrate for a disk
as Windows' do, over lost sessions and a server that is killed; PREEMPT AND ABORT against a command
whose data is still on its way; what the administrator sees and clears."""

import json
import os
import random
import struct
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import iscsi_client as iscsi  # pylint: disable=wrong-import-position
import server as daemon       # pylint: disable=wrong-import-position
import tap                    # pylint: disable=wrong-import-position

REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, IGNORE, MOVE = range(8)
WRITE_EXCLUSIVE_REGISTRANTS = 5
GOOD, CHECK, CONFLICT = 0, 2, 0x18
APTPL = 1
NODES = 4
ROUNDS = int(os.environ.get("GRANARY_ARBITRATIONS", "60"))


class Node:
    """A host of the cluster: one initiator port, its key, a session or none."""

    def __init__(self, server, number):
        self.server, self.number, self.client = server, number, None
        self.key = 0xC1D5000000000000 | number

    def connect(self):
        self.lose()
        self.client = iscsi.Connection(self.server.address, self.server.port)
        self.client.isid = bytes([0x80, 0, 0, 0, 0, self.number])
        self.client.login(daemon.DEMO_TARGET, f"iqn.2026-11.org.granary:node{self.number}")
        self.hear()

    def hear(self):
        """Reads the pending unit attentions; their ASC and ASCQ."""
        heard = []
        while (result := self.client.command([0] * 6)).status == CHECK:
            heard.append(result.key_asc_ascq[1:])
        return heard

    def lose(self):
        if self.client:
            self.client.close()
            self.client = None

    @staticmethod
    def out_cdb(action, kind=0, length=24):
        return struct.pack(">BBBHIB", 0x5F, action, kind, 0, length, 0)

    def send(self, action, kind=0, key=None, action_key=0, flags=0):
        data = struct.pack(">QQIBBH", self.key if key is None else key, action_key, 0, flags, 0, 0)
        return self.client.send_command(self.out_cdb(action, kind), data, immediate=data)

    def out(self, action, kind=0, key=None, action_key=0, flags=0):
        """Status of a PERSISTENT RESERVE OUT; unit attentions before it are read."""
        while True:
            result = self.client.finish(self.send(action, kind, key, action_key, flags))
            if result.status != CHECK or result.key_asc_ascq[0] != 6:
                return result.status

    def read_in(self, action):
        while True:
            result = self.client.command(struct.pack(">BB5xHx", 0x5E, action, 4096), expected=4096)
            if result.status == GOOD:
                return result.data
            if result.status != CHECK or result.key_asc_ascq[0] != 6:
                raise AssertionError(f"PERSISTENT RESERVE IN: {result.key_asc_ascq}")

    def keys(self):
        data = self.read_in(0)
        return {key for (key,) in struct.iter_unpack(">Q", data[8:])}

    def holder(self):
        """Key of the holder, None when nothing is reserved."""
        data = self.read_in(1)
        return struct.unpack(">Q", data[8:16])[0] if len(data) > 8 else None

    def write(self, lba, text):
        cdb = struct.pack(">BBIBHB", 0x2A, 0, lba, 0, 1, 0)
        while True:
            data = text.ljust(512, b"\0")
            result = self.client.finish(self.client.send_command(cdb, data, immediate=data))
            if result.status != CHECK:
                return result.status

    def status(self, itt):
        """Of a command that is under way; None when the server went away."""
        try:
            result = self.client.finish(itt)
        except (iscsi.Closed, OSError):
            return None
        if result.status == CHECK:
            return ("check", result.key_asc_ascq)
        return result.status


def kill_and_restart(server, state):
    server.process.kill()
    server.process.wait()
    return daemon.Server(state, port=server.port)


class Cluster:
    """Everybody against everybody, round after round."""

    def __init__(self, state):
        self.state = state
        self.server = daemon.Server(state)
        self.nodes = [Node(self.server, number) for number in range(1, NODES + 1)]
        self.owner = None
        self.kills = self.in_doubt = 0
        self.wrong = []
        for node in self.nodes:
            node.connect()

    def restart(self):
        self.server = kill_and_restart(self.server, self.state)
        self.kills += 1
        for node in self.nodes:
            node.server = self.server
            node.connect()

    def found(self):
        """The first owner: registers and reserves."""
        first = self.nodes[0]
        first.out(IGNORE, key=0, action_key=first.key, flags=APTPL)
        first.out(RESERVE, WRITE_EXCLUSIVE_REGISTRANTS)
        self.owner = first

    def challenge(self, challengers, old, killed):
        """All at once PREEMPT the owner's key, and perhaps a moment later the server dies; who
        heard GOOD."""
        for node in challengers:
            node.out(IGNORE, key=0, action_key=node.key, flags=APTPL)
            node.hear()
        sent = [(node, node.send(PREEMPT, WRITE_EXCLUSIVE_REGISTRANTS, action_key=old.key))
                for node in challengers]
        if killed is not None:
            time.sleep(killed * 0.01)
            self.server.process.kill()
        answers = [(node, node.status(itt)) for node, itt in sent]
        return [node for node, status in answers if status == GOOD]

    def play(self, random_source):
        """One round: the owner falls silent, the others arbitrate, perhaps the server dies."""
        old, killed = self.owner, random_source.random() < 0.2
        if random_source.random() < 0.5:
            old.lose()
        challengers = [node for node in self.nodes if node is not old]
        winners = self.challenge(challengers, old, random_source.random() if killed else None)
        if killed:
            self.restart()
        elif not old.client:
            old.connect()
        self.judge(old, winners, killed)

    def judge(self, old, winners, killed):
        holders = {node.holder() for node in self.nodes}
        keys = self.nodes[0].keys()
        by_key = {node.key: node for node in self.nodes}
        if len(holders) != 1 or len(winners) > 1 or not holders <= by_key.keys():
            self.wrong.append(f"holders {holders}, winners {[w.number for w in winners]}")
            return
        now = by_key[holders.pop()]
        if winners and now is not winners[0]:
            self.wrong.append(f"{winners[0].number} was told GOOD, {now.number} holds")
        if not winners:
            self.in_doubt += 1
            if not killed:
                self.wrong.append("nobody won")
        self.owner = now
        if now is not old:
            if old.key in keys or old.write(8, b"late") != CONFLICT:
                self.wrong.append("the old owner still writes")
        for node in self.nodes:
            if node.key in keys and node.write(node.number * 8, b"mine") != GOOD:
                self.wrong.append(f"registered node {node.number} can not write")


def arbitration(points, state):
    seed = int(os.environ.get("GRANARY_SEED", random.randrange(1 << 32)))
    points.note(f"GRANARY_SEED={seed}")
    source = random.Random(seed)
    cluster = Cluster(state)
    try:
        cluster.found()
        for _ in range(ROUNDS):
            cluster.play(source)
        points.point(not cluster.wrong, f"one winner in each of {ROUNDS} arbitrations over lost "
                     f"sessions and kill -9", "; ".join(cluster.wrong[:5]))
        points.point(cluster.kills > 0, "the server was killed in between")
        points.note(f"killed {cluster.kills} times, {cluster.in_doubt} rounds without an answer")
        life(points, cluster)
        abort(points, cluster)
        administrator(points, cluster)
    finally:
        cluster.server.stop()


def life(points, cluster):
    """Register, reserve, move on, release, clear: what each nexus hears."""
    a, b = cluster.nodes[:2]
    a.out(IGNORE, key=0, action_key=a.key)
    points.point(a.out(CLEAR) == GOOD and not a.keys(), "CLEAR leaves nothing")
    for node in cluster.nodes:
        node.hear()
    a.out(REGISTER, key=0, action_key=a.key)
    b.out(REGISTER, key=0, action_key=b.key)
    a.out(RESERVE, 6)
    points.point(a.out(RELEASE, 6) == GOOD and b.hear() == [(0x2A, 4)],
                 "a registrant hears 2A/04 of a RELEASE")
    a.out(RESERVE, 6)
    points.point(b.out(PREEMPT, 6, action_key=a.key) == GOOD and a.hear() == [(0x2A, 5)],
                 "the preempted hears 2A/05")
    a.out(REGISTER, key=0, action_key=a.key)
    points.point(b.out(CLEAR) == GOOD and a.hear() == [(0x2A, 3)],
                 "a registrant hears 2A/03 of a CLEAR")


def abort(points, cluster):
    """A WRITE that waits for its data when its sender is preempted."""
    a, b = cluster.nodes[:2]
    a.out(IGNORE, key=0, action_key=a.key)
    b.out(IGNORE, key=0, action_key=b.key)
    a.out(RESERVE, WRITE_EXCLUSIVE_REGISTRANTS)
    b.hear()
    before = b.client.read(4096, 32)
    data = b"\xEE" * 16384
    itt = a.client.send_command(struct.pack(">BBIBHB", 0x2A, 0, 4096, 0, 32, 0), data)
    ask = a.client.receive()
    points.point(ask.opcode == iscsi.R2T, "a WRITE waits for its data")
    points.point(b.out(PREEMPT_AND_ABORT, WRITE_EXCLUSIVE_REGISTRANTS, action_key=a.key) == GOOD,
                 "PREEMPT AND ABORT while it does")
    offset, length = struct.unpack(">II", ask.bhs[40:48])
    a.client.burst(itt, ask.ttt, offset, data[offset:offset + length])
    heard = a.hear()
    points.point((0x2A, 5) in heard and (0x2F, 0) in heard, "its sender hears 2F/00 and 2A/05",
                 str(heard))
    points.point(b.client.read(4096, 32) == before, "nothing of it reaches the medium")
    points.point(a.write(4096, b"late") == CONFLICT, "nor does what it sends later")


def administrator(points, cluster):
    server, b = cluster.server, cluster.nodes[1]
    words = (daemon.DEMO_TARGET, "0")
    shown = json.loads(server.granary("lun", "reservations", *words, "-o", "json"))
    entry = shown["registrations"][0]
    points.point(shown["type"] == "write exclusive, registrants only" and
                 entry["initiator_port"].startswith("iqn.2026-11.org.granary:node2,i,0x80") and
                 entry["holder"] and entry["connected"] and int(entry["key"], 16) == b.key,
                 "lun reservations shows the holder", json.dumps(shown))
    points.point("registrants only" in server.granary("lun", "reservations", "/".join(words)),
                 "and says it in words")
    server.granary("lun", "release", *words, "--yes")
    points.point(b.hear() == [(0x2A, 3)] and not b.keys(), "lun release takes it away; 2A/03")
    points.point("audit: local:" in server.log() and "cleared the reservations" in server.log(),
                 "with an audit line")
    cluster.restart()
    points.point(not cluster.nodes[1].keys(), "and it stays away")


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-pr-") as state:
        arbitration(points, state)


if __name__ == "__main__":
    tap.run(test)
