"""Write the bill of materials of a release: what the server and the client kit run with.

CycloneDX JSON, read from the lock files. What an extra adds (`requirements/*.txt`) has the scope
"optional"; what only development needs is left out. The kit has no dependencies. A package is
locked as several files, so its hashes stand beside its distribution, as in CycloneDX's own tool.
"""

import json
import re
import tomllib
from collections import defaultdict
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from cyclonedx.contrib.hash.factories import HashTypeFactory
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.contrib.this.builders import this_component
from cyclonedx.model import ExternalReference, ExternalReferenceType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import License
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.spdx import is_expression
from packageurl import PackageURL

ROOT = Path(__file__).resolve().parent.parent

# A package as `make lock` writes it: `name==version ; marker`, its hashes, and what requires it.
LOCKED = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>[^\s;]+)(?: ; (?P<marker>.+))? \\\n(?P<details>(?: .*\n)+)",
    re.MULTILINE,
)
HASH = re.compile(r"--hash=(\S+)")
PARENT = re.compile(r"^    #(?: via|  ) ([\w.-]+)", re.MULTILINE)

licence = LicenseFactory().make_from_string
hash_of = HashTypeFactory().from_composite_str


def bill_of_materials(version: str) -> str:
    """Return the bill of materials of that version as CycloneDX JSON."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    package = json.loads((ROOT / "miniprogram/package.json").read_text(encoding="utf-8"))
    server = component(
        PackageURL("generic", name=project["name"], version=version),
        type=ComponentType.APPLICATION,
        description=project["description"],
        licenses=[licence(project["license"]["text"])],
    )
    kit = component(
        PackageURL("npm", name=package["name"], version=version),
        description=package["description"],
        licenses=[licence(package["license"])],
    )
    required, children = locked_packages()
    tools = ToolRepository(components=[this_component()])
    metadata = BomMetaData(component=server, tools=tools)
    bom = Bom(components=[kit, *required], metadata=metadata)
    bom.register_dependency(kit)
    for parent in (server, *required):
        bom.register_dependency(parent, children[parent.name])
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def locked_packages() -> tuple[list[Component], dict[str, set[Component]]]:
    """Return every package that is locked, and those which each of them requires, by name."""
    packages: dict[str, Component] = {}
    children: dict[str, set[Component]] = defaultdict(set)
    for lock in (ROOT / "requirements.txt", *sorted((ROOT / "requirements").glob("*.txt"))):
        extra = lock.parent != ROOT
        for found in LOCKED.finditer(lock.read_text(encoding="utf-8")):
            name, version, marker, details = found.group("name", "version", "marker", "details")
            files = ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION,
                url=XsUri(f"https://pypi.org/simple/{name}/"),
                hashes=[hash_of(text) for text in HASH.findall(details)],
            )
            package = component(
                PackageURL("pypi", name=name, version=version),
                scope=ComponentScope.OPTIONAL if extra else ComponentScope.REQUIRED,
                licenses=declared_licences(name, version),
                external_references=[files],
                properties=[Property(name="groupsite:marker", value=marker)] if marker else [],
            )
            package = packages.setdefault(str(package.purl), package)
            for parent in PARENT.findall(details):
                children[parent].add(package)
    return list(packages.values()), children


def component(purl: PackageURL, **fields: Any) -> Component:
    return Component(name=purl.name, version=purl.version, purl=purl, bom_ref=str(purl), **fields)


def declared_licences(name: str, version: str) -> list[License]:
    """Return the licences that an installed package declares; none where another is installed."""
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        return []
    if installed.version != version:
        return []
    get_all = installed.metadata.get_all
    stated = (get_all("License-Expression") or get_all("License") or [""])[0]
    if stated and is_expression(stated):
        return [licence(stated)]
    classifiers = [line for line in get_all("Classifier") or [] if line.startswith("License ::")]
    names = [line.rpartition(" :: ")[2] for line in classifiers] or [stated]
    return [licence(name) for name in names if name]
