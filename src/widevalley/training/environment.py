"""Where and with what a run was started."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

import widevalley


def environment_facts(device: torch.device) -> dict[str, Any]:
    """Versions, the device's name, threads, and the commit of the source where it has one."""
    return {
        "widevalley": widevalley.__version__,
        "commit": source_commit(Path(__file__)),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
    }


def device_name(device: torch.device) -> str:
    """The model of the GPU or of the processor, where the system names it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    # platform.processor() says "x86_64" on Linux, and no more.
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def source_commit(file: Path) -> str | None:
    """The commit that `file` is checked out from, marked "+" where tracked files differ.

    None where git does not know the file: an installed package, or no git.
    """

    def git(*arguments: str) -> str:
        # status would else take a lock, which a process that is killed leaves to the next.
        command = ["git", "--no-optional-locks", "-C", str(file.parent), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        # An installed copy may lie inside another project's checkout, whose commit says nothing.
        git("ls-files", "--error-unmatch", file.name)
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")
