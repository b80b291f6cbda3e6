"""Debian's zkCli runs the same long session against both servers; transcripts must agree."""

import difflib
import os
import re
import subprocess

import apache
import tree
import wire
from apache import Apache
from report import Failure

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = {"DigestAuthenticationProvider.superDigest": wire.digest_id(tree.SUPER), "enforceQuota": "true"}
SECONDS = 120
# Each alone, as `zkCli -server ... words`: the exit code counts too.
ONE_SHOT = (["ls", "/"], ["get", "/missing"], ["create", "/shot", "x"], ["create", "/shot", "x"], ["delete", "/shot"],
            ["nosuch"], ["stat", "/"])
EPOCH = "Thu Jan 01 00:00:00 UTC 1970"
DATE = re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} \d{2} \d{2}:\d{2}:\d{2} \w+ \d{4}")
LIST = re.compile(r"^\[(.+)\]$")
WATCHER = re.compile(r"\nWATCHER::\n\n(.*)\n")


def commands():
    with open(os.path.join(HERE, "zkcli.txt")) as lines:
        return [line for line in lines if line.strip() and not line.startswith("#")]


def run(server, arguments=(), script=""):
    """(exit code, standard output, standard error) of one zkCli process."""
    command = apache.java_command(
        apache.SHELL, {"user.timezone": "UTC"},
        ["-waitforconnection", "-server", "%s:%d" % server.address] + list(arguments), level="off")
    done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=SECONDS)
    return done.returncode, done.stdout, done.stderr


class Transcript:
    """What zkCli said, with what rightly differs between two runs masked.

    Events come on a thread of their own, so they are kept apart, in their own order."""

    def __init__(self, server):
        self.server = server
        self.owners = {}
        code, out, err = run(server, script="".join(commands()))
        self.parts = {"exit code": [str(code)], "events": WATCHER.findall(out),
                      "output": self.lines(WATCHER.sub("", out)), "errors": self.lines(err)}
        for number, words in enumerate(ONE_SHOT):
            code, out, err = run(server, words)
            self.parts["%d: zkCli %s" % (number, " ".join(words))] = (
                ["exit code %d" % code] + self.lines(WATCHER.sub("", out)) + self.lines(err))

    def lines(self, text):
        masked, identities = [], None
        for line in text.splitlines():
            line = line.replace(":%d" % self.server.port, ":PORT")
            line = DATE.sub(lambda found: found.group() if found.group() == EPOCH else "DATE", line)
            if line.startswith("ephemeralOwner = 0x") and not line.endswith("0x0"):
                owner = line.split("= ")[1]
                line = "ephemeralOwner = %s" % self.owners.setdefault(owner, "SESSION-%d" % len(self.owners))
            listed = LIST.match(line)
            if listed:  # lists of names have no order
                line = "[%s]" % ", ".join(sorted(listed.group(1).split(", ")))
            if identities is not None and re.match(r"^\w+: ", line):
                identities.append(line)
                continue
            if identities is not None:
                masked.extend(sorted(identities))
                identities = None
            if line == "Auth scheme: User":
                identities = []
            masked.append(line)
        return masked + sorted(identities or [])


# The server ends the connection of a client that cannot authenticate; whether zkCli has noticed before
# its next command is up to its own threads.
ATTEMPTS = 2


def session(options):
    """zkcli: a long session and single commands have the same transcript"""
    for _ in range(ATTEMPTS):
        seen, lines = transcripts(options)
        if not lines:
            return "%d commands, %d lines, %d events" % (
                len(commands()) + len(ONE_SHOT), sum(map(len, seen[0].parts.values())), len(seen[0].parts["events"]))
    raise Failure("\n".join(lines))


def transcripts(options):
    """What zkCli said with each server, and where the two differ."""
    seen = []
    for kind in (Apache, options.subject):
        with kind(CONFIG) as server:
            seen.append(Transcript(server.start()))
    lines = []
    for part, left in seen[0].parts.items():
        difference = difflib.unified_diff(left, seen[1].parts[part], "apache", options.subject.name, n=3, lineterm="")
        difference = list(difference)
        if difference:
            lines.append("zkCli's %s:" % part)
            lines.extend(difference[:60])
    return seen, lines


if __name__ == "__main__":
    with Apache(CONFIG) as only:
        for part, text in Transcript(only.start()).parts.items():
            print("== %s\n%s" % (part, "\n".join(text)))
