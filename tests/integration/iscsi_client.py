# SPDX-License-Identifier: Apache-2.0
"""A raw iSCSI initiator (RFC 7143) that does exactly what it is told, right or wrong.

Well-behaved use: Connection(...), login(), command(), logout(). Every field of every PDU can be
overridden, so that the same class also speaks the hostile dialect of the bad-input tests."""

import os
import select
import socket
import struct
import time

NOP_OUT, COMMAND, TASK, LOGIN, TEXT, DATA_OUT, LOGOUT, SNACK = 0, 1, 2, 3, 4, 5, 6, 0x10
NOP_IN, RESPONSE, TASK_RESPONSE, LOGIN_RESPONSE, TEXT_RESPONSE = 0x20, 0x21, 0x22, 0x23, 0x24
DATA_IN, LOGOUT_RESPONSE, R2T, ASYNC, REJECT = 0x25, 0x26, 0x31, 0x32, 0x3F
IMMEDIATE, FINAL = 0x40, 0x80
NO_TAG = 0xFFFFFFFF
BUSY = 8
# On an RBD volume a LUN is BUSY until its reservations have been read from the cluster.
PATIENCE = bool(os.environ.get("GRANARY_TEST_CEPH"))
CHECK_CONDITION = 2


class Closed(Exception):
    """The server ended the connection."""


class LoginFailed(Exception):
    """A login response with a status class other than success."""

    def __init__(self, status_class, detail):
        super().__init__(f"login status {status_class:02x}{detail:02x}")
        self.status = (status_class, detail)


class Pdu:
    """One PDU as received."""

    def __init__(self, bhs, data):
        self.bhs = bhs
        self.data = data
        self.opcode = bhs[0] & 0x3F
        self.flags = bhs[1]
        self.itt, self.ttt = struct.unpack(">II", bhs[16:24])
        self.statsn, self.expcmdsn, self.maxcmdsn = struct.unpack(">III", bhs[24:36])


class Result:
    """Outcome of a SCSI command."""

    def __init__(self, status, data, sense, flags, residual):
        self.status = status
        self.data = data
        self.sense = sense
        self.overflow = bool(flags & 0x04)
        self.underflow = bool(flags & 0x02)
        self.residual = residual

    @property
    def key_asc_ascq(self):
        """(sense key, ASC, ASCQ) from fixed or descriptor format; None without sense."""
        if len(self.sense) < 8:
            return None
        if self.sense[0] & 0x7F in (0x72, 0x73):
            return (self.sense[1] & 15, self.sense[2], self.sense[3])
        return (self.sense[2] & 15, self.sense[12], self.sense[13])


def text(pairs):
    """Key=value pairs as a login or text data segment."""
    return b"".join(f"{key}={value}".encode() + b"\0" for key, value in pairs)


def parse_text(data):
    """The pairs of a data segment."""
    return [tuple(item.decode("latin-1").split("=", 1))
            for item in data.split(b"\0") if b"=" in item]


