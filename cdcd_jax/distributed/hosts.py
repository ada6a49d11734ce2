"""Joining the hosts of a run to one JAX program, and explaining its failures.

JAX's distributed runtime does the work. Added here: when to call it, so that one process alone
starts as fast as ever; who is missing (``rendezvous.py``); and sentences for its failures.
"""

import importlib.util
import os
import re
from collections.abc import Mapping
from textwrap import shorten
from typing import NamedTuple

import jax
from jax._src import cloud_tpu_init, clusters  # JAX's detection of schedulers has no public name.

from cdcd_jax.distributed.addresses import split_address
from cdcd_jax.distributed.handshake import TOKEN, read_token
from cdcd_jax.distributed.rendezvous import meet_hosts
from cdcd_jax.distributed.watchdog import STUCK_TIMEOUT, watch_hosts

HEARTBEAT_TIMEOUT = 60
"""Seconds of silence after which JAX's runtime takes a host for dead, and ends all others."""

MAX_TIMEOUT = 10**6 - 1
"""Seconds that a host may be waited for."""

MAX_HOSTS = 10**6 - 1

LOST = re.compile(
    r"gloo|connection (closed|reset)|socket closed|broken pipe|heartbeat|unavailable|"
    r"coordination ?service|another task|remote.*(abort|error)|nccl.*(remote|system) error",
    re.IGNORECASE,
)


class Place(NamedTuple):
    """The position of a process among those of a run.

    Attributes:
        coordinator: ``HOST:PORT`` of host 0.
        num_hosts: Number of processes, >= 1.
        host_index: Which one this is, from 0.
        local_device_ids: Which of its machine's accelerators are its own; None for all.
    """

    coordinator: str
    num_hosts: int
    host_index: int
    local_device_ids: list[int] | None


def join_hosts(
    coordinator: str | None = None,
    num_hosts: int | None = None,
    host_index: int | None = None,
    timeout: int = 300,
    *,
    heartbeat_timeout: int = HEARTBEAT_TIMEOUT,
    stuck_timeout: int = STUCK_TIMEOUT,
) -> bool:
    """Join the other hosts, if there are any; to be called before JAX starts.

    Where the three numbers are not given, they are read from the environment: Slurm's, Open
    MPI's, a TPU's or Kubernetes'. One process alone does nothing. Hosts that meet on a network need
    the same secret in the environment variable ``CDCD_JAX_TOKEN``, which is removed from there.

    Args:
        coordinator: ``HOST:PORT`` of host 0, with any free port of it.
        num_hosts: Number of processes, >= 1.
        host_index: Which one this is, from 0.
        timeout: Seconds to wait for the others, >= 1.
        heartbeat_timeout: Seconds of silence after which a host counts as dead, >= 1.
        stuck_timeout: Seconds without progress that a host may keep the others waiting; 0 forever.

    Returns:
        Whether there are others.

    Raises:
        ValueError: If arguments or environment do not fit together, or have no secret.
        MissingHostError: If a host has not come in time; the sentence names it.
    """
    if not 1 <= timeout <= MAX_TIMEOUT:
        raise ValueError(f"host_timeout = {timeout} must be from 1 to {MAX_TIMEOUT} seconds")
    if not 0 <= stuck_timeout <= MAX_TIMEOUT:
        raise ValueError(
            f"host_stuck_timeout = {stuck_timeout} must be from 0 to {MAX_TIMEOUT} seconds"
        )
    place = find_place(coordinator, num_hosts, host_index, timeout=timeout)
    if place is None or place.num_hosts == 1:
        return False
    token = read_token(os.environ, split_address(place.coordinator)[0])
    os.environ.pop(TOKEN, None)  # no child and no report of this process needs it
    listening_at = meet_hosts(
        place.coordinator, place.num_hosts, place.host_index, timeout=timeout, token=token
    )
    jax.distributed.initialize(
        place.coordinator,
        place.num_hosts,
        place.host_index,
        place.local_device_ids,
        cluster_detection_method="deactivate",
        initialization_timeout=min(timeout, heartbeat_timeout),  # all were there just now
        heartbeat_timeout_seconds=heartbeat_timeout,
        coordinator_bind_address=listening_at,
    )
    watch_hosts(timeout=float(stuck_timeout), heartbeat_timeout=float(heartbeat_timeout))
    return True


