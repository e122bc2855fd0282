#!/usr/bin/env bash
# Sweeps under real launchers: Open MPI and a Slurm of one node, which this script starts and stops. Needs the program `catvae`;
# what is not installed (Debian: openmpi-bin; slurmctld slurmd slurm-client munge, as root) is SKIPPED.
#   scripts/check_sweep.sh [catvae]
set -euo pipefail

catvae=$(realpath "${1:-target/release/catvae}")
place=$(mktemp -d)
daemons=()
# SLURM_CONF names the Slurm of this script alone.
finish() {
    for daemon in "${daemons[@]}"; do kill "$daemon" 2>/dev/null || true; done
    rm -rf "$place"
}
trap finish EXIT
cd "$place"

grid=(--train-images 60 --test-images 20 --hidden 8 --latents 2 --categories 3 --batch-size 10 --epochs 3
    --temperature 0.5,1 --estimator gumbel-softmax,reinmax --seed 0..2)

# Weights, moments and metrics without times, of every cell.
digest() {
    (
        cd "$1"
        sha256sum ./*/checkpoints/step-000000018/{model,optimizer}.safetensors
        for run in */; do sed 's/"train_seconds".*//' "$run/metrics.jsonl"; done
    ) | sha256sum
}

"$catvae" sweep "${grid[@]}" --workers 1 --out one >one.txt 2>one.log
one=$(digest one)

compare() {
    if [ "$(digest "$1")" != "$one" ]; then
        echo "FAILED: $2: cells differ from those of one worker" >&2
        exit 1
    fi
    "$catvae" sweep --merge "$1" | cmp - one.txt
    echo "ok: $2"
}

if command -v mpirun >/dev/null; then
    mpi=(mpirun -n 2 --oversubscribe)
    if [ "$(id -u)" = 0 ]; then mpi+=(--allow-run-as-root); fi
    "${mpi[@]}" "$catvae" sweep "${grid[@]}" --out mpi >mpi.txt 2>mpi.log
    compare mpi "mpirun -n 2, one folder"
    # Ranks that each take their part, as without a shared folder.
    "${mpi[@]}" "$catvae" sweep "${grid[@]}" --shard auto --out mpi-parts >mpi-parts.txt 2>mpi-parts.log
    grep -q "12 cells, 6 of them here" mpi-parts.log
    compare mpi-parts "mpirun -n 2, --shard auto"
else
    echo "SKIPPED: mpirun is not installed"
fi

slurm=yes
for program in slurmctld slurmd srun sbatch munged; do
    if ! command -v "$program" >/dev/null; then slurm=""; fi
done
if [ -z "$slurm" ] || [ "$(id -u)" != 0 ]; then
    echo "SKIPPED: Slurm and munge are not installed, or this is not root"
    exit 0
fi

chmod 711 "$place"
mkdir -p slurm/{state,spool} munge
head -c 128 /dev/urandom >munge/key
chmod 600 munge/key
chmod 755 munge
# Not every machine lets munge's user into a folder of /tmp.
munged --foreground --force --key-file "$place/munge/key" --socket "$place/munge/socket" --pid-file "$place/munge/pid" \
    --log-file "$place/munge/log" --seed-file "$place/munge/seed" 2>munge.log &
daemons+=($!)
host=$(hostname -s)
cat >slurm/slurm.conf <<CONF
ClusterName=check
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket=$place/munge/socket
SlurmUser=root
StateSaveLocation=$place/slurm/state
SlurmdSpoolDir=$place/slurm/spool
SlurmctldPidFile=$place/slurm/slurmctld.pid
SlurmdPidFile=$place/slurm/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$place/slurm/slurm.conf"
slurmctld -D >slurmctld.log 2>&1 &
daemons+=($!)
slurmd -D >slurmd.log 2>&1 &
daemons+=($!)
for _ in $(seq 60); do
    if sinfo -h -o %T 2>/dev/null | grep -q idle; then break; fi
    sleep 1
done
if ! sinfo -h -o %T | grep -q idle; then
    tail -n 5 munge.log slurmctld.log slurmd.log >&2
    echo "FAILED: this Slurm does not start" >&2
    exit 1
fi

srun -n 2 "$catvae" sweep "${grid[@]}" --shard auto --out srun >srun.txt 2>srun.log
grep -q "12 cells, 6 of them here" srun.log
compare srun "srun -n 2, --shard auto"

batch_script() {
    printf '#!/bin/sh\nexec "%s" sweep %s\n' "$catvae" "${grid[*]} $*" >job.sh
}
batch_script --shard auto --out "$place/array"
sbatch --wait --array=3-5 --ntasks=1 --output="$place/array-%a.log" job.sh >/dev/null
grep -q "12 cells, 4 of them here" array-3.log
compare array "a job array of three tasks"

# A batch script is one process, however many tasks its steps may have.
batch_script --out "$place/batch"
sbatch --wait --ntasks=2 --output="$place/batch.log" job.sh >/dev/null
compare batch "a batch script without srun"
