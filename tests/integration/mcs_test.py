#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=180 engines=both asan waits
"""Several connections of one session (RFC 7143, MC/S) at error recovery level 0, with a raw initiator:
who may join, CmdSN over all connections, allegiance, task management, logout of one, loss of one,
the same CID again, and the list of sessions."""

import hashlib
import json
import os
import socket
import struct
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "guest"), HERE]

import iscsi_client as iscsi  # pylint: disable=wrong-import-position
import server as daemon       # pylint: disable=wrong-import-position
import pools                  # pylint: disable=wrong-import-position
import tap                    # pylint: disable=wrong-import-position

IQN = daemon.DEMO_TARGET
PREFIX = "iqn.2026-11.org.granary:"
NO_SESSION, CAN_NOT_INCLUDE, TOO_MANY = (2, 0x0A), (2, 8), (2, 6)
NOT_AUTHENTICATED = (2, 1)
CLEARED = (6, 0x47, 0x7F)
TUR = bytes(6)
ELSEWHERE = "127.0.0.2"  # in portal group 2


class Suite:
    """Points that share a server."""

    def __init__(self, points, server):
        self.points, self.server = points, server
        self.port_id = 0x10

    def session(self, connections=1, target=IQN, **options):
        """A session of its own initiator port, with its unit attentions read."""
        self.port_id += 1
        session = iscsi.Session(self.server.address, self.server.port, target, self.port_id,
                                **options)
        session.hear()
        for cid in range(1, connections):
            session.add(cid)
        return session

    def refused(self, session, cid=None, **changes):
        """The status with which one more connection is refused; None: it was let in. @changes: what
        is said otherwise than by the session."""
        member = iscsi.Member(session, len(session.connections) if cid is None else cid,
                              changes.pop("address", None))
        login = {name: changes.pop(name) for name in ("initiator", "pairs") if name in changes}
        target = changes.pop("target", session.target)
        for name, value in changes.items():
            setattr(member, name, value)
        try:
            with member:
                member.login(target, **login)
                return None
        except iscsi.LoginFailed as error:
            return error.status

    def entry(self, session):
        """What the list of sessions says of it; None: it is not there."""
        answer = json.loads(self.server.granary("session", "list", "-o", "json"))
        isid = session.isid.hex()
        found = [entry for entry in answer if entry["isid"] == isid]
        return found[0] if len(found) == 1 else None


def silent(connection, seconds=0.4):
    return connection.silent(seconds)


def read_cdb(lba, blocks):
    return struct.pack(">BBIBHB", 0x28, 0, lba, 0, blocks, 0)


def write_cdb(lba, blocks):
    return struct.pack(">BBIBHB", 0x2A, 0, lba, 0, blocks, 0)


def ended(connection):
    try:
        connection.expect_end(20)
        return True
    except socket.timeout:
        return False


def joining(suite):
    points = suite.points
    with suite.session(pairs=(("MaxConnections", "100"), ("MaxBurstLength", "65536"))) as session:
        first = session.connections[0]
        points.point(first.keys["MaxConnections"] == "8", "MaxConnections is 8 at most", first.keys)
        second = session.add(7, pairs=(("MaxBurstLength", "65536"), ("MaxConnections", "8")))
        points.point(second.tsih == first.tsih and second.keys["MaxBurstLength"] == "65536",
                     "a second connection joins with the TSIH", second.keys)
        third = session.add(9, pairs=(("MaxBurstLength", "512"), ("ImmediateData", "No")))
        points.point(third.keys["MaxBurstLength"] == third.keys["ImmediateData"] == "Reject",
                     "what the leading connection settled stays", third.keys)
        points.point([member.command(TUR).status for member in session.connections] == [0] * 3,
                     "and no unit attention is heard again")
        first.write(8, b"m" * 4096)
        points.point(second.read(8, 8) == third.read(8, 8) == b"m" * 4096,
                     "what one wrote the others read")
        entry = suite.entry(session)
        points.point(entry and [c["cid"] for c in entry["connections"]] == [0, 7, 9]
                     and entry["tsih"] == first.tsih and entry["max_connections"] == 8,
                     "the list of sessions has one, with its connections", entry)
        points.point(suite.refused(session, tsih=first.tsih ^ 0x4000) == NO_SESSION, "wrong TSIH")
        points.point(suite.refused(session, isid=bytes([0x80, 0, 0, 0, 9, 9])) == NO_SESSION,
                     "the TSIH with another ISID")
        points.point(suite.refused(session, initiator=PREFIX + "another") == NO_SESSION,
                     "the TSIH with another initiator's name")
        points.point(suite.refused(session, target=PREFIX + "second") == NO_SESSION,
                     "the TSIH with another target")
        points.point(suite.refused(session, address=ELSEWHERE) == CAN_NOT_INCLUDE,
                     "another portal group can not be included")
        points.point(suite.refused(session, target=None) == NO_SESSION, "a discovery session")
        for cid in range(20, 25):
            session.add(cid)
        points.point(suite.refused(session, 25) == TOO_MANY, "the ninth connection is one too many")
        points.point([member.command(TUR).status for member in session.connections] == [0] * 8,
                     "eight connections serve")
        for member in session.connections[3:]:
            member.close()
        points.point(pools.wait_for(lambda: suite.refused(session, 30) is None),
                     "connections that are lost make room")
    with suite.session(pairs=()) as session:
        points.point(suite.refused(session, 1) == TOO_MANY,
                     "without MaxConnections there is one connection")


