"""Ensembles whose links are cut, and whose servers are paused.

Servers meet through the ports of a `proxy.Network`. Sessions write through each server and from server
to server all the time, while servers are cut off, cannot be heard, are stopped and go on. Whoever is cut
off must stop serving; nothing that it was asked meanwhile may be acknowledged; the others go on. At the end every
server must show the same tree, with every write that any of them acknowledged, once.
"""

import glob
import os
import random
import signal

import wire
from ensemble import Ensemble, collect, same_everywhere
from proxy import Network
from reconfig import until
from report import Failure
from wire import OPEN, Client, Closed
from words import mntr
from workload import Roaming

WRITES = 15  # acknowledged creates through each server that serves, in each step
ASKED = 10  # writes that a server is asked when nobody can hear it
SLOW_SECONDS = 0.05
# A leader that is not heard is given up after 1.6 s.
CONFIG = {"tickTime": "200", "syncLimit": "8", "initLimit": "50"}


class Divided(Ensemble):
    """Servers that meet through a network of ours."""

    def __init__(self, kinds, config=None):
        self.network = Network()
        self.through = {}
        super().__init__(kinds, dict(CONFIG, **(config or {})))

    def ports_for(self, number, other):
        if number == other:
            return self.ports[number]
        true = zip(("quorum", "election"), self.ports[other])
        return tuple(self.network.port(number, other, kind, port) for kind, port in true)

    def __exit__(self, *error):
        super().__exit__(*error)
        self.network.__exit__()

    def ids(self, servers):
        return [server.id for server in servers]

    def others(self, server):
        return [other for other in self.servers if other is not server]

    def nobody_gets_around(self):
        around = self.network.around()
        if around:
            raise Failure("connections around the network: %s" % ", ".join(around))

    def pause(self, server):
        """Stops a server; returns when every thread of it stands."""
        os.kill(server.process.pid, signal.SIGSTOP)
        until("%s is stopped" % name(server), lambda: threads(server) == {"T"})

    def resume(self, server):
        os.kill(server.process.pid, signal.SIGCONT)


class Witness:
    """A client of a server that is about to be alone, and is asked to write then."""

    def __init__(self, server, root):
        self.server, self.root = server, root
        self.client = Client(server.address, timeout=600000, io_timeout=30)
        self.client.ok("create", root, b"", OPEN, 0)
        self.sent = {}

    def ask(self):
        for number in range(ASKED):
            path = "%s/n%07d" % (self.root, number)
            self.sent[path] = path.encode()
            try:
                self.client.send("create", path, path.encode(), OPEN, 0)
            except Closed:
                break  # as soon as that

    def verdict(self):
        """{path: (zxid, data)} of what is acknowledged before the connection ends, as it must."""
        acked = {}
        try:
            while self.client.pending:
                reply = self.client.recv()
                if reply.err == 0:
                    acked[reply["path"]] = (reply.zxid, self.sent[reply["path"]])
        except Closed:
            pass
        except TimeoutError:
            raise Failure("%s was alone and left its client without an answer" % name(self.server)) from None
        self.client.close()
        return acked


