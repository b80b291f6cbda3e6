"""Ensembles of three: of Apache's servers and of ours, in every mixture.

In rounds: clients write through every server, the leader is killed with `kill -9` under load, the two
others go on, the killed one comes back on its own files. At the end every server must show the same
tree, and in it every write that any of them acknowledged.
"""

import os
import re
import time

import apache
import tree
import txnlog
import wire
from report import Failure, Theirs
from server import HOST, StartError, four_letter, free_port
from workload import Load, check_ledger
from zk import Zk

SERVE_SECONDS = 60
SHORT, LONG = 3, 20
VIEWS = 3  # walks of a server's tree, if its connection ends
WRITES = 120  # acknowledged creates through each server before each kill
CONFIG = {
    "tickTime": "500", "initLimit": "20", "syncLimit": "10", "maxSessionTimeout": "600000", "snapCount": "1000",
    "DigestAuthenticationProvider.superDigest": wire.digest_id(tree.SUPER),
}
SERVERS = {"a": apache.Apache, "z": Zk}
CUT = re.compile("learning from server ([0-9]+)"
                 "|the leader cuts the history behind zxid (0x[0-9a-f]+), in epoch ([0-9]+)")


class Ensemble:
    """Servers; `kinds` has a letter for each: a for Apache's, z for ours, a capital for an observer."""

    def __init__(self, kinds, config=None):
        self.ports = {number: (free_port(), free_port()) for number in range(1, len(kinds) + 1)}
        self.servers = []
        for number, kind in enumerate(kinds, 1):
            lines = {}
            for other, role in enumerate(kinds, 1):
                quorum, election = self.ports_for(number, other)
                observer = ":observer" if role.isupper() else ""
                lines["server.%d" % other] = "%s:%d:%d%s" % (HOST, quorum, election, observer)
            server = SERVERS[kind.lower()](dict(dict(CONFIG, **lines), **(config or {})))
            server.id, server.kind = number, kind.lower()
            with open(os.path.join(server.data, "myid"), "w") as myid:
                myid.write("%d\n" % number)
            self.servers.append(server)

    def ports_for(self, _number, other):
        """The ports for members of a server as the configuration of another one names them."""
        return self.ports[other]

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            print("the servers, when it failed:\n%s" % self.logs(), flush=True)
        for server in self.servers:
            server.close()

    def start(self, servers=None):
        """Starts servers, and waits until all that run serve."""
        for server in servers or self.servers:
            server.launch()
        self.wait()

    def running(self):
        return [server for server in self.servers if server.process is not None]

    def wait(self, seconds=SERVE_SECONDS, among=None):
        """Waits until every running server (of `among`) serves, and there is one leader. Returns it."""
        deadline = time.monotonic() + seconds
        while True:
            servers = self.running() if among is None else among
            modes = {server.id: self.mode(server) for server in servers}
            leaders = [server for server in servers if modes[server.id] == "leader"]
            if len(leaders) == 1 and all(modes.values()):
                return leaders[0]
            if time.monotonic() > deadline:
                raise Failure("no agreement in %d s: %s" % (seconds, modes))
            time.sleep(0.05)  # a server that does not serve yet gives no event to wait for

    def logs(self, lines=12):
        """The ends of all servers' logs."""
        return "\n".join("-- server %d (%s)\n%s" % (s.id, s.name, s.log_tail(lines)) for s in self.servers)

    def mode(self, server):
        """leader, follower, or None while it does not serve."""
        if server.process.poll() is not None:
            raise StartError("server %d (%s) ended with code %s\n%s" % (
                server.id, server.name, server.process.returncode, server.log_tail()))
        try:
            text = four_letter(server.port, "srvr", timeout=2)
        except OSError:
            return None
        for line in text.splitlines():
            if line.startswith("Mode: "):
                return line[6:]
        return None


def view(server):
    """The tree as a server shows it, once it has all that was committed."""
    client = wire.Client(server.address)
    try:
        client.ok("auth", 0, "digest", tree.SUPER.encode())
        client.ok("sync", "/")
        return tree.walk(client)
    finally:
        client.close()


def views(ensemble):
    """The tree as each server shows it.

    A server that takes another role ends its connections, as it must, and a machine that stands still
    for seconds is enough for that. Like any client we ask again, once all serve: that they ended no
    process, and that the trees are the same, holds then too. Each time is told, with the logs. One of
    ours that stays connected and does not answer has failed.
    """
    found = []
    for server in ensemble.servers:
        for _ in range(VIEWS):
            try:
                found.append(view(server))
                break
            except (wire.Closed, OSError) as error:
                ended = "server %d (%s) ended a walk of its tree: %s\n%s" % (
                    server.id, server.name, error, ensemble.logs())
                if server.kind == "z" and isinstance(error, TimeoutError):
                    raise Failure(ended) from error
                print(ended, flush=True)
                ensemble.wait()
        else:
            raise Failure("%d times %s" % (VIEWS, ended))
    return found


