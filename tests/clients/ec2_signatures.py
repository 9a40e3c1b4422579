"""Signatures of the official signer, good and bad, in the header and in the URL; and the credential chain by way of IMDS."""

import os
import urllib.error
import urllib.request

import boto3
import botocore.session

from harness import client, refused


def main():
    ec2 = client()
    assert ec2.describe_vpcs()["Vpcs"]
    key = os.environ["AWS_ACCESS_KEY_ID"]
    wrong = client(aws_access_key_id=key, aws_secret_access_key="wrong")
    refused("SignatureDoesNotMatch", wrong.describe_vpcs, status=401, contains=key)
    unknown = client(aws_access_key_id="AKIAUNKNOWN", aws_secret_access_key="any")
    refused("AuthFailure", unknown.describe_vpcs, status=401, contains="AKIAUNKNOWN")
    in_the_url(ec2)
    unsigned()
    by_role()
    print("signatures are verified")


def in_the_url(ec2):
    url = ec2.generate_presigned_url("describe_vpcs", HttpMethod="GET", ExpiresIn=60)
    with urllib.request.urlopen(url) as answer:
        assert b"<vpcId>" in answer.read()
    status, body = failure(url.replace("X-Amz-Expires=60", "X-Amz-Expires=61"))
    assert status == 401 and "SignatureDoesNotMatch" in body, body


def unsigned():
    status, body = failure(os.environ["AWS_ENDPOINT_URL_EC2"] + "/?Action=DescribeVpcs&Version=2016-11-15")
    assert status == 401 and "MissingAuthenticationToken" in body, (status, body)


def failure(url):
    try:
        urllib.request.urlopen(url)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    raise AssertionError(f"{url} succeeded")


def by_role():
    """With no key of its own the SDK asks the metadata service, and signs with what it gets."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del os.environ[name]
    credentials = botocore.session.get_session().get_credentials()
    assert credentials.method == "iam-role", credentials.method
    assert boto3.Session().client("ec2", region_name=os.environ["AWS_REGION"]).describe_vpcs()["Vpcs"]


if __name__ == "__main__":
    main()
