"""What servers say to each other, as bytes: the election port and the quorum port.

Independent of either server; what plays a member in a check is made of this.
"""

import struct

import wire
from wire import Connection

HELLO_VERSION = -65536
LOOKING, FOLLOWING, LEADING, OBSERVING = range(4)
(REQUEST, PROPOSAL, ACK, COMMIT, PING, REVALIDATE, SYNC, INFORM, COMMITANDACTIVATE, NEWLEADER, FOLLOWERINFO, UPTODATE,
 DIFF, TRUNC, SNAP, OBSERVERINFO, LEADERINFO, ACKEPOCH, INFORMANDACTIVATE) = range(1, 20)
PROTOCOL = 0x10000
TXN_HEADER = [("session", "l"), ("cxid", "i"), ("zxid", "l"), ("time", "l"), ("type", "i")]
TXN_HEADER_LEN = 32


def hello(sid, addresses, version=HELLO_VERSION):
    text = addresses if isinstance(addresses, bytes) else addresses.encode()
    return struct.pack(">qqi", version, sid, len(text)) + text


def vote(state, leader, zxid, round, epoch, config=b"", length=None):
    """A notification without its frame; `length` is what it says of its configuration."""
    return struct.pack(">iqqqqii", state, leader, zxid, round, epoch, 2,
                       len(config) if length is None else length) + config


def read_vote(payload):
    state, leader, zxid, round, epoch = struct.unpack(">iqqqq", payload[:36])
    return {"state": state, "leader": leader, "zxid": zxid, "round": round, "epoch": epoch}


def packet(kind, zxid=0, data=None, auth=None):
    return struct.pack(">iq", kind, zxid) + wire.pack("b", data) + (
        wire.pack("i", -1) if auth is None else wire.pack("i", len(auth)) + b"".join(
            wire.pack("s", scheme) + wire.pack("s", name) for scheme, name in auth))


def learner_info(sid, protocol=PROTOCOL, config_version=0):
    return struct.pack(">qiq", sid, protocol, config_version)


def request(session, cxid, name, body):
    """Data of a REQUEST; `name` may be a bare number."""
    code = wire.OPERATIONS[name][0] if isinstance(name, str) else name
    return struct.pack(">qii", session, cxid, code) + body


class Packet:
    def __init__(self, kind, zxid, data):
        self.kind, self.zxid, self.data = kind, zxid, data

    def __repr__(self):
        return "<packet %d zxid %#x %s>" % (self.kind, self.zxid, (self.data or b"")[:40].hex())


class Link(Connection):
    """A connection to the quorum port, or from there."""

    def recv(self):
        self.fill(16)
        kind, zxid, length = struct.unpack(">iqi", self.buffer[:16])
        end = 16 + max(length, 0)
        self.fill(end + 4)
        data = self.buffer[16:end] if length >= 0 else None
        if struct.unpack(">i", self.buffer[end:end + 4])[0] > 0:
            raise ValueError("a packet with identities came: %d" % kind)
        self.buffer = self.buffer[end + 4:]
        return Packet(kind, zxid, data)

    def until(self, *kinds):
        """The first packet of one of these kinds; others are passed over."""
        while True:
            found = self.recv()
            if found.kind in kinds:
                return found


class Observer(Link):
    """A learner without a vote: it is brought in line by its leader, and follows from then on."""

    def __init__(self, address, sid, zxid, timeout=20):
        super().__init__(address, timeout)
        self.sid, self.zxid = sid, zxid

    def greet(self, epoch=0):
        self.send_raw(packet(OBSERVERINFO, epoch << 32, learner_info(self.sid)))
        self.epoch = self.until(LEADERINFO).zxid >> 32

    def history(self):
        """ACKEPOCH: where its history ends."""
        return packet(ACKEPOCH, self.zxid, struct.pack(">i", self.epoch - 1))

    def ack(self):
        """It has the leader's history."""
        return packet(ACK, self.epoch << 32)

    def synchronize(self):
        self.send_raw(self.history())
        if self.until(DIFF, TRUNC, SNAP).kind != DIFF:
            raise ValueError("%#x is not answered with DIFF" % self.zxid)
        self.until(NEWLEADER)

    def serve(self):
        """Everything up to UPTODATE."""
        self.greet()
        self.synchronize()
        self.send_raw(self.ack())
        self.until(UPTODATE)
        self.send_raw(self.ack())
        return self

    def until_answered(self, session, cxid, err):
        """Reads on to the transaction that a request of this learner has become: it must be this error."""
        while True:
            data = self.until(INFORM).data
            header = wire.Reader(data).record(TXN_HEADER)
            if (header["session"], header["cxid"]) == (session, cxid):
                found = struct.unpack(">i", data[TXN_HEADER_LEN:TXN_HEADER_LEN + 4])[0] if header["type"] == -1 else 0
                if found != err:
                    raise ValueError("request %d of session %#x was answered %d" % (cxid, session, found))
                return


def accepted(listener, seconds):
    """A Link from whoever calls."""
    listener.settimeout(seconds)
    sock, _ = listener.accept()
    sock.settimeout(seconds)
    link = Link.__new__(Link)
    link.sock, link.buffer, link.trace = sock, b"", None
    return link
