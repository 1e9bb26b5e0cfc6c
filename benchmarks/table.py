"""Put the measured results into the pages of docs: every table from the files under results/.

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->``.

    python benchmarks/table.py
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import family_tables
import shipped_tables
from spread import RESULTS, averaged, percent, spread

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "docs" / f"{name}.md"
    for name in (
        "benchmark",
        "classify",
        "expect",
        "novelty",
        "pretrained",
        "results",
        "robustness",
        "training",
    )
]
DATASETS = {
    "utd_mhad": "UTD-MHAD, cross-subject",
    "nw_ucla": "NW-UCLA, cross-view",
    "sbu_interaction": "SBU, five folds",
}
DETECTION = {"precog2016": "PRECOG-2016, by subject", "msrc12_untrimmed": "MSRC-12, by subject"}
ROWS = {
    "recognition": {
        "random": "untrained encoder",
        "contrastive": "contrastive only",
        "pcm3": "PCM3",
    },
    "methods": {
        "pcm3": "PCM3",
        "pcm3pp": "PCM3++",
        "pcm3pp_distilled": "PCM3++, post-distilled",
        "mamp": "MAMP",
        "mae": "MAE (MAMP with coordinates)",
    },
    "encoders": {
        "random": "GRU, untrained",
        "pcm3": "GRU",
        "stgcn_random": "graph convolution, untrained",
        "stgcn": "graph convolution",
        "transformer_random": "transformer, untrained",
        "transformer": "transformer",
    },
    "streams": {
        "random": "joint, untrained",
        "pcm3_short": "joint, 10 epochs",
        "pcm3": "joint",
        "bone_random": "bone, untrained",
        "bone_short": "bone, 10 epochs",
        "bone": "bone",
        "motion_random": "motion, untrained",
        "motion_short": "motion, 10 epochs",
        "motion": "motion",
        "fused_equally": "all three, equal weights",
        "fused_0.6_0.6_0.4": "all three, weights 0.6, 0.6, 0.4",
    },
    "prompts": {
        "pcm3": "after the input normalisation",
        "pre_norm": "before the input normalisation",
        "no_prompts": "no prompts",
    },
}

DOWNSTREAM = {
    "utd_mhad": (
        "UTD-MHAD, cross-subject",
        {
            "linear.top1": "linear probe",
            "finetune.top1": "fine-tuned",
            "semi.top1_at_0.1": "fine-tuned, 10 % of the labels",
            "knn.top1": "nearest neighbour",
            "knn.map": "retrieval, mean average precision",
            "occlusion.spatial_top1": "body parts hidden in tests",
            "occlusion.spatial_top1_occluded_training": "body parts hidden, in training too",
            "occlusion.temporal_top1": "frames hidden in tests",
            "occlusion.temporal_top1_occluded_training": "frames hidden, in training too",
            "robustness.noise_top1": "noise, mean over its levels",
            "robustness.frame_rate_top1": "lower frame rates, mean over them",
            "prediction.mpjpe_mm": "motion prediction, error in mm",
        },
    ),
    "utd_mhad_unseen": (
        "UTD-MHAD, 7 classes kept out",
        {"fewshot.svm_1shot": "5-way, 1 example", "fewshot.svm_5shot": "5-way, 5 examples"},
    ),
    "precog2016": (
        "PRECOG-2016, cross-subject",
        {
            "detection.map_action_voc_0.1": "detection, mAP at tIoU 0.1 (`voc`)",
            "detection.map_action_voc_0.5": "detection, mAP at tIoU 0.5 (`voc`)",
            "detection.map_action_pku_0.5": "detection, mAP at tIoU 0.5 (`pku`)",
            "detection.ap_2d": "detection, 2D-AP",
        },
    ),
    "nw_ucla": (
        "NW-UCLA, cross-view",
        {"knn.top1": "nearest neighbour", "knn.map": "retrieval, mean average precision"},
    ),
    "sbu_interaction": (
        "SBU, five folds, two persons",
        {"linear.top1": "linear probe", "knn.top1": "nearest neighbour"},
    ),
}
"""Data set to title and the figures to show, as TASK.METRIC."""

EXPECTED = {
    "labels": (
        ("Labelled recordings of each action", "Encoder", "Top-1 accuracy, %"),
        ("1 or 2", "PCM3, fine-tuned", "=downstream_utd_mhad semi pcm3 top1_at_0.1"),
        ("5", "PCM3, linear probe", "=answers_utd_mhad linear accuracy"),
        ("5", "the one that comes with pcm3, linear probe", "=shipped shipped utd_mhad five"),
        ("all, 16", "PCM3, linear probe", "=downstream_utd_mhad linear pcm3 top1"),
    ),
    "accuracy": (
        ("Recordings", "Untrained encoder", "PCM3"),
        ("UTD-MHAD, new people", "=recognition_utd_mhad * linear"),
        (
            "UTD-MHAD, joints, bones and motion together",
            "-",
            "=streams_utd_mhad fused_equally linear",
        ),
        ("UTD-MHAD, noise", "=downstream_utd_mhad robustness * noise_top1"),
        ("UTD-MHAD, lower frame rates", "=downstream_utd_mhad robustness * frame_rate_top1"),
        ("UTD-MHAD, body parts hidden in tests", "=downstream_utd_mhad occlusion * spatial_top1"),
        ("UTD-MHAD, frames hidden in tests", "=downstream_utd_mhad occlusion * temporal_top1"),
        ("NW-UCLA, a new camera", "=recognition_nw_ucla * linear"),
        (
            "NW-UCLA, a new camera, graph encoder",
            "=encoders_nw_ucla stgcn_random linear",
            "=encoders_nw_ucla stgcn linear",
        ),
        ("SBU, two persons", "=recognition_sbu_interaction * linear"),
    ),
    "untrained": (
        ("Task", "Untrained", "PCM3"),
        ("nearest neighbours on SBU, 282 recordings", "=recognition_sbu_interaction * knn"),
        (
            "linear probe of the graph encoder on UTD-MHAD",
            "=encoders_utd_mhad stgcn_random linear",
            "=encoders_utd_mhad stgcn linear",
        ),
        (
            "linear probe of the transformer on NW-UCLA",
            "=encoders_nw_ucla transformer_random linear",
            "=encoders_nw_ucla transformer linear",
        ),
        (
            "one example of each of five new actions of UTD-MHAD",
            "=downstream_utd_mhad_unseen fewshot * svm_1shot",
        ),
        (
            "motion prediction on UTD-MHAD, error in mm",
            "=downstream_utd_mhad prediction * mpjpe_mm",
        ),
        (
            "telling good repetitions from bad on UI-PRMD, AUC within exercises",
            "=answers_uiprmd_kinect * auc_within_classes",
        ),
    ),
}
"""Tables of what to expect. After ``=`` come a file and the keys of its summary; of ``shipped``,
the encoder, the data set and the kind. ``*`` makes two columns: an untrained encoder and PCM3."""


def table(suite: str) -> list[str]:
    """One row for each data set and variant that has been measured."""
    rows = []
    for dataset, title in DATASETS.items():
        file = RESULTS / f"{suite}_{dataset}.json"
        if file.exists():
            summary = json.loads(file.read_text())["summary"]
            rows += [row(title, name, summary[key]) for key, name in ROWS[suite].items()]
    head = "| Recordings | Encoder | Linear probe | Nearest neighbour | Seeds |"
    return [head, "| --- | --- | --- | --- | --- |", *rows]


def row(title: str, name: str, summary: dict[str, Any]) -> str:
    """Mean and standard deviation over seeds, in percent."""
    cells = [percent(summary[task]) if task in summary else "" for task in ("linear", "knn")]
    return f"| {title} | {name} | {' | '.join(cells)} | {len(summary['linear']['seeds'])} |"


def downstream() -> list[str]:
    """One row for each figure: no learning, an untrained encoder, PCM3."""
    rows = ["| Recordings | Task | Naive | Untrained encoder | PCM3 |"]
    rows += ["| --- | --- | --- | --- | --- |"]
    for dataset, (title, figures) in DOWNSTREAM.items():
        for figure, name in figures.items():
            task, metric = figure.split(".", 1)
            random, pcm3 = measured(dataset, task, metric)
            unit = 1 if metric.endswith("_mm") else 0.01
            cells = [naive(dataset, task, metric), percent(random, unit), percent(pcm3, unit)]
            rows.append(f"| {title} | {name} | {' | '.join(cells)} |")
    return rows


def detection() -> list[str]:
    """One row for each recipe: an untrained encoder and PCM3, at two overlaps and as published."""
    rows = ["| Recordings | Recipe | Encoder | tIoU 0.1 | tIoU 0.5 | tIoU 0.5, published |"]
    rows += ["| --- | --- | --- | --- | --- | --- |"]
    figures = ("map_action_voc_0.1", "map_action_voc_0.5", "map_action_published_0.5")
    for dataset, title in DETECTION.items():
        file = RESULTS / f"detection_{dataset}.json"
        if not file.exists():
            continue
        for recipe, methods in json.loads(file.read_text())["summary"].items():
            for method, name in (("random", "untrained encoder"), ("pcm3", "PCM3")):
                cells = " | ".join(percent(methods[method][figure]) for figure in figures)
                rows.append(f"| {title} | `{recipe}` | {name} | {cells} |")
    return rows


def labels() -> list[str]:
    """One row for each kind of classifier from a few labels."""
    rows = ["| `--how` | Accuracy | Calibration error | Calibration error before calibration |"]
    rows[0] += " Labelled `unknown` | Accuracy without `unknown` |"
    rows += ["| --- | --- | --- | --- | --- | --- |"]
    names = ["accuracy", "calibration_error", "calibration_error_without_temperature"]
    names += ["unknown", "accuracy_of_known"]
    summary = json.loads((RESULTS / "answers_utd_mhad.json").read_text())["summary"]
    for how, figures in summary.items():
        if how != "search":
            cells = [percent(figures[name]) if name in figures else "-" for name in names]
            rows.append(f"| `{how}` | {' | '.join(cells)} |")
    return rows


def search() -> list[str]:
    """How many of the recordings that a search finds show the action of the query."""
    result = json.loads((RESULTS / "answers_utd_mhad.json").read_text())
    figures = result["summary"]["search"]["precision_at_5"]
    queries = next(run["queries"] for run in result["runs"] if run["how"] == "search")
    return [
        "| Searched for | Of the 5 nearest recordings, those of the same action |",
        "| --- | --- |",
        f"| {queries} recordings of the four even subjects, among all | {percent(figures)} |",
    ]


def intervals() -> list[str]:
    """One row for each kind of classifier of untrimmed recordings."""
    rows = ["| Recordings | `--how` | F1 at tIoU 0.5 | mAP at tIoU 0.5 (`voc`) |"]
    rows += ["| --- | --- | --- | --- |"]
    for dataset, title in DETECTION.items():
        file = RESULTS / f"answers_{dataset}.json"
        if file.exists():
            for how, figures in json.loads(file.read_text())["summary"].items():
                cells = [percent(figures[name]) for name in ("f1_0.5", "map_action_voc_0.5")]
                rows.append(f"| {title} | `{how}` | {' | '.join(cells)} |")
    return rows


def novelty() -> list[str]:
    """One row for each thing that exercises are compared by."""
    rows = ["| Compared by | AUC within exercises | AUC within subjects and exercises |"]
    rows[0] += " AUC of all | Bad repetitions called novel | Good repetitions called novel |"
    rows += ["| --- | --- | --- | --- | --- | --- |"]
    names = ["auc_within_classes", "auc_within_subjects", "auc"]
    names += ["true_positive_rate", "false_positive_rate"]
    compared = {"joints": "joints", "random": "untrained encoder", "pcm3": "PCM3"}
    summary = json.loads((RESULTS / "answers_uiprmd_kinect.json").read_text())["summary"]
    for how, title in compared.items():
        rows.append(f"| {title} | {' | '.join(percent(summary[how][name]) for name in names)} |")
    return rows


def expected(name: str) -> list[str]:
    """A table of ``EXPECTED``: text as it is, figures as means and deviations over seeds."""
    head, *rows = EXPECTED[name]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for title, *cells in rows:
        keys = [
            cell.replace("*", method)
            for cell in cells
            for method in (("random", "pcm3") if "*" in cell else ("",))
        ]
        lines.append(f"| {' | '.join([title, *map(looked_up, keys)])} |")
    return lines


def looked_up(cell: str) -> str:
    """A cell of ``EXPECTED``."""
    if not cell.startswith("="):
        return cell
    file, *keys = cell[1:].split()
    content = json.loads((RESULTS / f"{file}.json").read_text())
    if file == "shipped":
        what, data, kind = keys
        runs = [averaged(row["figures"]) for row in content["results"] if row["what"] == what]
        return percent(spread([run[data][kind] for run in runs]))
    found = content["summary"]
    for key in keys:
        found = found[key]
    return percent(found, 1 if keys[-1].endswith("_mm") else 0.01)


def times() -> list[str]:
    """How long things take on a CPU."""

    def load(name: str) -> Any:
        return json.loads((RESULTS / f"{name}.json").read_text())

    ntu, every, step = load("prepare_ntu"), load("evaluate_all_utd_mhad"), load("step_cpu")["cases"]
    big = next(each for each in step if each["case"] == "ntu60-xsub:32")  # the first is fp32
    minutes: dict[str, list[float]] = {}
    for run in load("encoders_utd_mhad")["runs"]:
        minutes.setdefault(run["method"], []).append(run["pretrain_seconds"] / 60)
    most = {
        method: f"up to {max(each):.0f} minutes, one thread" for method, each in minutes.items()
    }
    hundred = load("answers_utd_mhad")["speed"]["predict_100"]["seconds"]
    rows = [
        (
            f"prepare {ntu['files']:,} files like those of NTU RGB+D",
            f"{ntu['pcm3']['seconds']:.1f} seconds, two cores",
            "[data](data.md)",
        ),
        ("pretrain `small` on UTD-MHAD", most["pcm3"], "[results](results.md#encoders)"),
        ("the same with a graph encoder", most["stgcn"], "[results](results.md#encoders)"),
        ("the same with a transformer", most["transformer"], "[results](results.md#encoders)"),
        (
            "all downstream tasks on UTD-MHAD",
            f"{every['seconds'] / 60:.1f} minutes, two cores",
            "[tasks](tasks.md)",
        ),
        (
            "`pcm3 predict` for 100 recordings",
            f"{hundred:.1f} seconds",
            "[label new recordings](classify.md#what-to-expect)",
        ),
        (
            "one step of `ntu60-xsub` with 32 recordings",
            f"{big['library']['seconds']:.0f} seconds, two cores",
            "[training](training.md#cost-of-a-step)",
        ),
    ]
    head = ["| What | Time on a CPU | Where |", "| --- | --- | --- |"]
    return head + [f"| {' | '.join(row)} |" for row in rows]


def measured(dataset: str, task: str, metric: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A figure of an untrained encoder and of PCM3."""
    file = RESULTS / f"downstream_{dataset}.json"
    if file.exists():
        both = json.loads(file.read_text())["summary"][task]
        return both["random"][metric], both["pcm3"][metric]
    assert metric == "top1"  # recognition.py has measured nothing else
    both = json.loads((RESULTS / f"recognition_{dataset}.json").read_text())["summary"]
    return both["random"][task], both["pcm3"][task]


