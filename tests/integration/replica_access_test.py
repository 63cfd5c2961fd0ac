#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=150 engines=one asan
"""After a switchover and after a failover the same hosts are let in, with the same secrets, they see
the same LUNs, and the same persistent reservations hold: registrations, holder, type, PRGENERATION, with and without
APTPL. The node that does not serve changes none of it. No secret is in what either node keeps, logs
or tells."""

import hashlib
import json
import os
import struct
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import iscsi_client as iscsi                                # pylint: disable=wrong-import-position
import tap                                                  # pylint: disable=wrong-import-position
from replica import (IQN, Node, pair, query, sealed, stop_all, told,  # pylint: disable=wrong-import-position
                     wait)

REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT = range(5)
WRITE_EXCLUSIVE_REGISTRANTS = 5
GOOD, CHECK, CONFLICT = 0, 2, 0x18
APTPL = 1
STANDBY = (2, 4, 0x0B)  # NOT READY, target port in standby state
SECRETS = ("of-alice-before-1", "of-alice-later-22", "of-the-target-333", "of-bob-and-none-4")
LATER, MUTUAL, BOB = SECRETS[1:]


def host_name(number):
    return f"iqn.2026-11.org.example:host{number}"


class Host:
    """One initiator port of a cluster, its key and its session to one node."""

    def __init__(self, number):
        self.number, self.client = number, None
        self.key = 0xC1D5000000000000 | number

    def connect(self, node):
        self.lose()
        self.client = iscsi.Connection(node.address, node.port)
        self.client.isid = bytes([0x80, 0, 0, 0, 0, self.number])
        self.client.login(IQN, host_name(self.number))
        return self

    def lose(self):
        if self.client:
            self.client.close()
            self.client = None

    def finish(self, *command, **options):
        """Unit attentions before it are read."""
        while True:
            result = self.client.finish(self.client.send_command(*command, **options))
            if result.status != CHECK or result.key_asc_ascq[0] != 6:
                return result

    def out(self, action, key=None, action_key=0, flags=0, kind=0):
        data = struct.pack(">QQIBBH", self.key if key is None else key, action_key, 0, flags, 0, 0)
        cdb = struct.pack(">BBBHIB", 0x5F, action, kind, 0, len(data), 0)
        result = self.finish(cdb, data, immediate=data)
        return result.key_asc_ascq if result.status == CHECK else result.status

    def read_in(self, action):
        return self.finish(struct.pack(">BB5xHx", 0x5E, action, 4096), expected=4096,
                           read=True).data

    def state(self):
        """(PRGENERATION, keys, key of the holder, type), as the standard has it."""
        keys, held = self.read_in(0), self.read_in(1)
        listed = sorted(key for (key,) in struct.iter_unpack(">Q", keys[8:]))
        holder = struct.unpack(">Q", held[8:16])[0] if len(held) > 8 else None
        return (struct.unpack(">I", keys[:4])[0], listed, holder,
                held[21] & 15 if len(held) > 8 else None)

    def write(self, lba):
        data = b"%d" % self.number * 512
        return self.finish(struct.pack(">BBIBHB", 0x2A, 0, lba, 0, 1, 0), data[:512],
                           immediate=data[:512]).status


def logs_in(node, initiator, user=None, secret=None):
    """Is it let in? With @secret: by CHAP."""
    with iscsi.Connection(node.address, node.port) as member:
        first = [("InitiatorName", initiator), ("SessionType", "Normal"), ("TargetName", IQN)]
        try:
            if not user:
                member.login(IQN, initiator)
                return True
            member.login_step(first + [("AuthMethod", "CHAP")], csg=0, nsg=1)
            member.login_step([("CHAP_A", "5")], csg=0, transit=False)
            said = member.keys
            digest = hashlib.md5(bytes([int(said["CHAP_I"])]) + secret.encode()
                                 + bytes.fromhex(said["CHAP_C"][2:])).hexdigest()
            member.login_step([("CHAP_N", user), ("CHAP_R", "0x" + digest)], csg=0, nsg=1)
            return True
        except (iscsi.LoginFailed, KeyError):
            return False


def rules_of(node):
    """In their order: the first that matches decides."""
    return [(rule["initiator"], rule["network"], rule["chap_user"], rule["mutual_user"])
            for rule in next(t for t in node.ask("target", "list") if t["iqn"] == IQN)["rules"]]


def shown(node):
    """What each LUN is and who sees it."""
    return [(lun["lun"], lun["volume"], lun["read_only"], lun["hosts"])
            for lun in node.ask("lun", "list", IQN)]


