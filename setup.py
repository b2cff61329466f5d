"""Builds the compiled tensor codecs; everything else about the package is in pyproject.toml."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

NATIVE = "src/splitd/native"

setup(
    ext_modules=cythonize(
        [
            Extension(
                "splitd.native._codec",
                [f"{NATIVE}/_codec.pyx"],
                include_dirs=[f"{NATIVE}/kernels"],
                depends=sorted(map(str, Path(NATIVE, "kernels").glob("*.h"))),
                # Portable: no -march; the kernels choose AVX2 at run time (kernels/common.h). Contraction to fused
                # multiply-add would make other bytes than the Python twin on aarch64. Without the two maths flags, gcc
                # vectorises neither the quantiser's conversions nor its comparisons.
                extra_compile_args=["-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"],
            )
        ],
        compiler_directives={"language_level": 3},
    )
)
