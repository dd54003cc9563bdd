#!/usr/bin/env bash
# Runs a command in network, mount and PID namespaces of its own: whatever it starts, mounts or writes into nftables goes with it.
#   sandbox.sh COMMAND...      (root; util-linux). The end of this process, however it ends, is the end of everything inside.
# cgroups are the one thing that no namespace holds: those below plimsoll-node-<pid> are removed at the end, or by the next run.
set -euo pipefail
export NODE_CGROUP="plimsoll-node-$$"
for stale in /sys/fs/cgroup/memory/plimsoll-node-*/; do
  [ -d "$stale" ] || continue
  old=$(basename "$stale")
  [ -d "/proc/${old##*-}" ] || find /sys/fs/cgroup/*/"$old" -depth -type d -exec rmdir {} + 2>/dev/null || true
done
for hierarchy in /sys/fs/cgroup/*/; do
  case $hierarchy in */unified/) continue ;; esac
  mkdir -p "$hierarchy$NODE_CGROUP"
done
# A cpuset of cgroup v1 starts empty, and nothing can run in it before it has CPUs and memory nodes.
for part in cpuset.cpus cpuset.mems; do
  cat "/sys/fs/cgroup/cpuset/$part" >"/sys/fs/cgroup/cpuset/$NODE_CGROUP/$part"
done
clean() {
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    find /sys/fs/cgroup/*/"$NODE_CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null || true
    compgen -G "/sys/fs/cgroup/*/$NODE_CGROUP" >/dev/null || return 0
    sleep 0.2
  done
  echo "sandbox: cgroups are left: $(compgen -G "/sys/fs/cgroup/*/$NODE_CGROUP" | tr '\n' ' ')" >&2
}
trap clean EXIT
# private: no mount made inside is seen outside. --mount-proc: /proc shows the new process numbers. The inner bash is the first process and
# takes in orphans (a container's shim is one). /sys stays the outer one: a new one would hide the cgroups below it.
setpriv --pdeathsig KILL unshare --net --mount --propagation private --pid --fork --kill-child=SIGKILL --mount-proc -- bash -c '
  ip link set lo up
  mount -t tmpfs -o mode=755 tmpfs /run   # sockets, network namespaces of pods, state of CNI
  mkdir -p /run/lock /run/node/var /run/node/var-work
  # What these programs put under fixed names of /var (kubelet, CNI, links to logs) stays in memory, and in here.
  mount -t overlay -o lowerdir=/var,upperdir=/run/node/var,workdir=/run/node/var-work overlay /var
  "$@" &
  command=$!
  trap "kill -TERM $command 2>/dev/null" TERM INT HUP
  code=0
  while kill -0 $command 2>/dev/null; do wait $command && code=0 || code=$?; done
  exit $code
' sandbox "$@" &
child=$!
echo "$child" >"${SANDBOX_PIDFILE:-/dev/null}"
trap 'kill -TERM $(cat /proc/$child/task/$child/children 2>/dev/null) 2>/dev/null || true' TERM INT HUP
code=0
while kill -0 "$child" 2>/dev/null; do wait "$child" && code=0 || code=$?; done
exit "$code"