def prove(member, target, user, secret):
    """CHAP with MD5, and the rest of the login."""
    answer = member.login_step([("InitiatorName", PREFIX + "tester"), ("TargetName", target),
                                ("AuthMethod", "CHAP")], csg=0, transit=False)
    answer = member.login_step([("CHAP_A", "5")], csg=0, transit=False)
    said = dict(iscsi.parse_text(answer.data))
    digest = hashlib.md5(bytes([int(said["CHAP_I"])]) + secret.encode()
                         + bytes.fromhex(said["CHAP_C"][2:])).hexdigest()
    member.login_step([("CHAP_N", user), ("CHAP_R", "0x" + digest)], csg=0, nsg=1)
    member.login_step([("MaxConnections", "8")], csg=1, nsg=3)


def proof(suite):
    """Who proved to be another than the leading connection, or nothing, does not join it."""
    server, points, target = suite.server, suite.points, PREFIX + "secret"
    secret = os.path.join(server.state, "secret")
    with open(secret, "w", encoding="ascii") as file:
        file.write("sixteen letters!")
    os.chmod(secret, 0o600)
    server.granary("target", "create", target)
    server.granary("target", "allow", target, "--network", "127.0.0.0/8")
    with iscsi.Session(server.address, server.port, target, 3) as session:
        server.granary("target", "allow", target, "--initiator", PREFIX + "tester",
                       "--chap-user", "tester", "--chap-secret-file", secret)
        server.granary("target", "deny", target, "--network", "127.0.0.0/8")
        status = suite.refused(session, 1)
        points.point(status in (NOT_AUTHENTICATED, (2, 0)),
                     "where CHAP is asked for by now nobody joins without it", status)
        member = iscsi.Member(session, 1)
        try:
            prove(member, target, "tester", "sixteen letters!")
            points.point(False, "nor with it, as the leading connection proved nothing")
        except iscsi.LoginFailed as error:
            points.point(error.status == NOT_AUTHENTICATED,
                         "nor with it, as the leading connection proved nothing", error)
        member.tsih = session.tsih = 0
        member = iscsi.Member(session, 0)
        prove(member, target, "tester", "sixteen letters!")
        session.tsih = member.tsih
        second = iscsi.Member(session, 1)
        prove(second, target, "tester", "sixteen letters!")
        points.point(member.ping() == second.ping() == b"" and second.tsih == member.tsih,
                     "two that proved the same are one session")
        session.connections += [member, second]


