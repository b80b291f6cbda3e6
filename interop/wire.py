"""ZooKeeper's client protocol, written from the protocol alone: struct and sockets.

A record is a list of (field, kind). Kinds: i int, l long, z bool, s ustring,
b buffer, and a trailing * for a vector; `acl`, `stat` and `client` are records.
Everything is big-endian; a null string, buffer or vector is length -1.
"""

import hashlib
import base64
import socket
import struct

RECORDS = {
    "acl": [("perms", "i"), ("scheme", "s"), ("id", "s")],
    "client": [("scheme", "s"), ("user", "s")],
    "stat": [("czxid", "l"), ("mzxid", "l"), ("ctime", "l"), ("mtime", "l"), ("version", "i"),
             ("cversion", "i"), ("aversion", "i"), ("ephemeralOwner", "l"), ("dataLength", "i"),
             ("numChildren", "i"), ("pzxid", "l")],
}

PATH = [("path", "s")]
WATCHED = [("path", "s"), ("watch", "z")]
VERSIONED = [("path", "s"), ("version", "i")]
CREATE = [("path", "s"), ("data", "b"), ("acl", "acl*"), ("flags", "i")]
STAT = [("stat", "stat")]
CREATED = [("path", "s"), ("stat", "stat")]
SET_WATCHES = [("relativeZxid", "l"), ("data", "s*"), ("exist", "s*"), ("child", "s*")]
TYPED = [("path", "s"), ("type", "i")]

# name: (opcode, request fields, reply fields)
OPERATIONS = {
    "create": (1, CREATE, PATH),
    "delete": (2, VERSIONED, []),
    "exists": (3, WATCHED, STAT),
    "getData": (4, WATCHED, [("data", "b"), ("stat", "stat")]),
    "setData": (5, [("path", "s"), ("data", "b"), ("version", "i")], STAT),
    "getACL": (6, PATH, [("acl", "acl*"), ("stat", "stat")]),
    "setACL": (7, [("path", "s"), ("acl", "acl*"), ("version", "i")], STAT),
    "getChildren": (8, WATCHED, [("children", "s*")]),
    "sync": (9, PATH, PATH),
    "ping": (11, [], []),
    "getChildren2": (12, WATCHED, [("children", "s*"), ("stat", "stat")]),
    "check": (13, VERSIONED, []),
    "multi": (14, None, None),
    "create2": (15, CREATE, CREATED),
    "reconfig": (16, [("joining", "s"), ("leaving", "s"), ("newMembers", "s"), ("configId", "l")],
                 [("data", "b"), ("stat", "stat")]),
    "checkWatches": (17, TYPED, []),
    "removeWatches": (18, TYPED, []),
    "createContainer": (19, CREATE, CREATED),
    "deleteContainer": (20, PATH, []),
    "createTTL": (21, CREATE + [("ttl", "l")], CREATED),
    "multiRead": (22, None, None),
    "auth": (100, [("type", "i"), ("scheme", "s"), ("auth", "b")], []),
    "setWatches": (101, SET_WATCHES, []),
    "sasl": (102, [("token", "b")], [("token", "b")]),
    "getEphemerals": (103, [("prefix", "s")], [("ephemerals", "s*")]),
    "getAllChildrenNumber": (104, PATH, [("total", "i")]),
    "setWatches2": (105, SET_WATCHES + [("persistent", "s*"), ("recursive", "s*")], []),
    "addWatch": (106, [("path", "s"), ("mode", "i")], [("err", "i")]),
    "whoAmI": (107, [], [("clients", "client*")]),
    "createSession": (-10, [("timeout", "i")], []),
    "closeSession": (-11, [], []),
}
NAME = {code: name for name, (code, _, _) in OPERATIONS.items()}
REQUEST_HEADER = [("xid", "i"), ("type", "i")]
REPLY_HEADER = [("xid", "i"), ("zxid", "l"), ("err", "i")]
MULTI_HEADER = [("type", "i"), ("done", "z"), ("err", "i")]
EVENT = [("type", "i"), ("state", "i"), ("path", "s")]
CONNECT_REQUEST = [("protocolVersion", "i"), ("lastZxidSeen", "l"), ("timeOut", "i"), ("sessionId", "l"),
                   ("passwd", "b")]
CONNECT_REPLY = [("protocolVersion", "i"), ("timeOut", "i"), ("sessionId", "l"), ("passwd", "b")]

SPECIAL_XID = {"ping": -2, "auth": -4, "setWatches": -8, "setWatches2": -8}
NOTIFICATION = -1

OPEN = [(31, "world", "anyone")]
READ_ONLY = [(1, "world", "anyone")]
CREATOR = [(31, "auth", "")]

PERSISTENT, EPHEMERAL, SEQUENTIAL, EPHEMERAL_SEQUENTIAL, CONTAINER, TTL, TTL_SEQUENTIAL = range(7)
CREATED_EVENT, DELETED_EVENT, CHANGED_EVENT, CHILD_EVENT = 1, 2, 3, 4

