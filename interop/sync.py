"""How a leader of one kind brings learners of the other kind in line: DIFF, TRUNC and SNAP, each made certain.

Two servers of the leader's kind, a follower and an observer of the other kind. The follower leads first,
and takes writes that nobody else hears of, which the next leader must cut off; the observer is given the same
history. Then both are missing for a short time, and for longer than the leader's memory reaches; they come
back with that history of theirs when the others have gone on, and with none at all. What the leader did is in
the log of Apache's server, whichever side that is. At the end all trees are equal.
"""

import os
import shutil

import txnlog
from ensemble import same_everywhere
from partition import Divided, zxid
from reconfig import until
from report import Failure
from wire import OPEN, Client

FEW, BEYOND_APACHES_WINDOW = 20, 700  # it keeps 500 transactions
LARGE, BEYOND_OURS = 900000, 20  # 18 MB; ours keeps 16 MiB of them
LONE = 5
FOLLOWER, OBSERVER = 3, 4

# What Apache's server says, as a leader of the learner with that number, and as a learner.
AS_LEADER = {
    "DIFF from the window": ("Using committedLog for peer sid: %d",),
    "DIFF from the log": ("Use txnlog and committedLog for peer sid: %d",),
    "TRUNC": ("Sending TRUNC to follower zxidToSend=", "for peer sid:%d"),
    "SNAP": ("Sending snapshot last zxid of peer",),
}
AS_LEARNER = {
    "DIFF from the window": ("Getting a diff from the leader",),
    "DIFF from the log": ("Getting a diff from the leader",),
    "TRUNC": ("Truncating log to get in sync with the leader",), "SNAP": ("Getting a snapshot from leader",),
}
# Our server says so as a learner; a DIFF is neither.
OURS = {"TRUNC": "the leader cuts the history", "SNAP": "the leader sends a snapshot"}


class Logs:
    """What servers say from now on."""

    def __init__(self, servers):
        self.at = {server.id: size(server) for server in servers}

    def said(self, server):
        with open(server.log_path, errors="replace") as log:
            log.seek(self.at[server.id])
            return log.read()


def size(server):
    return os.path.getsize(server.log_path) if os.path.exists(server.log_path) else 0