def ordering(suite):
    points = suite.points
    with suite.session(3) as session:
        a, b, c = session.connections
        base = session.cmdsn
        late = c.send_command(TUR, cmdsn=base + 2)
        middle = b.send_command(TUR, cmdsn=base + 1)
        points.point(silent(b) and silent(c, 0.1), "what is ahead of a gap waits, on any connection")
        points.point(a.ping(b"x") == b"x", "an immediate request does not")
        first = a.send_command(TUR, cmdsn=base)
        session.cmdsn = base + 3
        results = [a.finish(first).status, b.finish(middle).status, c.finish(late).status]
        points.point(results == [0, 0, 0], "the missing one releases them, each answered on the "
                     "connection it came by", results)
        # Each number on the connection whose turn it is not, backwards, many times.
        tags = []
        for _ in range(20):
            base = session.cmdsn
            session.cmdsn = base + 24
            tags = [(session.connections[(n * 7) % 3],
                     session.connections[(n * 7) % 3].send_command(TUR, cmdsn=base + n))
                    for n in reversed(range(24))]
            assert all(member.finish(tag).status == 0 for member, tag in reversed(tags))
        points.point(True, "480 commands backwards over three connections")
        # A write and a read of the same block, the read sent first.
        base = session.cmdsn
        session.cmdsn = base + 2
        read = b.send_command(read_cdb(64, 8), expected=4096, read=True, cmdsn=base + 1)
        data = os.urandom(4096)
        write = a.send_command(write_cdb(64, 8), data, immediate=data, cmdsn=base)
        a.finish(write)
        points.point(b.finish(read).status == 0, "a read that overtook a write")
        statsn = [member.expstatsn for member in session.connections]
        a.command(TUR)
        points.point([member.expstatsn for member in session.connections]
                     == [statsn[0] + 1, statsn[1], statsn[2]], "StatSN counts for each connection")
        # A refused request ahead of a gap has used its number.
        base = session.cmdsn
        session.cmdsn = base + 3
        b.send_command(TUR, cmdsn=base + 1, opcode=0x1C)
        refusal = b.receive()
        last = c.send_command(TUR, cmdsn=base + 2)
        first = a.send_command(TUR, cmdsn=base)
        points.point(refusal.opcode == iscsi.REJECT and a.finish(first).status == 0
                     and c.finish(last).status == 0, "a rejected request leaves no gap")


def allegiance(suite):
    points = suite.points
    with suite.session(2, pairs=(("MaxConnections", "2"), ("InitialR2T", "Yes"),
                                 ("ImmediateData", "No"))) as session:
        a, b = session.connections
        data = os.urandom(8192)
        tag = a.send_command(write_cdb(128, 16), data)
        asks = a.receive()
        points.point(asks.opcode == iscsi.R2T and silent(b, 0.2), "R2T comes where the command came")
        b.data_out(tag, asks.ttt, 0, data)
        points.point(b.receive().opcode == iscsi.REJECT, "data on another connection is rejected")
        a.data_out(tag, asks.ttt, 0, data)
        points.point(a.finish(tag).status == 0 and b.read(128, 16) == data,
                     "data where it belongs is taken")
    with suite.session(pairs=(("MaxConnections", "2"), ("HeaderDigest", "None"))) as session:
        a = session.connections[0]
        b = session.add(1, pairs=(("MaxRecvDataSegmentLength", "512"),))
        tag = b.send_command(read_cdb(0, 8), expected=4096, read=True)
        lengths = [len(b.receive().data) for _ in range(8)]
        tag = a.send_command(read_cdb(0, 8), expected=4096, read=True)
        points.point(lengths == [512] * 8 and len(a.receive().data) == 4096 and tag,
                     "MaxRecvDataSegmentLength is each connection's own", lengths)
        text = b.text_request(iscsi.text([("SendTargets", "")]))
        points.point(text.opcode == iscsi.TEXT_RESPONSE and IQN.encode() in text.data,
                     "text on a connection that joined")


