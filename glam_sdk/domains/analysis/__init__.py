"""Hold the errors of analyses."""

from glam_sdk.domains.analysis.errors import (
    AnalysisInProgressError,
    AnalysisNotCancellableError,
    AnalysisNotFoundError,
    NoCurrentAnalysisError,
)

__all__ = [
    "AnalysisInProgressError",
    "AnalysisNotCancellableError",
    "AnalysisNotFoundError",
    "NoCurrentAnalysisError",
]