class Connection:
    """One TCP connection to a target portal."""
    cid = 0

    def __init__(self, address, port, timeout=60.0):
        self.socket = socket.create_connection((address, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.cmdsn = 1
        self.expstatsn = 0
        self.next_itt = 1
        self.isid = bytes([0x80, 0, 0, 0, 0, 1])
        self.tsih = 0
        self.keys = {}
        self.aside = []  # what came for commands that nobody has finished yet

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.close()

    def close(self):
        """Drop the TCP connection."""
        self.socket.close()

    # -- PDUs --------------------------------------------------------------------------------
    def send_raw(self, data):
        """Any bytes at all."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed(str(error)) from error

    def pdu(self, opcode, flags=FINAL, data=b"", ahs=b"", length=None, ahs_length=None,
            lun=bytes(8), itt=0, specific=b"", pad=True):
        """Encode a PDU; @length and @ahs_length may lie; @specific is bytes 20..47."""
        length = len(data) if length is None else length
        ahs_length = len(ahs) // 4 if ahs_length is None else ahs_length
        bhs = bytes([opcode, flags, 0, 0, ahs_length]) + length.to_bytes(3, "big")
        bhs += lun + struct.pack(">I", itt) + specific.ljust(28, b"\0")
        padding = b"\0" * (-len(data) % 4) if pad else b""
        return bhs + ahs + data + padding

    def receive_exact(self, count):
        """@count bytes, or Closed."""
        parts = []
        while count:
            try:
                part = self.socket.recv(count)
            except ConnectionResetError as error:
                raise Closed("reset") from error
            if not part:
                raise Closed("end of stream")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def receive(self):
        """The next PDU; socket.timeout when none comes."""
        bhs = self.receive_exact(48)
        ahs = bhs[4] * 4
        length = int.from_bytes(bhs[5:8], "big")
        rest = self.receive_exact(ahs + length + (-length % 4))
        pdu = Pdu(bhs, rest[ahs:ahs + length])
        if pdu.opcode != R2T and not (pdu.opcode == DATA_IN and not pdu.flags & 1):
            if not (pdu.opcode == NOP_IN and pdu.itt == NO_TAG):
                self.expstatsn = (pdu.statsn + 1) & 0xFFFFFFFF
        return pdu

    def expect_end(self, limit=20.0):
        """Read until the server ends the connection; the PDUs that came before."""
        seen = []
        self.socket.settimeout(limit)
        try:
            while True:
                seen.append(self.receive())
        except Closed:
            return seen

    def tag(self):
        """A fresh initiator task tag."""
        self.next_itt += 1
        return self.next_itt

    # -- login -------------------------------------------------------------------------------
    def login_pdu(self, pairs, csg=1, nsg=3, transit=True, cont=False, version_max=0,
                  version_min=0, data=None, itt=1, cid=None, **lies):
        """A login request; @data replaces the encoded pairs."""
        flags = (0x80 if transit else 0) | (0x40 if cont else 0) | csg << 2 | (nsg if transit else 0)
        body = text(pairs) if data is None else data
        cid = self.cid if cid is None else cid
        raw = self.pdu(LOGIN | IMMEDIATE, flags, body, itt=itt,
                       lun=self.isid + struct.pack(">H", self.tsih),
                       specific=struct.pack(">HHII", cid, 0, self.cmdsn, self.expstatsn), **lies)
        return raw[:2] + bytes([version_max, version_min]) + raw[4:]

    def login_step(self, pairs, **options):
        """Send one login request and take the response."""
        self.send_raw(self.login_pdu(pairs, **options))
        answer = self.receive()
        if answer.opcode != LOGIN_RESPONSE:
            raise LoginFailed(0xFF, answer.opcode)
        if answer.bhs[36]:
            raise LoginFailed(answer.bhs[36], answer.bhs[37])
        self.tsih = struct.unpack(">H", answer.bhs[14:16])[0]
        self.keys.update(parse_text(answer.data))
        return answer

    def login(self, target, initiator="iqn.2026-11.org.granary:tester", pairs=()):
        """Plain login without CHAP, straight to the full feature phase."""
        first = [("InitiatorName", initiator)]
        if target is None:
            first.append(("SessionType", "Discovery"))
        else:
            first += [("SessionType", "Normal"), ("TargetName", target)]
        answer = self.login_step(first + [("AuthMethod", "None")] + list(pairs))
        while answer.flags & 0x83 != 0x83:
            stage = answer.flags & 3 if answer.flags & 0x80 else (answer.flags >> 2) & 3
            answer = self.login_step([], csg=stage if stage != 3 else 1, nsg=3)
        return self

    # -- full feature phase ------------------------------------------------------------------
    def send_command(self, cdb, data=b"", expected=0, read=False, lun=0, itt=None, immediate=None,
                     final=True, cmdsn=None, edtl=None, ahs=b"", opcode=COMMAND, **lies):
        """A SCSI command PDU; immediate data is @immediate (default: none); returns the ITT."""
        itt = self.tag() if itt is None else itt
        self.aside = [pdu for pdu in self.aside if pdu.itt != itt]
        flags = (FINAL if final else 0) | (0x40 if read else 0) | (0x20 if data else 0) | 1
        edtl = (expected if read else len(data)) if edtl is None else edtl
        if cmdsn is None:
            cmdsn = self.cmdsn
            if not opcode & IMMEDIATE:
                self.cmdsn = (self.cmdsn + 1) & 0xFFFFFFFF
        specific = struct.pack(">III", edtl, cmdsn, self.expstatsn) + bytes(cdb).ljust(16, b"\0")
        self.send_raw(self.pdu(opcode, flags, immediate or b"", ahs, itt=itt,
                               lun=struct.pack(">H", lun) + bytes(6), specific=specific, **lies))
        return itt

    def data_out(self, itt, ttt, offset, data, datasn=0, final=True, lun=0, **lies):
        """One Data-Out PDU."""
        specific = struct.pack(">IIIIII", ttt, 0, self.expstatsn, 0, datasn, offset)
        self.send_raw(self.pdu(DATA_OUT, FINAL if final else 0, data, itt=itt,
                               lun=struct.pack(">H", lun) + bytes(6), specific=specific, **lies))

    def receive_for(self, itt):
        """The next PDU of the command @itt: commands may be answered in any order."""
        for number, pdu in enumerate(self.aside):
            if pdu.itt == itt:
                return self.aside.pop(number)
        while True:
            pdu = self.receive()
            if pdu.itt == itt:
                return pdu
            self.aside.append(pdu)

    def finish(self, itt, data=b""):
        """Answer R2Ts for @itt with pieces of @data and collect the result."""
        received = bytearray()
        while True:
            pdu = self.receive_for(itt)
            if pdu.opcode == R2T:
                offset, length = struct.unpack(">II", pdu.bhs[40:48])
                self.burst(itt, pdu.ttt, offset, data[offset:offset + length])
            elif pdu.opcode == DATA_IN:
                offset = struct.unpack(">I", pdu.bhs[40:44])[0]
                received[offset:offset + len(pdu.data)] = pdu.data
                if pdu.flags & 1:
                    return Result(pdu.bhs[3], bytes(received), b"", pdu.flags,
                                  struct.unpack(">I", pdu.bhs[44:48])[0])
            elif pdu.opcode == RESPONSE:
                sense = pdu.data[2:] if len(pdu.data) > 2 else b""
                return Result(pdu.bhs[3], bytes(received), sense, pdu.flags,
                              struct.unpack(">I", pdu.bhs[44:48])[0])
            elif pdu.opcode == REJECT:
                raise Closed(f"rejected, reason {pdu.bhs[2]:02x}")

    def burst(self, itt, ttt, offset, data, piece=8192, lun=0):
        """A Data-Out sequence."""
        for number, start in enumerate(range(0, max(len(data), 1), piece)):
            part = data[start:start + piece]
            self.data_out(itt, ttt, offset + start, part, number, start + piece >= len(data), lun)

    def command(self, cdb, data=b"", expected=0, **options):
        """A whole SCSI command; with PATIENCE for a while again when the answer is BUSY."""
        for _ in range(200 if PATIENCE else 1):
            result = self.finish(self.send_command(cdb, data, expected, read=expected > 0,
                                                   **options), data)
            if result.status != BUSY:
                break
            time.sleep(0.05)
        return result

    def read(self, lba, blocks, lun=0):
        """READ(10); the data of a GOOD one."""
        cdb = struct.pack(">BBIBHB", 0x28, 0, lba, 0, blocks, 0)
        result = self.command(cdb, expected=blocks * 512, lun=lun)
        if result.status:
            raise AssertionError(f"READ(10) ended with status {result.status:02x}")
        return result.data

    def write(self, lba, data, lun=0):
        """WRITE(10); must end GOOD."""
        cdb = struct.pack(">BBIBHB", 0x2A, 0, lba, 0, len(data) // 512, 0)
        result = self.command(cdb, data, lun=lun)
        if result.status:
            raise AssertionError(f"WRITE(10) ended with status {result.status:02x}")

    def task_management(self, function, referenced=NO_TAG, lun=0, refcmdsn=0):
        """A task management request; the response code."""
        itt = self.tag()
        specific = struct.pack(">IIII", referenced, self.cmdsn, self.expstatsn, refcmdsn)
        self.send_raw(self.pdu(TASK | IMMEDIATE, FINAL | function, itt=itt,
                               lun=struct.pack(">H", lun) + bytes(6), specific=specific))
        while True:
            pdu = self.receive()
            if pdu.opcode == TASK_RESPONSE and pdu.itt == itt:
                return pdu.bhs[2]

    def ping(self, payload=b""):
        """NOP-Out with an answer wanted; the NOP-In's data."""
        itt = self.tag()
        specific = struct.pack(">III", NO_TAG, self.cmdsn, self.expstatsn)
        self.send_raw(self.pdu(NOP_OUT | IMMEDIATE, FINAL, payload, itt=itt, specific=specific))
        while True:
            pdu = self.receive()
            if pdu.opcode == NOP_IN and pdu.itt == itt:
                return pdu.data

    def text_request(self, data, itt=None, ttt=NO_TAG, flags=FINAL):
        """A text request; the next response PDU."""
        itt = self.tag() if itt is None else itt
        specific = struct.pack(">III", ttt, self.cmdsn, self.expstatsn)
        self.cmdsn = (self.cmdsn + 1) & 0xFFFFFFFF
        self.send_raw(self.pdu(TEXT, flags, data, itt=itt, specific=specific))
        return self.receive()

    def logout(self, reason=0, cid=None):
        """Logout; the response code."""
        itt = self.tag()
        specific = struct.pack(">HHII", self.cid if cid is None else cid, 0, self.cmdsn,
                               self.expstatsn)
        self.send_raw(self.pdu(LOGOUT | IMMEDIATE, FINAL | reason, itt=itt, specific=specific))
        while True:
            pdu = self.receive()
            if pdu.opcode == LOGOUT_RESPONSE:
                return pdu.bhs[2]


class Session:
    """Several connections (RFC 7143: MC/S) that share CmdSN, task tags, ISID and TSIH; connections[0]
    is the leading one. Who waits for one reads all, and answers the server's pings on each, as an
    initiator does; with @alone each has a thread of its own."""

    def __init__(self, address, port, target, port_id=1, pairs=(("MaxConnections", "8"),),
                 timeout=60.0):
        self.address, self.port, self.target, self.timeout = address, port, target, timeout
        self.isid = bytes([0x80, 0, 0, 0, 0, port_id])
        self.tsih = 0
        self.cmdsn, self.next_itt = 1, 1
        self.connections = []
        self.answers, self.alone = True, False
        self.tsih = self.add(0, pairs).tsih

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.close()

    def add(self, cid=None, pairs=(), **options):
        """One more connection, logged in; in place of the one that had its CID, if there was one."""
        member = Member(self, len(self.connections) if cid is None else cid)
        try:
            member.login(self.target, pairs=pairs, **options)
        except BaseException:
            member.close()
            raise
        self.connections.append(member)
        return member

    def hear(self, lun=0):
        """Reads what unit attentions pend."""
        while self.connections[0].command(bytes(6), lun=lun).status:
            pass

    def serve(self, seconds):
        """What comes on any connection goes to its inbox; one round of it."""
        open_ones = [member for member in self.connections if member.end is None]
        ready, _, _ = select.select([member.socket for member in open_ones], [], [], seconds)
        for member in open_ones:
            if member.socket in ready:
                member.take()

    def close(self):
        """Drop all TCP connections."""
        for member in self.connections:
            member.close()


class Member(Connection):
    """A connection of a Session."""

    def __init__(self, session, cid, address=None):
        self.session = session
        super().__init__(address or session.address, session.port, session.timeout)
        self.cid, self.isid, self.tsih = cid, session.isid, session.tsih
        self.inbox, self.end = [], None

    @property
    def cmdsn(self):
        """The session's next CmdSN."""
        return self.session.cmdsn

    @cmdsn.setter
    def cmdsn(self, value):
        if value != 1:  # what a connection of its own would begin with
            self.session.cmdsn = value

    def tag(self):
        self.session.next_itt += 1
        return self.session.next_itt

    def close(self):
        self.end = self.end or Closed("by ourselves")
        super().close()

    def pong(self, ping):
        """The answer to a NOP-In of the server's."""
        specific = struct.pack(">III", ping.ttt, self.cmdsn, self.expstatsn)
        self.send_raw(self.pdu(NOP_OUT | IMMEDIATE, lun=ping.bhs[8:16], itt=NO_TAG,
                               specific=specific))

    def take(self):
        """The next PDU of the socket."""
        try:
            pdu = super().receive()
            if self.session.answers and pdu.opcode == NOP_IN and pdu.itt == NO_TAG:
                if pdu.ttt != NO_TAG:
                    self.pong(pdu)
            else:
                self.inbox.append(pdu)
        except Closed as error:
            self.end = error

    def receive(self):
        limit = time.monotonic() + (self.socket.gettimeout() or 60)
        while not self.inbox:
            if self.end:
                raise self.end
            if time.monotonic() > limit:
                raise socket.timeout("nothing came")
            if self.session.alone or self not in self.session.connections:
                self.take()
            else:
                self.session.serve(1)
        return self.inbox.pop(0)

    def silent(self, seconds=0.4):
        """Nothing comes meanwhile."""
        limit = time.monotonic() + seconds
        while not self.inbox and not self.end and time.monotonic() < limit:
            self.session.serve(0.05)
        return not self.inbox and not self.end
