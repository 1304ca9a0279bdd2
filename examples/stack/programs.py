"""Find the programs of the stack, or build them from pinned versions with Go.

What was built is kept outside the repository and used again by everyone on this machine. Prometheus
is not built: it is a package of every distribution.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_COLLECTOR_PARTS: Final = Path(__file__).parent / "collector-builder.yaml"


@dataclass(frozen=True, slots=True)
class Built:
    """Name a program that Go builds.

    Args:
        name: The program.
        version: Pinned; a new one is built beside the old one.
        module: Go module it comes from.
        package: Package of its ``main``; empty for one that the Collector's builder assembles.
    """

    name: str
    version: str
    module: str
    package: str = ""

    @property
    def path(self) -> Path:
        """Where it is kept once it is built."""
        parts = "" if self.package else f"-{zlib.crc32(_COLLECTOR_PARTS.read_bytes()):08x}"
        return cache() / f"{self.name}-{self.version}{parts}" / self.name


COLLECTOR: Final = Built("otelcol", "v0.159.0", "go.opentelemetry.io/collector/cmd/builder")
# Jaeger v2.13; the module path of Jaeger has no /v2, so its tags v2.x are no versions to Go, and
# the same commit is v1.76.0.
JAEGER: Final = Built(
    "jaeger",
    "v1.76.0",
    "github.com/jaegertracing/jaeger",
    "github.com/jaegertracing/jaeger/cmd/jaeger",
)
# The last release of VictoriaMetrics that VictoriaLogs (v1.24) was a part of.
LOGS: Final = Built(
    "victoria-logs",
    "v1.121.0",
    "github.com/VictoriaMetrics/VictoriaMetrics",
    "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-logs",
)
BUILT: Final = (LOGS, COLLECTOR, JAEGER)


class NotAvailableError(Exception):
    """A program is neither installed nor built; the message says why and what would help."""


def cache() -> Path:
    """Return the folder where built programs are kept."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "glam_sdk-stack"


def find(program: Built) -> Path:
    """Return the path of a program that was built before.

    Raises:
        NotAvailableError: It was not.
    """
    if program.path.exists():
        return program.path
    raise NotAvailableError(
        f"{program.name} {program.version} is not built; `make stack-programs` builds it (with Go)."
    )


def find_prometheus(name: str = "prometheus") -> Path:
    """Return the path of ``prometheus`` or ``promtool``.

    Raises:
        NotAvailableError: It is not installed.
    """
    beside = Path(sys.prefix) / "prometheus" / "usr" / "bin" / name
    if beside.exists():
        return beside
    if on_path := shutil.which(name):
        return Path(on_path)
    raise NotAvailableError(f"{name} is not installed (package prometheus of most distributions).")


def missing() -> list[str]:
    """Return why the stack cannot run here, one sentence for each program; empty when it can."""
    reasons = []
    for program in BUILT:
        try:
            find(program)
        except NotAvailableError as exc:
            reasons.append(str(exc))
    try:
        find_prometheus()
    except NotAvailableError as exc:
        reasons.append(str(exc))
    return reasons


def build(program: Built, *, deadline: float) -> Path:
    """Build a program unless that was done before, and return its path.

    Args:
        program: What to build.
        deadline: By ``time.monotonic()``; the build is given up then.

    Raises:
        NotAvailableError: Go is missing, a module cannot be had, or the time is up.
    """
    if program.path.exists():
        return program.path
    go = shutil.which("go")
    if go is None:
        raise NotAvailableError(f"{program.name} cannot be built: there is no Go here.")
    with tempfile.TemporaryDirectory(prefix="glam-stack-") as folder:
        workshop = _Workshop(go, Path(folder), deadline)
        made = workshop.main(program) if program.package else workshop.collector(program)
        program.path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed into place, so that nobody finds half a program.
        half = program.path.with_suffix(f".{os.getpid()}")
        shutil.copy2(made, half)
        half.replace(program.path)
    return program.path


class _Workshop:
    """Run Go in a folder of its own, until a deadline."""

    def __init__(self, go: str, folder: Path, deadline: float) -> None:
        self._go = go
        self._folder = folder
        self._deadline = deadline

    def main(self, program: Built) -> Path:
        """Build a main package with exactly the dependencies its author released it with.

        ``go install`` refuses a module that replaces some of its dependencies, so a module of
        nothing but this requirement repeats the replacements. The module is verified by the
        checksum database, its dependencies by the checksums that it brings along.
        """
        pinned = f"{program.module}@{program.version}"
        told = json.loads(self._run("mod", "download", "-json", pinned))
        file = json.loads(self._run("mod", "edit", "-json", told["GoMod"]))
        lines = ["module stack", f"go {file['Go']}", f"require {program.module} {program.version}"]
        lines += [
            f"replace {_text(each['Old'])} => {_text(each['New'])}"
            for each in file.get("Replace") or ()
        ]
        (self._folder / "go.mod").write_text("\n".join(lines) + "\n")
        sums = (Path(told["Dir"]) / "go.sum").read_text()
        own = f"{program.module} {program.version} {told['Sum']}\n"
        own_mod = f"{program.module} {program.version}/go.mod {told['GoModSum']}\n"
        (self._folder / "go.sum").write_text(sums + own + own_mod)
        self._run("build", "-mod=mod", "-trimpath", "-ldflags=-s -w", "-o", "made", program.package)
        return self._folder / "made"

    def collector(self, program: Built) -> Path:
        """Assemble a Collector of the components that ``collector-builder.yaml`` lists."""
        self._run("install", f"{program.module}@{program.version}", GOBIN=str(self._folder))
        shutil.copy(_COLLECTOR_PARTS, self._folder)
        command = [str(self._folder / "builder"), "--config=collector-builder.yaml"]
        self._call(command, {"GOFLAGS": "-mod=mod -trimpath"})
        return self._folder / "made" / program.name

    def _run(self, *arguments: str, **environment: str) -> str:
        return self._call([self._go, *arguments], environment)

    def _call(self, command: list[str], environment: Mapping[str, str]) -> str:
        left = self._deadline - time.monotonic()
        try:
            done = subprocess.run(
                command,
                cwd=self._folder,
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                timeout=max(left, 0.001),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise NotAvailableError(f"No time is left to build: {' '.join(command)}") from None
        if done.returncode:
            raise NotAvailableError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
        return done.stdout


def _text(module: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (module["Path"], module.get("Version"))))
