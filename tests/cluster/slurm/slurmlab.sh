#!/bin/bash
# slurmlab.sh: a private, real Slurm of N one-core nodes, each with a pretend GPU, on this one host.
# No systemd, no cgroups, nothing written under /etc, /var or /run: all state is in $SLURMLAB_DIR, so
# that labs with different folders and ports can coexist. Needs root and
#   apt-get install --no-install-recommends slurmctld slurmd slurm-client munge iproute2 util-linux procps
#
#   slurmlab.sh start            # munged, slurmctld, N × slurmd; waits until all nodes are idle
#   eval "$(slurmlab.sh env)"    # SLURM_CONF: what sinfo, sbatch, squeue and scancel need
#   slurmlab.sh status
#   slurmlab.sh stop             # cancels all jobs, ends all daemons, by their process ids only
#
# SLURMLAB_DIR, SLURMLAB_NODES (4), SLURMLAB_PORT (16817): slurmctld has PORT, the nodes PORT+101 on.
# SLURMLAB_NETNS=1: node I, and its jobs, live in the network namespace that netlab.sh (NETLAB_NAME,
# NETLAB_NET) makes for it, with an address of its own; SLURMLAB_RATE limits its link.
set -u
DIR=${SLURMLAB_DIR:?names a folder}
NODES=${SLURMLAB_NODES:-4}
PORT=${SLURMLAB_PORT:-16817}
NETNS=${SLURMLAB_NETNS:-0}
RATE=${SLURMLAB_RATE:-none}
export NETLAB_NAME=${NETLAB_NAME:-lab} NETLAB_NET=${NETLAB_NET:-10.77.0}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CONF=$DIR/etc/slurm.conf
export SLURM_CONF=$CONF

# A zombie is not alive: process 1 may reap late
alive() { [ -r "/proc/$1/stat" ] && ! grep -q '^State:.*[ZX]' "/proc/$1/status" 2>/dev/null; }
# The process that a file names; one that is not ours by now is none
named_in() {
  local p; p=$(tr -dc 0-9 2>/dev/null <"$1")
  [ -n "$p" ] && alive "$p" && tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null | grep -q "$DIR/" && echo "$p"
}
until_gone() { # process, seconds
  local i; for i in $(seq $(($2 * 20))); do alive "$1" || return 0; sleep 0.05; done; return 1
}

write_conf() {
  local controller=127.0.0.1 address=127.0.0.1 port="[$((PORT + 101))-$((PORT + 100 + NODES))]" host
  host=$(hostname -s) # slurmctld insists on its own name, and the address in parentheses
  if [ "$NETNS" = 1 ]; then
    controller=$NETLAB_NET.1 address="$NETLAB_NET.[11-$((10 + NODES))]" port=$((PORT + 101))
  fi
  mkdir -p "$DIR"/{etc,state,spool,log,munge}
  chmod 711 "$DIR/munge"
  (umask 077; head -c 128 /dev/urandom >"$DIR/munge/munge.key")
  echo "NodeName=n[1-$NODES] Name=gpu File=/dev/null" >"$DIR/etc/gres.conf"
  # without this slurmd ends where nothing is mounted on /sys/fs/cgroup
  echo "CgroupPlugin=cgroup/v1" >"$DIR/etc/cgroup.conf"
  cat >"$CONF" <<CONF
ClusterName=lab
SlurmctldHost=$host($controller)
SlurmctldPort=$PORT
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$DIR/munge/munge.socket,cred_expire=10
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool/%n
SlurmctldPidFile=$DIR/slurmctld.pid
SlurmdPidFile=$DIR/slurmd-%n.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd-%n.log
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$DIR/log/jobs.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=4000
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=1000,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=10
KillWait=5
MinJobAge=600
GresTypes=gpu
NodeName=n[1-$NODES] NodeHostname=$([ "$NETNS" = 1 ] && echo "n[1-$NODES]" || echo "$host") NodeAddr=$address Port=$port CPUs=1 RealMemory=4000 Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE OverSubscribe=NO State=UP
CONF
}

start_node() { # name
  local -a within=()
  mkdir -p "$DIR/spool/$1"
  # not ip netns exec, which mounts /sys anew
  [ "$NETNS" = 1 ] && within=(nsenter "--net=/run/netns/$NETLAB_NAME${1#n}" unshare --uts
    sh -c 'hostname "$0"; exec "$@"' "$1")
  ${within[@]+"${within[@]}"} slurmd -N "$1" -f "$CONF"
}

all_idle() { # seconds
  local i
  for i in $(seq $(($1 * 10))); do
    [ "$(sinfo -N -h -o '%N %T' 2>/dev/null | grep -c ' idle$')" -ge "$NODES" ] && return 0
    sleep 0.1
  done
  sinfo -N -l >&2
  return 1
}

start() {
  write_conf
  # --force: parents of the folder may be closed to other users, who have no business here
  munged --force --key-file="$DIR/munge/munge.key" --socket="$DIR/munge/munge.socket" \
    --pid-file="$DIR/munge/munged.pid" --log-file="$DIR/munge/munged.log" \
    --seed-file="$DIR/munge/munged.seed" || return 1
  munge -S "$DIR/munge/munge.socket" -n | unmunge -S "$DIR/munge/munge.socket" >/dev/null || return 1
  if [ "$NETNS" = 1 ]; then
    touch "$DIR/netns"
    "$HERE/netlab.sh" up "$NODES" "$RATE" || return 1
  fi
  slurmctld -f "$CONF" || return 1
  local i
  for i in $(seq "$NODES"); do start_node "n$i" || return 1; done
  all_idle 60
}

stop() {
  local p i file
  if [ -n "$(named_in "$DIR/slurmctld.pid")" ]; then
    squeue -h -o %A | sort -u | xargs -r scancel
    for i in $(seq 150); do [ -z "$(squeue -h 2>/dev/null)" ] && break; sleep 0.1; done
  fi
  for file in "$DIR"/slurmd-*.pid "$DIR"/slurmctld.pid "$DIR"/munge/munged.pid; do
    p=$(named_in "$file") || continue
    kill "$p"
    until_gone "$p" 8 || kill -9 "$p"
  done
  # what is left of jobs: slurmstepd outlives slurmd by design
  for p in $(steps); do
    for i in $(descendants "$p"); do kill -9 "$i" 2>/dev/null; done
    kill -9 "$p" 2>/dev/null
  done
  [ -f "$DIR/netns" ] && "$HERE/netlab.sh" down
  rm -f "$DIR/netns"
}

steps() { # our slurmstepd: they wipe their command lines, but keep a log of ours open
  local p
  for p in $(ps -eo pid=,args= | awk '$2 == "slurmstepd:" {print $1}'); do
    readlink "/proc/$p/fd"/* 2>/dev/null | grep -q "^$DIR/log/slurmd-" && echo "$p"
  done
}

descendants() { # process
  local child
  for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do descendants "$child"; echo "$child"; done
}

case "${1:-}" in
start) start || { tail -n 5 "$DIR"/log/*.log "$DIR"/munge/*.log >&2; stop; exit 1; } ;;
stop) stop ;;
env) echo "export SLURM_CONF=$CONF" ;;
status) sinfo -N -o '%.6N %.10T %.4c %.8m %.20E'; squeue ;;
*) sed -n 2,16p "$0"; exit 64 ;;
esac