class Run:
    """One ensemble, its load, and the steps that it goes through."""

    def __init__(self, ensemble, seed):
        self.ensemble, self.network = ensemble, ensemble.network
        self.random = random.Random(seed)
        self.acked, self.sent, self.step = {}, {}, 0
        self.bound = {server.id: Roaming([server], "/bound%d" % server.id, 1) for server in ensemble.servers}
        self.wandering = Roaming(ensemble.servers, "/wandering", 2)

    def goes_on(self, servers):
        """Writes are acknowledged through each of these servers, and wherever a session finds one."""
        loads = [self.bound[server.id] for server in servers] + [self.wandering]
        for load, count in [(load, load.count + WRITES) for load in loads]:
            load.until(count)

    def alone(self, server, begin, end):
        """A server is on its own after `begin`, until `end`; who leads the others, and what it acknowledged."""
        others = self.ensemble.others(server)
        self.step += 1
        witness = Witness(server, "/alone%d" % self.step)
        begin()
        witness.ask()
        leader = self.ensemble.wait(among=others)
        self.ensemble.nobody_gets_around()
        self.goes_on(others)
        end()
        acked = witness.verdict()
        self.sent.update(witness.sent)
        self.acked.update({path: data for path, (_, data) in acked.items()})
        return leader, acked

    def cut_off(self, server, begin):
        """Nobody hears a server after `begin`: it must stop serving. Who leads the others."""
        leader, acked = self.alone(server, begin, lambda: until(
            "%s stops serving" % name(server), lambda: self.ensemble.mode(server) is None))
        if acked:
            raise Failure("%s was alone and acknowledged %s" % (name(server), acked))
        self.heal()
        return leader

    def paused(self, server, end):
        """A server is stopped, and goes on after `end`. Who leads the others."""
        epoch = zxid(server) >> 32

        def go_on():
            end()
            self.ensemble.resume(server)

        leader, acked = self.alone(server, lambda: self.ensemble.pause(server), go_on)
        late = [path for path, (at, _) in acked.items() if at >> 32 == epoch != zxid(leader) >> 32]
        if late:
            raise Failure("%s acknowledged %s in epoch %d, which was over" % (name(server), late, epoch))
        self.heal()
        return leader

    def heal(self):
        self.network.heal()
        self.ensemble.wait()
        self.goes_on(self.ensemble.servers)

    # The steps. Each begins and ends with all servers serving; it tells what happened.

    def leader_cut_off(self):
        """Nothing passes between the leader and the others; connections stay as they are."""
        leader = self.ensemble.wait()
        others = self.ensemble.ids(self.ensemble.others(leader))

        def begin():
            self.network.hold(leader.id, others)
            for other in others:
                self.network.hold(other, [leader.id])

        new = self.cut_off(leader, begin)
        return "%s cut off, %s led" % (name(leader), name(new))

    def leader_not_heard(self):
        """What the leader says vanishes; it hears all."""
        leader = self.ensemble.wait()
        others = self.ensemble.ids(self.ensemble.others(leader))
        new = self.cut_off(leader, lambda: self.network.lose(leader.id, others))
        return "%s not heard, %s led" % (name(leader), name(new))

    def leader_deaf(self):
        """What is said to the leader vanishes; it is heard, and may be elected in vain for a while."""
        leader = self.ensemble.wait()

        def begin():
            for other in self.ensemble.others(leader):
                self.network.lose(other.id, [leader.id])

        new = self.cut_off(leader, begin)
        return "%s deaf, %s led" % (name(leader), name(new))

    def leader_paused(self):
        """The leader stops in the middle of everything, and goes on when it is no leader any more."""
        leader = self.ensemble.wait()
        new = self.paused(leader, lambda: None)
        return "%s paused, %s led" % (name(leader), name(new))

    def follower_cut_off(self):
        """The connections of a follower end, and each new one."""
        follower = self.follower()
        others = self.ensemble.ids(self.ensemble.others(follower))
        self.cut_off(follower, lambda: self.network.cut(follower.id, others))
        return "%s cut off" % name(follower)

    def follower_paused(self):
        """A follower stops until the leader has given it up, and goes on."""
        follower = self.follower()
        others = self.ensemble.others(follower)
        given_up = lambda: any(mntr(other).get("synced_followers") == "1" for other in others)
        self.paused(follower, lambda: until("%s is given up" % name(follower), given_up))
        return "%s paused" % name(follower)

    def slow(self):
        """Everything between the leader and one follower is slow: all go on."""
        leader, follower = self.ensemble.wait(), self.follower()
        self.network.slow(leader.id, [follower.id], SLOW_SECONDS)
        self.network.slow(follower.id, [leader.id], SLOW_SECONDS)
        self.goes_on(self.ensemble.servers)
        self.heal()
        return "%s slow" % name(follower)

    def follower(self):
        leader = self.ensemble.wait()
        return self.random.choice(self.ensemble.others(leader))


def threads(server):
    """The states that threads of a server are in."""
    states = set()
    for path in glob.glob("/proc/%d/task/*/stat" % server.process.pid):
        with open(path) as stat:
            states.add(stat.read().rsplit(")", 1)[1].split()[0])
    return states


def zxid(server):
    """The last transaction that a server shows."""
    for line in server.four_letter("srvr").splitlines():
        if line.startswith("Zxid: "):
            return int(line[6:], 16)
    raise Failure("%s does not serve" % name(server))


def name(server):
    return "%s%d" % (server.kind, server.id)


ALL = (Run.leader_cut_off, Run.follower_cut_off, Run.leader_not_heard, Run.leader_paused, Run.follower_paused,
       Run.leader_deaf, Run.slow)
# Steps of the short form. With Apache each takes longer.
STEPS = {
    "zzz": (Run.leader_cut_off, Run.follower_cut_off, Run.leader_not_heard, Run.leader_paused, Run.follower_paused,
            Run.slow),
    "zaa": (Run.leader_cut_off, Run.leader_paused, Run.follower_cut_off),
    "azz": (Run.leader_paused, Run.leader_not_heard, Run.follower_paused),
}
LONG = 40


def mixture(kinds):
    def check(options):
        seed = options.seed if options.seed is not None else random.randrange(2 ** 32) if options.long else 0
        told = []
        with Divided(kinds) as ensemble:
            ensemble.start()
            run = Run(ensemble, seed)
            steps = [run.random.choice(ALL) for _ in range(LONG)] if options.long else STEPS[kinds]
            for step in steps:
                try:
                    told.append(step(run))
                except (Failure, TimeoutError) as failure:
                    raise Failure("seed %d, after %s, in %s: %s" % (seed, told, step.__name__, failure)) from None
            loads = [run.wandering] + list(run.bound.values())
            for load in loads:
                load.stop()
            moves = sum(worker.moves for worker in run.wandering.workers)
            collect(loads, "seed %d, %s" % (seed, told), run.acked, run.sent)
            found = same_everywhere(ensemble, run.acked, run.sent)
        return "%s; %d acknowledged creates, %d nodes, %d moves" % (
            ", ".join(told), len(run.acked), len(found), moves)

    check.__doc__ = "partition-%s: three servers are cut off and paused under load, and lose nothing" % kinds
    return check


MIXTURES = tuple(STEPS)
