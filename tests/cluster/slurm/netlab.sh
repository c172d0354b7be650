#!/bin/bash
# netlab.sh: N network namespaces on one bridge, their links limited with tbf. Needs root, iproute2.
#   netlab.sh up N [RATE]      such as: up 2 10mbit; "none", the default, is no limit
#   netlab.sh cut I | heal I   take one link down or up again: a network partition
#   netlab.sh down
# Namespace I is ${NETLAB_NAME}I, with the address ${NETLAB_NET}.(10+I) at eth0; the host is
# ${NETLAB_NET}.1 at br-${NETLAB_NAME}. Labs with different names and nets can coexist.
set -eu
NAME=${NETLAB_NAME:-lab}
NET=${NETLAB_NET:-10.77.0}

shape() { # namespace, rate: both directions, from inside and from the host's side
  [ "$2" = none ] && return 0
  ip netns exec "$1" tc qdisc add dev eth0 root tbf rate "$2" burst 32kb latency 300ms
  tc qdisc add dev "v$1" root tbf rate "$2" burst 32kb latency 300ms
}

up() { # number of namespaces, rate
  ip link add "br-$NAME" type bridge
  ip address add "$NET.1/24" dev "br-$NAME"
  ip link set "br-$NAME" up
  local i space
  for i in $(seq "$1"); do
    space=$NAME$i
    ip netns add "$space"
    ip link add "v$space" type veth peer name eth0 netns "$space"
    ip link set "v$space" master "br-$NAME" up
    ip -n "$space" address add "$NET.$((10 + i))/24" dev eth0
    ip -n "$space" link set lo up
    ip -n "$space" link set eth0 up
    shape "$space" "$2"
  done
}

down() {
  local space
  for space in $(ip netns list | awk -v name="$NAME" '$1 ~ "^" name "[0-9]+$" {print $1}'); do
    ip link delete "v$space" 2>/dev/null || true
    ip netns delete "$space"
  done
  ip link delete "br-$NAME" 2>/dev/null || true
}

case "${1:-}" in
up) up "$2" "${3:-none}" ;;
cut) ip link set "v$NAME$2" down ;;
heal) ip link set "v$NAME$2" up ;;
down) down ;;
*) sed -n 2,7p "$0"; exit 64 ;;
esac
