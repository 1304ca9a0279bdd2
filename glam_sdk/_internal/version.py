"""Hold the one version number of the package."""

__version__ = "0.1.0"