def find_place(
    coordinator: str | None, num_hosts: int | None, host_index: int | None, *, timeout: int = 300
) -> Place | None:
    """Find out from flags, or from the environment, which of how many hosts this is.

    Args:
        coordinator: As for ``join_hosts``.
        num_hosts: As for ``join_hosts``.
        host_index: As for ``join_hosts``.
        timeout: Seconds to wait until the coordinator's name is known.

    Returns:
        The place, or None where there are no other hosts.

    Raises:
        ValueError: If something is missing or out of range.

    >>> find_place("localhost:1234", 2, 1)
    Place(coordinator='localhost:1234', num_hosts=2, host_index=1, local_device_ids=None)
    >>> find_place("localhost:1234", 2, 2)
    Traceback (most recent call last):
    ValueError: host_index = 2 is not among 2 hosts; they are numbered from 0 to 1
    """
    given = {"coordinator": coordinator, "num_hosts": num_hosts, "host_index": host_index}
    absent = [name for name, value in given.items() if value is None]
    if len(absent) == 3:
        return _place_in_environment(os.environ, timeout) if _has_others(os.environ) else None
    if num_hosts == 1 and host_index in (None, 0):
        return None
    if coordinator is None or num_hosts is None or host_index is None:
        raise ValueError(
            f"{', '.join(absent)} must be given as well: all hosts need --coordinator=HOST:PORT "
            "and --num_hosts, and each its own --host_index"
        )
    split_address(coordinator)
    if not 1 <= num_hosts <= MAX_HOSTS:
        raise ValueError(f"num_hosts = {num_hosts} must be from 1 to {MAX_HOSTS}")
    if not 0 <= host_index < num_hosts:
        raise ValueError(
            f"host_index = {host_index} is not among {num_hosts} hosts; they are numbered from 0 "
            f"to {num_hosts - 1}"
        )
    return Place(coordinator, num_hosts, host_index, None)


def _has_others(environment: Mapping[str, str]) -> bool:
    """Return, without network access, whether a scheduler has started several processes."""
    if "SLURM_STEP_NODELIST" in environment:
        # A shell inside a job is a step of one task, whatever the job's number of tasks is.
        tasks = environment.get("SLURM_STEP_NUM_TASKS", environment.get("SLURM_NTASKS", "1"))
        return _number("SLURM_STEP_NUM_TASKS or SLURM_NTASKS", tasks) > 1
    if "OMPI_COMM_WORLD_SIZE" in environment:
        name = "OMPI_COMM_WORLD_SIZE"
        return _number(name, environment[name]) > 1
    if cloud_tpu_init.running_in_cloud_tpu_vm:
        names = environment.get("TPU_PROCESS_ADDRESSES", environment.get("TPU_WORKER_HOSTNAMES"))
        name = "MEGASCALE_NUM_SLICES"
        if _number(name, environment.get(name) or "1") > 1:
            return True
        # Without names, the metadata server of the machine has them; it answers after a moment.
        return "," in names if names is not None else "TPU_SKIP_MDS_QUERY" not in environment
    return "JOB_COMPLETION_INDEX" in environment and bool(importlib.util.find_spec("kubernetes"))


def _number(name: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text.strip()):
        raise ValueError(f"{name} = {text[:40]!r} in the environment is not a number; {_FLAGS}")
    return int(text)


def _place_in_environment(environment: Mapping[str, str], timeout: int) -> Place:
    try:
        address, num_hosts, host_index, devices = (
            clusters.ClusterEnv.auto_detect_unset_distributed_params(
                None, None, None, None, None, timeout
            )
        )
    except Exception as error:
        raise ValueError(f"{_UNCLEAR} ({_first_line(error)}); {_FLAGS}") from error
    if address is None or num_hosts is None or host_index is None:
        raise ValueError(f"{_UNCLEAR}; {_FLAGS}")
    return Place(address, num_hosts, host_index, _local_devices(environment, devices))


_UNCLEAR = "the scheduler has started several processes but does not say where the first one is"
_FLAGS = "give --coordinator=HOST:PORT, --num_hosts and --host_index"


def _local_devices(environment: Mapping[str, str], detected: object) -> list[int] | None:
    """Choose the accelerators of a process: JAX's way, but all of a node to its only task."""
    nodes, tasks = (environment.get(f"SLURM_{name}") for name in ("STEP_NUM_NODES", "NTASKS"))
    if nodes is not None and nodes == tasks:
        name = "SLURM_GPUS_ON_NODE"
        num_devices = _number(name, environment.get(name) or "0")
        return list(range(num_devices)) or None
    return [int(number) for number in detected] if isinstance(detected, (list, tuple)) else None


def explain_loss(error: BaseException) -> str | None:
    """Describe the loss of another host, if that caused an error.

    Args:
        error: What a computation or a save of many hosts has raised.

    Returns:
        The sentence, or None for any other error.

    >>> explain_loss(ValueError("shapes differ")) is None
    True
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, (RuntimeError, ValueError, OSError)) and LOST.search(str(cause)):
            return (
                f"another host has gone ({_first_line(cause)}); run the same command on all hosts "
                "again: a training continues from its newest checkpoint"
            )
        cause = cause.__cause__ or cause.__context__
    return None


def _first_line(error: BaseException) -> str:
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    return shorten(line, 160, placeholder=" ...")
