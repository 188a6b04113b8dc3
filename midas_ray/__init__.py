"""MIDAS on Ray: from an exchange's order book to a judged forecast."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("midas-ray")
except PackageNotFoundError:  # a Ray worker imports the package from the job's working_dir, uninstalled
    __version__ = "0+uninstalled"
