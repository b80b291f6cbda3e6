"""Input that no server of an ensemble should send, on the election and quorum ports.

Three servers run, each with a well-behaved client beside it; a fourth, an observer, is configured and is not there.
Everything here comes from 127.0.0.1, which is an address of members: whoever has that may speak for them, and
Apache's protocol has no proof of more. What must hold even so: the servers live, in bounded memory; the
epoch, the leader and the configuration stay; nobody is called at an address that only a stranger named;
whoever restarts comes back; what was acknowledged is kept; the clients do not suffer.
"""

import contextlib
import os
import socket
import struct

import quorum
import wire
from beside import Beside
from ensemble import Ensemble, same_everywhere
from hostile import Memory, ends, expect
from partition import Divided, zxid
from quorum import Observer, hello, learner_info, packet, vote
from reconfig import administrator, shown, until
from report import Failure
from server import HOST, free_port
from wire import OPEN, Client, Closed, Connection
from words import mntr

CONFIG = {"tickTime": "500", "initLimit": "10", "syncLimit": "10"}
OBSERVER = 4  # configured, and not there
NOBODY = 9  # in no configuration
HELLO_SECONDS = 15  # 5 s to say who one is, and room
SILENT_SECONDS = 30  # initLimit, and room
MAX_FRAME = 1 << 19
IN_LINE = (quorum.DIFF, quorum.TRUNC, quorum.SNAP)


class Target:
    def __init__(self, ensemble):
        self.ensemble = ensemble
        self.leader = ensemble.wait()
        self.spare, self.near = [server for server in ensemble.servers if server is not self.leader]

    def election(self, server):
        return (HOST, self.ensemble.ports[server.id][1])

    def quorum(self, server=None):
        return (HOST, self.ensemble.ports[(server or self.leader).id][0])

    def caller(self, server, sid=NOBODY, addresses="127.0.0.1:1"):
        """A connection to the election port of a server, from `sid`."""
        connection = Connection(self.election(server))
        connection.send_raw(hello(sid, addresses))
        return connection

    def observer(self):
        return Observer(self.quorum(), OBSERVER, zxid(self.leader))

    def restart_spare(self):
        """A member is killed and starts again: it must come back, with the same leader."""
        self.spare.kill()
        self.spare.launch()
        self.ensemble.wait()
        expect(self.ensemble.mode(self.spare) == "follower", "server %d does not follow again" % self.spare.id)

    def epochs(self):
        return {server.id: (self.ensemble.mode(server), mntr(server)["current_epoch"])
                for server in self.ensemble.servers}


REVALIDATION = packet(quorum.REVALIDATE, -1, struct.pack(">qi", 0x123456789, 30000))


def ended(observer, data, then=REVALIDATION, unexpected=(quorum.REVALIDATE,)):
    """These bytes end the link: what comes behind them, and is fine, is not answered."""
    try:
        observer.send_raw(data + then)
        while True:
            told = observer.recv()
            expect(told.kind not in unexpected, "the link goes on after %s: %s" % (data[:60].hex(), told))
    except Closed:
        observer.close()


def refused(address, data, what, seconds=10):
    """Whether a fresh connection is ended without an answer after these bytes."""
    connection = Connection(address)
    with contextlib.suppress(Closed):
        connection.send_raw(data)
    got = ends(connection, seconds)
    connection.close()
    expect(got == b"", "%s was answered: %s" % (what, got[:40].hex()))


def lengths(target, _long):
    """hostile-h16: frames of 1 GiB, of negative length, of more than 512 KiB, on the election port"""
    for server in target.ensemble.servers:
        for length in (2 ** 30, -1, -2 ** 31, 0, MAX_FRAME + 1):
            whole = struct.pack(">i", length)
            # In place of a hello; then behind one.
            sock = Connection(target.election(server))
            sock.send_raw(whole)
            sock.sock.shutdown(socket.SHUT_WR)
            expect(ends(sock) == b"", "4 bytes were answered")
            sock.close()
            connection = target.caller(server)
            connection.send_raw(whole)
            ends(connection)
            connection.close()
    # As long as it may be: it is passed over, and never kept.
    connection = target.caller(target.near)
    connection.send_raw(struct.pack(">i", MAX_FRAME) + bytes(MAX_FRAME))
    answered(connection, target)
    return "30 frames"


