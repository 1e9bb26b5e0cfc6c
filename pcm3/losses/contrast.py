"""Contrast, distillation and masked prediction: the losses of PCM3 and SimCLR."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcm3.checks import check_positive, readable, shape_or_type
from pcm3.losses.checks import (
    Reduction,
    check_device,
    check_normalized,
    check_pair,
    check_reduction,
    check_width,
    in_float32,
)
from pcm3.losses.described import described_by


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
        ValueError: If shapes do not fit, the temperature is not positive, or a query or key is not
            of length 1 to within 1 % (checked on the CPU only).

    Source:
        Van den Oord et al.: Representation Learning with Contrastive Predictive Coding, 2018.

    Example:
        >>> z = torch.eye(2)
        >>> round(float(info_nce(z, z, -z, temperature=1.0)), 3)  # log(1 + (e^-1 + 1) / e)
        0.408
    """
    check_positive("temperature", temperature)
    check_pair("query", query, "key", key)
    check_width("negatives", negatives, query)
    check_normalized(query=query, key=key)
    check_reduction(reduction)
    similarity = _known_or_computed(similarity, query, negatives)
    with in_float32(query):
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
        ValueError: If shapes do not fit, there is a single clip, the temperature is not positive,
            or an embedding is not of length 1 to within 1 % (checked on the CPU only).

    Source:
        Chen, Kornblith, Norouzi, Hinton: A Simple Framework for Contrastive Learning of Visual
        Representations, ICML 2020.

    Example:
        >>> z = torch.eye(2)
        >>> round(float(nt_xent(z, z, temperature=1.0)), 3)  # log(1 + 2 / e)
        0.551
    """
    check_positive("temperature", temperature)
    check_pair("first", first, "second", second)
    if len(first) < 2:
        raise ValueError(f"expected two clips or more to contrast, got {len(first)}")
    check_normalized(first=first, second=second)
    with in_float32(first):
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
        ValueError: If shapes do not fit, a temperature is not positive, or an embedding of student
            or teacher is not of length 1 to within 1 % (checked on the CPU only).

    Source:
        Zhang, Lin, Liu: Prompted Contrast with Masked Motion Modeling, ACM MM 2023.
    """
    check_positive("student_temperature", student_temperature)
    check_positive("teacher_temperature", teacher_temperature)
    check_pair("student", student, "teacher", teacher)
    check_width("anchors", anchors, student)
    check_normalized(student=student, teacher=teacher)
    check_reduction(reduction)
    similarity = _known_or_computed(similarity, student, anchors)
    with in_float32(student):
        log_student = F.log_softmax(similarity / student_temperature, dim=1)
        log_teacher = F.log_softmax(
            _products(teacher.detach(), anchors) / teacher_temperature, dim=1
        )
        divergence = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(1)
        return divergence.mean() if reduction == "mean" else divergence


def topk_relational_kl(
    student: Tensor,
    teacher: Tensor,
    k: int,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.05,
) -> Tensor:
    r"""Make a student's similarities follow a teacher's where the teacher's are largest (CMD).

    .. math::
        \mathrm{KL}\left(\sigma(t_I / \tau_k) \,\|\, \sigma(s_I / \tau_q)\right), \qquad
        \sigma = \mathrm{softmax}, \quad I = \text{the } k \text{ largest entries of } t

    averaged over the batch. Student and teacher may be of different streams, with a queue each, if
    a position holds the same recording in both.

    Args:
        student: Similarities s ``(N, K)``, see :func:`similarities`.
        teacher: Similarities t ``(N, K)``; they get no gradient.
        k: Number of entries, in [1, K].
        student_temperature: tau_q > 0.
        teacher_temperature: tau_k > 0.

    Returns:
        A scalar.

    Raises:
        ValueError: If shapes do not fit, or k or a temperature is out of range.

    Source:
        Mao et al.: CMD: Self-supervised 3D Action Representation Learning with Cross-modal Mutual
        Distillation, ECCV 2022.
    """
    check_positive("student_temperature", student_temperature)
    check_positive("teacher_temperature", teacher_temperature)
    check_pair("student", student, "teacher", teacher)
    if not isinstance(k, int) or not 1 <= k <= teacher.shape[1]:
        raise ValueError(f"expected k in [1, K={teacher.shape[1]}], got {k!r}")
    with in_float32(student):
        top, places = teacher.detach().float().topk(k, dim=1, sorted=False)
        log_student = F.log_softmax(student.float().gather(1, places) / student_temperature, dim=1)
        log_teacher = F.log_softmax(top / teacher_temperature, dim=1)
        return F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)


