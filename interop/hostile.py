"""Input that no client should send. Each check runs beside a well-behaved client, which
must not suffer; the server must live, in bounded memory, and keep what it acknowledged.
"""

import socket
import struct
import time

import tree
import wire
from apache import Apache
from beside import Beside
from report import Failure
from server import StartError
from wire import CONTAINER, EPHEMERAL, OPEN, TTL, Client, Closed, Connection

CONFIG = {"DigestAuthenticationProvider.superDigest": wire.digest_id(tree.SUPER), "4lw.commands.whitelist": "srvr, mntr",
          "enforceQuota": "true"}
MAX_FRAME = 0xFFFFF  # jute.maxbuffer
HANDSHAKE_SECONDS = 25  # Apache's 10 s deadline, in buckets of 10 s, and room
MIB = 1024

# What Apache 3.8.0 does otherwise, so that these checks are known to be able to fail:
# (what, whether it happens each time).
ON_APACHE = {
    "hostile-h4": ("other clients wait for seconds while large replies pile up", False),
    "hostile-h6": ("a wrong password ends the connection of the session's owner", True),
    "hostile-h7": ("createSession from a client inside a session is done and answered", True),
    "hostile-h13": ("other clients wait for seconds while the duplicates of a huge ACL are removed", False),
    "hostile-h14": ("a closeSession longer than jute.maxbuffer is logged, and the server cannot start again", True),
}


def expect(condition, text):
    if not condition:
        raise Failure(text)


class Memory:
    """Fails if the server's resident memory grows by more than `mib` inside the block."""

    def __init__(self, server, mib):
        self.server, self.mib = server, mib

    def __enter__(self):
        self.before = self.server.memory_kib()
        return self

    def check(self):
        grown = (self.server.memory_kib() - self.before) / MIB
        if self.server.name != "apache":  # a Java heap grows as it likes, up to its limit
            expect(grown <= self.mib, "memory grew by %.0f MiB, allowed are %d" % (grown, self.mib))

    def __exit__(self, kind, *_):
        if kind is None:
            self.check()


def alive(server):
    expect(server.process.poll() is None, "the server ended with code %s\n%s" % (
        server.process.returncode, server.log_tail()))


def ends(connection, seconds=10):
    """Reads until the server closes; what it had sent. Fails if it does not close."""
    connection.sock.settimeout(seconds)
    got = connection.buffer
    try:
        while True:
            chunk = connection.sock.recv(65536)
            if not chunk:
                return got
            got += chunk
    except ConnectionResetError:
        return got
    except TimeoutError:
        raise Failure("still open after %d s (%d bytes came)" % (seconds, len(got))) from None


def raw(server, data, seconds=10):
    """What a fresh connection answers to these bytes before it is closed."""
    connection = Connection(server.address)
    try:
        connection.send_raw(data)
        return ends(connection, seconds)
    except Closed:
        return b""
    finally:
        connection.close()


def answer(client, name, body, xid=7000):
    """Error code of the one reply to raw bytes, "closed", or what came instead of a reply."""
    code = wire.OPERATIONS[name][0] if isinstance(name, str) else name
    try:
        client.send_frame(wire.pack_record(wire.REQUEST_HEADER, [xid, code]) + body)
        reply = wire.Reply(client.recv_frame(), None)
    except Closed:
        return "closed"
    return reply.err if reply.xid == xid else "a reply with xid %d" % reply.xid


def lengths(server, long):
    """hostile-h1: frame lengths out of range; large ones promised and not sent"""
    for length in (-1, -2 ** 31, 2 ** 31 - 1, MAX_FRAME + 1, 0):
        expect(raw(server, struct.pack(">i", length)) == b"", "length %d was answered" % length)
        client = Client(server.address)
        client.send_raw(struct.pack(">i", length))
        if length:
            expect(ends(client) == b"", "length %d was answered inside a session" % length)
    count = 1000 if long else 200
    with Memory(server, 32):
        held = [Connection(server.address) for _ in range(count)]
        for connection in held:
            connection.send_raw(struct.pack(">i", MAX_FRAME) + b"x")
        Client(server.address).ok("sync", "/")  # has read what came before
        for connection in held:
            connection.close()
    return "%d promises of %d bytes" % (count, MAX_FRAME)


