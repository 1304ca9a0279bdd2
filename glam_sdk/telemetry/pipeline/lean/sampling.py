"""Decide as the SDK's own samplers do, without building a result object for each span."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    StaticSampler,
    TraceIdRatioBased,
)

_ALL: Final = 1 << 64
_PARENT_BASED: Final = (
    ParentBased,
    sampling.ParentBasedTraceIdRatio,
    type(sampling.DEFAULT_ON),
    type(sampling.DEFAULT_OFF),
)


@dataclass(frozen=True, slots=True)
class SamplingRule:
    """Say the same as a sampler in two values.

    Attributes:
        follows_parent: Whether a parent's decision is taken over.
        bound: A trace is sampled whose id's lower 64 bits are below it.
    """

    follows_parent: bool
    bound: int


def rule_of(sampler: Sampler) -> SamplingRule | None:
    """Return the rule of one of the SDK's samplers; None for any other, which must be asked."""
    if type(sampler) in _PARENT_BASED and isinstance(sampler, ParentBased):
        if not _follows_plainly(sampler):
            return None
        bound = _bound(sampler._root)  # noqa: SLF001 - the SDK has no public way to see it
        return None if bound is None else SamplingRule(follows_parent=True, bound=bound)
    bound = _bound(sampler)
    return None if bound is None else SamplingRule(follows_parent=False, bound=bound)


def _follows_plainly(sampler: ParentBased) -> bool:
    return (
        sampler._remote_parent_sampled is ALWAYS_ON  # noqa: SLF001
        and sampler._local_parent_sampled is ALWAYS_ON  # noqa: SLF001
        and sampler._remote_parent_not_sampled is ALWAYS_OFF  # noqa: SLF001
        and sampler._local_parent_not_sampled is ALWAYS_OFF  # noqa: SLF001
    )


def _bound(sampler: Sampler) -> int | None:
    if type(sampler) is TraceIdRatioBased:
        return sampler.bound
    if sampler is ALWAYS_ON:
        return _ALL
    return 0 if isinstance(sampler, StaticSampler) and sampler is ALWAYS_OFF else None