def answered(connection, target):
    """The server still listens to this connection, and says who leads."""
    connection.send_raw(wire.frame(vote(quorum.LOOKING, NOBODY, 0, 1, 0)))
    told = quorum.read_vote(connection.recv_frame())
    expect(told["leader"] == target.leader.id, "told to follow %d: %s" % (told["leader"], told))
    return told


def hellos(target, _long):
    """hostile-h17: hellos that are malformed, cut off, or name an address that only they name"""
    with socket.create_server((HOST, 0)) as trap:
        named = "%s:%d" % trap.getsockname()
        for server in target.ensemble.servers:
            address = target.election(server)
            for version in (-65537, -65534, -1, -2 ** 63):
                refused(address, hello(NOBODY, named, version), "version %d" % version)
            for length in (0, -1, -2 ** 31, 2049, 2 ** 31 - 1):
                refused(address, struct.pack(">qqi", -65536, NOBODY, length), "an address of %d bytes" % length)
            for text in ("h", "h:", "h:x", "h:70000", "[::1", " ", "|".join(["127.0.0.1:1"] * 1000)):
                refused(address, hello(NOBODY, text), "address %r" % text[:20])
            # The same with addresses that are fine, and lead here. Lower ids ask to be called back.
            for sid in (0, -7, OBSERVER, NOBODY) + tuple(other.id for other in target.ensemble.servers):
                for text in (named, "|".join([named] * 100)):
                    connection = target.caller(server, sid, text)
                    connection.close()
        # Cut off anywhere, and then nothing more.
        whole = hello(NOBODY, named)
        cut = [Connection(target.election(target.near)) for _ in range(12)]
        for number, connection in enumerate(cut):
            connection.send_raw(whole[:3 * number])
        for connection in cut:
            expect(ends(connection, HELLO_SECONDS) == b"", "half a hello was answered")
            connection.close()
        target.restart_spare()
        trap.settimeout(0.2)
        try:
            trap.accept()
            raise Failure("a server has connected to an address that only a stranger named")
        except TimeoutError:
            pass
    return "12 hellos cut off, 48 malformed, 42 with foreign addresses"


def names(target, long):
    """hostile-h18: floods of hellos with the server's own id, of members, of nobody, without an id"""
    rounds = 300 if long else 20
    for server in target.ensemble.servers:
        members = [other.id for other in target.ensemble.servers if other is not server]
        for _ in range(rounds):
            # These are never kept.
            for sid in (server.id, 0, -1, -2 ** 63, 2 ** 63 - 1):
                refused(target.election(server), hello(sid, "127.0.0.1:1"), "id %d" % sid)
            # These are: the latest one of each id.
            old = target.caller(server)
            new = target.caller(server)
            expect(ends(old) == b"", "two connections of one id")
            old.close()
            answered(new, target)
            new.close()
            # From a member's address they speak for it: its link is this one, or is made anew.
            for sid in members:
                target.caller(server, sid).close()
    target.restart_spare()
    return "%d hellos" % (rounds * 3 * (5 + 2 + 2))