ERRORS = {
    0: "OK", -1: "SYSTEMERROR", -2: "RUNTIMEINCONSISTENCY", -4: "CONNECTIONLOSS", -5: "MARSHALLINGERROR",
    -6: "UNIMPLEMENTED", -8: "BADARGUMENTS", -101: "NONODE", -102: "NOAUTH", -103: "BADVERSION",
    -108: "NOCHILDRENFOREPHEMERALS", -110: "NODEEXISTS", -111: "NOTEMPTY", -112: "SESSIONEXPIRED",
    -114: "INVALIDACL", -115: "AUTHFAILED", -118: "SESSIONMOVED", -119: "NOTREADONLY", -121: "NOWATCHER",
    -123: "RECONFIGDISABLED", -124: "SESSIONCLOSEDREQUIRESASLAUTH", -125: "QUOTAEXCEEDED",
}


class Truncated(Exception):
    """A record ended before its last field."""


def pack(kind, value):
    if kind.endswith("*"):
        if value is None:
            return b"\xff\xff\xff\xff"
        return struct.pack(">i", len(value)) + b"".join(pack(kind[:-1], item) for item in value)
    if kind == "i":
        return struct.pack(">i", value)
    if kind == "l":
        return struct.pack(">q", value)
    if kind == "z":
        return b"\x01" if value else b"\x00"
    if kind in "sb":
        if value is None:
            return b"\xff\xff\xff\xff"
        if isinstance(value, str):
            value = value.encode("utf-8", "surrogateescape")
        return struct.pack(">i", len(value)) + value
    return pack_record(RECORDS[kind], value)


def pack_record(fields, values):
    """Values in field order, or a dictionary."""
    if isinstance(values, dict):
        values = [values[name] for name, _ in fields]
    if len(values) != len(fields):
        raise ValueError("%d values for %d fields %s" % (len(values), len(fields), fields))
    return b"".join(pack(kind, value) for (_, kind), value in zip(fields, values))


class Reader:
    """Reads records off bytes from `at` on."""

    def __init__(self, data, at=0):
        self.data = data
        self.at = at

    def take(self, count):
        if count < 0 or self.at + count > len(self.data):
            raise Truncated("%d bytes wanted at %d of %d" % (count, self.at, len(self.data)))
        self.at += count
        return self.data[self.at - count:self.at]

    def read(self, kind):
        if kind.endswith("*"):
            count = self.read("i")
            return None if count == -1 else [self.read(kind[:-1]) for _ in range(count)]
        if kind == "i":
            return struct.unpack(">i", self.take(4))[0]
        if kind == "l":
            return struct.unpack(">q", self.take(8))[0]
        if kind == "z":
            return self.take(1) != b"\x00"
        if kind in "sb":
            length = self.read("i")
            if length == -1:
                return None
            raw = self.take(length)
            return raw if kind == "b" else raw.decode("utf-8", "surrogateescape")
        if kind == "acl":
            return tuple(self.read(part) for _, part in RECORDS["acl"])
        if kind == "client":
            return tuple(self.read(part) for _, part in RECORDS["client"])
        return self.record(RECORDS[kind])

    def record(self, fields):
        return {name: self.read(kind) for name, kind in fields}

    @property
    def rest(self):
        return self.data[self.at:]


def frame(payload):
    return struct.pack(">i", len(payload)) + payload


def connect_request(timeout=30000, session=0, password=bytes(16), last_zxid=0, read_only=False):
    """`read_only` None leaves the byte out, as clients before 3.4 do."""
    payload = pack_record(CONNECT_REQUEST, [0, last_zxid, timeout, session, password])
    return payload if read_only is None else payload + pack("z", read_only)


def multi_body(operations):
    """operations: (name, field values...)"""
    parts = []
    for name, *values in operations:
        code, fields, _ = OPERATIONS[name]
        parts.append(pack_record(MULTI_HEADER, [code, False, -1]) + pack_record(fields, values))
    return b"".join(parts) + pack_record(MULTI_HEADER, [-1, True, -1])


def request(xid, name, *values):
    """A request payload by operation name; `name` may be a bare opcode with raw bytes."""
    if isinstance(name, int):
        return pack_record(REQUEST_HEADER, [xid, name]) + b"".join(values)
    code, fields, _ = OPERATIONS[name]
    body = multi_body(values[0]) if fields is None else pack_record(fields, values)
    return pack_record(REQUEST_HEADER, [xid, code]) + body


def read_multi(reader):
    """List of (type, header err, result) up to the terminator."""
    results = []
    while True:
        header = reader.record(MULTI_HEADER)
        if header["done"]:
            return results
        kind = header["type"]
        if kind == -1:
            result = {"err": reader.read("i")}
        else:
            _, _, fields = OPERATIONS[NAME[kind]]
            result = reader.record(fields)
        results.append((kind, header["err"], result))


class Reply:
    """One frame from the server after the handshake."""

    def __init__(self, payload, name):
        reader = Reader(payload)
        header = reader.record(REPLY_HEADER)
        self.xid, self.zxid, self.err = header["xid"], header["zxid"], header["err"]
        self.payload = payload
        self.name = name
        self.body = None
        if self.xid == NOTIFICATION:
            self.body = reader.record(EVENT)
        elif self.err == 0 and name is not None:
            fields = OPERATIONS[name][2]
            self.body = read_multi(reader) if fields is None else reader.record(fields)
        self.rest = reader.rest

    def __getitem__(self, field):
        return self.body[field]

    def __repr__(self):
        return "<%s xid=%d zxid=%#x err=%s %s>" % (
            self.name, self.xid, self.zxid, ERRORS.get(self.err, self.err), self.body)


