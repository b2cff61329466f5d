"""Builds the compiled tensor codecs; everything else about the package is in pyproject.toml."""

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(
    ext_modules=cythonize(
        [
            Extension(
                "splitd.native._codec",
                ["src/splitd/native/_codec.pyx"],
                include_dirs=["src/splitd/native"],
                extra_compile_args=["-O3", "-fno-math-errno", "-fno-trapping-math"],
            )
        ],
        compiler_directives={"language_level": 3},
    )
)