def similarities(embeddings: Tensor, anchors: Tensor) -> Tensor:
    """Inner products ``(N, K)`` of embeddings ``(N, D)`` and anchors ``(K, D)``, float32.

    Raises:
        ValueError: If the shapes do not fit.
    """
    check_pair("embeddings", embeddings, "embeddings", embeddings)
    check_width("anchors", anchors, embeddings)
    return _products(embeddings, anchors)


def _products(embeddings: Tensor, anchors: Tensor) -> Tensor:
    with in_float32(embeddings):
        return embeddings.float() @ anchors.float().T


def masked_mse(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    r"""Mean squared error over the hidden coordinates (PCM3 Eq. 4, as its code computes it).

    .. math::
        \frac{\sum_{n,c,t,v,m} M_{ntvm} (\hat x_{nctvm} - x_{nctvm})^2}
             {C \sum_{n,t,v,m} M_{ntvm}}

    All joints that the mask hides count, those of absent persons and padded frames too: a mask of
    such zeros lowers the loss, see :class:`~pcm3.augment.TopologyMask`.

    Args:
        prediction: Clips ``(N, C, T, V, M)``.
        target: Clips ``(N, C, T, V, M)``.
        mask: Boolean ``(N, T, V, M)``, True where hidden.

    Returns:
        A scalar.

    Raises:
        ValueError: If shapes do not fit, the mask is not boolean, or nothing is masked (the
            last is checked on the CPU only: compiled or on an accelerator the result is then NaN).

    Example:
        >>> clips, mask = torch.zeros(2, 3, 4, 5, 1), torch.zeros(2, 4, 5, 1, dtype=torch.bool)
        >>> mask[:, 0] = True  # the first frame is hidden
        >>> float(masked_mse(clips + 2, clips, mask))
        4.0
    """
    check_pair("prediction", prediction, "target", target, dims=5)
    n, channels, *rest = prediction.shape
    boolean = isinstance(mask, Tensor) and mask.dtype == torch.bool
    if not boolean or mask.shape != (n, *rest):
        kind = f"{mask.dtype} " if isinstance(mask, Tensor) else ""
        raise ValueError(
            f"expected a boolean mask (N, T, V, M) = {(n, *rest)}, got {kind}{shape_or_type(mask)}"
        )
    check_device("mask", mask, "prediction", prediction)
    if readable(mask) and not bool(mask.any()):
        raise ValueError("expected a mask that hides at least one joint, got an empty mask")
    with in_float32(prediction):
        squared = (prediction.float() - target.float()).square().sum(dim=1)
        return (squared * mask).sum() / (channels * mask.sum())


@described_by(info_nce)
class InfoNCE(nn.Module):
    """This module is :func:`info_nce` with a fixed temperature.

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
        """Return the loss."""
        return info_nce(query, key, negatives, self.temperature, reduction, similarity)

    def extra_repr(self) -> str:
        """The temperature."""
        return f"temperature={self.temperature}"


@described_by(relational_kl)
class RelationalKL(nn.Module):
    """This module is :func:`relational_kl` with fixed temperatures.

    Example:
        >>> z = torch.nn.functional.normalize(torch.randn(4, 8), dim=1)
        >>> RelationalKL()(z, z, torch.eye(8)).shape
        torch.Size([])
    """

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
        """Return the loss."""
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


@described_by(masked_mse)
class MaskedMSE(nn.Module):
    """This module is :func:`masked_mse`.

    Example:
        >>> clips, mask = torch.zeros(2, 3, 4, 5, 1), torch.ones(2, 4, 5, 1, dtype=torch.bool)
        >>> float(MaskedMSE()(clips + 2, clips, mask))
        4.0
    """

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Return the loss."""
        return masked_mse(prediction, target, mask)


def _known_or_computed(similarity: Tensor | None, embeddings: Tensor, anchors: Tensor) -> Tensor:
    if similarity is None:
        return _products(embeddings, anchors)
    wanted = (len(embeddings), len(anchors))
    if tuple(similarity.shape) != wanted:
        raise ValueError(f"expected similarity (N, K) = {wanted}, got {tuple(similarity.shape)}")
    return similarity.float()
