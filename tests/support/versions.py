"""Which version of a framework runs: some answers changed within the range that is supported."""

from importlib import metadata

from packaging.version import Version


def older(package: str, version: str) -> bool:
    """Whether the installed package is older than a version; what is not installed is not."""
    try:
        return Version(metadata.version(package)) < Version(version)
    except metadata.PackageNotFoundError:
        return False


BEFORE_JAX_0_10_2 = older("jax", "0.10.2")
"""0.10.0 shares with `asarray` what starts at a multiple of 64 bytes, and divides by what is
broadcast; 0.10.2 copies, and multiplies by the reciprocal. 0.10.1 has not been tried."""
