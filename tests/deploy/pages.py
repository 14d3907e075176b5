"""What deploy/README.md tells people to type, so that tests can do it."""

import re
import subprocess
from pathlib import Path

from tests.deploy.containerfile import ROOT

PAGE = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[str]:
    """Every block of shell commands."""
    return [found[1] for found in _BLOCK.finditer(PAGE)]


def make_secrets(folder: Path) -> Path:
    """Run the page's own commands for making the secrets; the folder that they made."""
    (commands,) = (one for one in blocks() if one.startswith("mkdir -p deploy/secrets"))
    subprocess.run(["sh", "-ec", commands], cwd=folder, check=True, capture_output=True, timeout=60)
    return folder / "deploy" / "secrets"
