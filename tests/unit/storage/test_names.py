"""Every public name of the package is there, sorted, and loads."""

import chronicle.storage as storage


def test_every_public_name_loads() -> None:
    assert storage.__all__ == sorted(storage.__all__)
    assert set(storage.__all__) == set(storage._HOMES)
    assert all(getattr(storage, name) is not None for name in storage.__all__)
