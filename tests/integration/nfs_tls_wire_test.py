#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 asan
"""RPC-with-TLS (RFC 9289) over the wire: AUTH_TLS and what is refused of it, the handshake, every
version of NFS in TLS with records that do not fit TLS's, calls to the client, what rules ask of a
connection, certificates and who they are, and what a hostile client may send."""

import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import rpc_client as rpc   # pylint: disable=wrong-import-position
from rpc_client import u32, u64, opaque   # pylint: disable=wrong-import-position
from nfs41_wire_test import (Client, compound, exchange_id, expect, putfh, lookup, UNCHECKED,  # pylint: disable=wrong-import-position
                             PUTROOTFH, GETFH)
from nfs4_delegation_test import BackConnection, Holder, Old   # pylint: disable=wrong-import-position
from nfs4_locks_test import case   # pylint: disable=wrong-import-position
from nfs_udp_wire_test import Datagrams   # pylint: disable=wrong-import-position
from tls_client import ASK, Tunnel, context, make_certificates, offer, secure   # pylint: disable=wrong-import-position
import tap                 # pylint: disable=wrong-import-position

NLM = 100021
BADCRED, BADVERF, TOOWEAK = 1, 3, 5
ACCESS, ROFS, DELAY, WRONGSEC, CLID_INUSE = 13, 30, 10008, 10016, 10017
WANT_READ = 0x0100
HANDSHAKE = 10
# Its memory says nothing then.
SANITIZED = any(name in os.environ.get("BUILD", "") for name in ("asan", "tsan"))