def naive(dataset: str, task: str, metric: str) -> str:
    """What costs no learning: no motion, the commonest class, a guess."""
    if task == "prediction":
        result = json.loads((RESULTS / f"downstream_{dataset}.json").read_text())
        return f"{result['summary'][task]['pcm3']['zero_velocity_mm']['mean']:.1f}"
    if task == "fewshot":
        return "20.0"
    majority = json.loads((RESULTS / "majority.json").read_text())["top1"]
    known = metric != "map" and dataset in majority
    return f"{100 * majority[dataset]:.1f}" if known else ""


def steps() -> list[str]:
    """Training steps on a CPU."""
    rows = [
        "| Preset | Batch | G multiply-accumulates forward | Seconds | Share | Baseline | bf16 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    cases = json.loads((RESULTS / "step_cpu.json").read_text())["cases"]
    half = {case["case"]: case for case in cases if case["precision"] == "bf16"}
    for case in cases:
        if case["precision"] != "fp32":
            continue
        preset, batch, *absent = case["case"].split(":")
        library, reduced = case["library"], half[case["case"]]["library"]
        share = f"{library['utilisation']:.0%}" if "utilisation" in library else ""
        cells = [f"`{preset}`" + ", persons absent" * len(absent), batch]
        cells += [f"{case['gmac_per_sample_forward']:#.3g}", f"{library['seconds']:.2f}", share]
        cells += [f"{case['times_as_fast']:.1f} times as long", f"{reduced['seconds']:.2f}"]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def threads() -> list[str]:
    """Steps of small models with one thread and with two."""
    kinds = {
        (1, "passive"): "one thread",
        (2, "passive"): "two, asleep",
        (2, "spin"): "two, spinning",
    }
    rows = [
        f"| Preset | Beside | {' | '.join(kinds.values())} |",
        "| --- | --- | --- | --- | --- |",
    ]
    measured: dict[tuple[str, str], dict[tuple[int, str], float]] = {}
    for row in json.loads((RESULTS / "threads.json").read_text())["rows"]:
        found = measured.setdefault((row["case"].partition(":")[0], row["beside"]), {})
        found[row["threads"], row["wait"]] = row["seconds"]
    for (preset, beside), seconds in measured.items():
        rows.append(f"| `{preset}` | {beside} | {' | '.join(f'{seconds[k]:.2f}' for k in kinds)} |")
    return rows


def gradients() -> list[str]:
    """Mean gradient norms of prompts in either position."""
    rows = [
        "| Domain prompts | Norm, domain prompts | Norm, task prompts | Norm, input normalisation |"
    ]
    rows += ["| --- | --- | --- | --- |"]
    file = RESULTS / "prompt_gradients_utd_mhad.json"
    names = {
        "post_norm": "after the input normalisation",
        "pre_norm": "before the input normalisation",
    }
    for position, norms in json.loads(file.read_text())["mean_gradient_norm"].items():
        rows.append(f"| {names[position]} | {' | '.join(f'{n:.2g}' for n in norms.values())} |")
    return rows


def kills() -> list[str]:
    """Runs that were killed, and how they ended."""
    result = json.loads((RESULTS / "kills.json").read_text())
    rows = ["| Killed | Times |", "| --- | --- |"]
    names = {"any": "at any time", "in an evaluation": "during a nearest-neighbour check"}
    rows += [f"| {names.get(name, name)} | {n} |" for name, n in sorted(result["kills"].items())]
    runs, equal = result["runs"], result["runs_that_ended_equal"]
    ended = f"{sum(result['kills'].values())} kills hit {runs} runs. Of these, {equal} ended with "
    return [*rows, "", f"{ended}the same result as the run that was left alone."]


def fuzz() -> list[str]:
    """Files that were damaged at random, and what reading them gave."""
    kinds = json.loads((RESULTS / "fuzz.json").read_text())["kinds"]
    rows = ["| Read as | Damaged files | Refused | Read, and verified | Wrong |"]
    rows += ["| --- | --- | --- | --- | --- |"]
    columns = ("files", "refused", "read_and_verified", "wrong")
    for name, each in kinds.items():
        rows.append(f"| {name} | {' | '.join(f'{each[column]:,}' for column in columns)} |")
    sums = [sum(each[column] for each in kinds.values()) for column in columns]
    return [*rows, f"| all | {' | '.join(f'{number:,}' for number in sums)} |"]


def small_files() -> list[str]:
    """The file of each reader that takes most memory, and the one that takes longest."""
    rows = ["| Reader | File that takes most memory | Peak memory | File that takes most time |"]
    rows[0] += " Processor time | Files | Refused |"
    rows += ["| --- | --- | ---: | --- | ---: | ---: | ---: |"]
    for name, files in json.loads((RESULTS / "small_files.json").read_text())["readers"].items():
        cells = []
        for key, unit in (("peak_megabytes", "MB"), ("seconds", "s")):
            worst = max(files, key=lambda each: each[key])
            cells += [
                f"{_said(worst)}, {worst['megabytes_on_disk']:.2f} MB",
                f"{worst[key]} {unit}",
            ]
        refused = sum(each["exit_code"] != 0 for each in files)
        rows.append(f"| {name} | {' | '.join(cells)} | {len(files)} | {refused} |")
    return rows


def _said(file: dict[str, Any]) -> str:
    about: str = file["about"]
    return about[0].lower() + about[1:]


def mutation() -> list[str]:
    """Small changes to the code, and how many of them the tests noticed."""
    modules = json.loads((RESULTS / "mutation.json").read_text())["modules"]
    rows = ["| Module | Changes | Noticed | Not noticed, explained |", "| --- | --- | --- | --- |"]
    for name, each in modules.items():
        explained = sum(bool(survivor["why"]) for survivor in each["survivors"])
        rows.append(f"| `{name}` | {each['mutants']} | {each['killed']} | {explained} |")
    return rows


def filled(page: str) -> str:
    """A page with all its tables as they are on file."""

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        special = {
            "gradients": gradients,
            "downstream": downstream,
            "detection": detection,
            "intervals": intervals,
            "search": search,
            "novelty": novelty,
            "labels": labels,
            "times": times,
            "steps": steps,
            "threads": threads,
            "kills": kills,
            "fuzz": fuzz,
            "small_files": small_files,
            "mutation": mutation,
            **family_tables.TABLES,
            **shipped_tables.TABLES,
        }
        if name.startswith("expected_"):
            rows = expected(name.removeprefix("expected_"))
        else:
            rows = special[name]() if name in special else table(name)
        return "\n".join([f"<!-- table {name} -->", *rows, "<!-- end -->"])

    return re.sub(r"<!-- table (\w+) -->\n.*?<!-- end -->", fill, page, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.parse_args()
    for page in PAGES:
        page.write_text(filled(page.read_text()))


if __name__ == "__main__":
    main()
