#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=180 engines=one asan
"""Dry runs of replication between two daemons: they say what would be different of a group, its
members, its sides, its witness, clones of its points and the pairing; change nothing on either node
and end no session; and are refused what the change is refused, in the same words."""

import os
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

V1 = "/api/v1"
GROUP = f"{V1}/replica/groups/vms"
KEPT = ("name", "role", "state", "peer", "members", "rpo_seconds", "limit_bytes", "compression", "limit_at",
        "protect", "points", "seed_by", "addresses", "lineage", "witness")
MIB = 1 << 20


def state(daemons):
    """All that a change could have changed, of each; what moves by itself is not in it."""
    return [{
        "groups": [{name: group[name] for name in KEPT} for group in daemon.good("GET", f"{V1}/replica/groups")],
        "comparing": [group.get("verify", {}).get("state")
                      for group in daemon.good("GET", f"{V1}/replica/groups")],
        "peers": daemon.good("GET", f"{V1}/replica/peers"),
        "volumes": [volume["uuid"] for volume in daemon.good("GET", f"{V1}/volumes")],
        "audit": daemon.good("GET", f"{V1}/audit"),
        "changes": [event for event in daemon.good("GET", f"{V1}/events?after=0")["events"]
                    if event["kind"] == "change"]} for daemon in daemons]


def would(points, daemons, request, what, after, before=None):
    """@request of the first daemon, tried: @what would be as @after says, and stays."""
    was = state(daemons)
    method, path, body = request
    reply = daemons[0].call(method, f"{path}?dry_run=1", body)
    plan, now = reply["body"], state(daemons)
    told = reply["status"] == 200 and plan["dry_run"] is True and plan["what"] == what and \
        (plan["after"] == {} if after is None else after.items() <= plan["after"].items()) and \
        (before is None or before.items() <= plan["before"].items())
    points.point(told, f"{method} {path} {body}: what would be different", reply)
    points.point(was == now, "and nothing is", [was, now])


def alike(points, daemons, request, text):
    was = state(daemons)
    method, path, body = request
    tried = daemons[0].call(method, f"{path}?dry_run=1", body)
    now = state(daemons)
    done = daemons[0].call(method, path, body)
    points.point(tried == done and done["status"] >= 400 and text in str(done) and was == now,
                 f"{method} {path} {body} is refused alike: {text}", [tried, done])


def until(what, limit=120):
    end = time.monotonic() + limit
    while not what() and time.monotonic() < end:
        time.sleep(0.05)
    return what()


def in_step(daemon):
    group = daemon.good("GET", GROUP)
    return group["state"] == "streaming" and group["sealed_epoch"] and group["lag_bytes"] == 0


def created(points, one, two, peer):
    daemons, where, name = (one, two), f"{V1}/replica/groups", "replication group vms"
    spec = {"name": "vms", "members": ["tank/a"], "peer": peer["uuid"], "rpo": "2s", "points": "3"}
    for wrong, text in (({"name": "b@d"}, "no name"), ({"peer": "nobody"}, "no node nobody"),
                        ({"members": ["tank/none"]}, "none"), ({"members": []}, "1 to 64"),
                        ({"members": ["tank/a", "tank/a"]}, "named twice"), ({"rpo": "1ms"}, "RPO"),
                        ({"points": "many"}, "")):
        alike(points, daemons, ("POST", where, {**spec, **wrong}), text)
    would(points, daemons, ("POST", where, spec), name,
          {"name": "vms", "members": ["tank/a"], "rpo_seconds": 2.0, "points": "3", "role": "primary",
           "peer": peer["name"]}, {})
    one.good("POST", where, spec)
    points.point(until(lambda: in_step(one)), "it is made", one.good("GET", GROUP))


