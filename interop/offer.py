"""What a board says first to every other member: that it speaks the compact dialect.

A member of zk answers with the same. Apache's servers do not know it, and must not be disturbed by it.
"""

import quorum
import wire
from ensemble import Ensemble
from hostile import expect
from quorum import hello, vote
from server import HOST
from wire import Connection

# A notification without a configuration, of a state that nobody can be in.
OFFER = b"zk\0\1" + bytes(40)
ABSENT = 3


def check(_options):
    """dialect: what a board offers first is answered by zk, and passed over by Apache's servers"""
    with Ensemble("aza") as ensemble:
        # Everything here speaks for a voter that is not there.
        ensemble.servers.pop().close()
        ensemble.start()
        leader = ensemble.wait()
        for server in ensemble.servers:
            connection = Connection((HOST, ensemble.ports[server.id][1]))
            connection.sock.settimeout(20)
            connection.send_raw(hello(ABSENT, "127.0.0.1:1"))
            asked = vote(quorum.LOOKING, ABSENT, 0, 1, 0)
            offers = 0
            # The connection goes on, and what comes behind the offer is answered: twice, so that whatever would be
            # said to the first has come.
            for said in (OFFER, OFFER):
                connection.send_raw(wire.frame(said) + wire.frame(asked))
                while True:
                    frame = connection.recv_frame()
                    if frame == OFFER:
                        offers += 1
                        continue
                    told = quorum.read_vote(frame)
                    if told["state"] in (quorum.FOLLOWING, quorum.LEADING):
                        expect(told["leader"] == leader.id, "server %d names %s" % (server.id, told))
                        break
            expect(offers == (server.kind == "z"), "server %d (%s) made %d offers" % (server.id, server.name, offers))
            connection.close()
        expect(ensemble.wait() is leader, "another one leads")
    return "one offer from zk, none from Apache's server"