def management(suite):
    points = suite.points
    with suite.session(3, pairs=(("MaxConnections", "4"), ("InitialR2T", "Yes"),
                                 ("ImmediateData", "No"))) as session:
        a, b, c = session.connections
        data = bytes(4096)
        tag = a.send_command(write_cdb(0, 8), data)
        asks = a.receive()
        number = session.cmdsn - 1
        points.point(b.task_management(1, tag, refcmdsn=number) == 0,
                     "ABORT TASK reaches a command of another connection")
        a.data_out(tag, asks.ttt, 0, data)
        points.point(a.command(TUR).status == 0, "its late data is swallowed")
        # What is immediate bears the number of the next command, as the function does. Of those that
        # it did not end there is room for 32.
        heard = []
        for _ in range(40):
            a.send_command(write_cdb(0, 8), data, opcode=iscsi.COMMAND | iscsi.IMMEDIATE)
            heard.append(a.receive().opcode)
            if heard[-1] != iscsi.R2T:
                break
            a.send_raw(a.pdu(iscsi.TASK | iscsi.IMMEDIATE, iscsi.FINAL | 2, itt=a.tag(),
                             specific=struct.pack(">IIII", iscsi.NO_TAG, session.cmdsn,
                                                  a.expstatsn, 0)))
            heard.append(a.receive().opcode)
        points.point(heard == [iscsi.R2T, iscsi.TASK_RESPONSE] * 40,
                     "ABORT TASK SET ends immediate commands that wait for their data", heard)
        # ABORT TASK SET has to wait for what was sent before it elsewhere.
        base = session.cmdsn
        session.cmdsn = base + 2
        held = b.send_command(write_cdb(0, 8), data, cmdsn=base + 1)
        asked = a.tag()
        a.send_raw(a.pdu(iscsi.TASK | iscsi.IMMEDIATE, iscsi.FINAL | 2, itt=asked,
                         specific=struct.pack(">IIII", iscsi.NO_TAG, base + 2, a.expstatsn, 0)))
        points.point(silent(a), "ABORT TASK SET waits for commands that were sent before it")
        first = c.send_command(write_cdb(0, 8), data, cmdsn=base)
        done = a.receive()
        points.point(done.opcode == iscsi.TASK_RESPONSE and done.itt == asked and done.bhs[2] == 0,
                     "and is answered when they are here")
        points.point(all(pdu.opcode in (iscsi.R2T, iscsi.NOP_IN)
                         for pdu in drained(b) + drained(c)) and held and first,
                     "they are aborted: no answer comes")
        points.point([m.command(TUR).status for m in (a, b, c)] == [0, 0, 0],
                     "and the session goes on")
        # What was sent after the function and came before it is not meant.
        base = session.cmdsn
        data = os.urandom(4096)
        late = b.send_command(write_cdb(256, 8), data)
        asks = b.receive()
        asked = a.tag()
        a.send_raw(a.pdu(iscsi.TASK | iscsi.IMMEDIATE, iscsi.FINAL | 2, itt=asked,
                         specific=struct.pack(">IIII", iscsi.NO_TAG, base, a.expstatsn, 0)))
        done = a.receive()
        b.data_out(late, asks.ttt, 0, data)
        points.point(done.itt == asked and done.bhs[2] == 0 and asks.opcode == iscsi.R2T
                     and b.finish(late).status == 0 and a.read(256, 8) == data,
                     "ABORT TASK SET spares what overtook it")
        # Aborted before it came: its number is used up, whatever order they come in.
        base = session.cmdsn
        session.cmdsn = base + 3
        last = c.send_command(TUR, cmdsn=base + 2)
        answers = [a.task_management(1, 0x7777, refcmdsn=base + 1),
                   a.task_management(1, 0x7778, refcmdsn=base)]
        points.point(answers == [0, 0] and c.finish(last).status == 0,
                     "ABORT TASK of commands that never come fills their gap", answers)
        lost = b.send_command(TUR, itt=0x7777, cmdsn=base + 1)
        points.point(silent(b, 0.2) and lost and b.command(TUR).status == 0,
                     "one that comes after that is ignored")
        # A response that was sent is acknowledged before the function is answered.
        session.answers = False
        before = b.send_command(TUR)
        time.sleep(0.2)  # its answer lies in b's socket
        asked = a.tag()
        a.send_raw(a.pdu(iscsi.TASK | iscsi.IMMEDIATE, iscsi.FINAL | 2, itt=asked,
                         specific=struct.pack(">IIII", iscsi.NO_TAG, session.cmdsn, a.expstatsn, 0)))
        points.point(silent(a), "the answer waits until what went before on others is acknowledged")
        got = [b.receive(), b.receive()]
        points.point(got[0].itt == before and got[1].opcode == iscsi.NOP_IN
                     and got[1].itt == iscsi.NO_TAG, "which is asked for by NOP-In")
        drained(c)  # it may have been asked as well: its next command acknowledges
        young = c.send_command(TUR)
        points.point(silent(c, 0.3), "what comes meanwhile waits behind it")
        b.pong(got[1])
        done = a.receive()
        points.point(done.itt == asked and done.opcode == iscsi.TASK_RESPONSE, "then it comes")
        points.point(silent(c, 0.3), "what is younger waits until that is acknowledged as well")
        a.pong(a.receive())
        points.point(c.finish(young).status == 0, "and comes then")
        session.answers = True
        points.point(c.task_management(5) == 0, "LOGICAL UNIT RESET")
        heard = [m.command(TUR).key_asc_ascq for m in (b, a)]
        points.point(heard == [(6, 0x29, 3), None], "is heard once in the session", heard)


