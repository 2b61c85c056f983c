#!/usr/bin/env bash
# slurm_up.sh DIR: a private one-node SLURM for tests. Root, no systemd, no cgroups, no accounting. Prints nothing but sinfo.
set -euo pipefail
R=$(realpath -m "$1"); H=$(hostname -s); P=${SLURM_PORT:-16817}; N=${GPUS:-2}
mkdir -p "$R"/{munge,state,spool,log,run,bin,dev}; chmod 755 "$R" "$R/munge"
dd if=/dev/urandom of="$R/munge/key" bs=128 count=1 status=none; chmod 600 "$R/munge/key"
munged --force --key-file="$R/munge/key" --socket="$R/munge/socket" --pid-file="$R/munge/pid" \
       --log-file="$R/munge/log" --seed-file="$R/munge/seed"        # --force: allows a sticky parent such as a temp folder
cat > "$R/slurm.conf" <<C
ClusterName=toy
SlurmctldHost=$H(127.0.0.1)
SlurmctldPort=$P
SlurmdPort=$((P+1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$R/munge/socket,cred_expire=5
StateSaveLocation=$R/state
SlurmdSpoolDir=$R/spool
SlurmctldPidFile=$R/run/slurmctld.pid
SlurmdPidFile=$R/run/slurmd.pid
SlurmctldLogFile=$R/log/slurmctld.log
SlurmdLogFile=$R/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=0
KillWait=2
MinJobAge=300
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
NodeName=$H NodeAddr=127.0.0.1 CPUs=${CPUS:-4} RealMemory=${MEM_MB:-4000} Gres=gpu:$N State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP
PartitionName=gpu Nodes=ALL MaxTime=60 GraceTime=30 State=UP
PartitionName=urgent Nodes=ALL MaxTime=60 PriorityTier=10 PreemptMode=OFF State=UP
C
for i in $(seq 0 $((N-1))); do [ -e "$R/dev/nvidia$i" ] || mknod "$R/dev/nvidia$i" c 1 3 || : > "$R/dev/nvidia$i"; done
printf 'AutoDetect=off\nNodeName=%s Name=gpu File=%s/dev/nvidia[0-%s]\n' "$H" "$R" $((N-1)) > "$R/gres.conf"
export SLURM_CONF="$R/slurm.conf"
printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$SLURM_CONF" "$(PATH=/usr/local/bin:/usr/bin:/bin command -v srun)" > "$R/bin/srun"; chmod +x "$R/bin/srun"
printf 'export SLURM_CONF=%s PATH=%s/bin:$PATH\n' "$SLURM_CONF" "$R" > "$R/env.sh"
slurmctld -f "$SLURM_CONF"; slurmd -f "$SLURM_CONF"
for _ in $(seq 100); do sinfo -h -o %T 2>/dev/null | grep -q idle && break; sleep 0.2; done
sinfo -h -o '%P %T %G %c %m'; sinfo -h -o %T | grep -q idle