def differences(one, other):
    """Lines for what two servers show differently; /zookeeper/config is each server's own."""
    lines = []
    for path in sorted(set(one) | set(other)):
        if path == "/zookeeper/config":
            continue
        if one.get(path) != other.get(path):
            lines.append("%s: %s against %s" % (path, one.get(path), other.get(path)))
    return lines


def wrongly_cut(ensemble):
    """A line for one of our servers that an Apache leader had cut its history where its own goes on, or None.

    Apache's server goes on with the tree that it has when it begins to lead or to follow. The thread that
    applies what is committed is not waited for, while another one applies the rest of the log: what comes
    last may be an old transaction, which is then taken for the last that learners may have. Only where the
    reign is a later one: in the same reign, what is behind may be proposed and follow at once.
    """
    servers = {server.id: server for server in ensemble.servers}
    for server in ensemble.servers:
        if server.kind != "z":
            continue
        with open(server.log_path, errors="replace") as log:
            said = CUT.findall(log.read())
        leader = None
        for number, cut, epoch in said:
            leader = servers.get(int(number)) if number else leader
            if not cut or leader is None or leader.kind != "a":
                continue
            zxid = int(cut, 16)
            behind = [txn.zxid for txn in txnlog.read(leader.data)
                      if txn.zxid > zxid and txn.zxid >> 32 == zxid >> 32 < int(epoch)]
            if behind:
                return "server %d was told to cut its history behind %s by server %d, whose own has %#x to %#x" % (
                    server.id, cut, leader.id, behind[0], behind[-1])
    return None


def same_everywhere(ensemble, acked, sent):
    """The tree that every server shows; it has every write that was acknowledged, once."""
    try:
        return shown_everywhere(ensemble, acked, sent)
    except Failure as failure:
        cut = wrongly_cut(ensemble)
        if cut:
            raise Theirs("%s (%s)" % (cut, str(failure).splitlines()[0])) from failure
        raise


def shown_everywhere(ensemble, acked, sent):
    found = views(ensemble)
    for server, view in zip(ensemble.servers[1:], found[1:]):
        wrong = differences(found[0], view)
        if wrong:
            raise Failure("server %d shows another tree than server 1, %d lines:\n  %s" % (
                server.id, len(wrong), "\n  ".join(wrong[:10])))
    for server in ensemble.servers:
        differed = mismatches(server) if server.kind == "z" else 0
        if differed:
            raise Failure("the tree of server %d differed %d times from what a transaction says of it\n%s" % (
                server.id, differed, ensemble.logs()))
    wrong = check_ledger(found[0], acked, sent)
    if wrong:
        raise Failure("%d lines:\n  %s" % (len(wrong), "\n  ".join(wrong[:15])))
    return found[0]


def mismatches(server):
    """How often the tree of one of ours was not what a transaction says of it, since it started."""
    for line in four_letter(server.port, "mntr").splitlines():
        if line.startswith("zk_digest_mismatches_count"):
            return int(float(line.split()[1]))
    raise Failure("server %d does not count differences" % server.id)


def collect(loads, what, acked, sent):
    """Waits for loads to end, and adds what they know to the ledger."""
    for load in loads:
        now_acked, now_sent, unexpected = load.join()
        if unexpected:
            raise Failure("%s: %s" % (what, "\n".join(unexpected[:10])))
        acked.update(now_acked)
        sent.update(now_sent)


def mixture(kinds):
    def check(options):
        rounds = LONG if options.long else SHORT
        acked, sent, led = {}, {}, []
        with Ensemble(kinds) as ensemble:
            ensemble.start()
            for number in range(rounds):
                leader = ensemble.wait()
                led.append("%s%d" % (leader.kind, leader.id))
                loads = [Load(server.address, "/r%d-%d" % (number, server.id), 2, seed=number)
                         for server in ensemble.servers]
                for load in loads:
                    load.until(WRITES)
                leader.kill()
                collect(loads, "round %d" % number, acked, sent)
                ensemble.wait()
                ensemble.start([leader])
            found = same_everywhere(ensemble, acked, sent)
        return "led by %s; %d acknowledged creates, %d nodes" % (" ".join(led), len(acked), len(found))

    check.__doc__ = "ensemble-%s: three servers, the leader killed under load, nothing lost, the same tree" % kinds
    return check


MIXTURES = ("zzz", "aaz", "zaa", "azz", "zza")
