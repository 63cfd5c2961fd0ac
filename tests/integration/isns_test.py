#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=300 engines=one asan waits
"""Registration with an iSNS server (RFC 4171) that is this test: targets, portals and portal groups,
changes, a server that forgets, refuses, talks nonsense, says nothing or is away, status inquiries,
and what is left of it at the end. Then Debian's isnsd, where it is installed."""

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

from iscsi_client import Connection  # pylint: disable=wrong-import-position
import server as daemon              # pylint: disable=wrong-import-position
import tap                           # pylint: disable=wrong-import-position

REGISTER, QUERY, DEREGISTER, ESI, RESPONSE = 1, 2, 4, 13, 0x8000
CLIENT, SERVER, REPLACE, LAST, FIRST = 0x8000, 0x4000, 0x1000, 0x0800, 0x0400
ENTITY, PERIOD, ADDRESS, PORT, ESI_PORT = 1, 6, 16, 17, 20
NAME, TYPE, ALIAS, GROUP_ADDRESS, GROUP_PORT, GROUP_TAG = 32, 33, 34, 49, 50, 51
NO_SUCH_ENTRY, REFUSED = 9, 3
PREFIX = "iqn.2026-11.org.granary:"
LIMIT = 90


def wait_for(what, limit=LIMIT):
    end = time.monotonic() + limit
    while not (found := what()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def attribute(tag, value=b""):
    if isinstance(value, str):
        value = value.encode() + b"\0"
        value += bytes(-len(value) % 4)
    elif isinstance(value, int):
        value = struct.pack(">I", value)
    return struct.pack(">II", tag, len(value)) + value


def attributes(payload):
    """[(tag, value)]; text without its padding, numbers as such."""
    found, at = [], 0
    while at < len(payload):
        tag, length = struct.unpack_from(">II", payload, at)
        value = payload[at + 8:at + 8 + length]
        assert length % 4 == 0 and len(value) == length, "an attribute that leaves the payload"
        if tag in (ENTITY, NAME, ALIAS):
            assert length == 0 or value.endswith(b"\0"), "a text without its NUL"
            value = value.rstrip(b"\0").decode()
        elif length == 4:
            value = struct.unpack(">I", value)[0]
        elif tag in (ADDRESS, GROUP_ADDRESS):
            value = socket.inet_ntop(socket.AF_INET6, value)
        found.append((tag, value))
        at += 8 + length
    return found


def message(function, payload, xid=1, flags=CLIENT):
    return struct.pack(">HHHHHH", 1, function, len(payload), flags | FIRST | LAST, xid,
                       0) + payload


def receive_exact(connection, count):
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionError("end of stream")
        data += part
    return data


def receive(connection):
    """function, flags, xid, payload of the next message."""
    payload = b""
    while True:
        head = receive_exact(connection, 12)
        version, function, length, flags, xid, _ = struct.unpack(">HHHHHH", head)
        assert version == 1
        payload += receive_exact(connection, length)
        if flags & LAST:
            return function, flags, xid, payload


class Names:
    """The iSNS server. mood: what it does with the next requests."""

    def __init__(self, port=0):
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        self.entities = {}
        self.heard = []  # (function, flags, attributes)
        self.mood, self.period, self.wrong = "good", 300, []
        self.told = threading.Event()  # a late answer may go
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection):
        with connection:
            try:
                while True:
                    self.answer(connection, *receive(connection))
            except OSError:
                pass
            except Exception as error:  # pylint: disable=broad-except
                self.wrong.append(repr(error))

    def answer(self, connection, function, flags, xid, payload):
        heard = attributes(payload)
        self.heard.append((function, flags, heard))
        if self.mood == "silent":
            return
        if self.mood == "nonsense":
            connection.sendall(os.urandom(300))
            return
        if self.mood == "long":  # more than it said, and an attribute that leaves it
            connection.sendall(message(function | RESPONSE, struct.pack(">III", 0, 1, 0xFFFFFFF0),
                                       xid, SERVER) + bytes(100000))
            return
        if self.mood == "late" and function == DEREGISTER:
            self.told.wait(LIMIT)
        if self.mood == "refuse":
            reply = struct.pack(">I", REFUSED)
        else:
            reply = self.obey(function, flags, heard)
        connection.sendall(message(function | RESPONSE, reply, xid, SERVER))

    def obey(self, function, flags, heard):
        source, key = heard[0], [entry for entry in heard[1:] if entry[0] == ENTITY][0][1]
        assert source[0] == NAME and flags & CLIENT
        if function == REGISTER:
            assert flags & REPLACE
            body = heard[heard.index((0, b"")) + 1:]
            assert (NAME, source[1]) in body, "the source is none of those registered"
            self.entities[key] = body
            return struct.pack(">I", 0) + attribute(ENTITY, key) + attribute(0) + \
                attribute(ENTITY, key) + attribute(PERIOD, self.period)
        if function == DEREGISTER:
            return struct.pack(">I", 0 if self.entities.pop(key, None) else NO_SUCH_ENTRY)
        assert function == QUERY
        if key not in self.entities:
            return struct.pack(">I", 0) + attribute(ENTITY, key) + attribute(0)
        return struct.pack(">I", 0) + attribute(ENTITY, key) + attribute(0) + \
            attribute(ENTITY, key)

    def body(self):
        """Of the one entity there is; [] without."""
        return next(iter(dict(self.entities).values()), [])

    def targets(self):
        return {value for tag, value in self.body() if tag == NAME}

    def count(self, function):
        return sum(entry[0] == function for entry in list(self.heard))

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def show(server):
    return json.loads(server.granary("isns", "show", "-o", "json"))