def slow(server, long):
    """hostile-h2: half a handshake, or nothing at all, on many connections: all ended in time (and h3)"""
    count = 4000 if long else 300
    half = wire.frame(wire.connect_request())[:20]
    with Memory(server, 4 + count * 8 // MIB):
        held = [Connection(server.address) for _ in range(count)]
        for number, connection in enumerate(held):
            connection.send_raw((b"", half, half[:2])[number % 3])
        deadline = time.monotonic() + HANDSHAKE_SECONDS
        for connection in held:
            connection.sock.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                expect(connection.sock.recv(1) == b"", "an unfinished handshake was answered")
            except ConnectionResetError:
                pass
            except TimeoutError:
                raise Failure("connections without a handshake are open after %d s" % HANDSHAKE_SECONDS) from None
            finally:
                connection.close()
    return "%d connections" % count


def deaf(server, long):
    """hostile-h4: a client that never reads its replies, or its watch events"""
    filler = Client(server.address, timeout=60000)
    filler.ok("create", "/huge", b"", OPEN, 0)
    for start in range(0, 3000, 100):
        for number in range(start, start + 100):
            filler.send("create", "/huge/%s-%d" % ("n" * 200, number), b"", OPEN, 0)
        for _ in range(100):
            filler.recv()
    replies = 2000 if long else 600
    with Memory(server, 64):
        client = Connection(server.address, timeout=5)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send_frame(wire.connect_request(60000))
        client.recv_frame()
        try:
            client.send_raw(b"".join(wire.frame(wire.request(n + 1, "getChildren", "/huge", False))
                                     for n in range(replies)))
        except (TimeoutError, Closed):
            pass  # not reading from us any more is a good answer
        filler.ok("sync", "/")
    watcher = Connection(server.address)
    watcher.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    watcher.send_frame(wire.connect_request(60000))
    watcher.recv_frame()
    watcher.send_frame(wire.request(1, "addWatch", "/", 1))
    path = "/" + "w" * 2000
    filler.ok("create", path, b"", OPEN, 0)
    writes = 40000 if long else 10000
    with Memory(server, 96):
        for _ in range(writes // 100):
            for _ in range(100):
                filler.send("setData", path, b"", -1)
            for _ in range(100):
                filler.recv()
        filler.ok("sync", "/")
    client.close()
    watcher.close()
    return "%d large replies and %d events not read" % (replies, writes)


def words(server, long):
    """hostile-h5: four-letter words: unknown, not allowed, split, inside a session, with garbage, floods"""
    expect(raw(server, b"abcd") == b"", "an unknown word was answered")
    refused = raw(server, b"wchp")
    expect(refused == b"wchp is not executed because it is not in the whitelist.\n", "wchp: %r" % refused)
    split = Connection(server.address)
    for byte in b"srvr":
        split.send_raw(bytes([byte]))
    expect(b"Mode: standalone" in ends(split), "a split srvr was not answered")
    expect(b"Mode: standalone" in raw(server, b"srvr" + b"\xff" * 5000), "srvr with garbage was not answered")
    inside = Client(server.address)
    inside.send_raw(b"srvr")
    expect(ends(inside) == b"", "srvr was answered inside a session")
    count = 3000 if long else 500
    with Memory(server, 16):
        for _ in range(count):
            raw(server, b"wchp")
            raw(server, b"mntr")
    return "%d floods" % (2 * count)


def handshakes(server, long):
    """hostile-h6: ConnectRequests short, long, out of range, for sessions of others"""
    whole = wire.connect_request()
    for cut in range(0, 28):
        expect(raw(server, wire.frame(whole[:cut])) == b"", "a ConnectRequest of %d bytes was answered" % cut)
    for length in (-2, -2 ** 31, 2 ** 31 - 1, 17):
        bad = whole[:24] + struct.pack(">i", length) + whole[28:]
        got = raw(server, wire.frame(bad[:28 + 16]))
        expect(got == b"", "a password of length %d was answered" % length)
    longer = Connection(server.address)
    longer.send_frame(whole + b"more bytes")
    expect(len(longer.recv_frame()) == 37, "a longer ConnectRequest was not answered")
    for asked, given in ((-1, 4000), (-2 ** 31, 4000), (0, 4000), (2 ** 31 - 1, 600000)):
        expect(Client(server.address, timeout=asked).timeout == given, "timeout %d is not made %d" % (asked, given))
    expect(raw(server, wire.frame(wire.connect_request(last_zxid=2 ** 63 - 1))) == b"", "a zxid ahead was answered")
    for identity in (1, -1, 2 ** 63 - 1, -2 ** 63):
        stranger = Client(server.address, session=identity)
        expect((stranger.session, stranger.timeout) == (0, 0), "session %d was given" % identity)
        ends(stranger)
    owner = Client(server.address)
    for password in (bytes(16), b"", None, owner.password[:15], owner.password + b"\0"):
        thief = Client(server.address, session=owner.session, password=password)
        expect(thief.session == 0, "a wrong password was accepted")
        ends(thief)
    try:
        owner.ok("sync", "/")
    except Closed:
        raise Failure("a wrong password for its session ended the owner's connection") from None
    return "50 handshakes"


def intruders(server, long):
    """hostile-h7: requests before the handshake, a second handshake, internal and unknown operations"""
    expect(raw(server, wire.frame(wire.request(1, "getData", "/", False))) == b"", "a request before the handshake")
    expect(raw(server, wire.frame(wire.request(1, "closeSession"))) == b"", "closeSession before the handshake")
    twice = Client(server.address)
    twice.send_frame(wire.connect_request())
    ends(twice)
    for code in (-10, -1, 0, 10, 23, 99, 2 ** 31 - 1, -2 ** 31):
        client = Client(server.address)
        err = answer(client, code, struct.pack(">i", 5000))
        expect(err in (-6, "closed"), "operation %d from a client: %s" % (code, err))
        ends(client)
    victim = Client(server.address)
    victim.ok("create", "/plain", b"", OPEN, 0)
    for body in (b"/plain", wire.pack("s", "/plain")):
        err = answer(Client(server.address), 20, body)
        expect(err != 0, "deleteContainer was done for a client")
    expect(victim.call("exists", "/plain", False).err == 0, "a client deleted a node by deleteContainer")
    return "13 intrusions"


def records(server, long):
    """hostile-h8: lengths, counts and text in records that lie; nested, endless and huge multis"""
    client = Client(server.address, timeout=60000)
    client.ok("create", "/jute", b"", OPEN, 0)
    acl = wire.pack("acl*", OPEN)
    bodies = [("getData", struct.pack(">i", 1000) + b"/jute"), ("getData", struct.pack(">i", -2) + b"/jute\0"),
              ("getData", struct.pack(">i", 2 ** 31 - 1)), ("getData", struct.pack(">i", -2 ** 31)),
              ("create", wire.pack("s", "/j") + struct.pack(">i", 2 ** 31 - 1)),
              ("create", wire.pack("s", "/j") + wire.pack("b", b"") + struct.pack(">i", 2 ** 31 - 1) + acl[4:]),
              ("setWatches", struct.pack(">qi", 0, 2 ** 31 - 1)), ("multi", b""), ("multi", b"\xff"),
              ("setACL", wire.pack("s", "/jute") + struct.pack(">i", 2 ** 30)),
              ("multi", wire.pack_record(wire.MULTI_HEADER, [14, False, -1]) * 20000),
              ("multi", wire.multi_body([("check", "/jute", 0)])[:-9]),
              ("multiRead", struct.pack(">i", 4)), ("create", wire.pack("b", b"/\xff\xfe") + wire.pack("b", b"") + acl
                                                   + struct.pack(">i", 0))]
    for name, body in bodies:
        err = answer(client, name, body)
        expect(err not in (0, "closed") or body.startswith(b"\0\0\0\x03/\xff"), "%s %s: %s" % (name, body[:20].hex(), err))
    count = (MAX_FRAME - 100) // 22
    with Memory(server, 64):
        reply = client.ok("multi", [("check", "/jute", 0)] * count)
        expect(len(reply.body) == count, "a multi of %d answered %d" % (count, len(reply.body)))
        reply = client.ok("multi", [("check", "/jute", 0)] * (count - 1) + [("check", "/jute", 5)])
        expect(reply.body[-1][2]["err"] == -103, "a huge failing multi: %s" % (reply.body[-1],))
    return "%d records, multis of %d" % (len(bodies), count)


def paths(server, long):
    """hostile-h9: the longest names, the deepest paths, reserved nodes"""
    client = Client(server.address, timeout=60000)
    deep = "/a" * ((MAX_FRAME - 100) // 2)
    name = "/" + "n" * (MAX_FRAME - 100)
    for path, err in ((deep, -101), (deep + "/", -101), ("/" * 500000, -101)):
        got = client.call("getData", path, False).err
        expect(got == err, "getData of %d characters: %s" % (len(path), got))
    got = client.call("create", deep, b"", OPEN, 0).err
    expect(got == -101, "create of a deep path: %s" % got)
    expect(client.call("addWatch", deep, 1).err == 0, "addWatch on a deep path")
    long_name = client.call("create", name, b"", OPEN, 0).err
    expect(long_name in (0, -5, -8, -1), "a name of %d bytes: %s" % (len(name), long_name))
    for path in ("/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"):
        expect(client.call("delete", path, -1).err == -8, "delete %s" % path)
    client.call("delete", name, -1)
    return "a name of %d bytes answers %s" % (len(name), long_name)


def xids(server, long):
    """hostile-h10: xids that repeat, roll over, or belong to other requests"""
    client = Client(server.address)
    order = [5, 5, 5, 2 ** 31 - 1, -2 ** 31, -3, 0, 1, -8, -2, 17]
    for xid in order:
        client.send("exists", "/", False, xid=xid)
    for xid in order:
        reply = client.recv()
        expect(reply.err == 0 and reply.xid == xid, "exists with xid %d: %s" % (xid, reply))
    return "%d xids" % len(order)


def watchers(server, long):
    """hostile-h11: setWatches with very many paths, old and future zxids; floods of watches"""
    client = Client(server.address, timeout=60000)
    many = ["/missing/%06d" % number for number in range(20000)]
    with Memory(server, 256):
        for relative in (2 ** 62, -1, 0, -2 ** 63):
            client.call("setWatches", relative, [], many, [])
        ended = None
        rounds = 60 if long else 12
        for number in range(rounds):
            flood = ["/flood%d/%06d" % (number, entry) for entry in range(20000)]
            try:
                client.call("setWatches2", 2 ** 62, [], flood, [], [], flood[:5000])
            except Closed:
                ended = number
                break
    return "%d rounds of 25,000 watches, %s" % (rounds, "ended at %s" % ended if ended is not None else "all kept")


def identities(server, long):
    """hostile-h12: auth with huge, unknown, malformed and very many identities"""
    for scheme, data in (("nosuch", b"x"), ("s" * 900000, b""), ("", b""), (None, b"x"), ("digest\n\rFAKE LOG", b"x")):
        client = Client(server.address)
        try:
            reply = client.call("auth", 0, scheme, data)
            expect(reply.err == -115, "scheme %r: %s" % (scheme[:20] if scheme else scheme, reply.err))
        except Closed:
            continue
        ends(client)
    for data in (b"", b":", b"nocolon", b"a" * 900000, b"\xff\xfe:\xff", None):
        client = Client(server.address)
        try:
            client.call("auth", 0, "digest", data)
            client.ok("whoAmI")
        except Closed:
            pass
        alive(server)
    client, ended, count = Client(server.address, timeout=60000), None, 100000 if long else 20000
    with Memory(server, 48):
        try:
            for number in range(count):
                if client.call("auth", 0, "digest", b"user%d:x" % number).err != 0:
                    ended = number
                    break
        except Closed:
            ended = number
    return "%d identities, %s" % (count, "ended at %s" % ended if ended is not None else "all kept")


def access(server, long):
    """hostile-h13: ACLs that are empty, unknown, malformed, huge, or very many"""
    client = Client(server.address, timeout=60000)
    for acl in ([], None, [(31, "nosuch", "x")], [(31, "auth", "")], [(31, "digest", "nohash")], [(31, "ip", "1.2.3.4/99")],
                [(31, "ip", "::1/200")], [(31, None, None)], [(31, "world", "x" * 100000)]):
        err = client.call("create", "/bad-acl", b"", acl, 0).err
        expect(err in (-114, -5), "ACL %s: %s" % (str(acl)[:40], err))
    huge = [(1, "digest", "u%05d:x" % number) for number in range(25000)]
    with Memory(server, 64):
        got = client.call("create", "/huge-acl", b"", huge, 0).err
        expect(got in (0, -114, -1, -5), "a huge ACL: %s" % got)
        for number in range(20000 if long else 4000):
            client.send("create", "/acl-flood", b"", [(31, "world", "anyone"), (1, "digest", "u%d:x" % number)], 0)
            client.send("delete", "/acl-flood", -1)
            if number % 50 == 49:
                for _ in range(100):
                    reply = client.recv()
                    expect(reply.err == 0, "flood: %s" % reply)
        while client.pending:
            client.recv()
        client.call("delete", "/huge-acl", -1)
    return "an ACL of %d entries answers %s" % (len(huge), got)


def creations(server, long):
    """hostile-h14: more ephemerals than a closeSession can list; odd TTLs; malformed quotas; then a restart"""
    client = Client(server.address, timeout=60000)
    client.ok("create", "/flood", b"", OPEN, 0)
    count, width = (50000, 100) if long else (8000, 300)
    for start in range(0, count, 100):
        for number in range(start, start + 100):
            client.send("create", "/flood/%s%d" % ("e" * width, number), None, OPEN, EPHEMERAL)
        for _ in range(100):
            reply = client.recv()
            expect(reply.err == 0, "ephemeral: %s" % reply)
    client.ok("closeSession")
    other = Client(server.address)
    left = other.ok("getAllChildrenNumber", "/flood")["total"]
    expect(left == 0, "%d ephemerals outlived their session" % left)
    for ttl in (0, -1, -2 ** 63, 2 ** 63 - 1, 0x10000000000):
        err = other.call("createTTL", "/ttl", b"", OPEN, TTL, ttl).err
        expect(err == -8, "ttl %d: %s" % (ttl, err))
    other.ok("createContainer", "/quoted", b"", OPEN, CONTAINER)
    other.ok("create", "/zookeeper/quota/quoted", b"", OPEN, 0)
    for number, text in enumerate((None, b"", b"garbage", b"count=", b"count=x,bytes=y", b"count=99999999999999999999,bytes=1",
                                   b"=,=,=", b"\xff\xfe", b"count=1;count=2;bytes=-7=;byteHardLimit=q")):
        base = "/zookeeper/quota/quoted"
        other.call("create", base + "/zookeeper_limits", text, OPEN, 0)
        other.call("create", base + "/zookeeper_stats", text, OPEN, 0)
        other.call("create", "/quoted/n%d" % number, b"x", OPEN, 0)
        other.call("setData", "/quoted", b"data", -1)
        alive(server)
        expect(other.call("exists", "/", False).err == 0, "after quota %r" % text)
        other.call("delete", base + "/zookeeper_limits", -1)
        other.call("delete", base + "/zookeeper_stats", -1)
    return "%d ephemerals" % count


ATTACKS = {"hostile-h1": lengths, "hostile-h2": slow, "hostile-h4": deaf, "hostile-h5": words,
           "hostile-h6": handshakes, "hostile-h7": intruders, "hostile-h8": records, "hostile-h9": paths,
           "hostile-h10": xids, "hostile-h11": watchers, "hostile-h12": identities, "hostile-h13": access,
           "hostile-h14": creations}


def attack(name):
    function = ATTACKS[name]

    def check(options):
        try:
            line = beside_a_client(options.subject, function, options.long)
        except Failure as failure:
            if options.subject is Apache and name in ON_APACHE:
                return "as known of Apache: %s" % str(failure).splitlines()[0]
            raise
        if options.subject is Apache and ON_APACHE.get(name, (None, False))[1]:
            raise Failure("Apache is said to fail this each time: %s" % ON_APACHE[name][0])
        return line

    check.__doc__ = function.__doc__
    return check


def beside_a_client(kind, function, long):
    """The attack, the verdict of the client beside it, and a restart that finds what was acknowledged."""
    with kind(CONFIG) as server:
        keeper = Client(server.start().address)
        keeper.ok("create", "/kept", b"acknowledged", OPEN, 0)
        with Beside(server) as beside:
            line = function(server, long)
            alive(server)
            told = beside.verdict()
        server.kill()
        try:
            server.start()
        except StartError as error:
            raise Failure("after this it does not start again: %s" % error) from None
        kept = Client(server.address).call("getData", "/kept", False)
        expect(kept.err == 0 and kept["data"] == b"acknowledged", "an acknowledged write is lost: %s" % kept)
    return "%s; beside: %s" % (line, told)
