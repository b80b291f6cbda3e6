"""Reconfiguration of an ensemble of Apache's servers and ours, under load.

A server that is not there joins and leaves; a follower leaves and comes back; the leader leaves, and
the server that it names leads; all servers are started again on the files that they wrote. Then every
server must show the same tree, with every write that any of them acknowledged.
"""

import os
import shutil
import socket
import time

import tree
import wire
from ensemble import Ensemble, collect, same_everywhere
from report import Failure
from server import HOST, free_port
from workload import Load
from zk import Zk

WRITES = 60  # acknowledged creates through each server between two steps
SETTLE_SECONDS = 30
MIXTURES = ("zzz", "zaa", "azz")


def administrator(server):
    client = wire.Client(server.address)
    client.ok("auth", 0, "digest", tree.SUPER.encode())
    return client


def change(server, joining=None, leaving=None, members=None, version=-1):
    """Reconfigures through a server; the new configuration's lines."""
    client = administrator(server)
    reply = client.ok("reconfig", joining, leaving, members, version)
    client.close()
    return lines_of(reply["data"])


def lines_of(text):
    return text.decode().split("\n")


def shown(server):
    client = administrator(server)
    client.ok("sync", "/")
    lines = lines_of(client.ok("getData", "/zookeeper/config", False)["data"])
    client.close()
    return lines


def shows(server, lines):
    """Whether a server serves, and shows these members."""
    try:
        return sorted(shown(server)[:-1]) == sorted(lines)
    except (OSError, wire.Closed):
        return False


def expect(what, found, wanted):
    if found != wanted:
        raise Failure("%s: %s instead of %s" % (what, found, wanted))


def until(what, condition):
    deadline = time.monotonic() + SETTLE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise Failure("not in %d s: %s" % (SETTLE_SECONDS, what))
        time.sleep(0.05)  # a server that does not serve yet gives no event to wait for


def ledgered(ensemble, servers, number, acked, sent, step):
    """Runs a step while clients of `servers` write; notes what was acknowledged."""
    loads = [Load(server.address, "/s%d-%d" % (number, server.id), 2, seed=number) for server in servers]
    for load in loads:
        load.until(WRITES)
    result = step()
    for load in loads:
        # A server whose leader changed has closed its clients' connections.
        if load.alive():
            load.until(2 * WRITES)
        load.stop()
    collect(loads, "step %d" % number, acked, sent)
    return result


def mixture(kinds):
    def check(_options):
        acked, sent = {}, {}
        with Ensemble(kinds, {"reconfigEnabled": "true"}) as ensemble:
            ensemble.start()
            for server in ensemble.servers:
                server.keeps_config = True
            leader = ensemble.wait()
            first = shown(leader)
            expect("the first version", first[-1], "version=100000000")
            line = {int(text.split("=")[0].split(".")[1]): text for text in first[:-1]}
            follower = next(server for server in ensemble.servers if server is not leader)
            others = [server for server in ensemble.servers if server is not leader]

            # An observer that is not there: nobody waits for it.
            ports = tuple(free_port() for _ in range(3))
            joining = "server.100=0.0.0.0:%d:%d:observer;0.0.0.0:%d" % ports
            new = ledgered(ensemble, others, 1, acked, sent, lambda: change(follower, joining=joining))
            expect("joined", sorted(new[:-1]), sorted(first[:-1] + [joining]))
            version = int(new[-1].split("=")[1], 16)
            client = administrator(follower)
            expect("another version", client.call("reconfig", None, "100", None, version - 1).err, -103)
            expect("no number", client.call("reconfig", None, "x", None, -1).err, -5)
            expect("no server", client.call("reconfig", "server.5=x", None, None, -1).err, -8)
            client.close()
            new = change(follower, leaving="100", version=version)
            expect("left", sorted(new[:-1]), sorted(first[:-1]))

            # A follower leaves, and comes back with an address for clients in its line.
            step = lambda: change(leader, leaving=str(follower.id))
            new = ledgered(ensemble, [leader], 2, acked, sent, step)
            expect("a follower left", sorted(new[:-1]), sorted(set(first[:-1]) - {line[follower.id]}))
            back = "%s;%s:%d" % (line[follower.id], HOST, follower.port)
            new = ledgered(ensemble, [leader], 3, acked, sent, lambda: change(leader, joining=back))
            line[follower.id] = back
            expect("it came back", sorted(new[:-1]), sorted(line.values()))
            # Apache's server opens its port for clients anew, and refuses them meanwhile, before it shows this.
            until("all show it", lambda: all(shows(server, line.values()) for server in ensemble.servers))

            # The leader leaves. Its clients may not hear of it.
            left = {line[server.id] for server in others}

            def leave():
                client = administrator(leader)
                client.send("reconfig", None, str(leader.id), None, -1)
                leads = lambda: [ensemble.mode(server) for server in others].count("leader") == 1
                until("another leads", leads)
                client.close()

            ledgered(ensemble, others, 4, acked, sent, leave)
            until("both show that the leader left", lambda: all(shows(server, left) for server in others))

            # All over, with the files as the servers left them.
            for server in ensemble.servers:
                server.kill()
            for server in others:
                server.launch()
            until("both show it after a start", lambda: all(shows(server, left) for server in others))
            back = "%s;%s:%d" % (line[leader.id], HOST, leader.port)
            change(others[0], joining=back)
            # Its own files say that it is no member: it starts with those of before, which do.
            config = os.path.join(leader.home, "zoo.cfg")
            shutil.copy(config + ".bak", config)
            leader.launch()
            until("all serve", lambda: all(ensemble.mode(server) for server in ensemble.servers))
            same_everywhere(ensemble, acked, sent)
            names = [sorted(name for name in os.listdir(server.home) if name.startswith("zoo.cfg"))
                     for server in others]
            expect("the files of both", names[0], names[1])
            for name in names[0]:
                if ".dynamic." in name:
                    texts = [open(os.path.join(server.home, name)).read() for server in others]
                    expect("the text of %s" % name, texts[0], texts[1])
        return "%s%d led and left; %d acknowledged creates" % (leader.kind, leader.id, len(acked))

    check.__doc__ = "reconfig-%s: three servers, members join and leave under load, the leader too" % kinds
    return check


