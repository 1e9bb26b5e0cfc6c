"""A device that is not the CPU, for tests on machines that have no other.

Its tensors compute on the CPU, but as on a GPU: operations on tensors of both devices are refused,
NumPy cannot read them, random numbers need a generator of the device, and whenever the host waits
for a value it is counted. For a process of its own: torch knows at most one such device, and only
if it hears of it before the first backward pass.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

DEVICE = torch.device("privateuseone", 0)

_aten = torch.ops.aten
_MOVES = {_aten._to_copy.default, _aten.copy_.default}
_INDEXING = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default}
_WAITS = {
    _aten._local_scalar_dense.default,
    _aten.equal.default,
    _aten.masked_select.default,
    _aten.nonzero.default,
}


def register() -> None:
    """Tell torch of the device; to be called once, before anything else."""
    backend_registration._setup_privateuseone_for_python_backend("elsewhere", _Module(), _Hook())


class Elsewhere(TorchDispatchMode):
    """While it is entered, the device is there, the only one beside the CPU."""

    there = False
    waits = 0
    """How often the host has waited for the device since it was entered."""

    def __enter__(self) -> Self:
        self._calls = _Calls()
        self._calls.__enter__()
        Elsewhere.there, Elsewhere.waits, torch.Generator = True, 0, _Generator
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        Elsewhere.there, torch.Generator = False, _Generator.__base__
        self._calls.__exit__(*error)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _compute(function, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """What dispatch does not see: generators, and values that come from Python."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        generator = kwargs.get("generator")
        if generator is not None:
            device = kwargs.get("device") or getattr(args[0], "device", "cpu")
            if getattr(generator, "elsewhere", False) != _is_here(device):
                raise RuntimeError(f"{function}: expected a generator of {device}")
        if function in (torch.tensor, torch.as_tensor) and "device" in kwargs:
            return function(*args, **{**kwargs, "device": None}).to(kwargs["device"])
        if function is torch.gru and args[-1] is True:  # batch_first would transpose in place
            output, state = function(args[0].transpose(0, 1), *args[1:-1], False)
            return output.transpose(0, 1), state
        return function(*args, **kwargs)


class _Elsewhere(Tensor):
    """A tensor whose values lie in ``here``, on the CPU."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> Self:
        tensor = Tensor._make_wrapper_subclass(
            cls, here.size(), here.stride(), here.storage_offset(), dtype=here.dtype, device=DEVICE
        )
        tensor.here = here
        return tensor

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _compute(function, args, kwargs or {})


class _Generator(torch.Generator):
    """A generator of any device; here the CPU computes its numbers."""

    elsewhere = False

    def __new__(cls, device: torch.device | str = "cpu") -> Self:
        generator = super().__new__(cls, "cpu" if _is_here(device) else device)
        generator.elsewhere = _is_here(device)
        return generator

    @property
    def device(self) -> torch.device:
        """Where its numbers are for."""
        return DEVICE if self.elsewhere else super().device


class _Hook(backend_registration._DummyPrivateUse1Hook):
    def is_available(self) -> bool:
        return Elsewhere.there


class _Module(backend_registration._DummyBackendModule):
    def is_available(self) -> bool:
        return Elsewhere.there

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


def _is_here(device: torch.device | str | None) -> bool:
    return device is not None and torch.device(device).type == DEVICE.type


def _compute(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    values, structure = tree_flatten((args, kwargs))
    away = [each for each in values if isinstance(each, _Elsewhere)]
    device = kwargs.get("device")
    if not away and not _is_here(device):
        return function(*args, **kwargs)
    if away and function not in _MOVES | _INDEXING:
        tensors = [each for each in values if isinstance(each, Tensor)]
        if any(each.ndim and not isinstance(each, _Elsewhere) for each in tensors):
            shapes = [(str(each.device), *each.shape) for each in tensors]
            raise RuntimeError(f"{function}: expected tensors of one device, got {shapes}")
    if device is not None:
        stays = _is_here(device)
    else:
        stays = isinstance(args[0], _Elsewhere) if function is _aten.copy_.default else bool(away)
    fetched = function in _MOVES and away and not stays and not kwargs.get("non_blocking")
    if function in _WAITS or fetched:
        Elsewhere.waits += 1
    own = {id(each.here): each for each in away}
    here = (each.here if isinstance(each, _Elsewhere) else each for each in values)
    args, kwargs = tree_unflatten(here, structure)
    if device is not None:
        kwargs["device"] = "cpu"

    def leave(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) in own:  # an operation in place
            return own[id(value)]
        return _Elsewhere(value) if stays else value

    return tree_map(leave, _SUBSTITUTES.get(function, function)(*args, **kwargs))


def _gru_cell(
    inputs: Tensor, hidden: Tensor, state: Tensor, *biases: Tensor | None
) -> tuple[Tensor, Tensor]:
    """torch's own step of a GRU on accelerators, which the CPU does not have."""
    first, second = biases or (None, None)
    r, z, n = (inputs if first is None else inputs + first).chunk(3, -1)
    hr, hz, hn = (hidden if second is None else hidden + second).chunk(3, -1)
    reset, update = (r + hr).sigmoid(), (z + hz).sigmoid()
    new = (n + reset * hn).tanh()
    return new + update * (state - new), torch.cat([reset, update, new, state, hn], -1)


def _gru_cell_backward(
    gradient: Tensor, kept: Tensor, has_bias: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    reset, update, new, state, hn = kept.chunk(5, -1)
    of_new = gradient * (1 - update) * (1 - new**2)
    of_update = gradient * (state - new) * update * (1 - update)
    of_reset = of_new * hn * reset * (1 - reset)
    inputs = torch.cat([of_reset, of_update, of_new], -1)
    hidden = torch.cat([of_reset, of_update, of_new * reset], -1)
    biases = (inputs.sum(0), hidden.sum(0)) if has_bias else (None, None)
    return inputs, hidden, gradient * update, *biases


_SUBSTITUTES = {
    _aten._thnn_fused_gru_cell.default: _gru_cell,
    _aten._thnn_fused_gru_cell_backward.default: _gru_cell_backward,
}