class Suite:
    def __init__(self, server, folder):
        self.server, self.port, self.folder = server, server.port, folder

    def tls(self, certificate=None, connection=None, **how):
        return secure(connection or self.server.connect(),
                      context(self.folder, certificate, **how))

    def denied(self, connection, wanted, what, **how):
        """The call is denied with AUTH_ERROR and @wanted."""
        status, r = connection.ask(rpc.NFS, 3, how.pop("procedure", 0), **how)
        expect(status, "denied", what)
        expect((r.u32(), r.u32()), (1, wanted), what)
        r.end()

    def handle(self, name, certificate="laptop.pem"):
        """The root of a share, by a connection that may have it."""
        with self.tls(certificate) as c:
            status, handle = rpc.mount(c, "/" + name)
            expect(status, 0, f"mount of {name}")
            return handle

    # ---- asking for it

    def asked(self):
        for program, version in ((rpc.NFS, 3), (rpc.NFS, 4), (rpc.MOUNT, 3), (rpc.PORTMAP, 2),
                                 (NLM, 4)):
            with self.server.connect() as c:
                expect(offer(c, program, version), True, f"STARTTLS on {program}")

    def asked_wrongly(self):
        with self.server.connect() as c:
            self.denied(c, BADCRED, "on GETATTR", procedure=1, cred=ASK)
            self.denied(c, BADCRED, "with a body", cred=u32(7) + opaque(b"more"))
            self.denied(c, BADVERF, "with a verifier", cred=ASK, verifier=u32(0) + opaque(b"v234"))
            self.denied(c, BADVERF, "with another flavor", cred=ASK, verifier=u32(1) + opaque(b""))
            # None of it has changed anything.
            c.good(rpc.NFS, 3, 0).end()
            expect(offer(c), True, "STARTTLS after all")
        with self.tls() as c:
            self.denied(c, BADCRED, "inside TLS", cred=ASK)
            c.good(rpc.NFS, 3, 0).end()
        udp = Datagrams(self.port)
        self.denied_program(udp)
        udp.socket.close()

    @staticmethod
    def denied_program(udp):
        status, r = udp.ask(rpc.MOUNT, 3, 0, cred=ASK)
        expect((status, r.u32(), r.u32()), ("denied", 1, BADCRED), "over UDP")

    def asked_between(self):
        """While a call is under way, or when the server calls over the connection: no."""
        self.server.order("slow 300")
        try:
            with self.server.connect() as c:
                root = rpc.mount(c, "/files")[1]
                made = rpc.Nfs3(c).create(root, "between")
                slow = c.call_body(rpc.NFS, 3, 2, opaque(made.handle) + rpc.sattr(size=1) + u32(0))
                asks = c.call_body(rpc.NFS, 4, 0, cred=ASK)
                c.record(slow)
                c.record(asks)
                answers = {}
                for _ in range(2):
                    r = c.reply()
                    xid = r.take(4)
                    answers[xid] = (r.u32(), r.u32())
                expect(answers, {slow[:4]: (1, 0), asks[:4]: (1, 1)}, "both in clear, one denied")
        finally:
            self.server.order("slow 0")
        with BackConnection(self.port) as c:
            Holder(c, b"tls bound")
            self.denied(c, BADCRED, "on one that is bound", cred=ASK)

    # ---- the handshake

    def handshake(self):
        with self.tls() as c:
            tls = c.socket.tls
            expect((tls.version(), tls.selected_alpn_protocol()), ("TLSv1.3", "sunrpc"), "chosen")
            names = dict(tls.getpeercert())["subjectAltName"]
            expect(names, (("DNS", "localhost"), ("IP Address", "127.0.0.1")), "the server's names")
            expect(tls.session_reused, False, "a session of before")

    def refused_handshake(self, how, name="localhost"):
        """What the client says of the alert that comes."""
        with self.server.connect() as c:
            expect(offer(c), True, "STARTTLS")
            tunnel = Tunnel(c.socket, how, name)
            try:
                tunnel.shake()
                # TLS 1.3: what is wrong with a client's certificate it hears behind the handshake.
                tunnel.sendall(u32(0x80000000))
                data = tunnel.recv(1)
            except ssl.SSLError as error:
                return str(error).lower().replace(" ", "_")
            raise AssertionError(f"went through: {data}")

    def alpn(self):
        for alpn in ((), ("h2",), ("sunrpc2", "http/1.1")):
            got = self.refused_handshake(context(self.folder, alpn=alpn))
            expect("no_application_protocol" in got, True, f"ALPN {alpn}: {got}")
        self.tls(alpn=("h2", "sunrpc")).close()

    def versions(self):
        old = context(self.folder)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        got = self.refused_handshake(old)
        expect("alert_protocol_version" in got, True, f"TLS 1.2: {got}")

    def certificates(self):
        for name, alert in (("stranger.pem", "alert_unknown_ca"),
                            ("old.pem", "alert_certificate_expired")):
            got = self.refused_handshake(context(self.folder, name))
            expect(alert in got, True, f"{name}: {got}")
        for name in ("laptop.pem", "desk.pem", "pinned.pem"):
            with self.tls(name) as c:
                c.good(rpc.NFS, 3, 0).end()

    # ---- what goes through it

    def version_3(self):
        with self.tls() as c:
            nfs = rpc.Nfs3(c)
            status, root = rpc.mount(c, "/tls")
            expect(status, 0, "mount")
            for size in (0, 1, 4095, 16384 - 100, 16384, 16385, 65536, (1 << 20) - 1, 1 << 20):
                data = os.urandom(size)
                made = nfs.create(root, f"of {size}")
                expect(nfs.write(made.handle, 0, data).count, size, "WRITE")
                got = nfs.read(made.handle, 0, 1 << 20)
                expect((got.count, got.data == data, got.eof), (size, True, True), f"READ {size}")
            for number in range(300):
                expect(nfs.create(root, f"{number:0100}").status, 0, "CREATE")
            expect(len(nfs.names(root, 32768, True)), 300 + 9 + 2, "READDIRPLUS")

    def pieces(self):
        """RPC's records and TLS's have nothing to do with each other."""
        with self.tls() as c:
            body = c.call_body(rpc.NFS, 3, 0)
            mark = u32(len(body) | rpc.LAST)
            for byte in mark + body:
                c.send(bytes([byte]))
            expect(c.accept(body[:4])[0], 0, "a byte at a time")
            calls = [c.call_body(rpc.NFS, 3, 0) for _ in range(100)]
            c.send(b"".join(u32(len(call) | rpc.LAST) + call for call in calls))
            for call in calls:
                expect(c.accept(call[:4])[0], 0, "a hundred at once")
            body = c.call_body(rpc.NFS, 3, 0, b"x" * 50000)
            c.record(body, 40)
            expect(c.accept(body[:4])[0], 0, "in fragments")
            root = rpc.mount(c, "/tls")[1]
            made = rpc.Nfs3(c).create(root, "pieces")
            data = os.urandom(300000)
            call = c.call_body(rpc.NFS, 3, 7, opaque(made.handle) + u64(0) +
                               u32(len(data), 2) + opaque(data))
            whole = u32(len(call) | rpc.LAST) + call
            for at in range(0, len(whole), 7001):
                c.send(whole[at:at + 7001])
            expect(c.accept(call[:4])[0], 0, "a WRITE in pieces")
            got = rpc.Nfs3(c).read(made.handle, 0, 300000)
            expect(got.data == data, True, "what was written")

    def backlog(self):
        """Replies that are not taken: reading stops, memory stays bounded, all come in the end."""
        with self.tls() as c:
            root = rpc.mount(c, "/tls")[1]
            nfs = rpc.Nfs3(c)
            made = nfs.create(root, "backlog")
            data = os.urandom(1 << 20)
            nfs.write(made.handle, 0, data)
            calls = [c.call_body(rpc.NFS, 3, 6, opaque(made.handle) + u64(0) + u32(1 << 20))
                     for _ in range(100)]
            before = self.server.resident()
            c.send(b"".join(u32(len(call) | rpc.LAST) + call for call in calls))
            time.sleep(1)
            grown = self.server.resident() - before
            seen = set()
            for _ in calls:
                r = c.reply()
                seen.add(r.take(4))
                r.data = memoryview(r.data)
                expect(bytes(r.data[-(1 << 20):]) == data, True, "the data")
            expect(seen, {call[:4] for call in calls}, "every reply")
            # 8 MiB of a connection, and as much again as it is on the wire, in buffers of twice that
            if SANITIZED:
                return
            expect(grown < 48 << 20, True, f"{grown >> 20} MiB more")

    def version_4(self):
        with self.tls("laptop.pem", BackConnection(self.port)) as c:
            holder = Holder(c, b"tls holder")
            root = holder.walk("tls")
            handle = holder.make(root, "delegated", b"x" * 100000)
            with self.tls("laptop.pem") as other:
                client = Client(other, b"tls other")
                got, opened, given = holder.take(root, "delegated", WANT_READ)
                expect(got, handle, "the file")
                expect(isinstance(given, bytes), True, f"a delegation: {given}")
                expect(holder.close(handle, opened), 0, "CLOSE")
                expect(client.open(root, "delegated", access=2), DELAY, "an OPEN to write")
                call = c.wait()
                expect(call.recall, (4, given, False, handle), "CB_RECALL in TLS")
                expect(holder.give_back(handle, given), 0, "DELEGRETURN")

    def version_40(self):
        """A call to a client of v4.0 would be in clear: it is not made, and nothing is delegated."""
        with socket.socket() as heard, self.tls() as c:
            heard.bind(("127.0.0.1", 0))
            heard.listen()
            heard.settimeout(1)
            port = heard.getsockname()[1]
            old = Old(c, b"tls old", f"127.0.0.1.{port >> 8}.{port & 255}")
            result = old.ops(PUTROOTFH, lookup("tls"), GETFH)
            for op in (24, 15):
                result.good(op)
            root = result.good(10).opaque()
            rpc.Nfs3(c).create(root, "of old")
            for _ in range(2):
                expect(old.take(root, "of old")[2], None, "no delegation")
            try:
                heard.accept()
            except socket.timeout:
                return
            raise AssertionError("it was called")

    # ---- what rules ask

    def too_weak(self):
        """A rule that is for TLS, and a connection that is not."""
        handle = self.handle("tls")
        strict = self.handle("mtls")
        for secured, name, root in ((False, "tls", handle), (False, "mtls", strict),
                                    (True, "mtls", strict)):
            with self.tls() if secured else self.server.connect() as c:
                expect(rpc.mount(c, "/" + name)[0], ACCESS, "MNT")
                self.denied(c, TOOWEAK, "GETATTR", procedure=1, arguments=opaque(root))
                self.denied(c, TOOWEAK, "CREATE", procedure=8,
                            arguments=opaque(root) + opaque("no") + u32(0) + rpc.sattr())
                lock = (opaque(b"c") + u32(0, 1) + opaque("caller") + opaque(root) +
                        opaque(b"oh") + u32(1) + u64(0, 0) + u32(0, 1))
                status, r = c.ask(NLM, 4, 2, lock)
                expect((status, r.u32(), r.u32()), ("denied", 1, TOOWEAK), "NLM LOCK")
                client = Client(c, b"weak" + name.encode() + bytes([secured]))
                client.fails(WRONGSEC, PUTROOTFH, lookup(name))
                client.fails(WRONGSEC, putfh(root))
                client.fails(ACCESS, PUTROOTFH, u32(33) + opaque(name))  # SECINFO
                result = client.ops(PUTROOTFH, u32(26) + u64(0) + bytes(8) + u32(8192, 8192) +
                                    u32(0))
                expect(name.encode() in result.r.data, False, "READDIR of the root")
                expect(b"files" in result.r.data, True, "READDIR of the root")
                c.good(rpc.NFS, 3, 0).end()
        with self.tls() as c:
            expect(rpc.mount(c, "/tls")[0], 0, "in TLS")
        with self.tls("desk.pem") as c:
            expect(rpc.mount(c, "/mtls")[0], 0, "with a certificate")

    def identity(self):
        """A certificate's name decides before any address, and who it is then."""
        def made(certificate, name):
            with self.tls(certificate) if certificate else self.server.connect() as c:
                status, root = rpc.mount(c, "/named")
                expect(status, 0, f"mount as {certificate}")
                got = rpc.Nfs3(c, rpc.auth_sys(5, 6)).mkdir(root, name, mode=0o777)
                return got.status if got.status else (got.attr.uid, got.attr.gid)
        with self.tls("laptop.pem") as c:
            root = rpc.mount(c, "/named")[1]
            rpc.Nfs3(c).setattr(root, mode=0o777)
        for certificate in (None, "desk.pem", "odd.pem", "pinned.pem"):
            expect(made(certificate, "not this one"), ROFS, f"by its address: {certificate}")
        with self.server.connect() as c:   # root there, to let the laptop in
            handle = self.handle("named")
            expect(rpc.Nfs3(c).getattr(handle).attr.type, 2, "the address may read")
        expect(made("laptop.pem", "mine") in ((1007, 1008), ACCESS), True, "the laptop's user")

    def whose(self):
        """A client of NFSv4 is its certificate's: another one does not take its name over."""
        with self.tls("laptop.pem") as mine, self.tls("desk.pem") as other, \
                self.server.connect() as plain, self.tls("laptop.pem") as again:
            client = Client(mine, b"whose")
            handle, _ = client.open(client.walk("tls"), "whose", how=UNCHECKED)
            for c in (other, plain):
                expect(compound(c, [exchange_id(b"whose", b"w" * 8)]).status, CLID_INUSE, "another")
            expect(compound(again, [exchange_id(b"whose")]).status, 0, "the same certificate")
            expect(client.ops(putfh(handle), GETFH).status, 0, "it has what it had")

    # ---- hostile

    def unasked(self):
        """TLS without AUTH_TLS."""
        with self.server.connect() as c:
            try:
                Tunnel(c.socket, context(self.folder)).shake()
            except (rpc.Closed, ConnectionResetError):
                return
            raise AssertionError("it went through")

    def injected(self):
        """A call in clear behind AUTH_TLS is none."""
        with self.server.connect() as c:
            root = rpc.mount(c, "/files")[1]
            asks = c.call_body(rpc.NFS, 4, 0, cred=ASK)
            call = c.call_body(rpc.NFS, 3, 9, opaque(root) + opaque("injected") + rpc.sattr())
            c.send(b"".join(u32(len(one) | rpc.LAST) + one for one in (asks, call)))
            r = c.reply()
            expect(r.take(4), asks[:4], "STARTTLS")
            rest = b""
            try:
                while True:
                    piece = c.socket.recv(4096)
                    if not piece:
                        break
                    rest += piece
            except ConnectionResetError:
                pass
            expect(rest[:2] in (b"", b"\x15\x03"), True, f"an alert, or nothing: {rest[:40]}")
        with self.server.connect() as c:
            expect(rpc.Nfs3(c).lookup(root, "injected").status, 2, "it was not done")

    def silent(self):
        """Whoever does not shake hands is dropped, whatever comes a byte at a time."""
        with self.server.connect() as quiet, self.server.connect() as slow:
            for c in (quiet, slow):
                expect(offer(c), True, "STARTTLS")
            begin = time.monotonic()
            hello = Tunnel(None, context(self.folder))
            try:
                hello.tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            rest = hello.outgoing.read()
            quiet.socket.settimeout(60)
            while time.monotonic() - begin < HANDSHAKE - 1 and rest:
                slow.socket.sendall(rest[:1])
                rest = rest[1:]
                time.sleep(0.1)
            expect((quiet.socket.recv(1), slow.socket.recv(1)), (b"", b""), "closed")
            expect(time.monotonic() - begin > HANDSHAKE - 1, True, "not at once")

    def broken(self):
        """Bytes that are changed on the way, and a peer that is gone without a word."""
        with self.tls() as c:
            c.socket.tls.write(u32(40 | rpc.LAST) + bytes(40))
            data = bytearray(c.socket.outgoing.read())
            data[-1] ^= 1
            c.socket.raw.sendall(data)
            try:
                c.expect_end()
            except ssl.SSLError as error:
                expect(error.reason, "SSLV3_ALERT_BAD_RECORD_MAC", "alert")
        with self.tls() as c:
            c.send(u32(rpc.LAST | (64 << 20)))
            c.expect_end()
        with self.tls() as c:
            c.socket.raw.shutdown(socket.SHUT_WR)
            c.expect_end()
        with self.tls() as c:
            tunnel = c.socket
            try:
                tunnel.until_done(tunnel.tls.unwrap)
            except rpc.Closed:
                raise AssertionError("no close_notify") from None

    def rekeyed(self):
        """Whoever asks for new keys without end, and takes none of the answers, is dropped.

        The kernel holds up to 4 MiB of what is not read at either end, 27 bytes each: how many
        go through before that differs by the machine's load, so the count is far beyond it."""
        program = os.path.join(os.path.abspath(os.environ.get("BUILD", "build")),
                               "tests/integration/tls_rekey")
        done = subprocess.run([program, str(self.port), "4000000"], capture_output=True, text=True,
                              check=False)
        expect("CUT OFF AT" in done.stdout, True, f"{done.stdout}{done.stderr}")
        with self.tls() as c:
            c.good(rpc.NFS, 3, 0).end()

    def crowd(self):
        """Many that do not go through leave nothing behind."""
        def round_of(count):
            for number in range(count):
                with self.server.connect() as c:
                    expect(offer(c), True, "STARTTLS")
                    c.socket.sendall(os.urandom(200) if number % 2 else b"\x16\x03\x01\x40\x00")
            for _ in range(count // 4):
                self.tls("laptop.pem").close()
        round_of(200)
        before = self.server.resident()
        round_of(400)
        time.sleep(1)
        grown = self.server.resident() - before
        if not SANITIZED:
            expect(grown < 8 << 20, True, f"{grown >> 10} KiB more")
        with self.tls() as c:
            c.good(rpc.NFS, 3, 0).end()

    # ---- another certificate

    def replaced(self):
        """Connections that are there go on; new ones see the new certificate, and its clients."""
        with self.tls("pinned.pem") as c:
            shutil.copy(os.path.join(self.folder, "server.pem"),
                        os.path.join(self.folder, "before.pem"))
            other = os.path.join(self.folder, "other")
            os.mkdir(other)
            make_certificates(other)
            shutil.copy(os.path.join(other, "server.pem"), self.folder)
            with open(os.path.join(self.folder, "clients.pem"), "w", encoding="ascii"):
                pass
            self.server.order(f"tls {self.folder}")
            c.good(rpc.NFS, 3, 0).end()
            expect(rpc.mount(c, "/mtls")[0], 0, "it is who it was")
        with self.tls("laptop.pem") as c:   # nobody asks for it
            expect(rpc.mount(c, "/tls")[0], 0, "in TLS")
            expect(rpc.mount(c, "/mtls")[0], ACCESS, "no certificate is believed")
        try:
            self.tls(authority="before.pem")
        except ssl.SSLError:
            return
        raise AssertionError("the old certificate")


CASES = ("asked", "asked_wrongly", "asked_between", "handshake", "alpn", "versions", "certificates",
         "version_3", "pieces", "backlog", "version_4", "version_40", "too_weak", "identity",
         "whose", "unasked", "injected", "silent", "broken", "rekeyed", "crowd", "replaced")


def test(t):
    folder = tempfile.mkdtemp(prefix="granary-tls-")
    server = rpc.MemoryServer()
    try:
        make_certificates(folder)
        with open(os.path.join(folder, "clients.pem"), "w", encoding="ascii") as clients:
            for name in ("ca.pem", "pinned.pem"):
                with open(os.path.join(folder, name), encoding="ascii") as file:
                    clients.write(file.read())
        with server.connect() as c:
            t.point(not offer(c), "without a certificate nothing is offered")
        server.order(f"tls {folder}")
        suite = Suite(server, folder)
        for name in CASES:
            case(t, name, getattr(suite, name))
    finally:
        status, said = server.stop()
        shutil.rmtree(folder)
    t.point(status == 0, "the server ends cleanly", said)


if __name__ == "__main__":
    tap.run(test)
