"""What the figures of a report are, in a line each."""

from __future__ import annotations

import re
from collections.abc import Iterable

LEGEND = {
    "top1": "share of the test sequences given the right class: of knn that of the nearest "
    "training sequence, of occlusion and robustness without alterations",
    "vote": "share of the test sequences given the right class by their k nearest training "
    "sequences, 5 by default",
    "map": "mean average precision of retrieval: training sequences by similarity, those of the "
    "same class being relevant",
    "recall_at_K": "share of the test sequences with their class among the K nearest training "
    "sequences",
    "top1_at_F": "top1 after fine-tuning with the labels of the share F of the training part",
    "spatial_top1": "top1 with body parts hidden; of robustness the mean over the shares",
    "temporal_top1": "top1 with a block of frames hidden; of robustness the mean over the shares",
    "spatial_top1_occluded_training": "spatial_top1 of a classifier trained on recordings occluded "
    "alike",
    "temporal_top1_occluded_training": "temporal_top1 of a classifier trained on recordings "
    "occluded alike",
    "spatial_drop": "top1 less spatial_top1",
    "temporal_drop": "top1 less temporal_top1",
    "spatial_drop_occluded_training": "top1 less spatial_top1_occluded_training",
    "temporal_drop_occluded_training": "top1 less temporal_top1_occluded_training",
    "noise_top1": "top1 with noise on the joints, the mean over its strengths",
    "frame_rate_top1": "top1 with only every n-th frame, the mean over n",
    "map_action_voc_T": "mean over classes of the average precision of detected intervals, as in "
    "PASCAL VOC; right is an overlap (intersection over union) of T or more",
    "map_action_pku_T": "mean over classes of the average precision of detected intervals, as in "
    "PKU-MMD's evaluation; right is an overlap of T or more",
    "map_video_pku_T": "mean over recordings of the average precision of detected intervals, all "
    "classes together, as in PKU-MMD's evaluation; right is an overlap of T or more",
    "map_action_published_T": "map_action_voc_T with ends as the code of PCM3 and PCM3++ reads "
    "them, to compare with their figures: proposals may end a frame early or after the recording, "
    "and both ends count as included",
    "map_video_published_T": "map_video_pku_T with ends as the code of PCM3 and PCM3++ reads them, "
    "to compare with their figures: proposals may end a frame early or after the recording",
    "f1_T": "harmonic mean of precision and recall of detected intervals, overlap T or more",
    "ap_2d": "PKU-MMD's 2D-AP: average precision, the mean over overlaps 0.05, 0.1 ... 1",
    "frame_accuracy": "share of the frames given the right class, background being one",
    "svm_Nshot": "accuracy in episodes with N examples of each class, by a linear SVM; chance is "
    "one in the number of classes of an episode, 5 by default",
    "centroid_Nshot": "accuracy in episodes with N examples of each class, by the nearest mean",
    "logistic_Nshot": "accuracy in episodes with N examples of each class, by logistic regression",
    "svm_Nshot_ci95": "half the width of the 95 % interval of svm_Nshot",
    "centroid_Nshot_ci95": "half the width of the 95 % interval of centroid_Nshot",
    "logistic_Nshot_ci95": "half the width of the 95 % interval of logistic_Nshot",
    "mpjpe_mm": "mean distance of predicted joints from the true ones (MPJPE) over all predicted "
    "frames; less is better",
    "mpjpe_mm_by_horizon.N": "mpjpe_mm of the N-th predicted frame alone",
    "zero_velocity_mm": "what mpjpe_mm is when nothing moves after the last frame seen",
    "zero_velocity_mm_by_horizon.N": "zero_velocity_mm of the N-th frame alone",
    "running_average_N_mm": "what mpjpe_mm is for the mean of the last N frames seen, held still",
    "running_average_N_mm_by_horizon.N": "running_average_N_mm of one frame alone",
}
"""Name of a figure, a capital for a number in it, to what it is."""


def explain(figures: Iterable[str]) -> dict[str, str]:
    """Of the legend what these figures need, in its order."""
    there = set(figures)
    return {
        name: text
        for name, text in LEGEND.items()
        if any(re.fullmatch(re.sub("[A-Z]", r"[\\d.]+", re.escape(name)), each) for each in there)
    }
