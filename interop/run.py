#!/usr/bin/env python3
"""Proofs against what we did not write: Apache ZooKeeper, kazoo, zkCli.

    python3 interop/run.py [--zk PATH] [--only NAME,...] [--long] [--seed N] [--list]

Prints a line for each check and `N passed, N failed`. Without --zk the subject is Apache
itself, which tests the checks. Exit code: 0 all passed; 1 something failed; 3 nothing
failed, but something could not run and is named with what to install.
"""

import argparse
import os
import signal
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import apache  # noqa: E402
import zk  # noqa: E402
from report import Failure, Missing, Theirs  # noqa: E402
from zk import Zk  # noqa: E402

import differential  # noqa: E402
import ensemble  # noqa: E402
import files  # noqa: E402
import hostile  # noqa: E402
import hostile_members  # noqa: E402
import kazoo_suite  # noqa: E402
import kill9  # noqa: E402
import local  # noqa: E402
import move  # noqa: E402
import offer  # noqa: E402
import partition  # noqa: E402
import reconfig  # noqa: E402
import sync  # noqa: E402
import timers  # noqa: E402
import words  # noqa: E402
import zkcli  # noqa: E402

# name: (function, whether it needs Apache, whether the subject must be zk)
CHECKS = {
    "differential": (differential.scripts, True, False),
    "differential-listed": (differential.listed, True, False),
    "files-fixture": (files.fixture, False, False),
    "files-compressed": (files.compressed, False, False),
    "files-every-txn": (files.every_kind, True, False),
    "files-handovers": (files.handovers, True, False),
    "kill9": (kill9.kills, False, False),
    "timers-expiry": (timers.expiry, False, False),
    "timers-reaping": (timers.reaping, False, False),
    "words-alike": (words.alike, True, False),
    "words-hash": (words.hashes, False, False),
    "words-leader": (words.leader, True, False),
    "zkcli": (zkcli.session, True, False),
    "local": (local.alike, True, True),
    "read-only": (local.read_only, True, True),
    "dialect": (offer.check, True, True),
    "kazoo": (kazoo_suite.against(1), False, False),
    "kazoo-ensemble": (kazoo_suite.against(3), False, False),
}
CHECKS.update({"ensemble-" + kinds: (ensemble.mixture(kinds), "a" in kinds, True) for kinds in ensemble.MIXTURES})
CHECKS["move"] = (move.there_and_back, True, True)
CHECKS.update({"reconfig-" + kinds: (reconfig.mixture(kinds), "a" in kinds, True) for kinds in reconfig.MIXTURES})
CHECKS.update({"partition-" + kinds: (partition.mixture(kinds), "a" in kinds, True) for kinds in partition.MIXTURES})
CHECKS.update({name: (check, True, True) for name, check in sync.CHECKS.items()})
CHECKS["reconfig-places"] = (reconfig.places, False, True)
CHECKS.update({name: (hostile.attack(name), False, False) for name in hostile.ATTACKS})
CHECKS.update({name: (hostile_members.attack(name), False, True) for name in hostile_members.ATTACKS})


AGAIN = 3  # times that a check is done whose ensemble was spoilt by Apache's own defects


def outcome(function, options):
    """What a check says; done again where Apache's server did what spoils it."""
    for left in reversed(range(AGAIN)):
        try:
            return function(options)
        except Theirs as theirs:
            if left == 0:
                raise
            print("again: %s" % theirs, flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zk", metavar="PATH", help="the zk binary; without it the subject is Apache")
    parser.add_argument("--only", metavar="NAME,...", help="run these checks (a prefix selects all that start with it)")
    parser.add_argument("--long", action="store_true", help="the long form of each check")
    parser.add_argument("--seed", type=int, help="run random checks with this seed only")
    parser.add_argument("--list", action="store_true", help="name the checks and end")
    options = parser.parse_args()
    options.subject = apache.Apache
    if options.zk:
        Zk.binary = os.path.abspath(options.zk)
        options.subject = Zk
    return options


def selected(options):
    if not options.only:
        return list(CHECKS)
    wanted = options.only.split(",")
    names = [name for name in CHECKS if any(name == want or name.startswith(want + "-") for want in wanted)]
    unknown = [want for want in wanted if not any(name == want or name.startswith(want + "-") for name in CHECKS)]
    if unknown:
        raise SystemExit("no check named %s; there are: %s" % (", ".join(unknown), ", ".join(CHECKS)))
    return names


def main():
    # So that an ended run ends its servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = arguments()
    if options.list:
        print("\n".join("%-22s %s" % (name, check[0].__doc__.split(": ", 1)[1]) for name, check in CHECKS.items()))
        return 0
    print("subject: %s" % (options.zk or "apache (no --zk PATH given)"), flush=True)
    passed, failed, not_run = 0, [], []
    for name in selected(options):
        function, needs_apache, needs_zk = CHECKS[name]
        started = time.monotonic()
        try:
            if needs_apache or options.subject is apache.Apache:
                reason = apache.missing()
                if reason:
                    raise Missing(reason)
            if needs_zk or options.zk:
                reason = zk.missing()
                if reason:
                    raise Missing(reason)
            line = outcome(function, options)
            passed += 1
            verdict = "ok    "
        except Missing as missing:
            not_run.append(name)
            verdict, line = "absent", str(missing)
        except Failure as failure:
            failed.append(name)
            verdict, line = "FAILED", str(failure)
        except Exception:  # a check that breaks has failed, and the others still run
            failed.append(name)
            verdict, line = "FAILED", traceback.format_exc()
        print("%s %-22s %6.1f s  %s" % (verdict, name, time.monotonic() - started, line), flush=True)
    if not_run:
        print("not run: %s" % ", ".join(not_run))
    print("%d passed, %d failed" % (passed, len(failed)))
    return 1 if failed else 3 if not_run else 0


if __name__ == "__main__":
    sys.exit(main())
