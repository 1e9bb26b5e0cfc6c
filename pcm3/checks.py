"""Checks of the arguments of public functions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from numbers import Integral, Real
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def check_clips(
    clips: Tensor,
    *,
    joints: int | None = None,
    channels: int | None = None,
    persons: int | None = None,
    finite: bool = False,
    unbatched: bool = False,
) -> None:
    """Require clips ``(N, C, T, V, M)`` of the given sizes.

    Args:
        clips: What the caller passed.
        joints: Required V, if given.
        channels: Required C, if given.
        persons: Required M, if given.
        finite: Also refuse NaN and infinity, if values are ``readable``.
        unbatched: Also accept one clip ``(C, T, V, M)`` with C at most 3 and M at most 2. With a
            larger C or M it is probably a batch ``(N, C, T, V)`` or ``(N, T, V, C)`` without the
            axis of persons.

    Raises:
        ValueError: If the type or shape is another, or there are fewer joints than persons; with
            ``finite``, if an entry is not finite.
    """
    check_tensor("clips", clips)
    one = unbatched and clips.ndim == 4 and clips.shape[0] <= 3 and clips.shape[3] <= 2
    sizes = ((-4, channels), (-2, joints), (-1, persons))
    fits = (clips.ndim == 5 or one) and all(
        size is None or clips.shape[axis] == size for axis, size in sizes
    )
    if not fits or 0 in clips.shape:
        layout = f"C{_equals(channels)}, T, V{_equals(joints)}, M{_equals(persons)})"
        or_one = f", or one clip ({layout} with M at most 2 and C at most 3" if unbatched else ""
        and_all = ", no axis empty" if fits else ""
        got = tuple(clips.shape)
        raise ValueError(f"expected clips (N, {layout}{or_one}{and_all}, got {got}")
    if clips.shape[-2] < clips.shape[-1]:
        raise ValueError(
            f"expected clips (N, C, T, V, M) with no fewer joints V than persons M, got "
            f"{tuple(clips.shape)}"
        )
    if not clips.is_floating_point():
        raise ValueError(f"expected floating-point clips, got {clips.dtype}")
    if finite and readable(clips) and not _all_finite(clips):
        sample, _, frame, joint, person = (~clips.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            "expected finite coordinates, got NaN or infinity in "
            f"sample {sample}, frame {frame}, joint {joint}, person {person}"
        )


def _all_finite(values: Tensor) -> bool:
    # ten times as fast; a sum is finite only if all entries are
    return bool(values.sum().isfinite()) or bool(values.isfinite().all())


def readable(values: Tensor) -> bool:
    """Whether the values of a tensor can be read cheaply, to check them.

    They are not read on an accelerator, where the host would wait for the device. They cannot be
    read if there are only shapes: on ``meta``, while ``torch.compile`` or ``torch.export`` traces,
    and in fake tensors and other subclasses.
    """
    import torch  # noqa: PLC0415 - readers check their settings without it

    if torch.compiler.is_compiling() or values.device.type != "cpu":
        return False
    return type(values) is torch.Tensor or isinstance(values, torch.nn.Parameter)


def check_rows_finite(name: str, rows: Tensor) -> None:
    """Require rows ``(N, ...)`` of finite numbers.

    Raises:
        ValueError: If a number is not finite; the message names the row.
    """
    finite = rows.isfinite()
    if not bool(finite.all()):
        row = int((~finite).flatten(1).any(dim=1).nonzero()[0])
        raise ValueError(f"expected finite {name}, got NaN or infinity in row {row}")


def check_unit_rows(name: str, rows: Tensor) -> None:
    """Require rows ``(N, D)`` of length 1 to within 1 %, which ``F.normalize`` in bfloat16 keeps.

    Rows of NaN pass: they show in whatever is computed of them.

    Raises:
        ValueError: If a row has another length; the message names it.
    """
    lengths = rows.detach().float().norm(dim=1)
    wrong = (lengths - 1).abs() > _UNIT_TOLERANCE
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"expected {name} of length 1, F.normalize({name}, dim=1), got one of length "
            f"{float(lengths[row]):.4g} in row {row}"
        )


_UNIT_TOLERANCE = 0.01


def check_tensor(name: str, value: object) -> None:
    """Require a tensor.

    Raises:
        ValueError: If the value has another type.
    """
    from torch import Tensor  # noqa: PLC0415 - readers check their settings without it

    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: expected a torch tensor, got {type_name(value)}")


def check_integers(name: str, values: Tensor) -> None:
    """Require an integer tensor.

    Raises:
        ValueError: If the dtype is another.
    """
    import torch  # noqa: PLC0415 - readers check their settings without it

    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ValueError(f"expected integer {name}, got {values.dtype}")


def check_generator(generator: object, device: torch.device) -> None:
    """Require a generator of this device, or None.

    Raises:
        ValueError: If the value has another type or device.
    """
    import torch  # noqa: PLC0415 - readers check their settings without it

    if generator is None:
        return
    if not isinstance(generator, torch.Generator):
        raise ValueError(f"expected generator to be a torch.Generator, got {type_name(generator)}")
    if generator.device.type != device.type:
        raise ValueError(
            f"expected a generator of {device}, torch.Generator({str(device)!r}), got one of "
            f"{str(generator.device)!r}"
        )


def type_name(value: object) -> str:
    """The name of a value's type, such as ``numpy.ndarray`` or ``list``."""
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def shape_or_type(value: object) -> str:
    """``(4, 3)`` for a tensor of this shape; of anything else the type."""
    from torch import Tensor  # noqa: PLC0415 - readers check their settings without it

    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    return f"{type_name(value)}, which is no torch tensor"


