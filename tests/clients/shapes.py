"""Checks raw EC2 answers against botocore's own model: every element must be a modelled member, every value of its type."""

import datetime
import xml.etree.ElementTree as ElementTree


# Values that the API reference documents although the model's enumeration lacks them.
DOCUMENTED = {("InternetGatewayAttachment", "state", "available")}


class ShapeChecker:
    """Listens to a boto3 client and remembers which operations it has checked."""

    def __init__(self, client):
        self.operations = set()
        self.problems = []
        self._model = client.meta.service_model
        client.meta.events.register("before-parse.ec2.*", self._check)

    def _check(self, operation_model, response_dict, **_):
        if response_dict["status_code"] >= 300:
            return
        name = operation_model.name
        self.operations.add(name)
        root = ElementTree.fromstring(response_dict["body"])
        if local(root) != f"{name}Response":
            self._problem(name, f"root is {local(root)}")
        children = [child for child in root if local(child) != "requestId"]
        if len(children) + 1 != len(root):
            self._problem(name, "expected exactly one requestId directly under the root")
        if operation_model.output_shape is None:
            if [local(child) for child in children] != ["return"]:
                self._problem(name, f"expected only <return>, found {[local(c) for c in children]}")
            return
        # `return` is documented next to the modelled members of some actions.
        self._structure(name, [c for c in children if local(c) != "return"], operation_model.output_shape)

    def _structure(self, path, children, shape):
        members = {m.serialization.get("name", n): m for n, m in shape.members.items()}
        seen = set()
        for child in children:
            name = local(child)
            if name in seen:
                self._problem(f"{path}.{name}", "appears twice")
            seen.add(name)
            if name in members:
                self._value(f"{path}.{name}", child, members[name], owner=shape.name)
            else:
                self._problem(f"{path}.{name}", f"is no member of {shape.name}: {', '.join(sorted(members))}")

    def _value(self, path, element, shape, owner=None):
        text = element.text or ""
        if shape.type_name == "structure":
            self._structure(path, list(element), shape)
        elif shape.type_name == "list":
            for item in element:
                if local(item) != "item":
                    self._problem(path, f"has <{local(item)}> where <item> belongs")
                self._value(f"{path}[]", item, shape.member)
        elif shape.type_name in ("integer", "long"):
            if not text.lstrip("-").isdigit():
                self._problem(path, f"{text!r} is no number")
        elif shape.type_name == "boolean":
            if text not in ("true", "false"):
                self._problem(path, f"{text!r} is neither true nor false")
        elif shape.type_name == "timestamp":
            datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
        elif shape.type_name == "string":
            if len(element):
                self._problem(path, "has children where text belongs")
            if getattr(shape, "enum", None) and text not in shape.enum and (owner, local(element), text) not in DOCUMENTED:
                self._problem(path, f"{text!r} is none of {', '.join(shape.enum)}")
        else:
            self._problem(path, f"has the type {shape.type_name}, which this check does not know")

    def _problem(self, path, text):
        self.problems.append(f"{path} {text}")

    def verdict(self):
        """Raises when an answer had a wrong shape."""
        assert not self.problems, "answers differ from botocore's model:\n" + "\n".join(sorted(set(self.problems)))


def local(element):
    """The element's name without its namespace."""
    return element.tag.rsplit("}", 1)[-1]
