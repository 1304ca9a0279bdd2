"""Make plain what a collector of ``prometheus_client`` shows, so that every format can carry it.

A collector of a service's own may give a label that is no text, a value that is no number, a bucket
without a bound. One such sample would cost the whole scrape, or the whole push; here it is made
plain, or left out with one warning for its family.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from prometheus_client.metrics_core import Metric as RegistryMetric
from prometheus_client.samples import Exemplar, Sample

_log = logging.getLogger("glam_sdk.telemetry")
_told: set[str] = set()
_END: Final = 2**63


def plain(family: RegistryMetric) -> RegistryMetric:
    """Return the family as it is where nothing is odd, else with what can be carried of it."""
    samples, is_same = [], True
    for sample in family.samples:
        if _is_plain(sample, family.type):
            samples.append(sample)
            continue
        is_same = False
        try:
            samples.append(_made_plain(sample, family.type))
        except (TypeError, ValueError, OverflowError, AttributeError):
            _tell(family.name)
    named = [plain_text(text) for text in (family.name, family.documentation, family.unit or "")]
    if is_same and named == [family.name, family.documentation, family.unit or ""]:
        return family
    name, text, unit = named
    found = RegistryMetric(name, text, family.type, unit)
    found.samples = samples
    return found


def _tell(name: str) -> None:
    if name not in _told:
        _told.add(name)
        _log.warning("metrics.sample_left_out", extra={"metric": plain_text(name)})


def plain_text(value: Any) -> str:
    """Return what UTF-8 can carry of a text, or the text of anything else."""
    text = value if type(value) is str else str(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _is_plain(sample: Sample, kind: str) -> bool:
    value, labels = sample.value, sample.labels
    if type(value) is not float and (type(value) is not int or abs(value) >= _END):
        return False
    if sample.exemplar is not None or type(labels) is not dict:
        return False  # looked at below
    if _is_bucket(sample, kind) and not _counts(labels, value):
        return False
    return all(
        type(key) is str and type(value) is str and key.isascii() and value.isascii()
        for key, value in labels.items()
    )


def _is_bucket(sample: Sample, kind: str) -> bool:
    return kind == "histogram" and sample.name.endswith("_bucket")


def _counts(labels: Mapping[str, str], value: float) -> bool:
    return 0 <= value < math.inf and _is_bound(labels.get("le", ""))


@lru_cache(maxsize=512)
def _is_bound(text: str) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True


def _made_plain(sample: Sample, kind: str) -> Sample:
    labels = {plain_text(key): plain_text(value) for key, value in sample.labels.items()}
    value = float(sample.value)
    if _is_bucket(sample, kind) and not _counts(labels, value):
        raise ValueError("A bucket has a bound and a count.")
    return Sample(
        plain_text(sample.name),
        labels,
        value,
        sample.timestamp,
        _exemplar(sample, kind),
        sample.native_histogram,
    )


def _exemplar(sample: Sample, kind: str) -> Exemplar | None:
    """Return the exemplar where OpenMetrics allows one, and it is a number with labels."""
    given: Any = sample.exemplar
    ending = {"counter": "_total", "histogram": "_bucket", "gaugehistogram": "_bucket"}.get(kind)
    if given is None or ending is None or not sample.name.endswith(ending):
        return None
    if not isinstance(given.labels, Mapping) or not isinstance(given.value, int | float):
        return None
    labels = {plain_text(key): plain_text(value) for key, value in given.labels.items()}
    return Exemplar(labels, float(given.value), given.timestamp)