class Sync:
    def __init__(self, ensemble):
        self.ensemble, self.made = ensemble, {}
        self.learners = [server for server in ensemble.servers if server.id in (FOLLOWER, OBSERVER)]
        self.leaders = [server for server in ensemble.servers if server not in self.learners]
        for server in ensemble.servers:
            if server.kind == "a":
                for name in ("Learner", "LearnerHandler"):
                    server.properties["org.slf4j.simpleLogger.log.org.apache.zookeeper.server.quorum." + name] = "debug"

    def write(self, server, root, count, data=b"data"):
        client = Client(server.address)
        for number in range(count):
            path = "%s-%d" % (root, number)
            client.send("create", path, data, OPEN, 0)
            self.made[path] = data
        while client.pending:
            reply = client.recv()
            if reply.err != 0:
                raise Failure("%s" % reply)
        client.ok("closeSession")
        client.close()

    def write_large(self, server):
        client = Client(server.address)
        client.ok("create", "/large", b"", OPEN, 0)
        for number in range(BEYOND_OURS):
            client.ok("setData", "/large", bytes([number]) * LARGE, -1)
        client.ok("closeSession")
        client.close()

    def leader(self):
        leader = self.ensemble.wait()
        if leader not in self.leaders:
            raise Failure("server %d leads, which was to follow" % leader.id)
        return leader

    def lone_history(self):
        """The follower leads, and takes writes that nobody hears of; the observer gets that history, too."""
        follower, observer = self.learners
        first, second = self.leaders
        self.ensemble.start([first, follower])  # two of three, without a history: the higher number leads
        self.ensemble.start([second])
        if self.ensemble.wait() is not follower:
            raise Failure("server %d does not lead" % follower.id)
        self.write(follower, "/common", FEW)
        until("all have all", lambda: len({zxid(server) for server in self.ensemble.running()}) == 1)
        client = Client(follower.address)
        client.ok("sync", "/")
        until("all have all", lambda: len({zxid(server) for server in self.ensemble.running()}) == 1)
        self.ensemble.network.lose(follower.id, [first.id, second.id])
        lone = ["/lone-%d" % number for number in range(LONE)]
        for path in lone:
            client.send("create", path, b"", OPEN, 0)
        until("its log has what it was asked", lambda: set(lone) <= logged(follower))
        self.ensemble.wait(among=self.leaders)
        self.ensemble.nobody_gets_around()
        follower.kill()
        client.close()
        for path in lone:
            for server in self.leaders:
                if path in logged(server):
                    raise Failure("server %d has heard of %s" % (server.id, path))
        self.ensemble.network.heal()
        self.kept = os.path.join(follower.home, "kept")
        shutil.copytree(os.path.join(follower.data, "version-2"), self.kept)
        self.replace(observer)
        self.brought_in_line("TRUNC")

    def replace(self, server, source=True):
        """Gives a server that is down the lone history, or none."""
        history = os.path.join(server.data, "version-2")
        shutil.rmtree(history, ignore_errors=True)
        if source:
            shutil.copytree(self.kept, history)

    def without_learners(self, write):
        for server in self.learners:
            server.kill()
        write(self.leader())

    def brought_in_line(self, how):
        """Starts the learners: this is how they are brought in line, and nothing else."""
        leader = self.leader()
        logs = Logs(self.ensemble.servers)
        self.ensemble.start(self.learners)
        for server in self.learners:
            teller, said = (leader, AS_LEADER) if leader.kind == "a" else (server, AS_LEARNER)
            text = logs.said(teller)
            wanted = {kind: any(all((part % server.id if "%" in part else part) in line for part in said[kind])
                                for line in text.splitlines()) for kind in said}
            others = [kind for kind in ("TRUNC", "SNAP") if kind != how and wanted[kind]]
            if not wanted[how] or others:
                raise Failure("server %d was not brought in line by %s (%s):\n%s" % (server.id, how, others, text))
            if server.kind == "z":
                ours = {kind: line in logs.said(server) for kind, line in OURS.items()}
                if ours != {kind: kind == how for kind in OURS}:
                    raise Failure("server %d says that it was not brought in line by %s:\n%s" % (
                        server.id, how, logs.said(server)))
        if leader.kind == "a" and how == "SNAP":
            count = logs.said(leader).count(AS_LEADER["SNAP"][0])
            if count != len(self.learners):
                raise Failure("%d snapshots were sent" % count)

    def run(self):
        self.lone_history()
        self.without_learners(lambda leader: self.write(leader, "/short", FEW))
        self.brought_in_line("DIFF from the window")
        ours = self.leaders[0].kind == "z"
        self.without_learners(lambda leader: (
            self.write_large(leader) if ours else self.write(leader, "/long", BEYOND_APACHES_WINDOW)))
        self.brought_in_line("DIFF from the log")
        # The lone history again, when the others have gone on from where it parted.
        self.without_learners(lambda leader: None)
        for server in self.learners:
            self.replace(server)
        self.brought_in_line("SNAP")
        # None at all; the leader's log does not go back to the beginning, either.
        for server in self.ensemble.servers:
            server.kill()
        for server in self.learners:
            self.replace(server, source=False)
        self.ensemble.start(self.leaders)
        self.brought_in_line("SNAP")
        found = same_everywhere(self.ensemble, {}, {})
        for path, data in self.made.items():
            if found.get(path, {}).get("data") != data:
                raise Failure("lost: %s was acknowledged" % path)
        lone = [path for path in found if path.startswith("/lone")]
        if lone:
            raise Failure("nobody but the old leader had %s" % lone)
        return "TRUNC, DIFF from memory and from the log, SNAP for a history of its own and for none: to a follower " \
            "and to an observer; %d nodes" % len(found)


def logged(server):
    """Paths of the creates in a server's log."""
    return {txn.body["path"] for txn in txnlog.read(server.data) if txn.type in (1, 15)}


def between(kinds, of, to):
    def check(_options):
        # Apache's leader reads its log for a learner however long it is.
        with Divided(kinds, {"snapCount": "100"}) as ensemble:
            for server in ensemble.servers:
                if server.kind == "a":
                    server.properties["zookeeper.snapshotSizeFactor"] = "0"
            return Sync(ensemble).run()

    check.__doc__ = "sync-%s: %s brings a follower and an observer of %s in line by DIFF, TRUNC and SNAP" % (
        kinds[0] + kinds[2], of, to)
    return check


CHECKS = {"sync-az": between("aazZ", "a leader of Apache's", "ours"),
          "sync-za": between("zzaA", "a leader of ours", "Apache's")}