def votes(target, _long):
    """hostile-h19: notifications that are malformed or out of measure, a configuration of the future"""
    before = [shown(server) for server in target.ensemble.servers]
    future = "\n".join("server.%d=%s:1:2:participant" % (n, HOST) for n in (1, 2, 3)) + "\nversion=7fffffff00000000"
    far = 2 ** 63 - 1
    bodies = [b"", bytes(12), bytes(27), bytes(30), bytes(39), vote(4, 1, 0, 1, 0), vote(-1, 1, 0, 1, 0)]
    bodies += [vote(0, 1, 0, 1, 0, b"x" * 8, length) for length in (-123, 9, 10000, 2 ** 31 - 1, -2 ** 31)]
    for state in range(4):
        for leader in (NOBODY, target.near.id, far, -2 ** 63, -1):
            for number in (-1, 0, far, -2 ** 63):
                bodies.append(vote(state, leader, number, number, number, future.encode()))
    bodies.append(vote(quorum.LOOKING, 1, 0, 1, 0, b"\xff\xfe server.1=nonsense \0"))
    for server in target.ensemble.servers:
        for sid in [NOBODY] + [other.id for other in target.ensemble.servers if other.id > server.id]:
            connection = target.caller(server, sid)
            for body in bodies:
                if body:  # a frame of no length ends the connection
                    connection.send_raw(wire.frame(body))
            connection.sock.settimeout(10)
            with contextlib.suppress(Closed):
                connection.send_raw(wire.frame(vote(quorum.LOOKING, sid, 0, 1, 0)))
                while True:
                    told = quorum.read_vote(connection.recv_frame())
                    expect(told["leader"] == target.leader.id, "told to follow %s" % told)
                    if sid != NOBODY or told["state"] in (quorum.FOLLOWING, quorum.LEADING):
                        break
            connection.close()
    # A member that looks for a leader and finds none listens to somebody without a vote.
    with astray(target, free_port(), free_port()) as looking:
        until("its election port is open", lambda: opens(target.election(looking)))
        asked = vote(quorum.LOOKING, NOBODY, 2 ** 62, 1, 2 ** 30)
        for body in bodies[1:] + [vote(state, NOBODY, 2 ** 62, 1, 2 ** 30) for state in range(4)]:
            connection = target.caller(looking)
            connection.send_raw(wire.frame(body) + wire.frame(asked))
            told = quorum.read_vote(connection.recv_frame())
            expect((told["state"], told["leader"]) == (quorum.LOOKING, looking.id), "it would elect %s" % told)
            connection.close()
    after = [shown(server) for server in target.ensemble.servers]
    expect(after == before, "another configuration: %s instead of %s" % (after, before))
    return "%d notifications at each server" % len(bodies)


@contextlib.contextmanager
def astray(target, quorum_port, election_port):
    """A follower that starts anew with these ports in place of the others', who do not find it; then it is back."""
    server, config, network = target.spare, target.spare.config, target.ensemble.network
    others = target.ensemble.ids(target.ensemble.others(server))
    server.kill()
    network.cut(server.id, others)
    server.config = dict(config, **{"server.%d" % other: "%s:%d:%d" % (HOST, quorum_port, election_port)
                                    for other in others})
    server.launch()
    yield server
    server.kill()
    network.heal()
    server.config = config
    server.launch()
    target.ensemble.wait()


def opens(address):
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError:
        return False
    return True


