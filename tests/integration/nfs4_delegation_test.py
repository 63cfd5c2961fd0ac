#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 asan waits
"""Read delegations of NFSv4 and the calls to clients that they need, over the wire: the back
channel of sessions (RFC 8881 2.10.3, 20), v4.0's callbacks (RFC 7530 10.2.1, 17), who is given a
delegation and who is not, what calls it back, from every version, and what happens to a client that
does not answer."""

import os
import socket
import struct
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import rpc_client as rpc   # pylint: disable=wrong-import-position
from rpc_client import u32, u64, opaque   # pylint: disable=wrong-import-position
from nfs41_wire_test import (  # pylint: disable=wrong-import-position
    CHANNEL, Client, Compound, compound, exchange_id, expect, putfh, lookup, open_file, attrs,
    PUTROOTFH, GETFH, SAVEFH, UNCHECKED, ZERO)
import tap                 # pylint: disable=wrong-import-position

OK, INVAL, BADHANDLE, NOTSUPP, DELAY, JUKEBOX = 0, 22, 10001, 10004, 10008, 10008
EXPIRED, BAD_STATEID, OLD_STATEID, BADXDR = 10011, 10025, 10024, 10036
OPENMODE, LOCKS_HELD, CB_PATH_DOWN, DELEG_REVOKED = 10038, 10037, 10048, 10087
PATH_DOWN, REVOKED, PATH_DOWN_SESSION = 1, 0x40, 0x200
READ, NONE_EXT, WANT_READ, WANT_WRITE, WANT_NONE, WANT_CANCEL = 1, 3, 0x100, 0x200, 0x400, 0x500
PROGRAM, LEASE, BOTH = 0x40001234, 2, 3
CURRENT = u32(1) + bytes(12)


def attempt(ask, status=DELAY, limit=60.0):
    """Asks until it is something else than @status."""
    end = time.monotonic() + limit
    while True:
        got = ask()
        if got != status or time.monotonic() > end:
            return got
        time.sleep(0.05)


class Call:
    """A call to a client, taken apart."""

    def __init__(self, r):
        self.xid = r.u32()
        expect((r.u32(), r.u32()), (0, 2), "a call of RPC 2")
        self.program, self.version, self.procedure = r.u32(), r.u32(), r.u32()
        self.flavor = r.u32()
        self.cred = r.opaque()
        expect((r.u32(), r.opaque()), (0, b""), "verifier")
        self.operations = []
        if self.procedure == 0:
            r.end()
            return
        expect(r.opaque(), b"", "tag")
        self.minor, self.ident = r.u32(), r.u32()
        for _ in range(r.u32()):
            self.operations.append(self.operation(r))
        r.end()

    @staticmethod
    def operation(r):
        number = r.u32()
        if number == 11:
            got = 11, r.take(16), r.u32(), r.u32(), r.u32(), r.bool()
            expect(r.u32(), 0, "referring calls")
            return got
        if number == 15:
            handle, stateid, status = r.opaque(), r.take(16), r.u32()
            if status != OK:
                return 15, handle, stateid, status, r.u64()
            expect(r.u32(), 0, "no call-back id")
            return 15, handle, stateid, status, r.u64(), r.u32(), r.take(8)
        expect(number, 4, "CB_SEQUENCE, CB_OFFLOAD or CB_RECALL")
        return 4, r.take(16), r.bool(), r.opaque()

    @property
    def recall(self):
        return self.operations[-1] if self.operations else None

    def answer(self, status=OK, sequence=OK):
        """The reply; @status is CB_RECALL's or CB_OFFLOAD's."""
        head = u32(self.xid, 1, 0, 0, 0, 0)
        if self.procedure == 0:
            return head
        body, count = b"", 0
        for operation in self.operations:
            if operation[0] == 11:
                body += u32(11, sequence)
                if sequence == OK:
                    body += operation[1] + u32(*operation[2:5], operation[4])
                got = sequence
            else:
                body += u32(operation[0], status)
                got = status
            count += 1
            if got != OK:
                break
        return head + u32(got) + opaque(b"") + u32(count) + body


class BackConnection(rpc.Connection):
    """A connection over which the server calls, too. What it asks is kept in calls; answer() says
    what it hears (None: nothing)."""

    def __init__(self, port, **how):
        super().__init__(port, **how)
        self.calls = []
        self.answer = lambda call: call.answer()

    def reply(self):
        while True:
            record = super().reply()
            if struct.unpack(">I", record.data[4:8])[0] == 1:
                return record
            self.take(record)

    def take(self, record):
        call = Call(record)
        self.calls.append(call)
        said = self.answer(call)
        if said is not None:
            self.record(said)

    def wait(self, limit=60.0):
        """The next call that comes, answered; None: there was none."""
        self.socket.settimeout(limit)
        try:
            self.take(super().reply())
            return self.calls[-1]
        except socket.timeout:
            return None
        finally:
            self.socket.settimeout(60.0)