def fence(session, by, unheard, function=2, task=iscsi.NO_TAG, reset=None):
    """@by asks for ABORT TASK SET, or another @function of a @task, or when reset() is done for what
    pends; the answer waits until @unheard acknowledges what it was sent. Its tag, and the ping to
    @unheard."""
    before = unheard.send_command(TUR)
    time.sleep(0.2)  # its answer lies in the socket
    asked = by.tag()
    if reset:
        reset()
        by.send_command(TUR, itt=asked)
    else:
        by.send_raw(by.pdu(iscsi.TASK | iscsi.IMMEDIATE, iscsi.FINAL | function, itt=asked,
                           specific=struct.pack(">IIII", task, session.cmdsn, by.expstatsn,
                                                session.cmdsn - 2)))
    answer, ping = unheard.receive(), unheard.receive()
    assert answer.itt == before and ping.opcode == iscsi.NOP_IN
    for member in session.connections:
        for pdu in drained(member) if member not in (by, unheard) else ():
            assert pdu.opcode == iscsi.NOP_IN
            member.pong(pdu)
    return asked, ping


def answer(connection):
    """The next PDU that is no NOP-In."""
    pdu = connection.receive()
    while pdu.opcode == iscsi.NOP_IN:
        pdu = connection.receive()
    return pdu


def fences(suite):
    """What happens while an answer waits for acknowledgements: none of it is to wait for the limit
    of ten seconds."""
    points = suite.points
    with suite.session() as session:
        a = session.connections[0]
        b = session.add(5, pairs=(("MaxRecvDataSegmentLength", "262144"),))
        session.answers = False
        asked, ping = fence(session, a, b)
        # A connection that begins meanwhile has heard all that it was sent, wherever it counts from.
        late = iscsi.Member(session, 6)
        late.expstatsn = 0xF0000000
        late.login(IQN)
        session.connections.append(late)
        begin = time.monotonic()
        b.pong(ping)
        done = a.receive()
        points.point(done.itt == asked and time.monotonic() - begin < 6,
                     "a connection that joins is not waited for")
        a.pong(a.receive())
        points.point(late.command(TUR).status == 0, "and serves")
        asked, ping = fence(session, a, late)
        points.point(silent(a), "what it is sent from then on is waited for")
        late.pong(ping)
        done = answer(a)
        points.point(done.itt == asked, "and the answer comes once it is acknowledged")
        a.pong(a.receive())
        # More than is kept for a peer that does not read: it is not for want of its reading.
        heard = b.expstatsn
        asked, ping = fence(session, a, b)
        now, b.expstatsn = b.expstatsn, heard
        reads = [b.send_command(read_cdb(0, 2048), expected=1 << 20, read=True) for _ in range(48)]
        b.expstatsn = now
        time.sleep(1)
        begin = time.monotonic()
        b.pong(ping)
        done = a.receive()
        points.point(done.itt == asked and time.monotonic() - begin < 6,
                     "acknowledgements are heard whatever waits behind the answer")
        a.pong(a.receive())
        came = dict.fromkeys(reads, 0)
        while min(came.values()) < 1 << 20:  # in any order
            pdu = b.receive()
            assert pdu.opcode == iscsi.DATA_IN, pdu.opcode
            came[pdu.itt] += len(pdu.data)
        points.point(sum(came.values()) == 48 << 20, "and what waited comes")
        # Who logs out acknowledges nothing any more.
        heard = b.expstatsn
        asked, ping = fence(session, a, b)
        tag = b.tag()
        begin = time.monotonic()
        b.send_raw(b.pdu(iscsi.LOGOUT | iscsi.IMMEDIATE, iscsi.FINAL | 1, itt=tag,
                         specific=struct.pack(">HHII", b.cid, 0, session.cmdsn, heard)))
        done = a.receive()
        points.point(done.itt == asked and time.monotonic() - begin < 6,
                     "a connection that logs out is not waited for")
        a.pong(a.receive())
        done = b.receive()
        points.point(done.itt == tag and done.bhs[2] == 0 and ended(b), "and hears that it may go")
        points.point([m.command(TUR).status for m in (a, late)] == [0, 0], "the others go on")
    with suite.session(3) as session, suite.session() as other:
        a, b, c = session.connections
        session.answers = False
        task = c.send_command(write_cdb(0, 8), bytes(4096))
        points.point(c.receive().opcode == iscsi.R2T, "a command waits for its data")
        asked, ping = fence(session, a, b, 1, task)
        points.point(silent(a), "the answer to ABORT TASK of another connection's command waits")
        b.pong(ping)
        done = a.receive()
        a.pong(a.receive())
        points.point(done.opcode == iscsi.TASK_RESPONSE and done.itt == asked and done.bhs[2] == 0,
                     "and comes")
        asked, ping = fence(session, a, b,
                            reset=lambda: other.connections[0].task_management(5))
        points.point(silent(a), "a unit attention that tells of commands of others waits")
        b.pong(ping)
        done = a.receive()
        a.pong(a.receive())
        points.point(done.opcode == iscsi.RESPONSE and done.itt == asked and done.bhs[3] == 2,
                     "and comes")
        d = session.add()
        asked, ping = fence(session, a, b)
        begin = time.monotonic()
        b.close()
        points.point(answer(a).itt == asked and time.monotonic() - begin < 6,
                     "a connection that is lost is not waited for")
        a.pong(a.receive())
        asked, ping = fence(session, d, c)
        c.pong(ping)
        points.point(answer(d).itt == asked, "an answer comes")
        young = c.send_command(TUR)
        points.point(silent(c), "before it is acknowledged nothing younger does")
        begin = time.monotonic()
        d.close()
        points.point(answer(c).itt == young and time.monotonic() - begin < 6,
                     "unless its connection is lost")
        points.point([m.command(TUR).status for m in (a, c)] == [0, 0], "the others go on")
    with suite.session(2) as session:
        a, b = session.connections
        session.answers = False
        asked, ping = fence(session, a, b)
        b.pong(ping)
        heard = a.expstatsn
        points.point(answer(a).itt == asked, "an answer comes")
        a.expstatsn = heard  # nothing says that it has
        b.close()
        begin = time.monotonic()
        young = a.send_command(TUR)
        points.point(answer(a).itt == young and time.monotonic() - begin < 6,
                     "for the last connection there is nothing to acknowledge")


