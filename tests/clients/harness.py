"""What the client tests share: a client, waiting for a condition, expecting a refusal."""

import os
import time

import boto3
import botocore.config
import botocore.exceptions

LIMIT_SECONDS = 30


def client(**overrides):
    """An EC2 client for the endpoint of AWS_ENDPOINT_URL_EC2; it does not retry, so that every answer is seen."""
    config = botocore.config.Config(retries={"total_max_attempts": 1}, **overrides.pop("config", {}))
    return boto3.client("ec2", region_name=os.environ["AWS_REGION"], config=config, **overrides)


def until(what, condition):
    """Waits until the condition gives something true, and returns that."""
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        time.sleep(0.02)
    raise AssertionError(f"not within {LIMIT_SECONDS} s: {what}")


def refused(code, call, *, status=400, contains=()):
    """Expects that the call is refused with this code; returns the message."""
    try:
        answer = call()
    except botocore.exceptions.ClientError as error:
        found = error.response["Error"]
        http_status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert (found["Code"], http_status) == (code, status), f"expected {status} {code}, found {http_status} {found}"
        for text in (contains,) if isinstance(contains, str) else contains:
            assert text in found["Message"], f"expected {text!r} in {found['Message']!r}"
        return found["Message"]
    raise AssertionError(f"expected {code}, but the call succeeded: {answer}")


def tags(kind, name):
    """The argument that names a new resource."""
    return [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": name}]}]
