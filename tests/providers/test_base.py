import pytest

from interlock.providers import PROVIDERS, close_all


class Closing:
    def __init__(self, error=None):
        self.closed, self.error = 0, error

    async def aclose(self):
        self.closed += 1
        if self.error:
            raise self.error


async def test_every_provider_is_closed_even_when_one_fails():
    providers = [Closing(), object(), Closing(OSError("stuck")), Closing()]
    with pytest.raises(OSError, match="stuck"):
        await close_all(providers)
    assert [one.closed for one in providers if isinstance(one, Closing)] == [1, 1, 1]


def test_every_kind_has_the_one_method():
    assert all(callable(kind.send) for kind in PROVIDERS.values())