def places(_options):
    """reconfig-places: a server joins and then votes, who was away comes back, a member moves to other ports, a lost quorum is rescued"""
    acked, sent = {}, {}
    with Ensemble("zzz", {"reconfigEnabled": "true"}) as ensemble:
        ensemble.start()
        for server in ensemble.servers:
            server.keeps_config = True
        leader = ensemble.wait()
        follower = next(server for server in ensemble.servers if server is not leader)

        # It joins as an observer. Its own file has another client port: it moves to the one it was given.
        line = "server.4=%s:%d:%d:" % (HOST, free_port(), free_port())
        port = free_port()
        change(leader, joining="%sobserver;%s:%d" % (line, HOST, port))
        key, value = (line + "observer").split("=")
        fourth = Zk(dict({name: value for name, value in leader.config.items() if name != "dataDir"}, **{key: value}))
        fourth.id, fourth.kind = 4, "z"
        with open(os.path.join(fourth.data, "myid"), "w") as myid:
            myid.write("4\n")
        ensemble.servers.append(fourth)
        fourth.launch()
        fourth.port, fourth.keeps_config = port, True
        until("it observes", lambda: ensemble.mode(fourth) == "observer")
        change(leader, joining="%sparticipant;%s:%d" % (line, HOST, port))
        until("it votes", lambda: ensemble.mode(fourth) == "follower")

        # Who comes back when a voter has become an observer hears of too few followers in what it knows.
        away = next(server for server in ensemble.servers if server not in (leader, follower, fourth))
        away.kill()
        votes = next(text for text in shown(leader) if text.startswith("server.%d=" % follower.id))
        votes += ";%s:%d" % (HOST, follower.port)
        new = change(leader, joining=votes.replace("participant", "observer"))
        until("it observes", lambda: ensemble.mode(follower) == "observer")
        away.launch()
        until("it is back", lambda: ensemble.mode(away) == "follower")
        until("it has heard of that", lambda: shows(away, new[:-1]))
        change(leader, joining=votes)
        until("it votes again", lambda: ensemble.mode(follower) == "follower")

        # A follower is met elsewhere, by members and by clients. Then the leader dies.
        ports = [free_port() for _ in range(3)]
        change(leader, joining="server.%d=%s:%d:%d;%s:%d" % (follower.id, HOST, ports[0], ports[1], HOST, ports[2]))
        follower.port = ports[2]
        until("clients find it", lambda: ensemble.mode(follower) == "follower")
        for moved in ports[:2]:
            socket.create_connection((HOST, moved), timeout=5).close()
        load = Load(follower.address, "/places", 2)
        load.until(WRITES)
        load.stop()
        collect([load], "the moved follower", acked, sent)
        leader.kill()
        ensemble.wait()
        leader.launch()
        ensemble.wait()
        same_everywhere(ensemble, acked, sent)

        # All others are gone for good: what its own file says counts.
        for server in ensemble.servers:
            server.kill()
        ensemble.servers = [follower]
        for other in (leader, fourth):
            other.close()
        own = "server.%d=%s:%d:%d" % (follower.id, HOST, ports[0], ports[1])
        follower.config = {name: value for name, value in follower.config.items() if not name.startswith("server.")}
        follower.config.update(dict([own.split("=")]), standaloneEnabled="false")
        follower.keeps_config = False
        follower.launch()
        until("it leads alone", lambda: ensemble.mode(follower) == "leader")
        same_everywhere(ensemble, acked, sent)
        expect("its configuration", shown(follower)[:-1], [own + ":participant"])
    return "%d acknowledged creates" % len(acked)
