"""Evaluates a freeze manifest: as much of MicroPython's tools/manifestfile.py (1.28, freeze mode) as boards/ uses.

Written anew from docs/reference/manifest.rst and that file, as no package on PyPI brings it. Paths are relative to the
manifest that names them, `$(NAME)` stands for a folder of the build.
"""

import os
from pathlib import Path
from typing import NamedTuple


class Frozen(NamedTuple):
    """A source, and mpy-cross's -O for it, None for that of the build."""

    source: Path
    opt: int | None


class Manifest:
    """`folders`: what `$(NAME)` stands for. `files`: module's file on the device's path -> source."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self.files: dict[str, Frozen] = {}
        self._folders = folders
        self._here = Path.cwd()
        self._seen: set[Path] = set()

    def include(self, path: str) -> None:
        """Another manifest, once; of a folder its manifest.py."""
        manifest = self._resolve(path)
        if manifest.is_dir():
            manifest /= "manifest.py"
        if manifest in self._seen:
            return
        self._seen.add(manifest)
        before, self._here = self._here, manifest.parent
        names = {name: getattr(self, name) for name in ("include", "package", "module", "freeze")}
        exec(compile(manifest.read_text(), str(manifest), "exec"), names)
        self._here = before

    def package(self, path: str, files: tuple[str, ...] | None = None, base_path: str = ".", opt: int | None = None):
        """The Python files of a package, or the `files` of them."""
        base = self._resolve(base_path)
        if not (base / path).is_dir():
            raise FileNotFoundError(base / path)
        for name in files or self._below(base / path):
            self._add(base, f"{path}/{name}", opt)

    def module(self, path: str, base_path: str = ".", opt: int | None = None) -> None:
        """One Python file."""
        if not path.endswith(".py"):
            raise ValueError(f"{path}: module must be .py file")
        self._add(self._resolve(base_path), path, opt)

    def freeze(self, path: str, script: str | None = None, opt: int | None = None) -> None:
        """All of a folder, or `script` in it."""
        base = self._resolve(path)
        if not base.is_dir():
            raise FileNotFoundError(base)
        for name in [script] if script is not None else self._below(base):
            self._add(base, name, opt)

    def _resolve(self, path: str) -> Path:
        for name, folder in self._folders.items():
            path = path.replace(f"$({name})", str(folder))
        return Path(os.path.normpath(self._here / path))

    @staticmethod
    def _below(folder: Path) -> list[str]:
        return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.py"))]

    def _add(self, base: Path, name: str, opt: int | None) -> None:
        source = base / name
        if not source.is_file():
            raise FileNotFoundError(source)
        if name in self.files:
            raise ValueError(f"{name} is frozen twice: {self.files[name].source}, {source}")
        self.files[name] = Frozen(source, opt)
