"""Databento's own package, where it is asked: metadata of files, and definitions of any version.

It is Rust behind Python: on bytes that it did not expect it may panic, which arrives as an exception that is no
``Exception``. Whatever it says of bytes that are not ours is a DecodeError here.
"""

from __future__ import annotations

from typing import Any, Final

from chronicle.core.errors import ConfigError, DecodeError

__all__ = ["read_definition", "read_metadata"]

DEFINITION_VERSIONS: Final = {360: 1, 400: 2, 520: 3}
"""DBN version by the length of a definition record."""
_PANIC: Final = "PanicException"


def read_metadata(data: bytes, path: object) -> Any:
    """Return the metadata that `data` (a file's beginning) holds.

    Raises
    ------
    ConfigError
        When the package is not installed.
    DecodeError
        When they cannot be read.
    """
    package = _package()
    try:
        return package.Metadata.decode(data)
    except BaseException as error:
        raise _refused(error, "cannot read the metadata of the DBN file", path) from error


def read_definition(record: bytes) -> Any:
    """Return a definition record of any version, as the package reads it.

    Raises
    ------
    ConfigError
        When the package is not installed.
    DecodeError
        When it is no definition.
    """
    package = _package()
    version = DEFINITION_VERSIONS.get(len(record))
    if version is None or record[0] * 4 != len(record):
        raise DecodeError(
            "a DBN definition has a strange length",
            expected=" or ".join(map(str, DEFINITION_VERSIONS)),
            found=len(record),
        )
    try:
        decoder = package.DBNDecoder(has_metadata=False, input_version=version)
        decoder.write(record)
        (found,) = decoder.decode()
    except BaseException as error:
        raise _refused(error, "cannot read a DBN definition", None) from error
    return found


def _package() -> Any:
    try:
        import databento_dbn
    except ImportError as error:
        raise ConfigError(
            "reading DBN needs Databento's package", found=str(error), hint="pip install 'chronicle-md[dbn]'"
        ) from error
    return databento_dbn


def _refused(error: BaseException, attempt: str, path: object) -> BaseException:
    """Return what to raise: a DecodeError for what the package says of the bytes, else `error` itself."""
    if isinstance(error, Exception) or type(error).__name__ == _PANIC:
        return DecodeError(f"{attempt}: {str(error)[:200]}", path=path)
    return error