def all_targets(server):
    return {target["iqn"] for target in server.status()["targets"]}


def registration(points, server, names, esi_port):
    points.point(show(server)["state"] == "none", "no server at first")
    server.granary("target", "create", PREFIX + "a", "--alias", "for people")
    server.granary("isns", "set", f"127.0.0.1:{names.port}", "--esi-port", str(esi_port))
    points.point(wait_for(lambda: names.targets() == all_targets(server)),
                 "every target is registered", f"{names.body()} {names.wrong}")
    body = names.body()
    entry = ("::ffff:127.0.0.1", server.port)
    points.point(body[1:3] == [(2, 2), (PERIOD, 300)], "an iSCSI entity with a period", str(body))
    at = body.index((ADDRESS, entry[0]))
    points.point(body[at + 1] == (PORT, entry[1]) and (ESI_PORT, esi_port) in body[at + 2:at + 4],
                 "its portal, with the port for inquiries", str(body))
    at = body.index((NAME, PREFIX + "a"))
    points.point(body[at:at + 6] == [(NAME, PREFIX + "a"), (TYPE, 1), (ALIAS, "for people"),
                                     (GROUP_TAG, 1), (GROUP_ADDRESS, entry[0]),
                                     (GROUP_PORT, entry[1])],
                 "a target with its type, alias and portal group", str(body[at:at + 6]))
    shown = wait_for(lambda: (now := show(server))["state"] == "registered" and now)
    points.point(shown and shown["targets"] == 3 and shown["portals"] == 1 and
                 shown["entity"] in names.entities and shown["contact"] > 0, "isns show says so",
                 json.dumps(shown or show(server)))
    points.point("registered" in server.granary("isns", "show"), "and in words")


def changes(points, server, names):
    server.granary("target", "create", PREFIX + "b")
    points.point(wait_for(lambda: PREFIX + "b" in names.targets()), "a new target is registered")
    server.granary("target", "delete", PREFIX + "b", "--yes")
    points.point(wait_for(lambda: PREFIX + "b" not in names.targets()), "one that goes is not")
    before = names.count(DEREGISTER)
    source = next(entry[2][0][1] for entry in reversed(names.heard) if entry[0] == REGISTER)
    points.point(source != PREFIX + "open", "one speaks for all", source)
    server.granary("target", "delete", source, "--yes")
    points.point(wait_for(lambda: names.targets() == all_targets(server)) and
                 names.count(DEREGISTER) == before + 1,
                 "when the one goes that has spoken so far, another speaks", str(names.heard[-3:]))
    points.point(not names.wrong, "nothing of it is wrong", str(names.wrong))