class Holder(Client):
    """A client of v4.1 that can be called, if @back."""

    def __init__(self, connection, owner, back=True, probed=True, channel=CHANNEL, minor=1):
        self.c, self.cred, self.sequence, self.minor, self.flags = connection, None, 0, minor, 0
        r = compound(connection, [exchange_id(owner)], minor).good(42)
        self.id, self.next = r.u64(), r.u32()
        create = (u32(43) + u64(self.id) + u32(self.next, 2 if back else 0) +
                  u32(0, *CHANNEL, 0) + u32(0, *channel, 0) + u32(PROGRAM, 2, 0, 1, 7) +
                  opaque(b"client") + u32(12, 34, 0))
        r = compound(connection, [create], minor).good(43)
        self.session = r.take(16)
        expect(r.u32(), self.next, "sequence id")
        self.bound = r.u32() == 2
        self.fore = [r.u32() for _ in range(6)]
        if back and probed:
            expect(connection.wait().procedure, 0, "CB_NULL")
        expect(self.ops(u32(58, 0)).status, OK, "RECLAIM_COMPLETE")

    def ops(self, *ops):
        self.sequence += 1
        result = compound(self.c, [self.sequence_op(self.sequence), *ops], self.minor,
                          cred=self.cred)
        r = result.good(53)
        r.take(16 + 16)
        self.flags = r.u32()
        return result

    def take(self, directory, name, want=0, access=1, deny=0, claim=0, stateid=b""):
        """OPEN: (handle, stateid, delegation), the failing status; a delegation is its stateid, or
        (why,), or None."""
        op = (u32(18, 0, access | want, deny) + u64(0) + opaque(b"me") + u32(0) + u32(claim) +
              stateid + (opaque(name) if claim in (0, 2, 3) else b""))
        result = self.ops(putfh(directory), op, GETFH)
        result.good(22)
        status = result.result(18)
        if status != OK:
            return status
        opened, given = self.opened(result.r)
        return result.good(10).opaque(), opened, given

    @staticmethod
    def opened(r):
        stateid = r.take(16)
        r.take(24)
        r.take(4 * r.u32())
        kind = r.u32()
        if kind == NONE_EXT:
            why = r.u32()
            if why in (1, 2):
                expect(r.bool(), False, "nor later")
            return stateid, (why,)
        if kind != READ:
            expect(kind, 0, "no delegation")
            return stateid, None
        given = r.take(16)
        expect((r.bool(), r.u32(), r.u32(), r.u32(), r.opaque()), (False, 0, 0, 0, b""), "ace")
        return stateid, given

    def make(self, directory, name, data=b"contents"):
        """A file, and its handle."""
        handle, stateid = self.open(directory, name, how=UNCHECKED)
        expect(self.write(handle, stateid, 0, data), OK, "WRITE")
        expect(self.close(handle, stateid), OK, "CLOSE")
        return handle

    def give_back(self, handle, stateid):
        return self.ops(putfh(handle), u32(8) + stateid).status

    def test(self, stateid):
        result = self.ops(u32(55, 1) + stateid)
        r = result.good(55)
        expect(r.u32(), 1, "TEST_STATEID")
        return r.u32()


