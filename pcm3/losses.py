"""The losses of PCM3, each as a function and as a module.

Arithmetic is float32 for inputs of any precision, and within autocast regions.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcm3.checks import check_positive, readable, shape_or_type

Reduction = Literal["mean", "none"]
_REDUCTIONS = get_args(Reduction)


def info_nce(
    query: Tensor,
    key: Tensor,
    negatives: Tensor,
    temperature: float = 0.07,
    reduction: Reduction = "mean",
    similarity: Tensor | None = None,
) -> Tensor:
    r"""Contrast each query with its key against all negatives (PCM3 Eq. 1).

    .. math::
        -\log \frac{\exp(z \cdot z' / \tau)}
                   {\exp(z \cdot z' / \tau) + \sum_i \exp(z \cdot m_i / \tau)}

    Args:
        query: Embeddings z ``(N, D)``, L2-normalised.
        key: Positives z' ``(N, D)``, L2-normalised.
        negatives: Embeddings m ``(K, D)``, L2-normalised.
        temperature: tau > 0.
        reduction: ``"mean"`` over the batch, or ``"none"``.
        similarity: ``similarities(query, negatives)``, if it is already known.

    Returns:
        A scalar, or ``(N,)``.

    Raises:
        ValueError: If shapes do not fit or the temperature is not positive.

    Example:
        >>> z = torch.eye(2)
        >>> round(float(info_nce(z, z, -z, temperature=1.0)), 3)  # log(1 + (e^-1 + 1) / e)
        0.408
    """
    check_positive("temperature", temperature)
    _check_pair("query", query, "key", key)
    _check_width("negatives", negatives, query)
    _check_reduction(reduction)
    similarity = _known_or_computed(similarity, query, negatives)
    with _in_float32(query):
        positive = (query.float() * key.float()).sum(dim=1) / temperature
        # log(1 + sum exp(negatives) / exp(positive)), without a copy of all logits side by side
        loss = F.softplus(torch.logsumexp(similarity / temperature, dim=1) - positive)
        return loss.mean() if reduction == "mean" else loss


def nt_xent(
    first: Tensor, second: Tensor, temperature: float = 0.1, exclude_self: bool = True
) -> Tensor:
    r"""Contrast two views of each clip with both views of all other clips (SimCLR Eq. 1).

    .. math::
        -\frac{1}{2N} \sum_{i} \log \frac{\exp(z_i \cdot z_{p(i)} / \tau)}
                                      {\sum_{j \ne i} \exp(z_i \cdot z_j / \tau)}

    over the 2N embeddings, of which p(i) is the other view of i.

    Args:
        first: Embeddings of one view ``(N, D)``, L2-normalised, N >= 2.
        second: Embeddings of the other view ``(N, D)``, L2-normalised.
        temperature: tau > 0.
        exclude_self: Whether j = i is left out of the sum; else it counts with a similarity of -1,
            as in the code of MS2L.

    Returns:
        A scalar.

    Raises:
        ValueError: If shapes do not fit, there is a single clip, or the temperature is not
            positive.

    Source:
        Chen, Kornblith, Norouzi, Hinton: A Simple Framework for Contrastive Learning of Visual
        Representations, ICML 2020.

    Example:
        >>> z = torch.eye(2)
        >>> round(float(nt_xent(z, z, temperature=1.0)), 3)  # log(1 + 2 / e)
        0.551
    """
    check_positive("temperature", temperature)
    _check_pair("first", first, "second", second)
    if len(first) < 2:
        raise ValueError(f"expected two clips or more to contrast, got {len(first)}")
    with _in_float32(first):
        embeddings = torch.cat([first, second]).float()
        similarity = embeddings @ embeddings.T / temperature
        itself = torch.eye(len(embeddings), dtype=torch.bool, device=first.device)
        own = -torch.inf if exclude_self else -1 / temperature
        similarity = similarity.masked_fill(itself, own)
        positive = torch.arange(len(embeddings), device=first.device).roll(len(first))
        return F.cross_entropy(similarity, positive)


def relational_kl(
    student: Tensor,
    teacher: Tensor,
    anchors: Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.05,
    reduction: Reduction = "mean",
    similarity: Tensor | None = None,
) -> Tensor:
    r"""Make the student's similarities to the anchors follow the teacher's (PCM3 Eq. 3).

    .. math::
        \mathrm{KL}\left(p(z', \tau_k) \,\|\, p(z, \tau_q)\right), \qquad
        p_j(z, \tau) = \frac{\exp(z \cdot m_j / \tau)}{\sum_i \exp(z \cdot m_i / \tau)}

    The paper writes the cross-entropy, which differs by the teacher's entropy and has the same
    gradient. The teacher gets no gradient.

    Args:
        student: Embeddings z ``(N, D)``, L2-normalised.
        teacher: Embeddings z' ``(N, D)``, L2-normalised.
        anchors: Embeddings m ``(K, D)``, L2-normalised.
        student_temperature: tau_q > 0.
        teacher_temperature: tau_k > 0; lower than the student's sharpens the target.
        reduction: ``"mean"`` over the batch, or ``"none"``.
        similarity: ``similarities(student, anchors)``, if it is already known.

    Returns:
        A scalar, or ``(N,)``; not negative, except by rounding.

    Raises:
        ValueError: If shapes do not fit or a temperature is not positive.
    """
    check_positive("student_temperature", student_temperature)
    check_positive("teacher_temperature", teacher_temperature)
    _check_pair("student", student, "teacher", teacher)
    _check_width("anchors", anchors, student)
    _check_reduction(reduction)
    similarity = _known_or_computed(similarity, student, anchors)
    with _in_float32(student):
        log_student = F.log_softmax(similarity / student_temperature, dim=1)
        log_teacher = F.log_softmax(
            _products(teacher.detach(), anchors) / teacher_temperature, dim=1
        )
        divergence = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(1)
        return divergence.mean() if reduction == "mean" else divergence


def similarities(embeddings: Tensor, anchors: Tensor) -> Tensor:
    """Inner products ``(N, K)`` of embeddings ``(N, D)`` and anchors ``(K, D)``, float32.

    Raises:
        ValueError: If the shapes do not fit.
    """
    _check_pair("embeddings", embeddings, "embeddings", embeddings)
    _check_width("anchors", anchors, embeddings)
    return _products(embeddings, anchors)


def _products(embeddings: Tensor, anchors: Tensor) -> Tensor:
    with _in_float32(embeddings):
        return embeddings.float() @ anchors.float().T


def masked_mse(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    r"""Mean squared error over the hidden coordinates (PCM3 Eq. 4, as its code computes it).

    .. math::
        \frac{\sum_{n,c,t,v,m} M_{ntvm} (\hat x_{nctvm} - x_{nctvm})^2}
             {C \sum_{n,t,v,m} M_{ntvm}}

    Args:
        prediction: Clips ``(N, C, T, V, M)``.
        target: Clips ``(N, C, T, V, M)``.
        mask: Boolean ``(N, T, V, M)``, True where hidden.

    Returns:
        A scalar.

    Raises:
        ValueError: If shapes do not fit, the mask is not boolean, or nothing is masked (the
            last is checked on the CPU only: compiled or on an accelerator the result is then NaN).
    """
    _check_pair("prediction", prediction, "target", target, dims=5)
    n, channels, *rest = prediction.shape
    boolean = isinstance(mask, Tensor) and mask.dtype == torch.bool
    if not boolean or mask.shape != (n, *rest):
        kind = f"{mask.dtype} " if isinstance(mask, Tensor) else ""
        raise ValueError(
            f"expected a boolean mask (N, T, V, M) = {(n, *rest)}, got {kind}{shape_or_type(mask)}"
        )
    _check_device("mask", mask, "prediction", prediction)
    if readable(mask) and not bool(mask.any()):
        raise ValueError("expected a mask that hides at least one joint, got an empty mask")
    with _in_float32(prediction):
        squared = (prediction.float() - target.float()).square().sum(dim=1)
        return (squared * mask).sum() / (channels * mask.sum())


class InfoNCE(nn.Module):
    """The loss :func:`info_nce` as a module; the caller L2-normalises the embeddings.

    A queue starts with random vectors, which are easy negatives, so the loss starts low and rises
    while keys replace them. Keys come from a slow copy of the network
    (:class:`pcm3.ema.MomentumTwin`).

    Example:
        >>> z = torch.nn.functional.normalize(torch.randn(4, 8), dim=1)
        >>> InfoNCE(temperature=0.1)(z, z, torch.eye(8)).shape
        torch.Size([])
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        self.temperature = temperature

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        negatives: Tensor,
        reduction: Reduction = "mean",
        similarity: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`info_nce`."""
        return info_nce(query, key, negatives, self.temperature, reduction, similarity)

    def extra_repr(self) -> str:
        """The temperature."""
        return f"temperature={self.temperature}"


class RelationalKL(nn.Module):
    """The loss :func:`relational_kl` as a module."""

    def __init__(self, student_temperature: float = 0.1, teacher_temperature: float = 0.05) -> None:
        super().__init__()
        check_positive("student_temperature", student_temperature)
        check_positive("teacher_temperature", teacher_temperature)
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        anchors: Tensor,
        reduction: Reduction = "mean",
        similarity: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`relational_kl`."""
        return relational_kl(
            student,
            teacher,
            anchors,
            self.student_temperature,
            self.teacher_temperature,
            reduction,
            similarity,
        )

    def extra_repr(self) -> str:
        """The temperatures."""
        return (
            f"student_temperature={self.student_temperature}, "
            f"teacher_temperature={self.teacher_temperature}"
        )


class MaskedMSE(nn.Module):
    """The loss :func:`masked_mse` as a module."""

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Return the loss; see :func:`masked_mse`."""
        return masked_mse(prediction, target, mask)


def _in_float32(tensor: Tensor) -> AbstractContextManager[None]:
    """A context without autocast; the device ``meta`` has none to disable."""
    device = tensor.device.type
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)


def _check_pair(name: str, tensor: Tensor, other_name: str, other: Tensor, dims: int = 2) -> None:
    tensors = isinstance(tensor, Tensor) and isinstance(other, Tensor)
    if not tensors or tensor.ndim != dims or tensor.shape != other.shape:
        layout = "(N, D)" if dims == 2 else "(N, C, T, V, M)"
        raise ValueError(
            f"expected {name} and {other_name} as tensors of one shape {layout}, got "
            f"{shape_or_type(tensor)} and {shape_or_type(other)}"
        )
    _check_device(other_name, other, name, tensor)
    if len(tensor) == 0:
        raise ValueError(f"expected {name} of one sample or more, got {tuple(tensor.shape)}")
    for its_name, value in ((name, tensor), (other_name, other)):
        if not value.is_floating_point():
            raise ValueError(f"expected floating-point {its_name}, got {value.dtype}")


def _check_width(name: str, anchors: Tensor, embeddings: Tensor) -> None:
    width = embeddings.shape[1]
    rows = isinstance(anchors, Tensor) and anchors.ndim == 2
    if not rows or anchors.shape[1] != width or len(anchors) == 0:
        hint = "" if isinstance(anchors, Tensor) else ": the anchors of a MemoryQueue, say"
        if rows and len(anchors) == width:
            hint = ": are size and dim swapped, MemoryQueue(size=K, dim=D)?"
        raise ValueError(f"expected {name} (K, D={width}), got {shape_or_type(anchors)}{hint}")
    _check_device(name, anchors, "the embeddings", embeddings)


def _check_device(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    if tensor.device != other.device:
        raise ValueError(
            f"expected {name} on {other.device}, like {other_name}, got {tensor.device}"
        )


def _known_or_computed(similarity: Tensor | None, embeddings: Tensor, anchors: Tensor) -> Tensor:
    if similarity is None:
        return _products(embeddings, anchors)
    wanted = (len(embeddings), len(anchors))
    if tuple(similarity.shape) != wanted:
        raise ValueError(f"expected similarity (N, K) = {wanted}, got {tuple(similarity.shape)}")
    return similarity.float()


def _check_reduction(reduction: str) -> None:
    if reduction not in _REDUCTIONS:
        raise ValueError(f"expected a reduction among {_REDUCTIONS}, got {reduction!r}")
