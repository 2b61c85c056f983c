#!/usr/bin/env bash
# slurm_down.sh DIR: ends just what slurm_up.sh started, by pid file. PID 1 here may not reap: a zombie counts as gone.
R=$(realpath -m "$1"); gone() { s=$(ps -o stat= -p "$1" 2>/dev/null); [ -z "$s" ] || [ "${s#Z}" != "$s" ]; }
for f in run/slurmd.pid run/slurmctld.pid munge/pid; do
  [ -f "$R/$f" ] || continue; p=$(cat "$R/$f"); kill "$p" 2>/dev/null || continue
  for _ in $(seq 50); do gone "$p" && break; sleep 0.1; done; gone "$p" || kill -9 "$p"
done; exit 0