def drained(connection):
    """What has come."""
    seen = []
    while not silent(connection, 0.2) and connection.inbox:
        seen.append(connection.receive())
    return seen


def leaving(suite):
    points = suite.points
    with suite.session(3) as session:
        a, b, c = session.connections
        points.point(b.logout(1, 77) == 1, "logout of a CID that is not there")
        points.point(b.logout(2, 0) == 2, "removal for recovery is not supported")
        points.point(b.logout(1, b.cid) == 0 and ended(b), "logout of a connection by itself")
        points.point([m.command(TUR).status for m in (a, c)] == [0, 0], "the others go on")
        hanging = c.send_command(write_cdb(0, 8), bytes(4096))
        points.point(c.receive().opcode == iscsi.R2T and a.logout(1, c.cid) == 0 and ended(c),
                     "logout of another connection, with a command under way")
        points.point(a.command(TUR).key_asc_ascq == CLEARED and hanging,
                     "which is told by 47h/7Fh")
        points.point(a.command(TUR).status == 0, "once")
        b = session.add(1)
        points.point(b.command(TUR).status == 0, "a CID is free after its logout")
        c = session.add(2)
        points.point(b.logout(0) == 0 and all(ended(m) for m in (a, b, c)),
                     "logout of the session ends all connections")
    with suite.session(2) as session:
        entry = suite.entry(session)
        suite.server.granary("session", "drop", str(entry["id"]))
        points.point(all(ended(m) for m in session.connections),
                     "an administrator's drop ends all connections")
    with suite.session(2) as session:
        session.connections[0].close()
        points.point(pools.wait_for(lambda: len(suite.entry(session)["connections"]) == 1)
                     and session.connections[1].command(TUR).status == 0,
                     "the leading connection may go first")
        again = iscsi.Session(suite.server.address, suite.server.port, IQN, session.isid[5])
        points.point(ended(session.connections[1]) and again.tsih != session.tsih,
                     "TSIH 0 and the same ISID replaces the whole session")
        again.close()


