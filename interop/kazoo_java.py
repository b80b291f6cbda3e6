"""Stands for `java` on kazoo's PATH: starts the server under test with kazoo's zoo.cfg.

kazoo's harness runs `java -cp ... -Dkey=value... org.apache...QuorumPeerMain zoo.cfg`. What
neither side of the comparison has here is left out for both: TLS, Netty, SASL.
INTEROP_ZK names our binary; without it the server is Apache.
"""

import os
import sys

import apache

DROPPED = ("secureClientPort", "ssl.", "serverCnxnFactory", "authProvider.")
KEPT_PROPERTIES = ("zookeeper.DigestAuthenticationProvider.superDigest", "readonlymode.enabled")


def main(arguments):
    cfg = arguments[-1]
    properties = dict(word[2:].split("=", 1) for word in arguments if word.startswith("-D") and "=" in word)
    properties = {key: properties[key] for key in KEPT_PROPERTIES if key in properties}
    with open(cfg) as source:
        lines = [line for line in source.read().splitlines() if line and not line.startswith(DROPPED)]
    if not any(line.startswith("admin.enableServer") for line in lines):
        lines.append("admin.enableServer=false")
    binary = os.environ.get("INTEROP_ZK")
    if binary:
        lines += ["%s=%s" % (key.removeprefix("zookeeper."), value) for key, value in properties.items()
                  if not any(line.startswith(key.removeprefix("zookeeper.") + "=") for line in lines)]
        command = [binary, "server", cfg]
    else:
        command = apache.java_command(apache.MAIN, properties, [cfg])
        command[0] = os.environ["INTEROP_JAVA"]
    with open(cfg, "w") as out:
        out.write("\n".join(lines) + "\n")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
