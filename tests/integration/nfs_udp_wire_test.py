#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=60 asan
"""What is there over UDP, and what is not: portmapper, rpcbind, MOUNT and RQUOTA under the same
rules as over TCP; no list, no NFS, no locks; no answer to what is no call, none that is much longer
than its call, and not many to one address."""

import os
import select
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import rpc_client as rpc   # pylint: disable=wrong-import-position
from rpc_client import u32, opaque   # pylint: disable=wrong-import-position
from nfs41_wire_test import expect   # pylint: disable=wrong-import-position
from nfs4_locks_test import case   # pylint: disable=wrong-import-position
import tap                 # pylint: disable=wrong-import-position

NLM, NSM, ANY = 100021, 100024, 300000
PROG_UNAVAIL, PROG_MISMATCH, PROC_UNAVAIL, GARBAGE_ARGS = 1, 2, 3, 4
UDP, TCP = 17, 6
PERM, NOENT, ACCES = 1, 2, 13
BURST, RATE = 100, 50
AGAIN = 1.0


class Datagrams(rpc.Connection):
    """Calls over UDP. A call that is not answered is sent again, as clients do."""

    def __init__(self, port, source="127.0.0.1"):  # pylint: disable=super-init-not-called
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((source, 0))
        self.socket.connect(("127.0.0.1", port))
        self.sent = b""
        self.longest = 0.0

    def record(self, body, pieces=1):
        self.sent = body
        self.socket.send(body)

    def waits(self, seconds):
        return bool(select.select([self.socket], [], [], seconds)[0])

    def reply(self):
        limit = time.monotonic() + 30
        while True:
            if not self.waits(AGAIN):
                if time.monotonic() > limit:
                    raise RuntimeError("no answer")
                self.socket.send(self.sent)
                continue
            data = self.socket.recv(65536)
            if data[:4] == self.sent[:4]:  # not the second one to an earlier call
                break
        self.longest = max(self.longest, len(data) / len(self.sent))
        return rpc.Reader(data)


