"""What the tests with Google's clients share: clients for one endpoint, waiting for operations, expecting refusals."""

import os
import time

from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1, container_v1

LIMIT_SECONDS = 30
PROJECT = "demo-project"
REGION = "australia-southeast1"
ZONE = "australia-southeast1-b"
LOCATION = f"projects/{PROJECT}/locations/{ZONE}"
CLUSTER = f"{LOCATION}/clusters/demo-ip"


def client(kind):
    """A client of this kind for the endpoint of FREEBOARD_GOOGLE_ENDPOINT, over REST, without credentials."""
    options = ClientOptions(api_endpoint=os.environ["FREEBOARD_GOOGLE_ENDPOINT"])
    return kind(credentials=AnonymousCredentials(), transport="rest", client_options=options)


networks = client(compute_v1.NetworksClient)
subnetworks = client(compute_v1.SubnetworksClient)
instances = client(compute_v1.InstancesClient)
managers = client(compute_v1.InstanceGroupManagersClient)
groups = client(compute_v1.InstanceGroupsClient)
clusters = client(container_v1.ClusterManagerClient)

_operations = {
    "region": (client(compute_v1.RegionOperationsClient), {"region": REGION}),
    "zone": (client(compute_v1.ZoneOperationsClient), {"zone": ZONE}),
    "global": (client(compute_v1.GlobalOperationsClient), {}),
}


def done(scope, operation):
    """Waits as compute's own clients do, and returns the operation, which may have failed."""
    service, place = _operations[scope]
    operation = service.wait(project=PROJECT, operation=operation.name, **place)
    assert operation.status == compute_v1.Operation.Status.DONE, operation
    return operation


def container_done(operation):
    """Asks for a container operation until it is done, and returns it."""
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        operation = clusters.get_operation(name=f"{LOCATION}/operations/{operation.name}")
        if operation.status == container_v1.Operation.Status.DONE:
            return operation
        time.sleep(0.02)
    raise AssertionError(f"not done within {LIMIT_SECONDS} s: {operation}")


def refused(kind, call, *, contains=(), reason=None, status=None):
    """Expects that the call is refused with this exception of google.api_core; returns the message."""
    try:
        answer = call()
    except exceptions.GoogleAPICallError as error:
        assert type(error) is kind, f"expected {kind.__name__}, found {type(error).__name__}: {error}"
        body = error.response.json()["error"]
        for text in (contains,) if isinstance(contains, str) else contains:
            assert text in body["message"], f"expected {text!r} in {body['message']!r}"
        if reason is not None:
            assert body["errors"][0]["reason"] == reason, body
        if status is not None:
            assert body["status"] == status, body
        return body["message"]
    raise AssertionError(f"expected {kind.__name__}, but the call succeeded: {answer}")