def changed(points, one, two):
    daemons, name = (one, two), "replication group vms"
    would(points, daemons, ("PATCH", GROUP, {"rpo": "9s", "limit": "5M", "protect": False}), name,
          {"rpo_seconds": 9.0, "limit_bytes": 5 * MIB}, {"rpo_seconds": 2.0, "limit_bytes": 0})
    would(points, daemons, ("PATCH", GROUP, {"add": ["tank/b", "tank/c"]}), name,
          {"members": ["tank/a", "tank/b", "tank/c"]}, {"members": ["tank/a"]})
    for wrong, text in (({"add": ["tank/a"]}, "is in group vms"), ({"add": ["tank/b", "tank/b"]}, "named twice"),
                        ({"remove": ["tank/a"]}, "delete it instead"), ({"remove": ["tank/b"]}, "no member"),
                        ({"points": "many"}, ""), ({"add_address": "127.0.0.1/8"}, ""),
                        ({"remove_address": "192.0.2.1/24"}, "has no address")):
        alike(points, daemons, ("PATCH", GROUP, wrong), text)
    alike(points, (two, one), ("PATCH", GROUP, {"rpo": "9s"}), "on its primary")
    alike(points, daemons, ("PATCH", f"{V1}/replica/groups/none", {"rpo": "9s"}), "no group named none")
    one.good("PATCH", GROUP, {"add": ["tank/b"]})
    points.point(until(lambda: in_step(one)), "a member joins", one.good("GET", GROUP))
    alike(points, daemons, ("PATCH", GROUP, {"remove": ["tank/b", "tank/b"]}), "named twice")
    would(points, daemons, ("PATCH", GROUP, {"remove": ["tank/b"]}), name, {"members": ["tank/a"]},
          {"members": ["tank/a", "tank/b"]})
    swap = {"add": ["tank/c"], "remove": ["tank/a", "tank/b"]}
    would(points, daemons, ("PATCH", GROUP, swap), name, {"members": ["tank/c"]}, {"members": ["tank/a", "tank/b"]})
    points.point(one.good("PATCH", GROUP, swap)["members"] == ["tank/c"] and until(lambda: in_step(one)),
                 "one may take the place of all others", one.good("GET", GROUP))
    one.good("PATCH", GROUP, {"add": ["tank/a", "tank/b"], "remove": ["tank/c"]})
    points.point(until(lambda: in_step(one) and two.good("GET", GROUP)["members"] == ["tank/a", "tank/b"]),
                 "and back", one.good("GET", GROUP))


def acted(points, one, two):
    daemons, name = (one, two), "replication group vms"

    def act(action):
        return "POST", GROUP, {"action": action}

    would(points, daemons, act("switchover"), name, {"role": "standby"}, {"role": "primary"})
    would(points, daemons, act("demote"), name, {"role": "standby"}, {"role": "primary"})
    would(points, daemons, act("verify"), name, {"comparing": True}, {"comparing": False})
    would(points, daemons, act("pause"), name, {"paused": True}, {"paused": False})
    would(points, daemons, act("resume"), name, None, {})
    would(points, daemons, act("delete"), name, None,
          {"name": "vms", "role": "primary", "members": ["tank/a", "tank/b"]})
    for action in ("promote", "failback"):
        alike(points, daemons, act(action), "is primary here")
    alike(points, daemons, act("dance"), "an action is")
    here = two.good("GET", GROUP)["members"]
    would(points, (two, one), act("promote"), name, {"role": "primary"}, {"role": "standby"})
    would(points, (two, one), act("failback"), name, {"role": "primary"}, {"role": "standby"})
    points.point(here == ["tank/a", "tank/b"], "the standby has both", here)
    for action, text in (("switchover", "is standby here"), ("verify", "is standby here"),
                         ("demote", "is standby here"), ("delete", "its primary is connected")):
        alike(points, (two, one), act(action), text)


def witnessed(points, one, two, peer):
    alike(points, (one, two), ("POST", f"{GROUP}/witness", {"node": "nobody"}), "no node nobody")
    alike(points, (one, two), ("POST", f"{GROUP}/witness", {"node": peer["uuid"]}), "a third one")
    alike(points, (one, two), ("POST", f"{GROUP}/witness", {"node": "", "lease": "1s"}), "5 seconds")
    would(points, (one, two), ("POST", f"{GROUP}/witness", {"node": ""}), "replication group vms", None, {})


def cloned(points, one, two):
    until(lambda: two.good("GET", f"{GROUP}/points"))
    point = two.good("GET", f"{GROUP}/points")[0]
    where, daemons = f"{GROUP}/points/{point['epoch']}/clones", (two, one)
    two.good("POST", f"{V1}/volumes", {"pool": "tank", "name": "taken", "size": "8M"})
    pairs = [f"{snapshot.split('@')[0]}-{point['epoch']}" for snapshot in point["snapshots"]]
    would(points, daemons, ("POST", where, {}), "replication group vms",
          {"volumes": [{"snapshot": snapshot, "volume": volume}
                       for snapshot, volume in zip(point["snapshots"], pairs)]}, {})
    count = len(pairs)
    alike(points, daemons, ("POST", where, {"names": ["taken"] + ["x"] * (count - 1)}), "taken")
    alike(points, daemons, ("POST", where, {"names": ["a", "b", "c", "d"]}), "that many names")
    alike(points, daemons, ("POST", f"{GROUP}/points/999999/clones", {}), "keeps no point")
    if count == 2:
        alike(points, daemons, ("POST", where, {"names": ["x", "x"]}), "two clones are named")
    made = two.good("POST", where, {})
    points.point([one["volume"] for one in made] == pairs, "and they are as it was said", made)


