"""Our server: the `zk` binary, standalone."""

import os
import shutil

from server import Server

BUILD = "cargo build -p zk-cli, then --zk target/debug/zk"


class Zk(Server):
    name = "zk"
    binary = None  # set once by run.py

    def command(self, cfg):
        return [self.binary, "server", cfg]

    def config_lines(self):
        # zoo.cfg carries what Apache takes as a bare system property.
        return super().config_lines() + ["%s=%s" % item for item in self.properties.items()]


def missing():
    """None, or what is needed before our server can run here."""
    if Zk.binary is None:
        return "no --zk PATH given: " + BUILD
    if not (os.path.isfile(Zk.binary) and os.access(Zk.binary, os.X_OK)) and shutil.which(Zk.binary) is None:
        return "%s is not an executable: %s" % (Zk.binary, BUILD)
    return None
