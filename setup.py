"""For tools that still run setup.py; everything is said in pyproject.toml."""

from setuptools import setup

setup()