def losing(suite):
    points = suite.points
    with suite.session(3) as session:
        a, b, c = session.connections
        tag = b.send_command(write_cdb(0, 8), bytes(4096))
        points.point(b.receive().opcode == iscsi.R2T and tag, "a command is under way")
        b.close()
        pools.wait_for(lambda: len(suite.entry(session)["connections"]) == 2)
        points.point(a.command(TUR).key_asc_ascq == CLEARED, "its connection is lost: 47h/7Fh")
        points.point([m.command(TUR).status for m in (a, c)] == [0, 0], "the others go on")
        # What was held on a lost connection is to be sent again elsewhere.
        b = session.add(1)
        base = session.cmdsn
        session.cmdsn = base + 3
        b.send_command(TUR, cmdsn=base + 1)
        last = c.send_command(TUR, cmdsn=base + 2)
        b.close()
        pools.wait_for(lambda: len(suite.entry(session)["connections"]) == 2)
        first = a.send_command(TUR, cmdsn=base)
        points.point(a.finish(first).status == 0 and silent(c, 0.3),
                     "a number that was lost with a connection is missing")
        again = a.send_command(TUR, cmdsn=base + 1)
        points.point(a.finish(again).status == 0 and c.finish(last).status == 0,
                     "sent again on another, it is not")
        # A broken connection of which the server finds out: the others hear of it.
        b = session.add(1)
        b.send_raw(b.pdu(iscsi.NOP_OUT, length=0xFFFFFF))
        told = a.receive()
        points.point(told.opcode == iscsi.ASYNC and told.bhs[36] == 2
                     and struct.unpack(">H", told.bhs[38:40])[0] == 1 and ended(b),
                     "a connection the server drops: event 2 with its CID on another")
        points.point(a.command(TUR).status == 0, "which goes on")


def tells_window(connection, session):
    """Among answers comes a PDU that carries nothing but the open window; before a ping does."""
    while True:
        pdu = connection.receive()
        if pdu.opcode == iscsi.NOP_IN and pdu.ttt != iscsi.NO_TAG:
            return False
        if pdu.opcode == iscsi.NOP_IN and (pdu.maxcmdsn - session.cmdsn) & 0xFFFFFFFF == 127:
            return True


def window(suite):
    """Who has used up the window sends nothing: that it has opened has to be told."""
    points = suite.points
    with suite.session(3, pairs=(("MaxConnections", "3"), ("InitialR2T", "Yes"),
                                 ("ImmediateData", "No"))) as session:
        a, b, c = session.connections
        for number in range(128):
            b.send_command(write_cdb(number, 1), bytes(512))
        asks = [b.receive() for _ in range(128)]
        points.point(asks[-1].opcode == iscsi.R2T and
                     asks[-1].maxcmdsn == session.cmdsn - 1, "a window is used up", asks[-1].bhs)
        session.answers = False
        b.close()
        points.point(tells_window(a, session),
                     "its commands end with their connection, which is told on another")
        points.point(silent(a) and silent(c, 0), "once")
        session.answers = True
        points.point([m.command(TUR).status for m in (a, c)] == [2, 0], "and it is open")
    with suite.session(2) as session:
        a, b = session.connections
        for _ in range(128):
            b.send_command(TUR)
        time.sleep(0.5)  # the answers lie in the socket, where nobody hears them
        session.answers = False
        b.close()
        points.point(tells_window(a, session),
                     "what was told on a connection that is lost is told on another")
        session.answers = True
    suite.server.granary("volume", "set", "tank/demo", "--iops", "1")
    with suite.session() as session, suite.session() as other:
        a = session.connections[0]
        for number in range(128):
            a.send_command(read_cdb(number, 1), expected=512, read=True)
        a.ping()  # they are here
        session.answers = False
        points.point(other.connections[0].task_management(5) == 0 and tells_window(a, session),
                     "commands that another initiator ended make room, which is told")
        session.answers = True
    suite.server.granary("volume", "set", "tank/demo", "--iops", "0")


def reinstating(suite):
    points = suite.points
    with suite.session(2) as session:
        a, old = session.connections
        tag = old.send_command(write_cdb(0, 8), bytes(4096))
        points.point(old.receive().opcode == iscsi.R2T and tag, "a command is under way")
        new = session.add(old.cid)
        points.point(ended(old), "the same CID again: the older connection ends")
        points.point(a.command(TUR).key_asc_ascq == CLEARED, "and its command, with 47h/7Fh")
        points.point(new.command(TUR).status == 0 and a.command(TUR).status == 0, "both serve")
        points.point([c["cid"] for c in suite.entry(session)["connections"]] == [0, 1],
                     "and both are listed")
    with suite.session(pairs=()) as session:
        old = session.connections[0]
        new = session.add(0)
        points.point(ended(old) and new.command(TUR).status == 0,
                     "a session of one connection is taken over by its CID")
        new.write(0, b"t" * 512)
        points.point(new.read(0, 1) == b"t" * 512, "and goes on")