def check_at_least(name: str, value: float, least: float) -> None:
    """Require a number of at least ``least``, and not NaN.

    Raises:
        ValueError: If the number is smaller or NaN.
    """
    check_number(name, value)
    if not value >= least:
        raise ValueError(f"expected {name} >= {least}, got {value}")


def check_different(name: str, values: Sequence[object]) -> None:
    """Require different values.

    Raises:
        ValueError: If a value occurs twice.
    """
    if len(set(values)) < len(values):
        raise ValueError(f"expected different {name}, got {tuple(values)}")


def check_increasing(name: str, values: Sequence[float]) -> None:
    """Require strictly increasing values.

    Raises:
        ValueError: If a value is not larger than the one before.
    """
    if any(after <= before for before, after in pairwise(values)):
        raise ValueError(f"expected increasing {name}, got {tuple(values)}")


def check_number(name: str, value: object) -> None:
    """Require a number; a tensor or an array counts as one.

    Raises:
        ValueError: If the value is something else.
    """
    if not isinstance(value, Real) and not hasattr(value, "item"):
        advice = ": no skeleton is needed here" if type(value).__name__ == "Skeleton" else ""
        raise ValueError(f"expected {name} to be a number, got {shorten(value)}{advice}")


def check_count(name: str, value: object) -> None:
    """Require a whole number of at least 1.

    Raises:
        ValueError: If the value is something else.
    """
    if not isinstance(value, Integral):
        raise ValueError(f"expected {name} to be a whole number, got {shorten(value)}")
    check_at_least(name, int(value), 1)


def check_flag(name: str, value: object) -> None:
    """Require True or False.

    Raises:
        ValueError: If the value is something else.
    """
    if not isinstance(value, bool):
        raise ValueError(f"expected {name} to be True or False, got {shorten(value)}")


def shorten(value: object) -> str:
    """A value for a message, or its type if the value is long."""
    text = repr(value)
    return text if len(text) <= 40 else type_name(value)


def check_positive(name: str, value: float) -> None:
    """Require a number above zero.

    Raises:
        ValueError: If the value is not above zero.
    """
    check_number(name, value)
    if not value > 0:
        raise ValueError(f"expected {name} > 0, got {value}")