def inquiries(points, server, esi_port):
    body = attribute(4, bytes(8)) + attribute(ENTITY, "x") + attribute(ADDRESS, bytes(16)) + \
        attribute(PORT, 3260)
    with socket.create_connection(("127.0.0.1", esi_port), 30) as connection:
        for xid in (5, 6):
            connection.sendall(message(ESI, body, xid, SERVER))
            answer = receive(connection)
            points.point(answer[0] == ESI | RESPONSE and answer[2] == xid and
                         answer[3] == bytes(4) + body, "a status inquiry is answered", str(answer))
        connection.sendall(message(8, body, 7, SERVER))
        points.point(receive(connection)[3] == struct.pack(">I", 15), "nothing else is")
        whole = message(ESI, body, 8, SERVER) + message(ESI, body, 9, SERVER)
        connection.sendall(whole[:20])
        connection.sendall(whole[20:])
        points.point([receive(connection)[2] for _ in range(2)] == [8, 9], "two at once are")
    for bad in (os.urandom(64), struct.pack(">HHHHHH", 1, ESI, 60000, SERVER | LAST, 1, 0),
                struct.pack(">HHHHHH", 1, ESI | RESPONSE, 0, SERVER | LAST, 1, 0)):
        with socket.create_connection(("127.0.0.1", esi_port), 30) as connection:
            connection.sendall(bad)
            try:
                points.point(connection.recv(1) == b"", "what is none ends the connection")
            except ConnectionResetError:
                points.point(True, "what is none ends the connection")
    points.point(show(server)["esi_answered"] >= 5, "they are counted")
    points.point(("isns-esi", esi_port) in [(entry["protocol"], entry["port"])
                                            for entry in server.status()["endpoints"]],
                 "the port is among the endpoints")


def moods(points, server, names):
    """A server that is not as it should be: it is tried again, and nothing else notices."""
    for mood, number in (("refuse", 1), ("nonsense", 2), ("long", 3)):
        names.mood = mood
        wanted = "registered" if mood == "long" else "failing"  # what is too much is not looked at
        asked = names.count(REGISTER)
        server.granary("target", "create", PREFIX + f"mood{number}")
        failed = wait_for(lambda: names.count(REGISTER) > asked and
                          (now := show(server))["state"] == wanted and now)
        points.point(failed, f"a server that answers {mood}: {wanted}", json.dumps(show(server)))
        if mood == "refuse":
            points.point("invalid registration (3)" in (failed or {}).get("reason", ""),
                         "with its reason", str(failed))
        names.mood = "good"
        server.granary("target", "create", PREFIX + f"again{number}")
        points.point(wait_for(lambda: names.targets() == all_targets(server)), "and well again")
    names.mood = "silent"
    heard = len(names.heard)
    server.granary("target", "create", PREFIX + "silent")
    points.point(wait_for(lambda: len(names.heard) > heard), "a server that says nothing")
    with Connection(server.address, server.port, timeout=60) as connection:
        connection.login(PREFIX + "open")
        points.point(connection.ping(b"there") == b"there", "a session notices nothing of it")
    points.point(wait_for(lambda: show(server)["state"] == "failing"), "it is given up")
    names.mood = "good"
    points.point(wait_for(lambda: names.targets() == all_targets(server)), "and tried again")


