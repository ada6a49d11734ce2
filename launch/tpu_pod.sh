#!/usr/bin/env bash
# Train on a Cloud TPU pod slice: ask for it, run on all its hosts, give it back.
#   launch/tpu_pod.sh NAME --config=configs/coco_sample_inter.py --workdir=/mnt/shared/coco
#   DRY_RUN=1 launch/tpu_pod.sh NAME ...   prints the commands and runs none
#
# Run it in the root of a checkout, which is copied to all hosts. They find each other by the TPU's
# metadata, and let in who knows a token, drawn here and copied as a file that only you can read.
# ZONE, ACCELERATOR, RUNTIME and SPOT=1 say what to request. After a host was lost, or signalled
# to stop, the command runs again, up to MAX_ATTEMPTS times; a slice that was taken away is requested
# again.
set -euo pipefail
if (($# < 2)) || [[ "$1" == -* ]]; then
  echo "Usage: launch/tpu_pod.sh NAME --config=FILE --workdir=FOLDER ..." >&2
  exit 2
fi
name=$1
shift
zone="${ZONE:-us-central2-b}"
max_attempts="${MAX_ATTEMPTS:-20}"

secret=$(mktemp -d)  # nobody else may enter it
(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$secret/.cdcd_jax_token")

run() {
  if [[ -n "${DRY_RUN:-}" ]]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

delete() {
  run gcloud compute tpus queued-resources delete "$name" --zone="$zone" --force --quiet
}

state() {
  gcloud compute tpus queued-resources describe "$name" --zone="$zone" --format='value(state.state)'
}

create() {
  local spot=() now=""
  if [[ "${SPOT:-0}" == 1 ]]; then spot=(--spot); fi
  run gcloud compute tpus queued-resources create "$name" --node-id="$name" --zone="$zone" \
    --accelerator-type="${ACCELERATOR:-v4-32}" \
    --runtime-version="${RUNTIME:-tpu-ubuntu2204-base}" ${spot[@]+"${spot[@]}"}
  until [[ -n "${DRY_RUN:-}" || "$now" == ACTIVE ]]; do
    if [[ -n "$now" ]]; then sleep 30; fi
    now=$(state)
    if [[ "$now" == FAILED || "$now" == SUSPENDED ]]; then
      echo "The queued resource $name is $now" >&2
      exit 1
    fi
  done
  run gcloud compute tpus tpu-vm scp --recurse cdcd_jax configs pyproject.toml README.md LICENSE \
    "$secret/.cdcd_jax_token" "$name:~/" --zone="$zone" --worker=all
  on_all_hosts "chmod 600 ~/.cdcd_jax_token && pip install --quiet --editable '.[tpu]'"
}

on_all_hosts() {
  run gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$1"
}

# A training that was stopped by a signal also exits with 0; only the summary says it is done.
mode=train
workdir=""
for argument in "$@"; do
  case "$argument" in
    --mode=*) mode="${argument#*=}" ;;
    --workdir=*) workdir="${argument#*=}" ;;
  esac
done
done="true"
if [[ "$mode" == train && -n "$workdir" ]]; then
  done="test -e $(printf '%q' "$workdir")/summary.json"
fi

# shellcheck disable=SC2016  # the hosts read their file
token='export CDCD_JAX_TOKEN="$(cat ~/.cdcd_jax_token)"'
trap 'rm -rf "$secret"; delete' EXIT
create
for ((attempt = 1; attempt <= max_attempts; attempt++)); do
  code=0
  on_all_hosts "$token; python3 -m cdcd_jax.main $(printf '%q ' "$@")&& { $done || exit 75; }" || code=$?
  # 0 is done; 2 is a wrong flag or configuration, which no other attempt would mend.
  if ((code == 0 || code == 2)); then exit "$code"; fi
  echo "Attempt $attempt of $max_attempts ended with code $code" >&2
  if [[ "$(state)" != ACTIVE ]]; then
    delete
    create
  fi
done
exit 1