def reads(host):
    """Does it see LUN 1?"""
    return host.finish(struct.pack(">BBIBHB", 0x28, 0, 0, 0, 1, 0), expected=512, read=True,
                       lun=1).status == GOOD


def kept_exports(node):
    """Those of a primary of before, which a promotion has made its own."""
    return json.loads(query(node, "select definition from grp")[0]).get("exports")


def allow(node, top, initiator, user=None, secret=None, mutual=None):
    words = ["target", "allow", IQN, "--initiator", initiator]
    for kind, name, text in (("chap", user, secret), ("mutual", "target" if mutual else None, mutual)):
        if name:
            path = os.path.join(top, f"secret-{kind}")
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
            words += [f"--{kind}-user", name, f"--{kind}-secret-file", path]
    node.granary(*words)
    for kind in ("chap", "mutual"):
        if os.path.exists(path := os.path.join(top, f"secret-{kind}")):
            os.unlink(path)


def set_up(one, two, top):
    one.granary("target", "create", IQN)
    allow(one, top, "iqn.2026-11.org.example:alice", "alice", SECRETS[0], MUTUAL)
    for number in (1, 2, 3):
        allow(one, top, host_name(number))
    allow(one, top, "iqn.2026-11.org.example:bob", "bob", BOB)
    one.granary("volume", "create", "tank/disk", "16M")
    one.granary("lun", "map", IQN, "tank/disk")
    one.granary("volume", "create", "tank/image", "16M")
    one.granary("lun", "map", IQN, "tank/image", "--ro")
    one.granary("host", "create", "second", host_name(2))
    one.granary("lun", "mask", IQN, "1", "second")
    peer = pair(one, two)
    one.granary("replica", "group", "create", "vms", "tank/disk", "tank/image", "--peer", peer,
                "--rpo", "1s")
    wait(lambda: sealed(one))


def reserve(points, hosts, node):
    """The first two are registered, the first one holds it; nothing of it is to survive a loss of
    power."""
    for host in hosts:
        host.connect(node)
    good = [host.out(REGISTER, key=0, action_key=host.key) for host in hosts[:2]]
    good.append(hosts[0].out(RESERVE, kind=WRITE_EXCLUSIVE_REGISTRANTS))
    points.point(good == [GOOD] * 3 and hosts[2].write(5) == CONFLICT,
                 "two hosts are registered and shut a third one out", good)
    return hosts[0].state()


def switch(points, hosts, old, new, before):
    """Planned: all of it goes along, as if nothing had happened."""
    rules, luns = rules_of(old), shown(old)
    stays = hosts[1]
    for host in (hosts[0], hosts[2]):
        host.lose()
    old.granary("replica", "switchover", "vms")
    points.point(wait(lambda: new.group()["role"] == "primary" and rules_of(new) == rules),
                 "after a switchover the rules are the same, in their order",
                 (rules, rules_of(new)))
    points.point(wait(lambda: kept_exports(new) is None),
                 "what was exported before is not to come back later", kept_exports(new))
    points.point([lun[2:] for lun in luns] == [(False, []), (True, ["second"])] and
                 wait(lambda: shown(new) == luns), "so are the LUNs, and who sees them", (luns, shown(new)))
    said = stays.out(REGISTER, action_key=stays.key + 1)
    points.point(said == STANDBY, "the node that gave it away changes no registration", said)
    refused = old.refused("lun", "release", IQN, "0", "--yes")
    points.point("can not be cleared" in refused, "nor does its administrator", refused)
    for host in hosts:
        host.connect(new)
    points.point(hosts[0].state() == before, "registrations, holder, type and PRGENERATION are the "
                 "same", (before, hosts[0].state()))
    points.point((hosts[2].write(6), hosts[1].write(7), hosts[0].write(8)) ==
                 (CONFLICT, GOOD, GOOD), "who was shut out is")
    points.point([reads(host) for host in hosts] == [False, True, False],
                 "a LUN that one host saw is seen by that one")


def chap(points, node, secret, what):
    alice, bob = "iqn.2026-11.org.example:alice", "iqn.2026-11.org.example:bob"
    said = (logs_in(node, alice, "alice", secret), logs_in(node, alice, "alice", BOB),
            logs_in(node, alice), logs_in(node, bob, "bob", BOB))
    points.point(said == (True, False, False, True), f"{what} CHAP lets in whom it did", said)


