"""Apache ZooKeeper from Debian's package `zookeeper`, standalone."""

import os
import shlex
import shutil

from server import Server

ENVIRONMENT = "/etc/zookeeper/conf/environment"
INSTALL = "apt-get install zookeeper default-jre-headless"
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
# The package has no logging backend on its class path; with one, failures are explained.
LOGGING = "/usr/share/java/slf4j-simple.jar"
SHELL = "org.apache.zookeeper.ZooKeeperMain"
# A short-lived small process: the serial collector and the first compiler tier
# start soonest.
JVM = ["-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]


def environment():
    """The variables of Debian's `environment` file, which is shell assignments."""
    found = {}
    with open(ENVIRONMENT) as lines:
        for line in lines:
            words = shlex.split(line, comments=True)
            if len(words) == 1 and "=" in words[0]:
                key, value = words[0].split("=", 1)
                found[key] = value
    return found


def missing():
    """None, or what to install before Apache can run here."""
    if not os.path.exists(ENVIRONMENT):
        return "Apache ZooKeeper is not installed: " + INSTALL
    if java() is None:
        return "no Java: " + INSTALL
    absent = [jar for jar in class_path().split(":") if jar.endswith(".jar") and not os.path.exists(jar)]
    if absent:
        return "%s is missing: %s" % (absent[0], INSTALL)
    return None


def java():
    return shutil.which("java") or (environment().get("JAVA") if os.path.exists(ENVIRONMENT) else None)


def class_path():
    return environment()["CLASSPATH"]


def java_command(main, properties=(), arguments=(), level="warn"):
    """A Java command line; logs go to standard error at `level`."""
    settings = dict({"org.slf4j.simpleLogger.defaultLogLevel": level}, **dict(properties))
    return ([java()] + JVM + ["-D%s=%s" % item for item in settings.items()]
            + ["-cp", class_path() + ":" + LOGGING, main] + list(arguments))


class Apache(Server):
    name = "apache"

    def command(self, cfg):
        return java_command(MAIN, self.properties, [cfg])

    def launch(self):
        """Starts it, after what its users do by hand when it was killed while it opened a log.

        With an empty log it does not start (ZOOKEEPER-2332, mended in 3.9); nothing is lost with that.
        """
        if self.starts:
            for folder, _, names in os.walk(self.data):
                for path in (os.path.join(folder, name) for name in names if name.startswith("log.")):
                    if os.path.getsize(path) == 0:
                        print("%s was killed before it wrote into %s: removed" % (self.name, path), flush=True)
                        os.remove(path)
        super().launch()