class CallbackServer:
    """Where a client of v4.0 is called: answers everything, and remembers it."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.calls, self.status = [], OK
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    @property
    def address(self):
        return f"127.0.0.1.{self.port >> 8}.{self.port & 255}"

    def serve(self):
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            connection = rpc.Connection.__new__(rpc.Connection)
            connection.socket, connection.buffer = peer, b""
            try:
                call = Call(connection.reply())
                self.calls.append(call)
                connection.record(call.answer(self.status))
                connection.exactly(1)
            except (rpc.Closed, OSError, AssertionError):
                pass
            peer.close()

    def wait(self, count, limit=60.0):
        """The @count-th call."""
        end = time.monotonic() + limit
        while len(self.calls) < count and time.monotonic() < end:
            time.sleep(0.01)
        return self.calls[count - 1] if len(self.calls) >= count else None

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(5)


class Old:
    """A client of v4.0."""

    def __init__(self, connection, name, address, verifier=b"v" * 8):
        self.c, self.seqid = connection, 0
        r = self.ops(u32(35) + verifier + opaque(name) + u32(PROGRAM) + opaque("tcp") +
                     opaque(address) + u32(77)).good(35)
        self.id, confirm = r.u64(), r.take(8)
        expect(self.ops(u32(36) + u64(self.id) + confirm).status, OK, "SETCLIENTID_CONFIRM")

    def ops(self, *ops):
        return compound(self.c, list(ops), minor=0)

    def take(self, directory, name, access=1, claim=0, stateid=b""):
        """OPEN, confirmed if need be: (handle, stateid, delegation) or the status."""
        self.seqid += 1
        result = self.ops(putfh(directory), u32(18, self.seqid, access, 0) + u64(self.id) +
                          opaque(b"old") + u32(0, claim) + stateid + opaque(name), GETFH)
        result.good(22)
        status = result.result(18)
        if status != OK:
            return status
        at = result.r.at
        stateid, given = Holder.opened(result.r)
        handle = result.good(10).opaque()
        result.r.at = at + 36
        if result.r.u32() & 2:
            assert given is None, "no delegation before the owner is confirmed"
            self.seqid += 1
            result = self.ops(putfh(handle), u32(20) + stateid + u32(self.seqid))
            result.good(22)
            stateid = result.good(20).take(16)
        return handle, stateid, given

    def one(self, handle, op):
        return self.ops(putfh(handle), op).status


class Suite:
    def __init__(self, server, name):
        self.server = server
        self.c, self.b = self.connect(), self.connect()
        self.holder = Holder(self.c, b"holder of " + name)
        self.other = Holder(self.b, b"other of " + name, back=False)
        self.root = self.other.walk("files")
        self.three = rpc.Nfs3(server.connect())

    def connect(self):
        return BackConnection(self.server.port)

    def given(self, name, holder=None):
        """A new file that the holder has delegated: (handle, delegation)."""
        self.other.make(self.root, name)
        holder = holder or self.holder
        handle, stateid, given = holder.take(self.root, name, WANT_READ)
        assert isinstance(given, bytes), f"{name}: no delegation: {given}"
        expect(holder.close(handle, stateid), OK, "CLOSE")
        return handle, given

    def recalled(self, handle, given, connection=None):
        call = (connection or self.c).wait()
        assert call is not None, "no call"
        expect(call.recall, (4, given, False, handle), "CB_RECALL")
        return call

    # ---- the way back

    def channel(self):
        expect(self.holder.bound, True, "CREATE_SESSION binds its connection")
        probe = self.c.calls[0]
        expect((probe.program, probe.version, probe.procedure), (PROGRAM, 1, 0), "CB_NULL")
        r = rpc.Reader(probe.cred)
        expect((probe.flavor, r.u32(), r.opaque(), r.u32(), r.u32(), r.u32()),
               (1, 0, b"granary", 12, 34, 0), "as csa_sec_parms wants")
        r.end()
        handle, given = self.given("channel")
        expect(self.other.take(self.root, "channel", access=2), DELAY, "an OPEN to write")
        call = self.recalled(handle, given)
        expect((call.procedure, call.minor), (1, 1), "CB_COMPOUND")
        expect(call.operations[0], (11, self.holder.session, 1, 0, 3, False), "CB_SEQUENCE")
        expect(self.holder.give_back(handle, given), OK, "DELEGRETURN")
        second, given = self.given("channel 2")
        expect(self.other.take(self.root, "channel 2", access=2), DELAY, "an OPEN to write")
        expect(self.recalled(second, given).operations[0][2:4], (2, 0), "the slot's next number")
        expect(self.holder.give_back(second, given), OK, "DELEGRETURN")

    def unproven(self):
        """Nobody is given anything before he has answered a call."""
        self.other.make(self.root, "unproven")
        with self.connect() as c:
            deaf = Holder(c, b"deaf", back=False)
            expect((deaf.bound, deaf.take(self.root, "unproven")[2]), (False, None), "no channel")
            expect(deaf.take(self.root, "unproven", WANT_READ)[2], (2,), "and why")
            expect(deaf.flags, 0, "and it wanted none")
        for number in range(5):  # for half a second, in which a busy machine may not get to us
            with self.connect() as c:
                hasty = Holder(c, b"hasty %d" % number, probed=False)
                given = hasty.take(self.root, "unproven", WANT_READ)[2]
            if isinstance(given, bytes):
                break
        assert isinstance(given, bytes), "the OPEN waits for the answer"
        with self.connect() as c:
            tiny = Holder(c, b"tiny", probed=False, channel=(256, 256, 0, 2, 1))
            expect(tiny.bound, False, "too small a channel for our calls")
            expect(tiny.ops(u32(40, PROGRAM, 1, 0)).status, OK, "BACKCHANNEL_CTL")
            expect(self.bind(c, tiny), 1, "it has not grown")
        with self.connect() as c:
            c.answer = lambda call: None
            silent = Holder(c, b"silent", probed=False)
            expect((silent.bound, silent.take(self.root, "unproven")[2]), (True, None), "asked")
            expect(self.bind(c, silent), BOTH, "bound already")
            begun = time.monotonic()
            expect(silent.take(self.root, "unproven", WANT_READ)[2], (2,), "not answered")
            assert 0.4 < time.monotonic() - begun < 20, "half a second it waits"
            expect([call.procedure for call in c.calls], [0], "CB_NULL, once")
            c.record(c.calls[0].answer())
            given = attempt(lambda: silent.take(self.root, "unproven", WANT_READ)[2], (2,))
            assert isinstance(given, bytes), "answered"
        with self.connect() as c:
            c.answer = lambda call: u32(call.xid, 1, 1, 1, 5)
            refuses = Holder(c, b"refuses")
            end = time.monotonic() + 60
            while refuses.flags == 0 and time.monotonic() < end:
                expect(refuses.take(self.root, "unproven")[2], None, "refused")
            expect(refuses.flags, PATH_DOWN | PATH_DOWN_SESSION, "the path is down")
            c.answer = lambda call: call.answer()
            r = refuses.ops(u32(40, PROGRAM + 1, 1, 0))
            expect(r.status, OK, "BACKCHANNEL_CTL")
            expect(refuses.ops(u32(40, PROGRAM, 0)).status, 2, "with nothing")
            self.bind(c, refuses)
            call = c.calls[-1] if c.calls[-1].program == PROGRAM + 1 else c.wait()
            expect((call.program, call.flavor, call.cred), (PROGRAM + 1, 0, b""), "as it said")
            given = attempt(lambda: refuses.take(self.root, "unproven", WANT_READ)[2], (2,))
            assert isinstance(given, bytes), "answered now"
            expect(refuses.flags, 0, "and up")

    @staticmethod
    def bind(connection, client, direction=3):
        r = compound(connection, [u32(41) + client.session + u32(direction, 0)]).good(41)
        expect(r.take(16), client.session, "BIND_CONN_TO_SESSION")
        return r.u32()

    def path_down(self):
        """The connection is lost: the client is told, binds another one, and hears what it missed."""
        lost = self.connect()
        client = Holder(lost, b"path down")
        handle, given = self.given("path down", client)
        lost.close()
        with self.connect() as c, self.connect() as third:
            client.c = c
            attempt(lambda: (client.ops(PUTROOTFH), client.flags)[1], 0)
            expect(client.flags, PATH_DOWN | PATH_DOWN_SESSION, "the path is down")
            expect(self.other.take(self.root, "path down", access=2), DELAY, "not told yet")
            expect(self.bind(c, client, 1), 1, "for requests alone")
            expect(client.ops(PUTROOTFH).status, OK, "SEQUENCE")
            expect(client.flags, PATH_DOWN | PATH_DOWN_SESSION, "still down")
            expect(self.bind(third, client, 2), 2, "for calls alone")
            expect(third.wait().procedure, 0, "CB_NULL")
            expect(third.wait().recall, (4, given, False, handle), "CB_RECALL")
            expect(self.bind(c, client, 7), BOTH, "both")
            expect(c.wait().procedure, 0, "CB_NULL")
            client.ops(PUTROOTFH)
            expect(client.flags, 0, "up")
            expect(client.give_back(handle, given), OK, "DELEGRETURN")
            expect(compound(c, [u32(41) + client.session + u32(5, 0)]).status, BADXDR,
                   "no such direction")

    def bad_answers(self):
        """What a client may say instead of an answer."""
        handle, given = self.given("bad answers")
        other = lambda: self.other.take(self.root, "bad answers", access=2)
        for status in (DELAY, BADHANDLE, BAD_STATEID):
            self.c.answer = lambda call, status=status: call.answer(status)
            expect(attempt(lambda: other() if not self.c.wait(0.2) else "called"), "called",
                   f"called back, and again after {status}")
        self.c.answer = lambda call: call.answer(sequence=DELAY)
        expect(attempt(lambda: other() if not self.c.wait(0.2) else "called"), "called", "DELAY")
        delayed = self.c.calls[-1].operations[0][2]
        self.c.answer = lambda call: call.answer()
        expect(attempt(lambda: other() if not self.c.wait(0.2) else "called"), "called", "again")
        expect(self.c.calls[-1].operations[0][2], delayed, "with the number that was not used")
        expect(self.holder.give_back(handle, given), OK, "DELEGRETURN")
        self.c.record(u32(1, 1, 0, 0, 0, 0))  # nobody has asked
        self.c.record(u32(1, 1))
        expect(self.holder.ops(PUTROOTFH).status, OK, "passed over")
        with self.server.connect() as c:
            c.record(u32(1, 1, 0, 0, 0, 0))
            c.expect_end()
        for said in (b"", u32(0), u32(0, 0xFFFFFFFF), u32(0, 0, 2, 11, 0)[:-4],
                     u32(0, 0, 1, 11, 10052)):
            with self.connect() as c:
                client = Holder(c, b"says " + said)
                handle, given = self.given(f"says {said.hex()}", client)
                c.answer = lambda call, said=said: u32(call.xid, 1, 0, 0, 0, 0) + said
                expect(self.other.take(self.root, f"says {said.hex()}", access=2), DELAY, "held")
                expect(self.recalled(handle, given, c).procedure, 1, "CB_COMPOUND")
                attempt(lambda client=client: (client.ops(PUTROOTFH), client.flags)[1], 0)
                expect(client.flags, PATH_DOWN | PATH_DOWN_SESSION, "no good way to call it")
                expect(client.give_back(handle, given), OK, "DELEGRETURN")

    # ---- who is given one

    def wants(self):
        handle, given = self.given("wants")
        take = self.holder.take
        expect(take(self.root, "wants", WANT_READ)[2], (2,), "it has it already")
        expect(self.holder.give_back(handle, given), OK, "DELEGRETURN")
        expect(take(self.root, "wants", WANT_NONE)[2], (0,), "not wanted")
        expect(take(self.root, "wants", WANT_CANCEL)[2], (7,), "cancelled")
        expect(take(self.root, "wants", WANT_WRITE)[2], (4,), "none for writing")
        expect(take(self.root, "wants", 0x600), INVAL, "no such wish")
        expect(take(self.root, "wants", WANT_READ | 0x10000)[2][4:8], given[4:8], "its place again")
        for want, why in ((WANT_READ, 2), (WANT_WRITE, 4), (WANT_NONE, 0), (WANT_CANCEL, 7)):
            expect(take(self.root, "wants", want, access=3)[2], (why,), "its own writer")
        self.other.make(self.root, "no preference")
        assert isinstance(take(self.root, "no preference")[2], bytes), "without a preference"

    def writers(self):
        handle = self.other.make(self.root, "writers")
        _, stateid, given = self.other.take(self.root, "writers", access=2)
        expect(given, None, "nor does a writer get one")
        expect(self.holder.take(self.root, "writers", WANT_READ)[2], (1,), "somebody writes")
        expect(self.other.close(handle, stateid), OK, "CLOSE")
        cookie = opaque(b"c")
        lock = (opaque(b"host") + opaque(handle) + opaque(b"owner") + u32(5) + u64(0, 0))
        held = cookie + u32(0, 1) + lock + u32(0, 1)
        nlm = lambda procedure, body: self.three.c.good(100021, 4, procedure, body)
        r = nlm(2, held)
        expect((r.opaque(), r.u32()), (b"c", 0), "NLM LOCK")
        expect(self.holder.take(self.root, "writers", WANT_READ)[2], (1,), "somebody locks")
        nlm(4, cookie + lock)
        r = nlm(2, cookie + u32(0, 0) + lock + u32(0, 1))
        expect((r.opaque(), r.u32()), (b"c", 0), "NLM LOCK, shared")
        expect(self.holder.take(self.root, "writers", WANT_READ)[2], (1,), "one may wait behind it")
        nlm(4, cookie + lock)
        _, _, given = self.holder.take(self.root, "writers", WANT_READ)
        assert isinstance(given, bytes), "nobody any more"
        r = nlm(2, held)
        expect((r.opaque(), r.u32()), (b"c", 4), "NLM LOCK waits, as in a grace period")
        self.recalled(handle, given)
        expect(self.holder.give_back(handle, given), OK, "DELEGRETURN")
        r = nlm(2, held)
        expect((r.opaque(), r.u32()), (b"c", 0), "NLM LOCK")
        nlm(4, cookie + lock)
        expect(self.holder.take(self.root, "writers", WANT_READ)[2], (1,), "not again so soon")

    # ---- what it is good for

    def stateids(self):
        handle, given = self.given("stateids")
        a = self.holder
        expect(a.read(handle, given, 0, 100), (True, b"contents"), "READ")
        expect(a.read(handle, u32(0) + given[4:], 0, 3), (False, b"con"), "READ, newest")
        expect(a.write(handle, given, 0, b"x"), OPENMODE, "WRITE")
        expect(a.ops(putfh(handle), u32(34) + given + attrs(size=0)).status, OPENMODE, "SETATTR")
        expect(a.close(handle, given), BAD_STATEID, "CLOSE")
        expect(a.read(self.other.make(self.root, "elsewhere"), given, 0, 1), BAD_STATEID, "where")
        expect(self.other.read(handle, given, 0, 1), BAD_STATEID, "somebody else's")
        expect((a.test(given), self.other.test(given)), (OK, BAD_STATEID), "TEST_STATEID")
        expect(a.ops(u32(45) + given).status, LOCKS_HELD, "FREE_STATEID")
        expect(a.give_back(handle, u32(2) + given[4:]), BAD_STATEID, "DELEGRETURN, a later one")
        expect(a.give_back(handle, given[:15] + bytes([given[15] ^ 1])), BAD_STATEID, "nobody's")
        expect(a.give_back(handle, ZERO), BAD_STATEID, "DELEGRETURN of zeros")
        expect(a.give_back(self.root, given), BAD_STATEID, "DELEGRETURN elsewhere")
        expect(self.other.give_back(handle, given), BAD_STATEID, "somebody else's")
        expect(a.ops(u32(8) + given).status, 10020, "without a filehandle")
        expect(a.ops(u32(7) + u64(a.id)).status, NOTSUPP, "DELEGPURGE")
        expect(compound(a.c, [u32(57) + u64(a.id)]).status, 10074, "DESTROY_CLIENTID: busy")
        expect(a.give_back(handle, given), OK, "DELEGRETURN")
        expect(a.give_back(handle, given), BAD_STATEID, "again")
        expect(a.read(handle, given, 0, 1), BAD_STATEID, "READ")

    def claims(self):
        handle, given = self.given("claims")
        a = self.holder
        opened = a.take(self.root, "claims", claim=2, stateid=given)
        expect((opened[0], opened[2]), (handle, None), "CLAIM_DELEGATE_CUR")
        expect(a.read(handle, opened[1], 0, 3), (False, b"con"), "READ")
        expect(a.close(handle, opened[1]), OK, "CLOSE")
        opened = a.take(handle, "", claim=5, stateid=given, want=WANT_READ)
        expect((opened[0], opened[2]), (handle, (2,)), "CLAIM_DELEG_CUR_FH")
        expect(a.close(handle, opened[1]), OK, "CLOSE")
        expect(a.take(self.root, "claims", claim=2, stateid=given, access=3), OPENMODE, "to write")
        self.other.make(self.root, "not claimed")
        expect(a.take(self.root, "not claimed", claim=2, stateid=given), BAD_STATEID, "another")
        expect(a.take(self.root, "claims", claim=2, stateid=ZERO), BAD_STATEID, "by nothing")
        expect(self.other.take(self.root, "claims", claim=2, stateid=given), BAD_STATEID, "whose")
        expect(a.take(self.root, "claims", claim=3), NOTSUPP, "CLAIM_DELEGATE_PREV")
        expect(a.take(handle, "", claim=6), NOTSUPP, "CLAIM_DELEG_PREV_FH")
        expect(self.other.take(self.root, "claims", access=2), DELAY, "somebody wants to write")
        self.recalled(handle, given)
        opened = a.take(self.root, "claims", claim=2, stateid=given)
        expect(opened[0], handle, "what it has open it says first")
        expect(a.give_back(handle, given), OK, "DELEGRETURN")
        expect(self.other.take(self.root, "claims", access=2)[0], handle, "now")

    # ---- what calls it back

    def conflict(self, name, ask, status=DELAY):
        """@ask waits for the holder, and is done when that has returned the file."""
        handle, given = self.given(name)
        expect(ask(handle), status, f"{name} waits")
        self.recalled(handle, given)
        expect(ask(handle), status, f"{name} still waits")
        expect(self.c.wait(0.05), None, f"{name}: called back once")
        expect(self.holder.give_back(handle, given), OK, "DELEGRETURN")
        expect(ask(handle), OK, f"{name} is done")

    def four(self):
        b = self.other

        def opened(**how):
            def ask(name):
                got = b.take(self.root, name, **how)
                return got if isinstance(got, int) else OK
            return ask

        def by_name(*ops):
            return b.ops(putfh(self.root), SAVEFH, *ops).status

        setattr_op = u32(34) + ZERO + attrs(mode=0o600)
        self.conflict("open to write", lambda h: opened(access=2)("open to write"))
        self.conflict("keep readers out", lambda h: opened(deny=1)("keep readers out"))
        self.conflict("mode", lambda h: b.ops(putfh(h), setattr_op).status)
        self.conflict("size", lambda h: b.ops(putfh(h), u32(34) + ZERO + attrs(size=1)).status)
        self.conflict("write", lambda h: b.write(h, ZERO, 0, b"other"))
        self.conflict("deallocate",
                      lambda h: b.ops(putfh(h), u32(34) + ZERO + attrs(size=0)).status)
        self.conflict("remove", lambda h: by_name(u32(28) + opaque("remove")))
        self.conflict("rename", lambda h: by_name(u32(29) + opaque("rename") + opaque("renamed")))
        b.make(self.root, "over it")
        self.conflict("replaced",
                      lambda h: by_name(u32(29) + opaque("over it") + opaque("replaced")))
        self.conflict("link", lambda h: b.ops(putfh(h), SAVEFH, putfh(self.root),
                                              u32(11) + opaque("linked")).status)
        cut = lambda h: compound(b.c, [self.next_of(b), putfh(self.root), open_file(
            "cut", access=1, how=u32(0) + attrs(size=0), owner=b"me")]).status
        self.conflict("cut", cut)
        xattr = u32(73, 0) + opaque("user") + opaque("value")
        self.conflict("xattr", lambda h: self.two(b, putfh(h), xattr))
        handle, given = self.given("denied")
        _, stateid, _ = self.holder.take(self.root, "denied", deny=2)
        expect(b.take(self.root, "denied", access=2), 10015, "an OPEN that is refused anyhow")
        expect(self.c.wait(0.05), None, "calls nothing back")
        expect(self.holder.close(handle, stateid), OK, "CLOSE")
        expect(self.holder.give_back(handle, given), OK, "DELEGRETURN")
        handle, given = self.given("by others")
        expect(b.take(self.root, "by others")[0], handle, "an OPEN to read")
        expect(self.c.wait(0.05), None, "is no conflict")
        expect(self.holder.ops(putfh(handle), setattr_op).status, OK, "nor what the holder does")
        expect(self.holder.take(self.root, "by others", access=3)[0], handle, "its own OPEN")
        expect(self.c.wait(0.05), None, "is none")
        expect(self.holder.give_back(handle, given), OK, "DELEGRETURN")

    @staticmethod
    def next_of(client):
        client.sequence += 1
        return client.sequence_op(client.sequence)

    def two(self, client, *ops):
        """v4.2"""
        return compound(client.c, [self.next_of(client), *ops], minor=2).status

    def version_3(self):
        three, root = self.three, self.root
        status = lambda result: result.status
        self.conflict("setattr 3", lambda h: status(three.setattr(h, mode=0o640)))
        self.conflict("write 3", lambda h: status(three.write(h, 0, b"three")))
        self.conflict("remove 3", lambda h: status(three.remove(root, "remove 3")))
        self.conflict("rename 3", lambda h: status(three.rename(root, "rename 3", root, "new 3")))
        three.create(root, "over 3")
        self.conflict("under 3", lambda h: status(three.rename(root, "over 3", root, "under 3")))
        self.conflict("link 3", lambda h: status(three.link(h, root, "linked 3")))
        self.conflict("create 3", lambda h: status(three.create(root, "create 3", size=0)))
        handle, given = self.given("untouched 3")
        expect(status(three.create(root, "untouched 3", how=1)), 17, "CREATE, guarded")
        expect(status(three.create(root, "untouched 3")), OK, "CREATE, unchecked")
        expect(status(three.read(handle, 0, 1)), OK, "READ")
        expect(status(three.remove(root, "not there 3")), 2, "REMOVE")
        expect(self.c.wait(0.05), None, "no conflict")
        # The same request again, over the same connection: what was refused is not remembered.
        body = self.three.c.call_body(rpc.NFS, 3, 12, opaque(root) + opaque("untouched 3"))
        said = []
        for _ in range(2):
            self.three.c.record(body)
            said.append(self.three.c.accept(body[:4])[1].u32())
            if not said[1:]:
                self.recalled(handle, given)
                expect(self.holder.give_back(handle, given), OK, "DELEGRETURN")
        expect(said, [JUKEBOX, OK], "REMOVE, and again with the same xid")

    def crowd(self):
        """Many hold one file, and many files are held by one: all are called, few at a time."""
        self.other.make(self.root, "crowd")
        connections = [self.connect() for _ in range(5)]
        holders = [Holder(c, b"crowd %d" % i) for i, c in enumerate(connections)]
        given = [holder.take(self.root, "crowd", WANT_READ)[2] for holder in holders]
        assert all(isinstance(one, bytes) for one in given) and len(set(given)) == 5, given
        handle = self.other.walk("files", "crowd")
        expect(self.other.take(self.root, "crowd", access=2), DELAY, "all hold it")
        for holder, one in zip(holders, given):
            expect(holder.c.wait().recall, (4, one, False, handle), "CB_RECALL")
            expect(self.other.take(self.root, "crowd", access=2), DELAY, "one holds it")
            expect(holder.give_back(handle, one), OK, "DELEGRETURN")
        expect(self.other.take(self.root, "crowd", access=2)[0], handle, "nobody holds it")
        for c in connections:
            c.close()
        files = [self.given(f"of many {i}") for i in range(20)]
        for i in range(20):
            expect(self.three.setattr(files[i][0], mode=0o600).status, JUKEBOX, "held")
        before = len(self.c.calls)
        while len(self.c.calls) < before + 20 and self.c.wait():
            pass
        called = {call.recall[1] for call in self.c.calls[before:]}
        expect(called, {given for _, given in files}, "every one is called back")
        slots = {call.operations[0][3] for call in self.c.calls[before:]}
        assert slots <= {0, 1, 2, 3}, slots
        for handle, one in files:
            expect(self.holder.give_back(handle, one), OK, "DELEGRETURN")

    # ---- who does not return it

    def revoked(self):
        handle, given = self.given("revoked")
        expect(self.other.take(self.root, "revoked", access=2), DELAY, "held")
        self.recalled(handle, given)
        begun = time.monotonic()

        def ask():
            self.holder.ops(PUTROOTFH)  # it is alive
            got = self.other.take(self.root, "revoked", access=2)
            return got if isinstance(got, int) else OK
        expect(attempt(ask, limit=60), OK, "taken")
        assert time.monotonic() - begun > LEASE - 0.5, "after a lease"
        a = self.holder
        expect(a.read(handle, given, 0, 1), DELEG_REVOKED, "READ")
        expect(a.flags, REVOKED, "SEQUENCE says so")
        expect(a.test(given), DELEG_REVOKED, "TEST_STATEID")
        expect(a.give_back(handle, given), DELEG_REVOKED, "DELEGRETURN")
        expect(a.take(self.root, "revoked", claim=2, stateid=given), DELEG_REVOKED, "OPEN by it")
        expect(a.take(self.root, "revoked", WANT_READ)[2], (1,), "somebody writes; it has none")
        expect(a.ops(u32(45) + given).status, OK, "FREE_STATEID")
        expect(a.test(given), BAD_STATEID, "it is gone")
        expect(a.flags, 0, "and not spoken of any more")

    def expired(self):
        """A client that is silent for a lease has no delegation that is in anybody's way."""
        with self.connect() as c:
            client = Holder(c, b"expires")
            handle, given = self.given("expired", client)
            time.sleep(LEASE + 0.5)
            self.holder.ops(PUTROOTFH)
            expect(attempt(lambda: self.three.write(handle, 0, b"x").status), OK, "WRITE")
            expect(compound(c, [client.sequence_op(client.sequence + 1)]).status, 10052, "gone")
            expect(self.c.wait(0.05), None, "nobody else was called")
            assert given

    # ---- v4.0

    def version_40(self):
        server = CallbackServer()
        with self.server.connect() as c:
            old = Old(c, b"old", server.address)
            probe = server.wait(1)
            expect((probe.program, probe.version, probe.procedure), (PROGRAM, 1, 0), "CB_NULL")
            self.other.make(self.root, "old")
            expect(old.take(self.root, "old")[2], None, "not before its owner is confirmed")
            handle, stateid, given = old.take(self.root, "old")
            assert isinstance(given, bytes), "given"
            read = u32(25) + given + u64(0) + u32(4)
            expect(old.one(handle, read), OK, "READ")
            expect(old.ops(u32(30) + u64(old.id)).status, OK, "RENEW")
            expect(self.other.take(self.root, "old", access=2), DELAY, "held")
            call = server.wait(2)
            expect((call.minor, call.ident, call.flavor), (0, 77, 1), "CB_COMPOUND")
            expect(call.operations, [(4, given, False, handle)], "CB_RECALL")
            expect(old.one(handle, u32(8) + u32(0) + given[4:]), OLD_STATEID, "an old one")
            expect(old.one(handle, u32(8) + given), OK, "DELEGRETURN")
            expect(old.one(handle, u32(8) + given), BAD_STATEID, "again")
            expect(old.one(handle, u32(7) + u64(old.id)), NOTSUPP, "DELEGPURGE")
            expect(old.one(handle, u32(25) + stateid + u64(0) + u32(4)), OK, "it is open still")
            # What it does itself is in its way.
            self.other.make(self.root, "old own")
            handle, _, given = old.take(self.root, "old own")
            assert isinstance(given, bytes), "given"
            expect(old.take(self.root, "old own", claim=2, stateid=given)[0], handle, "claimed")
            another = Old(c, b"another", "")
            expect(another.take(self.root, "old own")[2], None, "can not be called")
            expect(another.take(self.root, "old own", claim=2, stateid=given), BAD_STATEID, "whose")
            calls = len(server.calls)
            expect(old.take(self.root, "old own", access=2), DELAY, "its own OPEN to write")
            expect(server.wait(calls + 1).recall[1], given, "CB_RECALL")
            expect(old.one(handle, u32(8) + given), OK, "DELEGRETURN")
            _, mine, none = old.take(self.root, "old own", access=2)
            expect(none, None, "now")
            expect(old.one(handle, u32(38) + mine + u64(0) + u32(2) + opaque("mine")), OK,
                   "its own WRITE")
            expect(old.one(handle, u32(34) + mine + attrs(size=2)), OK, "and SETATTR")
            self.other.make(self.root, "old own 2")
            handle, _, given = old.take(self.root, "old own 2")
            assert isinstance(given, bytes), "given"
            calls = len(server.calls)
            expect(old.one(handle, u32(34) + ZERO + attrs(mode=0o600)), DELAY, "a SETATTR")
            expect(server.wait(calls + 1).recall[1], given, "CB_RECALL")
            expect(old.one(handle, u32(8) + given), OK, "DELEGRETURN")
            expect(old.one(handle, u32(34) + ZERO + attrs(mode=0o600)), OK, "SETATTR")
            expect(old.take(self.root, "old own 2", access=2)[2], None, "OPEN to write")
            # Its path is lost: RENEW says so as long as it has a delegation.
            self.other.make(self.root, "old 2")
            handle, stateid, given = old.take(self.root, "old 2")
            assert isinstance(given, bytes), "given"
            server.close()
            renew = lambda: old.ops(u32(30) + u64(old.id)).status
            expect(attempt(renew, OK), CB_PATH_DOWN, "RENEW")
            self.other.make(self.root, "old 3")
            expect(old.take(self.root, "old 3")[2], None, "nothing more")
            begun = time.monotonic()

            def ask():
                expect(renew(), CB_PATH_DOWN, "RENEW")
                return self.three.setattr(handle, mode=0o600).status
            expect(attempt(ask, limit=60), OK, "it is taken from it")
            assert time.monotonic() - begun > LEASE - 0.5, "after a lease"
            expect(old.one(handle, u32(25) + given + u64(0) + u32(4)), EXPIRED, "READ")
            expect(old.one(handle, u32(8) + given), EXPIRED, "DELEGRETURN")
            expect(renew(), OK, "and it has none any more")

    def elsewhere(self):
        """Only the host that asks is called, and only where the address is one."""
        server = CallbackServer()
        port = f"{server.port >> 8}.{server.port & 255}"
        self.other.make(self.root, "elsewhere 40")
        with rpc.Connection(self.server.port, source=("127.0.0.9", 0)) as c:
            for i, address in enumerate((server.address, "127.0.0.1", "127.0.0.1.300.1", "", "::1.1.1",
                                         "127.0.0.9.0.0", "." * 60, "1" * 250, f"127.0.0.10.{port}",
                                         "127.0.0.9.1", "127.0.0.9.1.-1", f"x127.0.0.9.{port}")):
                old = Old(c, b"elsewhere %d" % i, address)
                old.take(self.root, "elsewhere 40")
                expect(old.take(self.root, "elsewhere 40")[2], None, f"at {address}")
        expect(server.calls, [], "nobody was called")
        server.close()

    def updated(self):
        """SETCLIENTID with another address: that one is called from then on."""
        first, second = CallbackServer(), CallbackServer()
        self.other.make(self.root, "updated")
        with self.server.connect() as c:
            old = Old(c, b"updated", first.address)
            expect(first.wait(1).procedure, 0, "CB_NULL")
            again = Old(c, b"updated", second.address)
            expect(again.id, old.id, "the same client")
            expect(second.wait(1).procedure, 0, "CB_NULL there")
            again.take(self.root, "updated")
            handle, _, given = again.take(self.root, "updated")
            assert isinstance(given, bytes), "given"
            second.status = DELAY
            expect(self.three.setattr(handle, mode=0o600).status, JUKEBOX, "held")
            expect(second.wait(2).recall[1], given, "CB_RECALL there")
            second.status = OK
            expect(attempt(lambda: self.three.setattr(handle, mode=0o600).status if
                           len(second.calls) < 3 else "called"), "called", "again")
            expect(again.one(handle, u32(8) + given), OK, "DELEGRETURN")
            expect(self.three.setattr(handle, mode=0o600).status, OK, "SETATTR")
            expect(len(first.calls), 1, "the first one was left alone")
        first.close()
        second.close()

    def another_session(self):
        """The session over which it was called is gone, without an answer: it is called again over
        the next one, and a delegation is given over it at once."""
        a, self.c.answer = self.holder, lambda call: call.answer() if call.procedure == 0 else None
        handle, given = self.given("another session")
        expect(self.other.take(self.root, "another session", access=2), DELAY, "held")
        expect(self.c.wait().recall[1], given, "CB_RECALL")
        expect(compound(self.c, [u32(44) + a.session]).status, OK, "DESTROY_SESSION")
        self.c.answer = lambda call: call.answer()
        create = (u32(43) + u64(a.id) + u32(a.next + 1, 2) + u32(0, *CHANNEL, 0) * 2 +
                  u32(PROGRAM, 1, 0))
        r = compound(self.c, [create]).good(43)
        a.session, a.sequence = r.take(16), 0
        self.other.make(self.root, "over it")
        assert isinstance(a.take(self.root, "over it", WANT_READ)[2], bytes), "at once"
        while self.c.calls[-1].procedure == 0 or self.c.calls[-1].operations[0][1] != a.session:
            assert self.c.wait(), "not called again"
        expect(self.c.calls[-1].recall, (4, given, False, handle), "CB_RECALL again")
        expect(a.give_back(handle, given), OK, "DELEGRETURN")

    def withdrawn(self):
        """A share that is exported no more takes its delegations along."""
        handle, given = self.given("withdrawn")
        a = self.holder
        self.server.order("share 0")
        expect(a.test(given), DELEG_REVOKED, "TEST_STATEID")
        a.ops(PUTROOTFH)
        expect(a.flags, REVOKED, "SEQUENCE says so")
        self.server.order("share 0")
        expect(a.test(given), DELEG_REVOKED, "it does not come back")
        expect(a.ops(u32(45) + given).status, OK, "FREE_STATEID")
        a.ops(PUTROOTFH)
        expect(a.flags, 0, "and not spoken of any more")
        expect(self.three.write(handle, 0, b"x").status, OK, "nothing is in the way")

    def stopping(self):
        """A server that is stopped does not wait for those it calls."""
        server = rpc.MemoryServer()
        c = BackConnection(server.port)
        c.answer = lambda call: call.answer() if call.procedure == 0 else None
        holder = Holder(c, b"stopping")
        root = holder.walk("files")
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        Old(server.connect(), b"never answers", f"127.0.0.1.{port >> 8}.{port & 255}")
        holder.make(root, "stopping")
        handle, stateid, given = holder.take(root, "stopping", WANT_READ)
        assert isinstance(given, bytes), "given"
        begun = time.monotonic()
        with server.connect() as other:
            expect(rpc.Nfs3(other).setattr(handle, mode=0o600).status, JUKEBOX, "held")
        expect(c.wait().recall[1], given, "CB_RECALL")
        status, said = server.stop()
        expect(status, 0, f"it ends cleanly: {said}")
        assert time.monotonic() - begun < 20, "at once"
        listener.close()


