"""Render metrics for Prometheus: text 0.0.4 and 1.0.0, OpenMetrics 1.0, or protobuf.

Names follow the OpenTelemetry specification "Prometheus and OpenMetrics Compatibility": dots become
underscores, the unit and ``_total`` are appended; scopes are no labels. What is registered with
``prometheus_client`` follows in the same answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.resources import Resource
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.metrics_core import Metric as RegistryMetric
from prometheus_client.openmetrics import exposition as openmetrics

from glam_sdk.telemetry import prometheus_names as names
from glam_sdk.telemetry.pipeline import prometheus_protobuf as protobuf
from glam_sdk.telemetry.pipeline.metrics import iterate_metrics
from glam_sdk.telemetry.pipeline.prometheus_accept import (
    Format,
    choose_format,
)
from glam_sdk.telemetry.pipeline.prometheus_families import Families, Family, Warned
from glam_sdk.telemetry.pipeline.prometheus_samples import SampleWriter, samples
from glam_sdk.telemetry.pipeline.registry import collect_registry

_EOF: Final = b"# EOF\n"


@dataclass(slots=True)
class Renderer:
    """Render scrapes of one process; keeps what need not be worked out each time."""

    warned: Warned = field(default_factory=Warned)
    labels: names.LabelCache = field(default_factory=names.LabelCache)

    def render(
        self,
        data: MetricsData | None,
        registry: Sequence[RegistryMetric],
        target: Resource,
        form: Format,
    ) -> bytes:
        """Return the scrape's body.

        Args:
            data: A cumulative collection, or None where metrics are switched off.
            registry: What ``prometheus_client`` has registered.
            target: Becomes ``target_info``.
            form: The format to write.
        """
        families = Families(utf8=form.utf8, warned=self.warned, labels=self.labels)
        families.add_all(iterate_metrics(data) if data else ())
        if form.protobuf:
            return protobuf.render(families, registry, target, self.warned)
        writer = SampleWriter(form)
        parts: list[str] = []
        for name, family in families.by_name.items():
            try:
                parts.append(_family(writer, name, family))
            except Exception:  # noqa: BLE001 - one family must not cost the others
                self.warned.once("metrics.not_shown", name, exc_info=True)
        parts.append(_target_info(target, form))
        others = _registry(families.others(registry), form, self.warned)
        return "".join(parts).encode(errors="replace") + others


def render(data: MetricsData | None, resource: Resource, accept: str) -> tuple[bytes, str]:
    """Return body and content type of one scrape, with all that ``prometheus_client`` has.

    Args:
        data: A cumulative collection, or None where metrics are switched off.
        resource: Becomes ``target_info``.
        accept: The ``Accept`` header; OpenMetrics is written only for who asks for it.
    """
    form = choose_format(accept)
    return Renderer().render(data, collect_registry(), resource, form), form.content_type


class _View:
    """Show ``prometheus_client``'s writers some families as if they were a registry."""

    def __init__(self, metrics: Iterable[RegistryMetric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[RegistryMetric]:
        yield from self._metrics


def _registry(metrics: Iterable[RegistryMetric], form: Format, warned: Warned) -> bytes:
    families = list(metrics)
    try:
        return _written(families, form)
    except Exception:  # noqa: BLE001 - one family must not cost the others
        found = []
        for family in families:
            try:
                found.append(_written([family], form).removesuffix(_EOF))
            except Exception:  # noqa: BLE001
                warned.once("metrics.not_shown", family.name, exc_info=True)
        return b"".join([*found, _EOF if form.openmetrics else b""])


def _written(families: Iterable[RegistryMetric], form: Format) -> bytes:
    if form.openmetrics:
        written: bytes = openmetrics.generate_latest(_View(families))  # type: ignore[no-untyped-call]  # annotated nowhere
        return written
    escaping = openmetrics.ALLOWUTF8 if form.utf8 else openmetrics.UNDERSCORES
    return generate_text(_View(families), escaping=escaping)


def _family(writer: SampleWriter, name: str, family: Family) -> str:
    if not family.series:
        return ""
    is_openmetrics = writer.form.openmetrics
    total = family.kind == "counter" and not is_openmetrics
    shown = writer.name(f"{name}_total" if total else name)
    text = names.escape_help(family.help, quotes=is_openmetrics)
    parts = [f"# HELP {shown} {text}\n# TYPE {shown} {family.kind}\n"]
    if is_openmetrics and family.unit:
        parts.append(f"# UNIT {shown} {family.unit}\n")
    kind = family.kind
    parts += [samples(writer, name, kind, *series) for series in family.series.items()]
    return "".join(parts)


def _target_info(target: Resource, form: Format) -> str:
    labels = names.labels(target.attributes, utf8=form.utf8)
    shown, kind = ("target", "info") if form.openmetrics else ("target_info", "gauge")
    head = f"# HELP {shown} Target metadata\n# TYPE {shown} {kind}\n"
    return f"{head}target_info{{{labels}}} 1\n"
