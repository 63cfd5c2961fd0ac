#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=200 engines=one waits
"""The resource agent for Pacemaker (replication/ocf/replica), called as Pacemaker calls it, with
two daemons: probes, start, a planned move, a primary that dies, its return, stop, and what it says
of itself and of parameters that are wrong."""

import os
import subprocess
import sys
import tempfile
import threading
import xml.etree.ElementTree as xml

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import server as daemon                                # pylint: disable=wrong-import-position
import tap                                             # pylint: disable=wrong-import-position
from replica import IQN, Node, make_luns, pair, sealed, stop_all, wait  # pylint: disable=wrong-import-position

AGENT = os.path.join(TOP, "replication", "ocf", "replica")
SUCCESS, GENERIC, UNIMPLEMENTED, INSTALLED, CONFIGURED, NOT_RUNNING, PROMOTED = 0, 1, 3, 5, 6, 7, 8

# What is asked of Pacemaker: the score of this node, one line each.
ATTRIBUTE = """#!/bin/sh
score=none
while [ $# -gt 0 ]; do
	case $1 in -v) score=$2; shift ;; --promotion=vms) instance=1 ;; esac
	shift
done
[ "${instance:-}" = 1 ] && echo "$score" >> "$SCORES"
"""

# A tool that knows a primary whose standby catches up at the third look, and does not take over.
STUCK = """#!/bin/sh
echo "$4" >> "$0.calls"
[ "$4" != switchover ] || exit 1
state="catching up"
[ "$(wc -l < "$0.calls")" -lt 3 ] || state=streaming
printf '{\\n  "role": "primary",\\n  "state": "%s"\\n}\\n' "$state"
"""