class Closed(Exception):
    """The server ended the connection."""


class Connection:
    """A TCP connection that speaks frames; `trace(direction, frame)` sees each whole frame."""

    def __init__(self, address, timeout=20, trace=None):
        self.sock = socket.create_connection(address, timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.trace = trace

    def send_raw(self, data):
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed("while sending") from None

    def send_frame(self, payload):
        whole = frame(payload)
        if self.trace:
            self.trace(">", whole)
        self.send_raw(whole)

    def fill(self, count):
        while len(self.buffer) < count:
            try:
                chunk = self.sock.recv(65536)
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                raise Closed("end of stream with %d bytes of an unfinished frame" % len(self.buffer))
            self.buffer = self.buffer + chunk if self.buffer else chunk

    def recv_frame(self):
        self.fill(4)
        length = struct.unpack(">i", self.buffer[:4])[0]
        if length < 0:
            raise ValueError("the server sent a frame of length %d" % length)
        self.fill(4 + length)
        whole, self.buffer = self.buffer[:4 + length], self.buffer[4 + length:]
        if self.trace:
            self.trace("<", whole)
        return whole[4:]

    def at_end(self, seconds=10):
        """True if the server closes within `seconds` without sending anything more."""
        self.sock.settimeout(seconds)
        try:
            return not self.buffer and self.sock.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def close(self):
        self.sock.close()


class Client(Connection):
    """A session on one connection. `call` is one request and its reply; watch events that
    arrive before it collect in `events`, in order of arrival."""

    def __init__(self, address, timeout=30000, session=0, password=bytes(16), last_zxid=0, read_only=False,
                 trace=None, io_timeout=20):
        super().__init__(address, io_timeout, trace)
        self.events = []
        self.xid = 0
        self.pending = []  # (xid, name) sent and not answered
        self.read_only_asked = read_only
        self.send_frame(connect_request(timeout, session, password, last_zxid, read_only))
        payload = self.recv_frame()
        reader = Reader(payload)
        reply = reader.record(CONNECT_REPLY)
        self.session, self.password, self.timeout = reply["sessionId"], reply["passwd"], reply["timeOut"]
        self.handshake_rest = reader.rest
        self.zxid = last_zxid

    def send(self, name, *values, xid=None):
        if xid is None:
            if name in SPECIAL_XID:
                xid = SPECIAL_XID[name]
            else:
                self.xid += 1
                xid = self.xid
        self.send_frame(request(xid, name, *values))
        self.pending.append((xid, name if isinstance(name, str) else None))
        return xid

    def recv(self):
        """The next reply; events before it go to `events`."""
        while True:
            payload = self.recv_frame()
            xid = struct.unpack(">i", payload[:4])[0]
            if xid == NOTIFICATION:
                self.events.append(Reply(payload, "event"))
                continue
            if not self.pending:
                raise ValueError("a reply with xid %d that nobody asked for: %s" % (xid, payload.hex()))
            expected, name = self.pending.pop(0)
            if xid != expected:
                raise ValueError("reply xid %d where %d (%s) is due" % (xid, expected, name))
            reply = Reply(payload, name)
            if reply.zxid > 0:
                self.zxid = reply.zxid
            return reply

    def call(self, name, *values, xid=None):
        self.send(name, *values, xid=xid)
        while len(self.pending) > 1:
            self.recv()
        return self.recv()

    def ok(self, name, *values):
        """`call` that must succeed."""
        reply = self.call(name, *values)
        if reply.err != 0:
            raise AssertionError("%s%r: %s" % (name, values, ERRORS.get(reply.err, reply.err)))
        return reply

    def recv_event(self):
        """Wait for one watch event (no request may be pending)."""
        payload = self.recv_frame()
        event = Reply(payload, "event")
        if event.xid != NOTIFICATION:
            raise ValueError("a reply with xid %d where an event is due" % event.xid)
        self.events.append(event)
        return event

    def take_events(self):
        """Events so far, after a ping has flushed what the server already queued."""
        self.call("ping")
        events, self.events = self.events, []
        return events


def digest_id(user_password):
    """The id that auth `digest` with this "user:password" gives."""
    user = user_password.split(":", 1)[0]
    hashed = hashlib.sha1(user_password.encode()).digest()
    return "%s:%s" % (user, base64.b64encode(hashed).decode())


def session_password(session):
    """The password Apache derives from a session id: java.util.Random seeded with it."""
    state = ((session ^ 0xB3415C00) ^ 0x5DEECE66D) & (2 ** 48 - 1)
    words = []
    for _ in range(4):
        state = (state * 0x5DEECE66D + 0xB) & (2 ** 48 - 1)
        words.append(struct.pack("<I", (state >> 16) & 0xffffffff))
    return b"".join(words)