def under_load(suite):
    """Connections are killed, and come back, while all are at work; nothing is to hang."""
    points, problems = suite.points, []
    session = suite.session()
    session.alone = True
    lock = threading.Lock()
    stop = time.monotonic() + 6
    lost, done = [0], [0]

    def work(cid):
        member = session.connections[0] if cid == 0 else session.add(cid)
        member.socket.settimeout(20)
        pattern = bytes([cid + 1]) * 4096
        while time.monotonic() < stop:
            try:
                with lock:  # the number and its place in the stream are given together
                    write = member.send_command(write_cdb(1024 + 8 * cid, 8), pattern,
                                                immediate=pattern)
                    read = member.send_command(read_cdb(1024 + 8 * cid, 8), expected=4096,
                                               read=True)
                wrote, result = member.finish(write), member.finish(read)
                if not wrote.status and not result.status:
                    done[0] += 1
                    if result.data != pattern:
                        problems.append(f"connection {cid} read what it did not write")
                if cid and done[0] % 50 == 0:
                    lost[0] += 1
                    raise iscsi.Closed("by ourselves, both answered")
            except iscsi.Closed:
                member.close()
                with lock:
                    member = session.add(cid)
                    member.socket.settimeout(20)

    threads = [threading.Thread(target=checked, args=(work, cid, problems)) for cid in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    points.point(not problems and done[0] > 100 and lost[0] > 2,
                 f"{done[0]} rounds of four connections of which {lost[0]} were killed", problems)
    session.close()


def checked(work, cid, problems):
    try:
        work(cid)
    except Exception as error:  # pylint: disable=broad-except
        problems.append(f"connection {cid}: {error!r}")


def gap(suite):
    points = suite.points
    with suite.session() as other, suite.session(2) as session, suite.session(2) as third:
        third.answers = False  # all it sends would count
        third.connections[1].send_command(TUR, cmdsn=third.cmdsn + 1)
        points.point(silent(third.connections[1]), "something waits for a number")
        third.connections[1].close()
        lost = time.monotonic()
        half = iscsi.Member(other, 1)
        half.login_step([("InitiatorName", PREFIX + "tester"), ("TargetName", IQN),
                         ("AuthMethod", "None")], csg=0, transit=False)
        a, b = session.connections
        b.send_command(TUR, cmdsn=session.cmdsn + 1)
        begin = time.monotonic()
        seen = a.expect_end(40)
        points.point(any(pdu.opcode == iscsi.ASYNC and pdu.bhs[36] == 3 for pdu in seen)
                     and 10 < time.monotonic() - begin and ended(b),
                     "a gap that nobody fills ends the session after its time")
        while time.monotonic() - lost < 21:
            third.serve(0.2)
        told = third.connections[0].inbox
        points.point(not third.connections[0].end and
                     {pdu.opcode for pdu in told} == {iscsi.NOP_IN},
                     "one that went with its connection does not", told)
        points.point(ended(half) and other.connections[0].command(TUR).status == 0,
                     "a connection that does not finish its login is ended, its session goes on")
    with suite.session() as session:
        points.point(session.connections[0].command(TUR).status == 0, "another one serves")


def test(points):
    with tempfile.TemporaryDirectory() as state:
        server = daemon.Server(state, address="127.0.0.1,1", more=("--bind", ELSEWHERE + ",2"))
        server.address = "127.0.0.1"
        suite = Suite(points, server)
        try:
            server.granary("target", "create", PREFIX + "second")
            server.granary("target", "allow", PREFIX + "second", "--network", "127.0.0.0/8")
            for part in (joining, proof, ordering, allegiance, management, fences, leaving, losing,
                         window, reinstating, under_load, gap):
                part(suite)
        finally:
            status = server.stop()
        points.point(status == 0, "clean stop", f"exit status {status}\n{server.log()[-4000:]}")


if __name__ == "__main__":
    tap.run(test)