def commands(points, one, two):
    was = state((one, two))
    for words, wanted in (
            (("group", "create", "new", "tank/c", "--peer", "PEER"), ["would make replication group new:"]),
            (("group", "set", "vms", "--rpo", "7s"), ["would change replication group vms:", "2.0 -> 7.0"]),
            (("group", "add", "vms", "tank/c"), ['["tank/a","tank/b"] -> ["tank/a","tank/b","tank/c"]']),
            (("group", "delete", "vms"), ["would take away replication group vms:"]),
            (("switchover", "vms"), ["role             primary -> standby"]),
            (("pause", "vms"), ["paused           false -> true"]),
            (("verify", "vms"), ["comparing        false -> true"])):
        peer = one.good("GET", f"{V1}/replica/peers")[0]["uuid"]
        done = one.granary("replica", *[peer if word == "PEER" else word for word in words], "--dry-run")
        points.point(done.returncode == 0 and all(text in done.stdout for text in wanted),
                     f"granary replica {' '.join(words)} --dry-run", done)
    points.point(was == state((one, two)), "and the command has changed nothing")


def parted(points, one, two, peer):
    where = f"{V1}/replica/peers/{peer['uuid']}"
    alike(points, (one, two), ("DELETE", where, None), "is replicated with it")
    alike(points, (one, two), ("DELETE", f"{V1}/replica/peers/nobody", None), "no node nobody")
    one.good("POST", GROUP, {"action": "delete"})
    would(points, (one, two), ("DELETE", where, None), f"pairing with {peer['name']}", None, {"uuid": peer["uuid"]})
    one.good("DELETE", where)
    points.point(one.good("GET", f"{V1}/replica/peers") == [], "and then it is forgotten")


def moved(points, one, two, peer):
    """Where a paired node is, and stays; pairing and keys have none."""
    path = f"{V1}/replica/peers/{peer['name']}"
    would(points, (one, two), ("PATCH", path, {"address": "192.0.2.7:7421"}), f"paired node {peer['name']}",
          {"address": "192.0.2.7", "port": 7421}, {"address": peer["address"]})
    alike(points, (one, two), ("PATCH", path, {"address": "host:0"}), "HOST or HOST:PORT")
    alike(points, (one, two), ("PATCH", f"{V1}/replica/peers/none", {"address": "host"}), "no node")
    alike(points, (one, two), ("DELETE", f"{V1}/replica/groups/vms/seed", None), "no seed is under way")
    for method, what in (("POST", "code"), ("POST", "key"), ("DELETE", "key/next")):
        reply = one.call(method, f"{V1}/replica/{what}?dry_run=1")
        points.point(reply["status"] == 422 and reply["body"]["code"] == "no_dry_run", f"{what} has none", reply)


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        port = api.free_port()
        one = api.Daemon(os.path.join(folder, "one"), "--repl-port", str(api.free_port()))
        two = api.Daemon(os.path.join(folder, "two"), "--repl-port", str(port))
        try:
            for name in ("a", "b", "c"):
                one.good("POST", f"{V1}/volumes", {"pool": "tank", "name": name, "size": "8M"})
            code = two.good("POST", f"{V1}/replica/code", {})["code"]
            one.good("POST", f"{V1}/replica/peers", {"address": f"127.0.0.1:{port}", "code": code})
            peer = one.good("GET", f"{V1}/replica/peers")[0]
            created(points, one, two, peer)
            changed(points, one, two)
            acted(points, one, two)
            witnessed(points, one, two, peer)
            cloned(points, one, two)
            commands(points, one, two)
            moved(points, one, two, peer)
            parted(points, one, two, peer)
        finally:
            points.point(one.stop() == 0, "clean stop", one.log()[-2000:])
            points.point(two.stop() == 0, "of both", two.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)
