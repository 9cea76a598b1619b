"""Make the virtual environment that a Makefile target runs in: `python tools/environment.py .venv apps test`.

Needle is installed into it as it lies here (editable), with the named extras of pyproject.toml. Where no package index
answers, the packages that the base interpreter has serve as well; if some are missing there, it says which.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MINIMUM = (3, 11)


def requirements(extras: list[str]) -> list[str]:
    """What pyproject.toml asks for, with these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return sum((project["optional-dependencies"][extra] for extra in extras), list(project["dependencies"]))


def missing_here(extras: list[str]) -> list[str]:
    """The required packages that the running interpreter does not have."""
    missing = []
    for requirement in requirements(extras):
        try:
            version(re.split(r"[<>=!~ \[;]", requirement)[0])
        except PackageNotFoundError:
            missing.append(requirement)
    return missing


def install(folder: Path, extras: list[str]) -> bool:
    python = str(folder / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "2"]
    return subprocess.run([*pip, "--editable", f"{ROOT}[{','.join(extras)}]"], check=False).returncode == 0


def borrow(folder: Path) -> None:
    """An environment that sees the base interpreter's packages, and Needle by a path file."""
    venv.create(folder, clear=True, system_site_packages=True, with_pip=False)
    packages = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}, scheme="venv")
    (Path(packages) / "needle.pth").write_text(f"{ROOT / 'python'}\n")


def main(folder: Path, extras: list[str]) -> int:
    if sys.version_info < MINIMUM:
        print(f"Needle needs Python {MINIMUM[0]}.{MINIMUM[1]} or newer, this is {sys.version.split()[0]}; "
              "name another one: make PYTHON=python3.12 ...")  # fmt: skip
        return 1
    print(f"Setting up {folder.name} with {', '.join(requirements(extras))} ...", flush=True)
    if not (folder / "pyvenv.cfg").exists():
        venv.create(folder, with_pip=True)
    if install(folder, extras):
        return 0
    missing = missing_here(extras)
    needed = [name for name in missing if name not in requirements(["apps"])[1:]]
    if needed:
        print(f"No package index answers, and {sys.executable} itself lacks: {', '.join(needed)}.\n"
              "Connect once, or install these for that interpreter, and run the same command again.")  # fmt: skip
        return 1
    print(f"No package index answers: using the packages of {sys.executable}"
          f"{', without ' + ', '.join(missing) if missing else ''}.")  # fmt: skip
    borrow(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