def storms(target, long):
    """hostile-h20: storms of connections, and half-open ones, on both ports; then a member restarts"""
    count = 2000 if long else 300
    target.spare.kill()
    ports = [target.election(server) for server in (target.leader, target.near)] + [target.quorum()]
    for number in range(count):
        for address in ports:
            connection = socket.create_connection(address)
            if number % 3 == 0:
                with contextlib.suppress(OSError):
                    connection.sendall((b"\0", hello(NOBODY, "127.0.0.1:1"), b"\xff" * 100)[number % 9 // 3])
            connection.close()
    held = [Connection(address) for address in ports for _ in range(40)]
    target.spare.launch()
    for connection in held:
        expect(ends(connection, SILENT_SECONDS) == b"", "somebody who said nothing was answered")
        connection.close()
    target.ensemble.wait()
    return "%d connections, %d half open" % (3 * count, len(held))


def greetings(target, _long):
    """hostile-h21: first packets on the quorum port that are no greeting, of nobody, cut off, of the future"""
    address = target.quorum()
    for kind in list(range(0, 20)) + [99, -1, 2 ** 31 - 1]:
        if kind not in (quorum.FOLLOWERINFO, quorum.OBSERVERINFO):
            refused(address, packet(kind, 0, learner_info(OBSERVER)), "a first packet of kind %d" % kind)
    future = 2 ** 62
    for kind in (quorum.FOLLOWERINFO, quorum.OBSERVERINFO):
        for data in (None, b"", bytes(7), struct.pack(">q", OBSERVER), learner_info(NOBODY), learner_info(-1),
                     learner_info(target.leader.id), learner_info(OBSERVER, 0x9999),
                     learner_info(OBSERVER, config_version=future)):
            for epoch in (0, 2 ** 31 - 1):
                # Of a voter that has accepted a later epoch it would be worth an election.
                refused(address, packet(kind, epoch << 32, data), "greeting %s" % (data or b"").hex())
    for length in (-2, -2 ** 31, 2 ** 31 - 1, 2 ** 21 + 1):
        refused(address, struct.pack(">iqi", quorum.OBSERVERINFO, 0, length), "data of %d bytes" % length)
    refused(address, struct.pack(">iqii", quorum.OBSERVERINFO, 0, -1, 2 ** 31 - 1), "very many identities")
    for data in (None, b"", bytes(3)):
        observer = target.observer()
        observer.greet()
        ended(observer, packet(quorum.ACKEPOCH, 0, data), observer.history(), IN_LINE)
    # The next one that greets, a member, hears nothing of all this.
    target.restart_spare()
    return "66 greetings"


def order(target, _long):
    """hostile-h22: packets of a learner that are not due, replayed, or acknowledge what is not there yet"""
    info = learner_info(OBSERVER)
    epoch = struct.pack(">i", 1)
    early = [packet(quorum.ACK, 5 << 32), packet(quorum.REQUEST, -1, bytes(16)), packet(quorum.PING, 0, b""),
             packet(quorum.REVALIDATE, -1, bytes(12)), packet(quorum.OBSERVERINFO, 0, info)]
    for data in early:
        observer = target.observer()
        observer.greet()
        ended(observer, data, observer.history(), IN_LINE)
        if data != early[0]:  # any ACK of nothing is passed over here, as Apache does: it does not count
            observer = target.observer()
            observer.greet()
            observer.synchronize()
            ended(observer, data, observer.ack(), (quorum.UPTODATE,))
    future = zxid(target.leader) + (1 << 30)
    late = [packet(quorum.ACK, future), packet(quorum.ACK, 2 ** 62 + 1), packet(quorum.ACKEPOCH, 0, epoch)]
    late += [packet(kind, future, info) for kind in range(0, 21) if kind not in (
        quorum.REQUEST, quorum.ACK, quorum.PING, quorum.REVALIDATE)]
    late += [struct.pack(">iqi", quorum.ACK, 0, 2 ** 31 - 1), packet(77), packet(-5)]
    for data in late:
        ended(target.observer().serve(), data)
    return "%d packets" % (2 * len(early) + len(late))


def record(path, data=b""):
    """A node of a snapshot."""
    return wire.pack("s", path) + wire.pack("b", data) + struct.pack(">q", -1) + bytes(60)


def stream(*nodes, sessions=struct.pack(">i", 0), acls=struct.pack(">i", 0), mark="BenWasHere"):
    records = b"".join(record(path) for path in ("",) + nodes)
    return sessions + acls + records + wire.pack("s", "/") + wire.pack("s", mark)


def endless(head, piece, mib):
    yield head
    for _ in range(mib * 1024 * 1024 // len(piece)):
        yield piece


def bad_streams(mib):
    """What comes instead of a snapshot: what is wrong, its pieces, and whether it stops before its end."""
    many, some, none = struct.pack(">i", 2 ** 31 - 1), struct.pack(">i", 1), struct.pack(">i", 0)
    whole = stream("/a", "/a/b")
    return [
        ("no snapshot at all", [b"\xff" * 100000], False),
        ("another mark", [stream("/a", mark="BenWasThere")], False),
        ("no nodes", [none + none + wire.pack("s", "/") + wire.pack("s", "BenWasHere")], False),
        ("a negative count", [stream(sessions=struct.pack(">i", -5))], False),
        ("a node without a parent", [stream("/a/b")], False),
        ("a node twice", [stream("/a", "/a")], False),
        ("a name that is none", [stream("//", "a")], False),
        ("data that never ends", [none + none + wire.pack("s", "") + many], False),
        ("half of one", [whole[:len(whole) // 2]], True),
        ("all but the end", [whole[:-1]], True),
        ("endless sessions", endless(many, bytes(12 * 5000), mib), True),
        ("endless lists", endless(none + many, (struct.pack(">q", 1) + wire.pack("acl*", OPEN)) * 2000, mib), True),
        ("endless nodes", endless(none + none + record(""), record("/a", bytes(60000)), mib), True),
    ]


def files(server):
    """The history of a server, as files."""
    found = {}
    for name in os.listdir(os.path.join(server.data, "version-2")):
        if name.startswith(("snapshot.", "log.")):
            with open(os.path.join(server.data, "version-2", name), "rb") as data:
                found[name] = data.read().rstrip(b"\0")
    return found


def snapshots(target, long):
    """hostile-h23: a false leader of one follower, with snapshots that are cut off, endless, or no tree"""
    client = Client(target.spare.address)
    for number in range(20):
        client.ok("create", "/held%d" % number, b"here", OPEN, 0)
    client.close()
    false = max(server.id for server in target.ensemble.servers)
    with socket.create_server((HOST, 0)) as quorum_port, socket.create_server((HOST, 0)) as election_port, \
            astray(target, quorum_port.getsockname()[1], election_port.getsockname()[1]) as victim:
        held, streams = None, bad_streams(64 if long else 8)
        for number, (what, pieces, stops) in enumerate(streams):
            link = followed(target, victim, false, 1000 * (number + 1), quorum_port)
            held = held or files(victim)
            greeting = link.until(quorum.FOLLOWERINFO)
            link.send_raw(packet(quorum.LEADERINFO, greeting.zxid, struct.pack(">i", quorum.PROTOCOL)))
            last = link.until(quorum.ACKEPOCH).zxid
            with Memory(victim, 32), contextlib.suppress(Closed):
                link.send_raw(packet(quorum.SNAP, last + 1))
                for piece in pieces:
                    link.send_raw(piece)
                if stops:
                    link.sock.shutdown(socket.SHUT_WR)
            ends(link, SILENT_SECONDS)
            link.close()
            expect(victim.process.poll() is None, "%s ended the server:\n%s" % (what, victim.log_tail()))
            until("%s leaves the history as it was" % what, lambda: files(victim) == held)
    return "%d snapshots" % len(streams)


def followed(target, server, leader, round, port):
    """The link of a server that has been told to follow `leader`, which is here, at that port."""
    found = []

    def told():
        nonlocal round
        # It may be starting, or busy with its last leader.
        with contextlib.suppress(OSError, Closed):
            caller = target.caller(server, leader)
            round += 1
            caller.send_raw(wire.frame(vote(quorum.LOOKING, leader, 2 ** 62, round, 2 ** 30)))
            found.append(quorum.accepted(port, 1))
            caller.close()
        return found

    try:
        until("server %d follows a false leader" % server.id, told)
    except Failure as failure:
        raise Failure("%s\n%s" % (failure, server.log_tail())) from None
    found[0].sock.settimeout(20)
    return found[0]


def forgeries(target, _long):
    """hostile-h24: requests before one is synchronized, malformed, and in the name of others' sessions"""
    create = wire.pack_record(wire.CREATE, ["/forged", b"", OPEN, 0])
    owner = Client(target.near.address, timeout=60000)
    expect(owner.ok("create", "/owned", b"", OPEN, wire.EPHEMERAL) is not None, "no owner")
    asked = packet(quorum.REQUEST, -1, quorum.request(owner.session, 1, "create", create), [("super", "")])
    refused(target.quorum(), asked, "a request of nobody")
    observer = target.observer()
    observer.greet()
    ended(observer, asked, observer.history(), IN_LINE)
    for data in [None, b"", bytes(15)] + [quorum.request(owner.session, 1, code, b"\0" * 8) for code in (
            0, 3, 4, 8, 11, 12, 20, 22, 100, 101, 103, 105, 106, -1, 99, 2 ** 31 - 1, -2 ** 31)]:
        ended(target.observer().serve(), packet(quorum.REQUEST, -1, data))
    # A session that another server has, and one that nobody has: whatever the identities, nothing is done.
    observer = target.observer().serve()
    for session, err in ((owner.session, -118), (0x123456789, -112)):
        for auth in (None, [], [("super", "")], [("digest", "super"), ("x509", "CN=super"), ("ip", HOST)]):
            observer.send_raw(packet(quorum.REQUEST, -1, quorum.request(session, 7, "create", create), auth))
            observer.until_answered(session, 7, err)
    expect(owner.call("exists", "/forged", False).err == -101, "a forged request was done")
    owner.ok("setData", "/owned", b"still mine", -1)
    observer.close()
    return "20 malformed, 8 forged"


def floods(target, long):
    """hostile-h25: floods of revalidations that nobody reads, pings with bogus sessions, a learner that is deaf"""
    flooding = target.observer().serve()
    with Memory(target.leader, 32):
        flooding.sock.settimeout(2)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < (2000 if long else 400):
                flooding.send_raw(REVALIDATION * 1000)
                sent += 1
        Client(target.leader.address).ok("sync", "/")
    flooding.close()
    for data in (bytes(11), bytes(13), bytes(12 * 1000 + 1)):
        ended(target.observer().serve(), packet(quorum.PING, 0, data))
    bogus = target.observer().serve()
    sessions = b"".join(struct.pack(">qi", number << 20, 30000) for number in range(100000))
    bogus.send_raw(packet(quorum.PING, 0, sessions) + REVALIDATION)
    told = bogus.until(quorum.REVALIDATE)
    expect(told.data[8:] == b"\0", "a session that nobody has is valid: %s" % told)
    bogus.close()
    # It takes part, and reads nothing of what is written meanwhile.
    deaf = target.observer().serve()
    admin = administrator(target.leader)
    admin.ok("create", "/large", b"", OPEN, 0)
    writes = 200 if long else 40
    with Memory(target.leader, 64):
        for _ in range(writes):
            admin.ok("setData", "/large", bytes(900000), -1)
    admin.ok("delete", "/large", -1)
    until("the deaf learner is given up", lambda: mntr(target.leader)["learners"] == "2")
    deaf.close()
    return "%d,000 revalidations, %d MB not read" % (sent, writes)


ATTACKS = {"hostile-h16": lengths, "hostile-h17": hellos, "hostile-h18": names, "hostile-h19": votes,
           "hostile-h20": storms, "hostile-h21": greetings, "hostile-h22": order, "hostile-h23": snapshots,
           "hostile-h24": forgeries, "hostile-h25": floods}

DIVIDED = (votes, snapshots)  # need a server that is on its own


def attack(name):
    function = ATTACKS[name]

    def check(options):
        kind = Divided if function in DIVIDED else Ensemble
        with kind("zzzZ", CONFIG) as ensemble:
            ensemble.servers.pop().close()
            ensemble.start()
            target = Target(ensemble)
            keeper = Client(target.leader.address)
            keeper.ok("create", "/kept", b"acknowledged", OPEN, 0)
            before = target.epochs()
            with Beside(target.leader) as one, Beside(target.near) as other:
                line = function(target, options.long)
                ensemble.wait()
                told = [one.verdict(), other.verdict()]
            after = target.epochs()
            expect(after == before, "the servers were %s, and are %s" % (before, after))
            expect(keeper.ok("getData", "/kept", False)["data"] == b"acknowledged", "/kept is changed")
            same_everywhere(ensemble, {}, {})
        return "%s; beside: %s; %s" % (line, told[0], told[1])

    check.__doc__ = function.__doc__
    return check