class Suite:
    def __init__(self, server):
        self.server, self.port = server, server.port
        self.udp = Datagrams(server.port)
        self.tcp = server.connect()

    def both(self, *call, **how):
        """The same over both; what is behind the accept status."""
        seen = []
        for way in (self.udp, self.tcp):
            status, r = way.ask(*call, **how)
            seen.append((status, r.data[r.at:]))
        expect(seen[0], seen[1], f"the same over UDP as over TCP: {call[:3]}")
        return seen[0][1]

    def programs(self):
        for program, versions in ((rpc.PORTMAP, (2, 3, 4)), (rpc.MOUNT, (1, 3)),
                                  (rpc.RQUOTA, (1, 2))):
            for version in versions:
                self.udp.good(program, version, 0).end()
            status, r = self.udp.ask(program, 9, 0)
            expect((status, r.u32(), r.u32()), (PROG_MISMATCH, versions[0], versions[-1]),
                   "versions that are there")
        for program, version in ((rpc.NFS, 3), (rpc.NFS, 4), (NLM, 4), (NSM, 1), (ANY, 1)):
            expect(self.udp.ask(program, version, 0)[0], PROG_UNAVAIL, f"{program} is not there")
        for program, version, procedure in ((rpc.PORTMAP, 2, 4), (rpc.PORTMAP, 2, 5),
                                            (rpc.PORTMAP, 3, 4), (rpc.PORTMAP, 4, 4),
                                            (rpc.PORTMAP, 4, 5), (rpc.MOUNT, 1, 2),
                                            (rpc.MOUNT, 3, 2), (rpc.MOUNT, 3, 5),
                                            (rpc.MOUNT, 1, 5), (rpc.RQUOTA, 1, 3)):
            expect(self.udp.ask(program, version, procedure)[0], PROC_UNAVAIL,
                   f"{program}.{version}.{procedure} is for TCP")
        status, r = self.udp.ask(rpc.MOUNT, 3, 0, rpc_version=3)
        expect((status, r.u32()), ("denied", 0), "RPC version 3")
        status, r = self.udp.ask(rpc.MOUNT, 3, 0, cred=u32(6, 0))
        expect((status, r.u32(), r.u32()), ("denied", 1, 1), "RPCSEC_GSS")

    def ports(self):
        for program in (rpc.NFS, rpc.MOUNT, rpc.RQUOTA, rpc.PORTMAP, NLM, NSM, ANY):
            for protocol in (TCP, UDP):
                there = program != ANY and (protocol == TCP or program in
                                            (rpc.MOUNT, rpc.RQUOTA, rpc.PORTMAP))
                got = self.both(rpc.PORTMAP, 2, 3, u32(program, 3, protocol, 0))
                expect(got, u32(self.port if there else 0), f"GETPORT {program} {protocol}")
        address = f"127.0.0.1.{self.port >> 8}.{self.port & 255}".encode()
        for version in (3, 4):
            for program, netid, wanted in ((rpc.MOUNT, "udp", address), (rpc.NFS, "udp", b""),
                                           (rpc.NFS, "tcp", address), (rpc.MOUNT, "udp6", b""),
                                           (rpc.MOUNT, "xyz", b""), (rpc.MOUNT, "", b"")):
                got = self.both(rpc.PORTMAP, version, 3, u32(program, 3) + opaque(netid) +
                                opaque("") + opaque("rpcb"))
                expect(got, opaque(wanted), f"GETADDR {program} {netid}")
        expect(self.both(rpc.PORTMAP, 4, 9, u32(rpc.MOUNT, 3) + opaque("udp") + opaque("") +
                         opaque("rpcb")), opaque(address), "GETVERSADDR")
        for procedure in (1, 2):
            expect(self.both(rpc.PORTMAP, 2, procedure, u32(rpc.MOUNT, 3, UDP, 1)), u32(0),
                   "nobody registers")
        expect(self.udp.ask(rpc.PORTMAP, 2, 3, u32(1))[0], GARBAGE_ARGS, "too short")
        listed = self.tcp.good(rpc.PORTMAP, 2, 4)
        found = set()
        while listed.bool():
            found.add(tuple(listed.u32() for _ in range(4)))
        expect({row[:2] for row in found if row[2] == UDP},
               {(rpc.PORTMAP, 2), (rpc.PORTMAP, 3), (rpc.PORTMAP, 4), (rpc.MOUNT, 1),
                (rpc.MOUNT, 3), (rpc.RQUOTA, 1), (rpc.RQUOTA, 2)}, "DUMP lists them")

    def mounts(self):
        for path, wanted in (("/files", 0), ("/closed", ACCES), ("/secure", PERM), ("/none", NOENT),
                             ("", NOENT), ("/files/none", NOENT)):
            got = self.both(rpc.MOUNT, 3, 1, opaque(path))
            expect(got[:4], u32(wanted), f"MNT {path}")
        r = self.tcp.good(rpc.MOUNT, 3, 2)
        expect((r.bool(), r.opaque(), r.opaque()), (True, b"127.0.0.1", b"/files"), "remembered")
        self.udp.good(rpc.MOUNT, 3, 3, opaque("/files")).end()
        expect(self.tcp.good(rpc.MOUNT, 3, 2).bool(), False, "UMNT")
        self.udp.good(rpc.MOUNT, 3, 4).end()

    def quotas(self):
        for version, kind in ((1, b""), (2, u32(0))):
            for path in ("/files", "/closed", "/none"):
                for uid in (0, 5):
                    self.both(rpc.RQUOTA, version, 1, opaque(path) + kind + u32(uid),
                              cred=rpc.auth_sys(uid, uid))
        expect(self.both(rpc.RQUOTA, 1, 1, opaque("/closed") + u32(0)), u32(3), "no permission")
        expect(self.both(rpc.RQUOTA, 1, 1, opaque("/files") + u32(0),
                         cred=rpc.auth_sys(5, 5)), u32(3), "another's")

    def silence(self):
        """What is no call, or too long, or empty, hears nothing."""
        good = rpc.Connection.call_body(rpc.MOUNT, 3, 0)
        bad = [b"", b"\0", good[:20], good[:4] + u32(1) + good[8:], good + bytes(4000),
               os.urandom(3), bytes(60000), u32(len(good) | rpc.LAST) + good]
        for data in bad:
            self.udp.socket.send(data)
        self.udp.good(rpc.MOUNT, 3, 0).end()
        while self.udp.waits(0.5):
            expect(self.udp.socket.recv(65536)[:4], self.udp.sent[:4], "nothing but that answer")
        self.tcp.good(rpc.MOUNT, 3, 0).end()

    def lengths(self):
        """The shortest calls of all that answer."""
        for body in ((rpc.PORTMAP, 2, 0), (rpc.PORTMAP, 4, 6), (rpc.MOUNT, 3, 0),
                     (rpc.MOUNT, 9, 0), (ANY, 0, 0)):
            self.udp.ask(*body, cred=rpc.AUTH_NONE)
        self.udp.ask(rpc.MOUNT, 3, 1, opaque("/files"), cred=rpc.AUTH_NONE)
        self.udp.ask(rpc.RQUOTA, 1, 1, opaque("/files") + u32(0), cred=rpc.AUTH_NONE)
        expect(self.udp.longest <= 2, True, f"{self.udp.longest} times its call")

    def flood(self):
        """One address hears so much and no more; others are not hurt by it."""
        mine = Datagrams(self.port, "127.0.0.3")
        body = rpc.Connection.call_body(rpc.MOUNT, 3, 0)
        begin, heard = time.monotonic(), 0
        for _ in range(20):
            for _ in range(100):
                mine.socket.send(body)
            while mine.waits(0):
                mine.socket.recv(65536)
                heard += 1
        Datagrams(self.port, "127.0.0.4").good(rpc.MOUNT, 3, 0).end()
        while mine.waits(1):
            mine.socket.recv(65536)
            heard += 1
        most = BURST + RATE * (time.monotonic() - begin) + 2
        expect(0 < heard <= most, True, f"{heard} of 2000, {most:.0f} at most")
        mine.good(rpc.MOUNT, 3, 0).end()
        mine.socket.close()


CASES = ("programs", "ports", "mounts", "quotas", "silence", "lengths", "flood")


def test(t):
    server = rpc.MemoryServer()
    try:
        suite = Suite(server)
        for name in CASES:
            case(t, name, getattr(suite, name))
        suite.tcp.close()
    finally:
        status, said = server.stop()
    t.point(status == 0, "the server ends cleanly", said)


if __name__ == "__main__":
    tap.run(test)
