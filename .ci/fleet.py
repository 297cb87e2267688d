"""Checks the files of examples/fleet with the tools of those who use them.

    uv run --isolated --only-group fleet python .ci/fleet.py

The Dockerfile goes through hadolint, the Kubernetes manifest through Kubernetes' own schemas, and the
Compose file through the Compose specification.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import yaml
from compose_spec import PyCompose

FLEET = Path(__file__).parent.parent / "examples" / "fleet"


def main() -> None:
    lint = subprocess.run(["hadolint", FLEET / "Dockerfile"], stdout=subprocess.PIPE, text=True)
    if lint.returncode:
        sys.exit(lint.stdout)
    print("Dockerfile: hadolint finds nothing")
    for resource in yaml.safe_load_all((FLEET / "kubernetes.yaml").read_text()):
        version = kubernetes_validate.validate(
            resource, kubernetes_validate.latest_version(), strict=True
        )
        print(f"kubernetes.yaml: {resource['kind']} fits Kubernetes {version}")
    PyCompose.from_yaml((FLEET / "compose.yaml").read_text()).validate()
    print("compose.yaml: fits the Compose specification")


if __name__ == "__main__":
    main()
