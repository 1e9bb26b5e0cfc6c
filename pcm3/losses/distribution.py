"""Losses of the distribution of queries over their key and the queue, as in AimCLR."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pcm3.checks import check_positive, shape_or_type
from pcm3.losses.checks import check_device, check_normalized, check_pair, check_width, in_float32


def key_and_queue_logits(
    query: Tensor, key: Tensor, anchors: Tensor, temperature: float = 0.07
) -> Tensor:
    """Similarities ``(N, 1 + K)`` of queries to their keys and to a queue, over a temperature.

    Args:
        query: Embeddings ``(N, D)``, L2-normalised.
        key: Their keys ``(N, D)``, L2-normalised.
        anchors: The queue ``(K, D)``, L2-normalised.
        temperature: tau > 0.

    Raises:
        ValueError: If shapes do not fit, the temperature is not positive, or a query or key is not
            of length 1 to within 1 % (checked on the CPU only).

    Example:
        >>> z = torch.eye(2)
        >>> key_and_queue_logits(z, z, -z, temperature=1.0).tolist()
        [[1.0, -1.0, 0.0], [1.0, 0.0, -1.0]]
    """
    check_positive("temperature", temperature)
    check_pair("query", query, "key", key)
    check_width("anchors", anchors, query)
    check_normalized(query=query, key=key)
    with in_float32(query):
        query, key, anchors = query.float(), key.float(), anchors.float()
        own = (query * key).sum(dim=1, keepdim=True)
        return torch.cat([own, query @ anchors.T], dim=1) / temperature


def distribution_ce(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Make the distribution of the student follow that of the teacher (AimCLR, D3M).

    .. math::
        -\frac{1}{N} \sum_n \sum_j p_j(t_n) \log p_j(s_n), \qquad p = \mathrm{softmax}

    Args:
        student: Logits s ``(N, 1 + K)``, see :func:`key_and_queue_logits`.
        teacher: Logits t ``(N, 1 + K)``; they get no gradient.

    Returns:
        A scalar.

    Raises:
        ValueError: If the shapes do not fit.

    Source:
        Guo et al.: Contrastive Learning from Extremely Augmented Skeleton Sequences, AAAI 2022.
    """
    check_pair("student", student, "teacher", teacher)
    with in_float32(student):
        return F.cross_entropy(student.float(), teacher.detach().float().softmax(dim=1))


def multi_positive_info_nce(logits: Tensor, positives: Tensor) -> Tensor:
    r"""Contrast each query with several positives (AimCLR, nearest-neighbour mining).

    .. math::
        -\frac{1}{N} \sum_n \frac{1}{|P_n|} \sum_{j \in P_n} \log p_j(l_n)

    With the key as the only positive this is :func:`pcm3.losses.info_nce`.

    Args:
        logits: l ``(N, 1 + K)``, see :func:`key_and_queue_logits`.
        positives: The sets P, boolean ``(N, 1 + K)``, with at least one True in each row.

    Returns:
        A scalar.

    Raises:
        ValueError: If shape or dtype do not fit.

    Source:
        Guo et al.: Contrastive Learning from Extremely Augmented Skeleton Sequences, AAAI 2022.
    """
    check_pair("logits", logits, "logits", logits)
    boolean = isinstance(positives, Tensor) and positives.dtype == torch.bool
    if not boolean or positives.shape != logits.shape:
        raise ValueError(
            f"expected boolean positives {tuple(logits.shape)}, got {shape_or_type(positives)}"
        )
    check_device("positives", positives, "logits", logits)
    with in_float32(logits):
        chosen = logits.float().log_softmax(dim=1) * positives
        return -(chosen.sum(dim=1) / positives.sum(dim=1)).mean()