def check_seed(seed: int) -> None:
    """Require a seed that numpy, torch and scikit-learn all accept.

    Raises:
        ValueError: If the seed is not in [0, 2**32).
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"expected seed in [0, 2**32), got {seed}")


def check_not_empty(name: str, values: Sequence[object]) -> None:
    """Require at least one value.

    Raises:
        ValueError: If there is none.
    """
    if not len(values):
        raise ValueError(f"expected at least one of {name}, got none")


def _equals(size: int | None) -> str:
    return "" if size is None else f"={size}"


def check_transforms(**transforms: object) -> None:
    """Require that each transform is callable or None.

    Raises:
        ValueError: If one is something else.
    """
    for name, transform in transforms.items():
        if transform is not None and (not callable(transform) or isinstance(transform, type)):
            raise ValueError(
                f"expected {name} to be a transform of clips, such as Shear(), got "
                f"{shorten(transform)}"
            )


def check_range(name: str, bounds: Sequence[float], low: float, high: float) -> None:
    """Require ``low <= bounds[0] <= bounds[1] <= high``.

    Raises:
        ValueError: If the bounds are not such a pair of numbers.
    """
    if not isinstance(bounds, Collection) or len(bounds) != 2:
        raise ValueError(f"expected {name} as two numbers (a, b), got {shorten(bounds)}")
    for bound in bounds:
        check_number(name, bound)
    if not low <= bounds[0] <= bounds[1] <= high:
        raise ValueError(f"expected {name} (a, b) with {low} <= a <= b <= {high}, got {bounds}")


def check_share(name: str, value: float) -> None:
    """Require a number in [0, 1].

    Raises:
        ValueError: If the value is outside.
    """
    check_number(name, value)
    if not 0 <= value <= 1:
        raise ValueError(f"expected {name} in [0, 1], got {value}")


def check_probabilities(probabilities: Sequence[float], count: int) -> None:
    """Require ``count`` probabilities that sum to 1.

    Raises:
        ValueError: If they do not fit.
    """
    if not isinstance(probabilities, Collection):
        raise ValueError(f"expected {count} probabilities, got {shorten(probabilities)}")
    for probability in probabilities:
        check_number("a probability", probability)
    wrong_size = len(probabilities) != count
    if wrong_size or min(probabilities) < 0 or abs(sum(probabilities) - 1) > 1e-6:
        raise ValueError(
            f"expected {count} probabilities >= 0 that sum to 1, got {tuple(probabilities)}"
        )


def check_values(
    name: str, values: Tensor, clips: Tensor, *shape: int, dtype: torch.dtype | None = None
) -> None:
    """Require values ``(N, *shape)`` for a batch of clips, ``shape`` for one clip.

    Raises:
        ValueError: If type, shape, dtype or device is another.
    """
    check_tensor(name, values)
    expected = (*clips.shape[:-4], *shape)
    if tuple(values.shape) != expected:
        raise ValueError(
            f"expected {name} {expected} for clips {tuple(clips.shape)}, got {tuple(values.shape)}"
        )
    if values.device != clips.device:
        raise ValueError(
            f"expected {name} on {clips.device}, as the clips are, got {values.device}"
        )
    if dtype is not None and values.dtype != dtype:
        raise ValueError(f"expected {name} of {dtype}, got {values.dtype}")


def check_lengths(lengths: Tensor, clips: Tensor) -> None:
    """Require valid frames ``(N,)`` in [1, T] for a batch, a scalar for one clip.

    The range is checked if values are ``readable``.

    Raises:
        ValueError: If type, shape, dtype or device is another, or a length is out of range.
    """
    check_tensor("lengths", lengths)
    samples, frames = tuple(clips.shape[:-4]), clips.shape[-3]
    if tuple(lengths.shape) != samples:
        wanted = f"(N={samples[0]},)" if samples else "() for one clip"
        raise ValueError(f"expected lengths {wanted}, got {tuple(lengths.shape)}")
    check_integers("lengths", lengths)
    if lengths.device != clips.device:
        raise ValueError(
            f"expected lengths on {clips.device}, as the clips are, got {lengths.device}"
        )
    if not readable(lengths):
        return
    inside = (lengths >= 1) & (lengths <= frames)
    if not bool(inside.all()):
        index = int((~inside).flatten().nonzero()[0])
        raise ValueError(
            f"expected lengths in [1, T={frames}], got {int(lengths.flatten()[index])} "
            f"in sample {index}"
        )


def check_frame_ranges(clips: Tensor, starts: Tensor, lengths: Tensor) -> None:
    """Require one non-empty range of frames for every clip, within the clip.

    The range is checked if values are ``readable``.

    Raises:
        ValueError: If shape or dtype is another, or a range is empty or leaves its clip.
    """
    for name, values in (("starts", starts), ("lengths", lengths)):
        check_values(name, values, clips)
        check_integers(name, values)
    if not (readable(starts) and readable(lengths)):
        return
    inside = (starts >= 0) & (lengths >= 1) & (starts + lengths <= clips.shape[-3])
    if not bool(inside.all()):
        index = int((~inside).flatten().nonzero()[0])
        raise ValueError(
            f"expected 0 <= start, 1 <= length and start + length <= T={clips.shape[-3]}, got "
            f"start {int(starts.flatten()[index])} and length {int(lengths.flatten()[index])} "
            f"in sample {index}"
        )
