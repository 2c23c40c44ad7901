#!/bin/bash
# Stands where the official image has ZooKeeper's own script of this name.
set -e
[ "$1" = start-foreground ] || { echo "zkServer.sh: this image knows start-foreground only" >&2; exit 2; }
jars=/usr/share/java
# A later -Xmx wins, so JVMFLAGS may set another heap.
exec java "-Xmx${ZK_SERVER_HEAP:-1000}m" -Dlog4j.configuration=file:/usr/share/zookeeper/log4j.properties \
    -cp "$ZOO_CONF_DIR:$jars/zookeeper.jar:$jars/slf4j-log4j12.jar:$jars/log4j-1.2.jar" $SERVER_JVMFLAGS $JVMFLAGS \
    org.apache.zookeeper.server.quorum.QuorumPeerMain "$ZOO_CONF_DIR/zoo.cfg"