def change(points, hosts, node, top):
    """Without a write in between: what a failover has to know of."""
    good = [hosts[1].out(REGISTER, action_key=hosts[1].key, flags=APTPL),
            hosts[1].out(PREEMPT, action_key=hosts[0].key, kind=WRITE_EXCLUSIVE_REGISTRANTS)]
    points.point(good == [GOOD] * 2, "the second host takes it from the first one", good)
    allow(node, top, "iqn.2026-11.org.example:alice", "alice", LATER, MUTUAL)
    node.granary("target", "deny", IQN, "--initiator", host_name(3))
    allow(node, top, host_name(4))
    node.granary("host", "create", "first", host_name(1))
    node.granary("lun", "mask", IQN, "1", "first", "second")
    return hosts[1].state(), rules_of(node)


def fail_over(points, hosts, lost, left, before, rules):
    """The standby is killed first, so that it is what it keeps that counts."""
    wait(lambda: sealed(lost))
    told(lost, left)
    wait(lambda: lost.group()["lag_bytes"] == 0)
    for node in (left, lost):
        node.kill()
    left.start()
    left.granary("replica", "promote", "vms", "--yes")
    points.point(wait(lambda: rules_of(left) == rules, 20),
                 "after a failover the rules are the same, also those that were changed last",
                 (rules, rules_of(left)))
    for host in hosts[:2]:
        host.connect(left)
    points.point(hosts[1].state() == before,
                 "the reservation is as it was changed last, though nothing was written since",
                 (before, hosts[1].state()))
    points.point((hosts[0].write(9), hosts[1].write(10)) == (CONFLICT, GOOD),
                 "who was preempted stays so")
    points.point(wait(lambda: [reads(host) for host in hosts[:2]] == [True, True]),
                 "a LUN that was shown to one more host meanwhile is shown to it", shown(left))
    points.point(not logs_in(left, host_name(3)) and logs_in(left, host_name(4)),
                 "who was shut out by a rule is, who was let in is")


def volatile(points, hosts, one, two):
    """Without APTPL, by a failover: no loss of power of the unit, which is served on elsewhere."""
    two.start()
    wait(lambda: two.group()["role"] == "fenced")
    two.granary("replica", "demote", "vms", "--yes")
    wait(lambda: sealed(one))
    host = hosts[1]
    good = [host.out(CLEAR), host.out(REGISTER, key=0, action_key=host.key),
            host.out(RESERVE, kind=WRITE_EXCLUSIVE_REGISTRANTS)]
    before = host.state()
    points.point(good == [GOOD] * 3 and before[2] == host.key, "without APTPL", (good, before))
    told(one, two)
    one.kill()
    two.granary("replica", "promote", "vms", "--yes")
    wait(lambda: two.group()["role"] == "primary")
    for host in hosts[:2]:
        host.connect(two)
    points.point(hosts[1].state() == before and hosts[0].write(11) == CONFLICT,
                 "a failover keeps that too", (before, hosts[1].state()))
    for host in hosts:
        host.lose()
    two.kill()
    two.start()
    said = hosts[1].connect(two).state()
    points.point(said == (0, [], None, None), "a loss of power afterwards does not", said)
    one.start()


def files_with(top, words):
    """Which of @words are in which file below @top."""
    found = []
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            if not os.path.isfile(path) or os.path.getsize(path) > 1 << 28:
                continue
            with open(path, "rb") as file:
                data = file.read()
            found += [(path, word) for word in words
                      if word.encode() in data or word.encode().hex().encode() in data]
    return found


def test(points):
    with tempfile.TemporaryDirectory() as top:
        nodes, hosts = [], [Host(number) for number in (1, 2, 3)]
        try:
            nodes = [Node(os.path.join(top, name)) for name in ("one", "two")]
            one, two = nodes
            set_up(one, two, top)
            before = reserve(points, hosts, one)
            switch(points, hosts, one, two, before)
            chap(points, two, SECRETS[0], "after a switchover")
            state, rules = change(points, hosts, two, top)
            fail_over(points, hosts, two, one, state, rules)
            chap(points, one, LATER, "after a failover")
            volatile(points, hosts, one, two)
            told = json_of(nodes)
            points.point(not any(secret in told for secret in SECRETS), "no secret is told")
            found = files_with(top, SECRETS)
            points.point(files_with(top, [IQN]) and not found, "nor in any file of either node, their logs among them", found)
        finally:
            for host in hosts:
                host.lose()
            stop_all(points, nodes)


def json_of(nodes):
    return "".join(node.granary(*words, "-o", "json") + node.server.log() for node in nodes
                   for words in (("replica", "group", "status", "vms"), ("target", "list"),
                                 ("replica", "peers")))


if __name__ == "__main__":
    tap.run(test)
