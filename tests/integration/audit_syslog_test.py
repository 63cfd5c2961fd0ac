#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=180 engines=one asan
"""The audit log at syslog servers of the test's own, over TCP and TLS (RFC 5424, 5425): every entry
from the moment it is asked for, once, in order, with its hash; over a server that is away and kill -9
of the daemon nothing is left out; a certificate that is not trusted gets nothing."""

import hashlib
import json
import os
import re
import signal
import socketserver
import ssl
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position
import web  # pylint: disable=wrong-import-position

V1 = "/api/v1"
LONG = 60


class Receiver(socketserver.ThreadingTCPServer):
    """A syslog server that counts octets (RFC 6587 3.4.1); over TLS with @certificate."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, certificate=None, port=0):
        super().__init__(("127.0.0.1", port), Stream)
        self.lines = []
        self.bad = []
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]

    def handle_error(self, request, client_address):
        self.bad.append(repr(sys.exc_info()[1]))

    def end(self):
        self.shutdown()
        self.server_close()

    def entries(self):
        """Those of the audit log, as they came."""
        found = [re.fullmatch(r"<110>1 \S+Z \S+ granary - audit - (\{.*\})", line) for line in self.lines]
        return [json.loads(one.group(1)) for one in found if one]


class Stream(socketserver.BaseRequestHandler):
    def handle(self):
        data = b""
        while part := self.request.recv(1 << 16):
            data += part
        while data:
            length, _, data = data.partition(b" ")
            self.server.lines.append(data[:int(length)].decode())
            data = data[int(length):]


def wait(what, seconds=LONG):
    limit = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > limit:
            return None
        time.sleep(0.1)
    return found


def chained(entries):
    """Does each hash follow from the one before it, as docs say?"""
    for before, one in zip(entries, entries[1:]):
        text = "\n".join([before["hash"], str(one["id"]), str(one["at_ms"]), one["who"], one["address"],
                          one["method"], one["path"], str(one["status"]), one["code"]]) + "\n"
        if hashlib.sha256(text.encode()).hexdigest() != one["hash"]:
            return False
    return True


def host(daemon, name):
    daemon.good("POST", f"{V1}/hosts", {"name": name, "initiators": [f"iqn.2026-11.test:{name}"]})


def has(receiver, count):
    return lambda: sum(one["path"] == f"{V1}/hosts" for one in receiver.entries()) >= count


def both(points, daemon, plain, secure, ca):
    for body in ({"name": "no", "kind": "webhook", "url": "https://127.0.0.1:9/", "audit": True},
                 {"name": "no", "kind": "syslog", "url": "tls://127.0.0.1"}):
        reply = daemon.call("POST", f"{V1}/alert-channels", body)
        points.point(reply["status"] == 400 and reply["body"]["code"] == "bad_channel", "refused", reply)
    host(daemon, "early")
    daemon.good("POST", f"{V1}/alert-channels", {"name": "plain", "kind": "syslog", "audit": True,
                                                 "url": f"tcp://127.0.0.1:{plain.port}"})
    made = daemon.good("POST", f"{V1}/alert-channels", {"name": "secure", "kind": "syslog", "audit": True, "ca": ca,
                                                        "url": f"tls://127.0.0.1:{secure.port}"})
    points.point(made["audit"] and made["place"] == f"tls://127.0.0.1:{secure.port}", "a channel for it", made)
    tried = daemon.call("POST", f"{V1}/alert-channels/secure/test")
    points.point(tried["status"] == 200 and wait(lambda: secure.lines), "a test message comes over TLS", tried)
    for at in range(5):
        host(daemon, f"h{at}")
    points.point(wait(has(plain, 5)) and wait(has(secure, 5)), "what is done is told to both", (plain.lines, secure.bad))
    for name, receiver in (("TCP", plain), ("TLS", secure)):
        ids = [one["id"] for one in receiver.entries()]
        points.point(ids == list(range(ids[0], ids[0] + len(ids))) and chained(receiver.entries()) and
                     not any("early" in line for line in receiver.lines),
                     f"over {name}: each once, in order, and their hashes chain", ids)
    untrusted = daemon.call("PATCH", f"{V1}/alert-channels/secure", {"ca": ""})
    host(daemon, "h5")
    points.point(untrusted["status"] == 200 and wait(has(plain, 6)), "its certificate is trusted no more", untrusted)
    failing = wait(lambda: daemon.good("GET", f"{V1}/alert-channels/secure")["failures"] > 0)
    points.point(failing and not has(secure, 6)(), "then nothing is sent there, and it is said", secure.bad)
    daemon.good("PATCH", f"{V1}/alert-channels/secure", {"ca": ca})
    points.point(wait(has(secure, 6)), "until it is again")


def away(points, state, daemon, plain):
    last = daemon.good("GET", f"{V1}/audit?limit=1")[0]["id"]
    told = wait(lambda: plain.entries()[-1]["id"] == last)  # none is on its way
    port, count = plain.port, len(plain.entries())
    points.point(told, "all there is has been told", plain.entries()[-1])
    plain.end()
    for at in range(100):
        host(daemon, f"away{at}")
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()
    again = Receiver(port=port)
    daemon = api.Daemon(state, pool=False)
    host(daemon, "after")
    done = wait(lambda: any(one["path"] == f"{V1}/hosts" and one["id"] >= last + 101 for one in again.entries()))
    ids = [one["id"] for one in again.entries()]
    points.point(done and ids and ids[0] <= last + 1 and sorted(set(ids)) == list(range(ids[0], max(ids) + 1)),
                 f"a server that was away, and kill -9: of {max(ids or [0]) - last} entries after {count} none is left out", ids)
    unique = list({one["id"]: one for one in again.entries()}.values())
    points.point(chained(unique), "and their hashes chain")
    return daemon, again


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        state = os.path.join(folder, "state")
        daemon = api.Daemon(state, pool=False)
        front = web.Front(state)  # for a certificate
        receivers = []
        try:
            place = [os.path.join(state, "web", name) for name in ("cert.pem", "key.pem")]
            with open(place[0], encoding="ascii") as file:
                ca = file.read()
            receivers = [Receiver(), Receiver(place)]
            both(points, daemon, *receivers, ca)
            daemon, again = away(points, state, daemon, receivers[0])
            receivers = [again, receivers[1]]
        finally:
            front.stop()
            for receiver in receivers:
                receiver.end()
            points.point(daemon.stop() == 0, "the daemon stops cleanly", daemon.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)
