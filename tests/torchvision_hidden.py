"""Hides a torchvision that does not fit torch, as PyPI's does not fit torch's CPU build.

It is asked for by packages that do without where they find none, and breaks the import of whichever
tries it first. Importing this module hides it, from metadata too, which torchmetrics looks at.
"""

import importlib.metadata
import sys

try:
    import torchvision  # noqa: F401
except Exception:  # whatever it is that does not fit
    _found = importlib.metadata.distribution

    def _distribution(name):
        if name == "torchvision":
            raise importlib.metadata.PackageNotFoundError(name)
        return _found(name)

    importlib.metadata.distribution = _distribution
    importlib.metadata.version = lambda name: _distribution(name).version
    for _name in [name for name in sys.modules if name.startswith("torchvision.")]:
        del sys.modules[_name]
    sys.modules["torchvision"] = None