class Member:
    """A node of the cluster: a daemon, and the agent beside it."""

    def __init__(self, top, name):
        self.node = Node(os.path.join(top, name))
        self.scratch = os.path.join(top, name + "-cluster")
        self.scores = os.path.join(self.scratch, "scores")
        os.mkdir(self.scratch)
        self.script("crm_attribute", ATTRIBUTE)

    def script(self, name, text):
        path = os.path.join(self.scratch, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(path, 0o755)
        return path

    def call(self, action, **parameters):
        """(exit code, what it printed)"""
        environment = {"PATH": self.scratch + ":" + os.environ["PATH"], "SCORES": self.scores,
                       "OCF_ROOT": "/usr/lib/ocf", "OCF_RESOURCE_INSTANCE": "vms",
                       "HA_RSCTMP": os.path.join(self.scratch, "run"),
                       "OCF_RESKEY_group": "vms", "OCF_RESKEY_state": self.node.state,
                       "OCF_RESKEY_granary": os.path.join(daemon.BUILD, "granary"),
                       **{f"OCF_RESKEY_{key}": value for key, value in parameters.items()}}
        done = subprocess.run([AGENT, action], env=environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=200, check=False)
        return done.returncode, done.stdout + done.stderr

    def does(self, points, action, code, text, **parameters):
        result = self.call(action, **parameters)
        return points.point(result[0] == code, f"{action}: {text}", (code, *result))

    def score(self):
        with open(self.scores, encoding="ascii") as file:
            return file.read().split()[-1]


def itself(points, one):
    code, text = one.call("meta-data")
    root = xml.fromstring(text.split("dtd\">", 1)[1]) if code == 0 else None
    actions = {action.get("name") for action in root.iter("action")}
    points.point(code == 0 and root.get("name") == "replica" and
                 actions >= {"start", "stop", "monitor", "promote", "demote", "notify",
                             "validate-all", "meta-data"}, "meta-data is XML with all actions",
                 text)
    one.does(points, "meta-data", SUCCESS, "also without a group", group="")
    one.does(points, "validate-all", SUCCESS, "parameters are good")
    for key, value, code in (("group", "", CONFIGURED), ("group", "a;b", CONFIGURED),
                             ("group", "-x", CONFIGURED), ("max_lag", "soon", CONFIGURED),
                             ("max_lag", "-1", CONFIGURED), ("rejoin", "perhaps", CONFIGURED),
                             ("granary", "/nowhere/granary", INSTALLED)):
        one.does(points, "validate-all", code, f"{key} {value!r} is refused", **{key: value})
        one.does(points, "start", code, "and not started with", **{key: value})
    one.does(points, "reboot", UNIMPLEMENTED, "is no action")
    one.does(points, "monitor", NOT_RUNNING, "no group of that name is here")


def set_up(points, one, two):
    one, two = one.node, two.node
    peer = pair(one, two)
    make_luns(one, "tank/cut0")
    one.granary("replica", "group", "create", "vms", "tank/cut0", "--peer", peer, "--rpo", "1s")
    points.point(wait(lambda: sealed(one)), "the group is seeded", one.group())


def begin(points, one, two):
    """As a cluster does that finds them so: probes, then what is missing."""
    one.does(points, "monitor", PROMOTED, "the probe finds the primary")
    two.does(points, "monitor", NOT_RUNNING, "and a standby that is not started")
    two.does(points, "start", SUCCESS, "it is started")
    two.does(points, "start", SUCCESS, "twice is once")
    two.does(points, "monitor", SUCCESS, "it runs")
    one.does(points, "start", SUCCESS, "so does the primary")
    one.does(points, "notify", SUCCESS, "is heard")
    points.point(one.score() == "1000" and two.score() == "500", "the primary is preferred",
                 (one.score(), two.score()))


def move(points, one, two):
    one.does(points, "demote", SUCCESS, "hands over")
    points.point(one.score() != "1000", "and is not preferred any more", one.score())
    two.does(points, "promote", SUCCESS, "has it already")
    points.point(wait(lambda: sealed(two.node) and one.node.group()["role"] == "standby" and
                      len(two.node.ask("lun", "list", IQN)) == 1), "a planned move",
                 (one.node.group(), two.node.group()))
    points.point(not [s for s in one.node.ask("snapshot", "list", "tank/cut0")],
                 "without a conflict to be kept")
    one.does(points, "demote", SUCCESS, "twice is once")
    two.does(points, "promote", SUCCESS, "twice is once")
    one.does(points, "monitor", SUCCESS, "the old one is the standby")
    two.does(points, "monitor", PROMOTED, "the new one is the primary")


def connected(points, one):
    stuck = one.script("stuck", STUCK)
    one.does(points, "demote", GENERIC, "a standby that is connected is not given up",
             granary=stuck)
    with open(stuck + ".calls", encoding="ascii") as file:
        calls = file.read().split()
    points.point(calls == ["group"] * 3 + ["switchover", "group"],
                 "it is waited for, and asked once", calls)


def restarted(points, one, two):
    """The primary's (two's) daemon dies and is started again while it is being stopped."""
    two.node.kill()
    again = threading.Timer(3, two.node.start)
    again.start()
    two.does(points, "stop", SUCCESS, "waits for a daemon that is on its way up")
    again.join()
    points.point(two.node.group()["role"] == "standby", "it serves nobody", two.node.group())
    points.point(one.node.group()["role"] == "primary" and
                 not two.node.ask("snapshot", "list", "tank/cut0"),
                 "it has handed over, and nothing of it is in conflict",
                 (one.node.group(), two.node.ask("snapshot", "list", "tank/cut0")))
    one.does(points, "promote", SUCCESS, "the other one does")
    two.does(points, "start", SUCCESS, "it comes again")
    wait(lambda: sealed(one.node))
    one.does(points, "demote", SUCCESS, "and is handed")
    two.does(points, "promote", SUCCESS, "what it had")


def back_soon(points, one, two):
    """Both daemons have died; the primary's (two's) is there first, and is to be demoted."""
    one.node.kill()
    two.node.kill()
    two.node.start()
    again = threading.Timer(4, one.node.start)
    again.start()
    two.does(points, "demote", SUCCESS, "waits for a standby that is on its way up")
    again.join()
    points.point(wait(lambda: one.node.group()["role"] == "primary") and
                 not two.node.ask("snapshot", "list", "tank/cut0"),
                 "which has it all, and nothing is in conflict",
                 (one.node.group(), two.node.ask("snapshot", "list", "tank/cut0")))
    wait(lambda: sealed(one.node))
    one.does(points, "demote", SUCCESS, "and is handed")
    two.does(points, "promote", SUCCESS, "what it had, again")


def lost(points, one, two):
    """The primary (two) dies; one takes over; two comes back."""
    two.node.kill()
    two.does(points, "monitor", NOT_RUNNING, "a dead daemon serves nobody")
    two.does(points, "stop", SUCCESS, "and is stopped")
    wait(lambda: one.node.group()["lag_seconds"] > 2)
    one.does(points, "monitor", SUCCESS, "the standby is there")
    one.does(points, "promote", GENERIC, "an image that is too old is not", max_lag="1")
    points.point(one.node.group()["role"] == "standby" and one.score() == "100",
                 "nothing has changed", one.node.group())
    one.does(points, "promote", SUCCESS, "takes over", max_lag="86400")
    one.does(points, "monitor", PROMOTED, "is the primary")
    two.node.start()
    wait(lambda: two.node.group()["role"] == "fenced")
    two.does(points, "monitor", NOT_RUNNING, "the old primary is fenced")
    two.does(points, "start", GENERIC, "and stays so when told to", rejoin="false")
    two.does(points, "start", SUCCESS, "or joins as the standby")
    points.point(two.node.group()["role"] == "standby" and wait(lambda: sealed(one.node)),
                 "and is filled up", two.node.group())
    two.does(points, "monitor", SUCCESS, "it runs")


def stops(points, one, two):
    """Both, in an order that leaves nobody to hand over to, and again."""
    two.does(points, "stop", SUCCESS, "the standby")
    two.does(points, "monitor", NOT_RUNNING, "it is")
    points.point(two.score() == "none", "it is nobody's choice", two.score())
    two.node.server.stop()
    one.does(points, "stop", SUCCESS, "a primary without a standby")
    one.does(points, "monitor", NOT_RUNNING, "it is")
    points.point(one.node.group()["role"] == "standby", "it serves nobody", one.node.group())
    one.does(points, "start", SUCCESS, "it comes again")
    one.does(points, "monitor", SUCCESS, "as what it was")
    one.does(points, "promote", SUCCESS, "with the image that it had")
    two.node.start()
    two.does(points, "start", SUCCESS, "and the other one")
    points.point(wait(lambda: sealed(one.node)), "which is filled up", one.node.group())


def test(points):
    with tempfile.TemporaryDirectory() as top:
        members = []
        try:
            members = [Member(top, name) for name in ("one", "two")]
            one, two = members
            itself(points, one)
            connected(points, one)
            set_up(points, one, two)
            begin(points, one, two)
            move(points, one, two)
            restarted(points, one, two)
            back_soon(points, one, two)
            lost(points, one, two)
            stops(points, one, two)
        finally:
            stop_all(points, [member.node for member in members])


if __name__ == "__main__":
    tap.run(test)
