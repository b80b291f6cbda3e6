"""A rolling move of three servers of Apache's to zk and back, under load, each on its own directory.

Clients write through the two servers that stay, while the third is stopped, replaced by one of the
other kind on the same data directory, and follows again. When it leads, the others end the connections
of their clients, as they must: the sessions go on. At the end every server must show the same tree,
with every write that any of them acknowledged.
"""

import apache
from ensemble import Ensemble, collect, same_everywhere
from report import Failure
from workload import WINDOW, Roamer, Roaming
from zk import Zk

WRITES = 300  # acknowledged creates of sessions that began at each server that stays, before and after
OTHER = {"a": ("z", Zk), "z": ("a", apache.Apache)}


class Hurried(Roamer):
    """One that writes as fast as it is answered."""

    WINDOW, PACE_SECONDS = WINDOW, 0


def replaced(ensemble, server):
    """The server of the other kind, on what this one leaves behind."""
    if server.stop() is None:
        raise Failure("server %d was not running" % server.id)
    kind, other = OTHER[server.kind]
    new = other({key: value for key, value in server.config.items() if key != "dataDir"}, home=server.home)
    new.owned, server.owned = server.owned, False
    new.id, new.kind = server.id, kind
    ensemble.servers[ensemble.servers.index(server)] = new
    return new


def told(ensemble, loads):
    """Tells of connections that ended though the leader stayed: only a role's end is a reason for that."""
    for worker in [worker for load in loads for worker in load.workers if worker.moves]:
        print("%s moved %d times: %s\n%s" % (worker.root, worker.moves, worker.ended, ensemble.logs()), flush=True)


def there_and_back(options):
    """move: a rolling move of an Apache ensemble to zk and back under load, on the same directories"""
    acked, sent, led = {}, {}, []
    with Ensemble("aaa") as ensemble:
        ensemble.start()
        for number in range(6):
            leader = ensemble.wait()
            led.append("%s%d" % (leader.kind, leader.id))
            # Those of the kind that is to go: followers first, the leader last.
            going = [server for server in ensemble.servers if server.kind == ("a" if number < 3 else "z")]
            server = sorted(going, key=lambda server: server is leader)[0]
            stay = [other for other in ensemble.servers if other is not server]
            loads = [Roaming(servers, "/m%d-%d" % (number, servers[0].id), 2, number, Hurried)
                     for servers in (stay, stay[::-1])]
            for load in loads:
                load.until(WRITES)
            new = replaced(ensemble, server)
            new.launch()
            ensemble.wait()
            for load in loads:
                load.until(load.count + WRITES)
                load.stop()
            if server is not leader:
                told(ensemble, loads)
            collect(loads, "replacing server %d" % server.id, acked, sent)
        if any(server.kind != "a" for server in ensemble.servers):
            raise Failure("not all are Apache's again")
        found = same_everywhere(ensemble, acked, sent)
    return "led by %s; %d acknowledged creates, %d nodes" % (" ".join(led), len(acked), len(found))
