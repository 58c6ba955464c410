"""Worker Deployments: which builds of the workers there are, which one takes new work, and what an old one still has.

Thin words around Temporal's own calls; owns no state. `durabill deployment` is its command line.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from temporalio.api.enums.v1 import WorkerDeploymentVersionStatus as Status
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    SetWorkerDeploymentCurrentVersionRequest,
    SetWorkerDeploymentRampingVersionRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

STATUSES: Final[Mapping[int, str]] = {
    Status.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT: "current",
    Status.WORKER_DEPLOYMENT_VERSION_STATUS_RAMPING: "ramping",
    Status.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING: "draining",
    Status.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINED: "drained",
}
"""All else is `inactive`: it has workers, and gets nothing to do yet."""
IDENTITY: Final = "durabill deployment"
LOOK_EVERY_SECONDS: Final = 2.0


class DeploymentRefused(Exception):
    """Temporal does not do it; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Build:
    """One build: what Temporal sends it (`current`, `ramping`, ...), and how many workflows must end on it."""

    build_id: str
    status: str
    ramp_percentage: float
    made_at: datetime
    pinned: int
    """Running workflows that stay on this build: deliveries, runs and passes. All others move on by themselves."""


async def list_builds(client: Client, deployment: str) -> list[Build]:
    """The builds, newest first. Raises DeploymentRefused when no worker has ever joined the deployment."""
    request = DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=deployment)
    try:
        found = (await client.workflow_service.describe_worker_deployment(request)).worker_deployment_info
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        raise DeploymentRefused(
            f"no worker has joined the deployment {deployment!r}: start workers with TEMPORAL_DEPLOYMENT_NAME and"
            " TEMPORAL_WORKER_BUILD_ID"
        ) from error
    ramping = found.routing_config.ramping_deployment_version.build_id
    builds = [
        Build(
            each.deployment_version.build_id,
            STATUSES.get(each.status, "inactive"),
            found.routing_config.ramping_version_percentage if each.deployment_version.build_id == ramping else 0,
            each.create_time.ToDatetime(UTC),
            await _pinned(client, deployment, each.deployment_version.build_id),
        )
        for each in found.version_summaries
    ]
    return sorted(builds, key=lambda build: build.made_at, reverse=True)


async def ramp(client: Client, deployment: str, build_id: str, percentage: float) -> None:
    """Sends so many per cent of the workflows to the build; 0 takes it back. Raises DeploymentRefused."""
    request = SetWorkerDeploymentRampingVersionRequest(
        namespace=client.namespace, deployment_name=deployment, build_id=build_id if percentage else "",
        percentage=percentage, identity=IDENTITY,
    )  # fmt: skip
    try:
        await client.workflow_service.set_worker_deployment_ramping_version(request)
    except RPCError as error:
        raise _refused(error) from error


async def make_current(client: Client, deployment: str, build_id: str) -> None:
    """Sends everything that is not pinned to the build. Raises DeploymentRefused.

    Temporal refuses a build whose workers lack a task queue that the current one serves.
    """
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=client.namespace, deployment_name=deployment, build_id=build_id, identity=IDENTITY
    )
    try:
        await client.workflow_service.set_worker_deployment_current_version(request)
    except RPCError as error:
        raise _refused(error) from error


async def draining(client: Client, deployment: str, build_id: str) -> AsyncIterator[Build]:
    """The build again and again, until nothing needs its workers any more. Raises DeploymentRefused."""
    while True:
        build = next((each for each in await list_builds(client, deployment) if each.build_id == build_id), None)
        if build is None:
            raise DeploymentRefused(f"the deployment {deployment!r} has no build {build_id!r}")
        if build.status in ("current", "ramping"):
            raise DeploymentRefused(f"{build_id} is {build.status}: promote another build first")
        yield build
        if build.status in ("drained", "inactive"):
            return
        await asyncio.sleep(LOOK_EVERY_SECONDS)


async def _pinned(client: Client, deployment: str, build_id: str) -> int:
    query = (
        f'TemporalWorkerDeploymentVersion = "{deployment}:{build_id}" AND ExecutionStatus = "Running"'
        ' AND TemporalWorkflowVersioningBehavior = "Pinned"'
    )
    return (await client.count_workflows(query)).count


def _refused(error: RPCError) -> Exception:
    """Temporal's own words for what is wrong with the request; anything else is passed on."""
    if error.status not in (RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
        return error
    return DeploymentRefused(error.message)