def forgotten(points, server, names):
    names.period = 1  # the shortest that is kept to is 30 s: a sign of life each 10
    server.granary("target", "create", PREFIX + "short")
    wait_for(lambda: PREFIX + "short" in names.targets())
    points.point(wait_for(lambda: show(server)["period_seconds"] == 30), "the server's period")
    asked = names.count(QUERY)
    points.point(wait_for(lambda: names.count(QUERY) > asked), "a sign of life in time")
    names.entities.clear()
    points.point(wait_for(lambda: names.targets() == all_targets(server)),
                 "a server that has forgotten is told again")
    names.period = 300


def away(points, server, names):
    names.close()
    server.granary("target", "create", PREFIX + "away")
    points.point(wait_for(lambda: show(server)["state"] == "failing"),
                 "a server that is away", json.dumps(show(server)))
    again = Names(names.port)
    points.point(wait_for(lambda: again.targets() == all_targets(server)), "and is back")
    return again


def restarted(points, server, names, state):
    entity = set(names.entities)
    server.process.kill()
    server.process.wait()
    server = daemon.Server(state, port=server.port)
    heard = names.count(REGISTER)
    points.point(wait_for(lambda: names.count(REGISTER) > heard or
                          names.targets() == all_targets(server)) and
                 set(names.entities) == entity, "after a kill it is the same entity",
                 f"{entity} {set(names.entities)}")
    points.point(wait_for(lambda: show(server)["state"] == "registered"), "and registered")
    return server


def end(points, server, names):
    for wrong in ("isns.example.org", "127.0.0.1:0", ""):
        try:
            server.granary("isns", "set", wrong)
            points.point(False, f"isns set {wrong!r} is refused")
        except RuntimeError as error:
            points.point("iSNS" in str(error) or "ADDR" in str(error),
                         f"isns set {wrong!r} is refused", str(error))
    server.granary("isns", "remove")
    points.point(wait_for(lambda: not names.entities), "isns remove takes it back")
    points.point(show(server)["state"] == "none", "and no server is set")
    names.mood = "refuse"
    server.granary("isns", "set", f"127.0.0.1:{names.port}")
    wait_for(lambda: show(server)["state"] == "failing")
    for target in all_targets(server):
        server.granary("target", "delete", target, "--yes")
    points.point(wait_for(lambda: show(server)["state"] == "nothing to register"),
                 "without targets nothing fails", json.dumps(show(server)))
    names.mood = "good"
    server.granary("target", "create", PREFIX + "anew")
    points.point(wait_for(lambda: names.targets() == all_targets(server)), "set again")
    names.mood = "late"
    heard = len(names.heard)
    server.granary("isns", "set", f"127.0.0.1:{names.port}")
    wait_for(lambda: len(names.heard) > heard)
    time.sleep(1)
    points.point([entry[0] for entry in names.heard[heard:]] == [DEREGISTER],
                 "set over it: the farewell comes first", str(names.heard[heard:]))
    names.told.set()
    points.point(wait_for(lambda: len(names.heard) > heard + 1) and
                 wait_for(lambda: names.targets() == all_targets(server)), "and it is known again")
    names.mood = "silent"
    heard = len(names.heard)
    server.granary("target", "create", PREFIX + "last")
    wait_for(lambda: len(names.heard) > heard)


def own_server(points, folder):
    state = os.path.join(folder, "state")
    server, names, esi_port = daemon.Server(state), Names(), daemon.free_port()
    try:
        for name in ("first", "open"):
            server.granary("target", "create", PREFIX + name)
        server.granary("target", "allow", PREFIX + "open", "--network", "127.0.0.0/8")
        server.granary("target", "delete", daemon.DEMO_TARGET, "--yes")
        registration(points, server, names, esi_port)
        changes(points, server, names)
        inquiries(points, server, esi_port)
        moods(points, server, names)
        forgotten(points, server, names)
        names = away(points, server, names)
        server = restarted(points, server, names, state)
        end(points, server, names)
    finally:
        status = server.stop()
        log = server.log()
        names.close()
    points.point(status == 0, "the daemon stops cleanly, with an answer it still waits for",
                 f"exit status {status}\n{log[-4000:]}")


