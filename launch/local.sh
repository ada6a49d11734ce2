#!/usr/bin/env bash
# Run the command line on this machine: launch/local.sh --config=configs/digits_sample_inter.py
#
# All GPUs of the machine belong to the one process; CUDA_VISIBLE_DEVICES=0 leaves it one.
#   DEVICES=8  pretends that the CPU is eight devices, to try a mesh without the hardware
#   HOSTS=2    starts that many processes, each with DEVICES devices, as if they were hosts;
#              PORT says where they meet
#   PYTHON     is the interpreter, python3 by default
#
# On Linux, memory that a step frees goes back to the system and is fetched again by the next step.
# Large pages make that cheap: docs/results/digits.md has a measurement.
set -euo pipefail
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"
if [[ -n "${DEVICES:-}" ]]; then
  export JAX_PLATFORMS=cpu
  export XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=$DEVICES"
fi
hosts="${HOSTS:-1}"
if ((hosts == 1)); then
  exec "${PYTHON:-python3}" -m cdcd_jax.main "$@"
fi

# They let in who knows this; it is in no argument, so that no list of processes shows it.
export CDCD_JAX_TOKEN="${CDCD_JAX_TOKEN:-$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')}"
processes=()
# One is enough for SIGTERM, as they tell each other; Ctrl-C reaches all of them anyway.
trap 'interrupted=1; kill -TERM "${processes[@]:0:1}" 2>/dev/null || true' TERM
for ((index = 0; index < hosts; index++)); do
  "${PYTHON:-python3}" -m cdcd_jax.main "$@" --coordinator="localhost:${PORT:-29400}" \
    --num_hosts="$hosts" --host_index="$index" &
  processes+=("$!")
done
code=0
left=$hosts
while ((left)); do
  interrupted=0
  status=0
  wait -n || status=$?
  if ((interrupted)); then continue; fi  # a trapped signal ends the waiting, not a process
  left=$((left - 1))
  if ((status != 0)); then
    if ((code == 0)); then code=$status; fi
    kill -CONT "${processes[@]}" 2>/dev/null || true  # one that is stopped must notice, too
  fi
done
if ((code != 0)); then
  echo "A host ended with code $code; run the same command again to go on from the newest checkpoint" >&2
fi
exit "$code"
