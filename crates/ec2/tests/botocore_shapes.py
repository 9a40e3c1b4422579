"""Checks request parameters and response elements against botocore's EC2 model.

Standard input: {"Action": {"parameters": ["Filter.1.Name", ...], "elements": ["vpcSet.item.vpcId", ...]}, ...}
Standard output: one line per name that the model does not have; nothing when all is well.
"""

import gzip
import json
import pathlib
import sys

import botocore

ROOT = pathlib.Path(botocore.__file__).parent / "data" / "ec2" / "2016-11-15"
with gzip.open(ROOT / "service-2.json.gz") as stream:
    MODEL = json.load(stream)
SHAPES = MODEL["shapes"]


def query_name(name, member):
    """The name on the wire of a request member (the ec2 protocol's rule)."""
    if "queryName" in member:
        return member["queryName"]
    if "locationName" in member:
        location = member["locationName"]
        return location[0].upper() + location[1:]
    return name


def parameter_exists(shape_name, segments):
    shape = SHAPES[shape_name]
    if shape["type"] == "list":
        if not segments or not segments[0].isdigit():
            return False
        return parameter_exists(shape["member"]["shape"], segments[1:])
    if shape["type"] == "structure":
        for name, member in shape["members"].items():
            if segments and query_name(name, member) == segments[0]:
                return parameter_exists(member["shape"], segments[1:])
        return False
    return not segments


def element_exists(shape_name, segments):
    shape = SHAPES[shape_name]
    if shape["type"] == "list":
        if not segments or segments[0] != shape["member"].get("locationName", "member"):
            return False
        return element_exists(shape["member"]["shape"], segments[1:])
    if shape["type"] == "structure":
        for name, member in shape["members"].items():
            if segments and member.get("locationName", name) == segments[0]:
                return element_exists(member["shape"], segments[1:])
        return False
    return not segments


def main():
    for action, names in json.load(sys.stdin).items():
        operation = MODEL["operations"].get(action)
        if operation is None:
            print(f"{action}: no such operation")
            continue
        for parameter in names["parameters"]:
            if not parameter_exists(operation["input"]["shape"], parameter.split(".")):
                print(f"{action}: no parameter {parameter}")
        for element in names["elements"]:
            if "output" not in operation or not element_exists(operation["output"]["shape"], element.split(".")):
                print(f"{action}: no element {element}")


main()
