"""The connection to a Ray cluster: one that runs, or one on this machine for the sweep alone; quiet and private."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from backbench.core import hardware
from backbench.core.errors import RequestError
from backbench.executors.ray.resources import Node

# Before Ray is imported, which reads them then. What the user has set stays.
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # else jobs would yield to everything else on the machine, as they do not locally
}


def installed() -> None:
    """Raise RequestError where Ray is not."""
    if importlib.util.find_spec("ray") is None:
        raise RequestError(
            "--executor ray needs Ray, which is not installed here:"
            ' pip install "backbench[ray]" on every machine of the cluster, or use --executor local'
        )


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """The module `ray`, connected to the cluster at `address` or $RAY_ADDRESS, else to a new one on this machine.

    A cluster that was started here ends with the block; there is no dashboard. Raises RequestError for an address where
    no cluster answers, or one of other versions.
    """
    installed()
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray

    address = address or os.environ.get("RAY_ADDRESS") or None
    if address and address.startswith("ray://"):
        raise RequestError(
            f"--ray-address {address} is that of a Ray Client, through which results cannot stream: start the sweep on"
            " a machine of the cluster and name HOST:PORT, or auto"
        )
    if ray.is_initialized():
        yield ray
        return
    own: Mapping[str, Any] = {"num_cpus": hardware.cores(), "include_dashboard": False}
    try:
        with _elsewhere():
            ray.init(
                address=address or "local",
                logging_level=logging.ERROR,
                log_to_driver=False,
                **({} if address and address != "local" else own),
            )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        where = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise RequestError(
            f"{where} cannot be used ({reason}): see that it runs (`ray status`) and has the same versions"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def nodes(ray: Any) -> dict[str, Node]:
    """What the nodes that are alive have to give, by their ids."""
    found = {}
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            found[node["NodeID"]] = Node(has.get("CPU", 0.0), has.get("GPU", 0.0), has.get("memory", 0.0))
    return found


@contextmanager
def _elsewhere() -> Iterator[None]:
    """Ray has its workers import from the folder where the driver is; from the user's nothing is to be imported."""
    try:
        before = os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        before = None
    os.chdir(sys.prefix)
    try:
        yield
    finally:
        if before:
            os.chdir(before)
