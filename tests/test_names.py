"""Names that people look for in another module than the one that has them."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from types import ModuleType

import pytest

import pcm3
import pcm3.augment
import pcm3.data
import pcm3.losses


@pytest.mark.parametrize(
    ("module", "name", "home", "meant"),
    [
        ("pcm3", "TopologyMask", "pcm3.augment", "TopologyMask"),
        ("pcm3", "info_nce", "pcm3.losses", "info_nce"),
        ("pcm3", "topologymask", "pcm3.augment", "TopologyMask"),
        ("pcm3", "InfoNce", "pcm3.losses", "InfoNCE"),
        ("pcm3", "load_official", "pcm3.hub", "load_official"),
        ("pcm3.losses", "MemoryQueue", "pcm3", "MemoryQueue"),
        ("pcm3.augment", "GRUEncoder", "pcm3.encoders", "GRUEncoder"),
        ("pcm3.data", "NTU25", "pcm3", "NTU25"),
        ("pcm3.heads", "InfoNCE", "pcm3.losses", "InfoNCE"),
        ("pcm3.augment", "Rotation", "pcm3.augment", "Rotate"),
        ("pcm3.augment", "RandomRotate", "pcm3.augment", "Rotate"),
        ("pcm3.encoders", "STGCN", "pcm3.encoders", "STGCNEncoder"),
        ("pcm3.encoders", "GruEncoders", "pcm3.encoders", "GRUEncoder"),
        ("pcm3.losses", "infonce", "pcm3.losses", "info_nce"),
        ("pcm3.losses", "topologymask", "pcm3.augment", "TopologyMask"),
        ("pcm3.evaluation", "evaluate_linear", "pcm3.evaluation.tasks.linear", "evaluate_linear"),
    ],
)
def test_a_name_of_another_module_is_pointed_to(
    module: str, name: str, home: str, meant: str
) -> None:
    asked = importlib.import_module(module)
    for error, action in (
        (ImportError, lambda: exec(f"from {module} import {name}", {})),
        (AttributeError, lambda: getattr(asked, name)),
    ):
        with pytest.raises(error, match=rf"{module!r}.*{home}\b") as raised:
            action()
        assert meant in str(raised.value)
    assert hasattr(importlib.import_module(home), meant)


@pytest.mark.parametrize("module", [pcm3, pcm3.data, pcm3.augment, pcm3.losses])
def test_other_names_are_missing_as_in_any_module(module: ModuleType) -> None:
    for name in ("_TopologyMask", "__wrapped__", "zebra_crossing"):
        assert not hasattr(module, name)
        with pytest.raises(AttributeError) as raised:
            getattr(module, name)
        assert raised.value.name == name
        assert "it is in" not in str(raised.value).lower()
    with pytest.raises(ImportError, match="zebra_crossing"):
        exec(f"from {module.__name__} import zebra_crossing", {})


def test_modules_are_attributes_of_their_package() -> None:
    code = "import pcm3; print(pcm3.augment.Shear, pcm3.losses.info_nce)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_elsewhere_are_missing_to_those_who_only_look() -> None:
    """Pickle looks through all modules for an object that does not say where it is from."""
    assert not hasattr(pcm3, "TopologyMask")
    assert getattr(pcm3.losses, "MemoryQueue", None) is None

    def paste() -> None: ...

    paste.__module__ = None  # type: ignore[assignment]
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(paste)


def test_modules_are_imported_from_packages() -> None:
    from pcm3 import encoders, losses
    from pcm3.data import resample

    assert [module.__name__ for module in (encoders, losses, resample)] == [
        "pcm3.encoders",
        "pcm3.losses",
        "pcm3.data.resample",
    ]


def test_modules_are_imported_when_first_asked_for() -> None:
    script = (
        "import sys, pcm3\n"
        "assert not [name for name in sys.modules if name == 'torch']\n"
        "assert pcm3.augment.functional.apply_mask is pcm3.augment.functional.mask.apply_mask\n"
        "assert pcm3.data.store.Store is pcm3.data.Store\n"
        "assert 'pcm3.encoders' not in sys.modules\n"
        "assert pcm3.queue.MemoryQueue is pcm3.MemoryQueue\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert not hasattr(pcm3, "no_module")


def test_every_hint_leads_to_the_name() -> None:
    """All public names of the parts are found from the package, where they really are."""
    parts = ("augment", "augment.functional", "encoders", "skeleton", "methods", "data", "hub")
    for part in parts:
        module = importlib.import_module(f"pcm3.{part}")
        for name in module.__all__:
            if name in pcm3.__all__ or isinstance(getattr(module, name), ModuleType):
                continue
            with pytest.raises(AttributeError, match=rf"it is in .*\bpcm3\.{part}\b"):
                getattr(pcm3, name)