# -- Debian's isnsd ------------------------------------------------------------------------------
ISNSD = """
SourceName = iqn.2026-11.org.granary:isnsd
Database = {folder}/db
BindAddress = 127.0.0.1:{port}
PIDFile = {folder}/pid
ControlSocket = {folder}/control
Security = 0
DefaultDiscoveryDomain = 1
"""
HOST = PREFIX + "host"


class Isnsd:
    def __init__(self, folder):
        self.port = daemon.free_port()
        os.makedirs(os.path.join(folder, "db"))
        config = os.path.join(folder, "isnsd.conf")
        with open(config, "w", encoding="ascii") as file:
            file.write(ISNSD.format(folder=folder, port=self.port))
        with open(os.path.join(folder, "isnsd.log"), "wb") as log:
            self.process = subprocess.Popen(["isnsd", "-f", "-c", config], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=subprocess.STDOUT)
        if not wait_for(lambda: self.ask(REGISTER, attribute(NAME, HOST) + attribute(0) +
                                         attribute(ENTITY, "host") + attribute(2, 2) +
                                         attribute(NAME, HOST) + attribute(TYPE, 2))):
            with open(os.path.join(folder, "isnsd.log"), encoding="utf-8") as log:
                raise RuntimeError("isnsd does not answer:\n" + log.read())

    def ask(self, function, payload):
        """Attributes of the answer; None when it is refused or nobody is there."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 60) as connection:
                connection.sendall(message(function, payload))
                answer = receive(connection)[3]
        except OSError:
            return None
        return None if answer[:4] != bytes(4) else attributes(answer[4:])

    def targets(self):
        """{name: portal group} as an initiator is told."""
        found = self.ask(QUERY, attribute(NAME, HOST) + attribute(TYPE, 1) + attribute(0) +
                         attribute(NAME) + attribute(TYPE)) or []
        return {value for tag, value in found[1:] if tag == NAME and value}

    def portal_groups(self, name):
        found = self.ask(QUERY, attribute(NAME, HOST) + attribute(NAME, name) + attribute(0) +
                         attribute(GROUP_ADDRESS) + attribute(GROUP_PORT) +
                         attribute(GROUP_TAG)) or []
        return sorted(value for tag, value in found if tag in (GROUP_PORT, GROUP_TAG))

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def debians(points, folder):
    if not shutil.which("isnsd"):
        points.note("isnsd is not installed: Debian's server is left out")
        return
    server = names = None
    try:
        server = daemon.Server(os.path.join(folder, "second"))
        names = Isnsd(folder)
        server.granary("target", "create", PREFIX + "a")
        server.granary("isns", "set", f"127.0.0.1:{names.port}", "--esi-port",
                       str(daemon.free_port()))
        points.point(wait_for(lambda: names.targets() == all_targets(server)),
                     "isnsd shows an initiator every target",
                     f"{names.targets()} {show(server)} {server.log()[-1500:]}")
        points.point(names.portal_groups(PREFIX + "a") == [1, server.port],
                     "in their portal group", str(names.portal_groups(PREFIX + "a")))
        server.granary("target", "create", PREFIX + "b")
        points.point(wait_for(lambda: names.targets() == all_targets(server)), "a new one")
        server.granary("target", "delete", daemon.DEMO_TARGET, "--yes")
        server.granary("target", "delete", PREFIX + "a", "--yes")
        points.point(wait_for(lambda: names.targets() == all_targets(server) ==
                              {PREFIX + "b"}), "what goes is gone", str(names.targets()))
        points.point(wait_for(lambda: show(server)["state"] == "registered"), "all is well",
                     json.dumps(show(server)))
        server.granary("isns", "remove")
        points.point(wait_for(lambda: not names.targets()), "and in the end nothing is left",
                     str(names.targets()))
    finally:
        if names:
            names.stop()
        status = server.stop() if server else 1
    points.point(status == 0, "clean stop")


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-isns-") as folder:
        own_server(points, folder)
        debians(points, folder)


if __name__ == "__main__":
    tap.run(test)