CASES = ("channel", "unproven", "path_down", "bad_answers", "wants", "writers", "stateids",
         "claims", "four", "version_3", "crowd", "revoked", "expired", "version_40", "elsewhere",
         "updated", "withdrawn", "stopping")
if os.environ.get("GRANARY_NFS_SLOW"):
    CASES += ("another_session",)


HASTY = ("revoked", "expired", "version_40")  # with a short lease


def one(server, name):
    """What went wrong, or nothing."""
    try:
        suite = Suite(server, name.encode())
        getattr(suite, name)()
        for connection in (suite.c, suite.b, suite.three.c):
            connection.close()
    except (AssertionError, OSError, rpc.Closed, ValueError, TypeError, AttributeError,
            IndexError) as error:
        lines = []
        at = error.__traceback__
        while at:
            lines.append(at.tb_lineno)
            at = at.tb_next
        return f"{type(error).__name__}: {error} (lines {lines})"
    return ""


def test(t):
    wanted = sys.argv[1:] or CASES
    for hasty in (False, True):
        server = rpc.MemoryServer(lease=LEASE if hasty else 90)
        try:
            for name in wanted:
                if (name in HASTY) == hasty:
                    said = one(server, name)
                    t.point(not said, name.replace("_", " "), said)
        finally:
            status, said = server.stop()
        t.point(status == 0, "the server ends cleanly", said)


if __name__ == "__main__":
    tap.run(test)
