"""Build the compiled scanner where there is a C compiler; pyproject.toml says all the rest."""

from __future__ import annotations

import sys
from hashlib import blake2b
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

SOURCE = Path("curriculum/scanner/scanner.c")
DIGEST = blake2b(SOURCE.read_bytes(), digest_size=8).hexdigest()


class Build(build_ext):
    """Builds the scanner anew: what an earlier build left behind may be of another source."""

    def build_extension(self, ext: Extension) -> None:
        """Build it, or leave nothing."""
        Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
        super().build_extension(ext)


class Wheel(bdist_wheel):
    """A wheel for this platform if the scanner could be built, otherwise one for any platform."""

    def get_tag(self) -> tuple[str, str, str]:
        """The wheel's tag, asked for once everything is built."""
        built = self.get_finalized_command("build_ext").get_outputs()
        if all(Path(file).exists() for file in built):
            return super().get_tag()
        self.root_is_pure = True
        return "py3", "none", "any"


setup(
    ext_modules=[
        Extension(
            "curriculum.scanner._scanner",
            [str(SOURCE)],
            optional=True,
            py_limited_api=True,
            define_macros=[("Py_LIMITED_API", "0x030a0000"), ("SOURCE", f'"{DIGEST}"')],
            extra_compile_args=[] if sys.platform == "win32" else ["-std=c11", "-O3"],
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
    cmdclass={"bdist_wheel": Wheel, "build_ext": Build},
)
