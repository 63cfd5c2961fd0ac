#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan
"""Large packets that are lost on their way: hosts behind links of their own in network namespaces,
one with a smaller MTU, one that answers nothing."""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import iscsi_client  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

CHECK = "/api/v1/network/check"


def run(*words):
    subprocess.run(words, stdin=subprocess.DEVNULL, check=True, timeout=30)


class Host:
    """A namespace at the end of a link; ours has an MTU of 9000."""

    def __init__(self, number, mtu, *commands):
        self.four, self.six = f"10.78.{number}.2", f"fd78:{number}::2"
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)
        self.inside = ["nsenter", "-t", str(self.process.pid), "-n"]
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.process.pid}/ns/net") == own:
            pass
        run("ip", "link", "add", f"v{number}", "mtu", "9000", "type", "veth", "peer", "name", "store",
            "netns", str(self.process.pid))
        for where, device, last in (([], f"v{number}", 1), (self.inside, "store", 2)):
            run(*where, "ip", "address", "add", f"10.78.{number}.{last}/24", "dev", device)
            run(*where, "ip", "address", "add", f"fd78:{number}::{last}/64", "dev", device, "nodad")
            run(*where, "ip", "link", "set", device, "up")
        run(*self.inside, "ip", "link", "set", "store", "mtu", str(mtu))
        for command in commands:
            run(*self.inside, *command)

    def end(self):
        self.process.communicate(timeout=30)


def rows_of(daemon, body):
    return {row["address"]: row for row in daemon.good("POST", CHECK, body)}


def asked(points, daemon, hosts):
    large, small, odd, deaf = hosts
    rows = rows_of(daemon, {"addresses": [address for host in hosts
                                          for address in (host.four, host.six)] + ["127.0.0.1"]})
    seen = {address: (row["state"], row["carried"]) for address, row in rows.items()}
    wanted = {"127.0.0.1": ("carried", 65000)}
    for host, what in ((large, ("carried", 9000)), (small, ("too_large", 1500)),
                       (odd, ("too_large", 4000)), (deaf, ("silent", 0))):
        wanted[host.four] = wanted[host.six] = what
    points.point(seen == wanted, "each host is known by what arrives there", [seen, wanted])
    row = rows[small.four]
    points.point(row["mtu"] == 9000 and row["interface"] == "v2" and
                 "give v2 an MTU of 1500" in row["detail"] and "of 9000" in row["detail"],
                 "it is said which interface, and what to do", row)


def refused(points, daemon):
    rows = rows_of(daemon, {"addresses": ["203.0.113.9", "fe80::1", "host.example", ""]})
    points.point(all(row["state"] == "no_way" and row["detail"] for row in rows.values()) and
                 sorted(rows) == ["203.0.113.9", "fe80::1", "host.example"],
                 "no way, and what is no address", rows)
    reply = daemon.call("POST", CHECK, {"addresses": [f"192.0.2.{i}" for i in range(33)]})
    points.point(reply["status"] == 400, "33 addresses are too many", reply)
    reply = daemon.call("POST", CHECK, {"addresses": [7]})
    points.point(reply["status"] == 400, "a number is no address", reply)


def command(points, daemon, large, small):
    done = daemon.granary("network", "check", large.four)
    points.point(done.returncode == 0 and "carried" in done.stdout, "the command", done)
    done = daemon.granary("network", "check", large.four, small.six, "-o", "json")
    points.point(done.returncode == 1 and
                 [row["carried"] for row in json.loads(done.stdout)] == [9000, 1500],
                 "it fails where large packets are lost", done)
    points.point(not rows_of(daemon, {}), "nobody has a session")
    with iscsi_client.Connection("127.0.0.1", daemon.port) as connection:
        connection.login(None)
        rows = rows_of(daemon, {})
    points.point(list(rows) == ["127.0.0.1"] and rows["127.0.0.1"]["state"] == "carried",
                 "without addresses: who has a session", rows)


def inside(points):
    run("ip", "link", "set", "lo", "up")
    deaf = [("sysctl", "-q", "-w", f"net.{name}=1")
            for name in ("ipv4.icmp_echo_ignore_all", "ipv6.icmp.echo_ignore_all")]
    hosts = []
    try:
        hosts += [Host(1, 9000), Host(2, 1500), Host(3, 4100), Host(4, 9000, *deaf)]
        with tempfile.TemporaryDirectory() as folder:
            daemon = api.Daemon(os.path.join(folder, "state"), pool=False)
            try:
                asked(points, daemon, hosts)
                refused(points, daemon)
                command(points, daemon, hosts[0], hosts[1])
            finally:
                status = daemon.stop()
            points.point(status == 0, "clean stop", daemon.log()[-2000:])
    finally:
        for host in hosts:
            host.end()


if __name__ == "__main__":
    if sys.argv[1:] == ["--inside"]:
        tap.run(inside)
    elif os.geteuid() != 0:
        print("1..0 # SKIP network namespaces are root's to make")
    else:
        os.execvp("unshare", ["unshare", "--net", sys.executable, os.path.abspath(__file__), "--inside"])
