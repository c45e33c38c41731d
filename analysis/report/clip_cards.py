"""A clip in a report: its frames, the map of an explanation over them, scores, tags and note, and its recipe."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from analysis.explain.alpha_replacement import HALF, WITHOUT_SPATIAL, WITHOUT_TEMPORAL, replacing
from analysis.explain.changed_network import ChangedNetwork
from analysis.explain.gradcam import DEFINITIONS, JOINT, cam_layers, default_layer
from analysis.explain.methods import GRADCAM, INPUT, METHODS, Question, explain_clip
from analysis.explain.overlay import FLOW_COLOURS, NORMALISATIONS, overlay, seen_flow, seen_frames
from analysis.explain.video_explanation import TOP_CLASSES, CamOptions
from analysis.report.plots import jpeg_uri
from analysis.report.report_parts import ClipCard, Recipe, StripFrame
from analysis.report.report_sources import ReportSources, first_value
from analysis.runs import notes
from analysis.runs.caveats import confidence_is_known, known_scores
from analysis.runs.correctness import NO_LABEL
from analysis.runs.run_directory import Run, clip_of
from analysis.statistics.accuracy import top_classes
from sth_core.checkpoint import Checkpoint
from sth_core.errors import UserError
from sth_core.evaluation import refuse_not_finite
from sth_core.files import error_sentence
from sth_core.network_names import FILE, NetworkName
from sth_core.video.clip_source import ClipSource
from sth_core.video.fields import read_clip, read_resized
from sth_core.video.reorder import FROZEN, REVERSED, SHUFFLED, frame_order, reorder
from sth_core.video.transforms import centre_crop, normalise

Query = Mapping[str, Sequence[str]]
SIDE, OPACITY = 176, 0.75  # of a frame, in pixels; of a map at its largest, as on the page Clip
AS_IT_IS = ("", "as it is")  # of the parameters that change a clip
CHANGED_ORDERS = (REVERSED, SHUFFLED, FROZEN)
CHANGED_ALPHAS = (HALF, WITHOUT_TEMPORAL, WITHOUT_SPATIAL)
PICTURES_OF_FLOW = "The network sees optical flow, not these pixels."
FIELDS_OF_FLOW = (
    f"The pictures are the first of the five flow fields that the network sees at each frame. {FLOW_COLOURS}"
)


def clip_card(
    sources: ReportSources, run: Run, table: pd.DataFrame, clip_id: str, query: Query
) -> tuple[ClipCard, list[Recipe]]:
    """A clip of a run, explained as the parameters of the page Clip say; `table` is the run's `overview_of`. What
    cannot be shown of it, the card says.

    Raises:
        UserError: the run has no such clip.
    """
    rows = np.flatnonzero(table["clip_id"] == clip_id)
    if not len(rows):
        raise UserError(f"The run {run.name} has no clip {clip_id}.")
    clip = clip_of(run, table.iloc[rows[0]])
    card = described(run, clip)
    try:
        right = notes.right_label_of(run, clip_id)
        facts = " · ".join(filter(None, (card.facts, f"right label: {right}" if right else "")))
        said = notes.note_of(run, clip_id).text
        card = replace(card, tags=tuple(notes.tags_of(run, clip_id)), note=said, facts=facts)
    except UserError as error:
        card = replace(card, problems=[*card.problems, str(error)])
    try:
        return explained(sources, run, clip, card, query)
    except (UserError, OSError) as error:
        return replace(card, problems=[*card.problems, ended(f"No frames: {error_sentence(error)}")]), []


def ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."


def described(run: Run, clip: pd.Series) -> ClipCard:
    """What the run's tables say of a clip."""
    known = pd.notna(clip["correct"])  # whether the network knows the label
    right = bool(known and clip["correct"])
    said = "correct" if right else f"predicted {clip['prediction']}"
    scores: list[tuple[str, float, bool]] = []
    if "scores" in clip:  # runs of early versions have none
        every = top_classes(list(clip["scores"]), run.meta["classes"], len(clip["scores"])).head(known_scores(run.meta))
        shown = every[(every["rank"] <= TOP_CLASSES) | (every["label"] == clip["label"])]
        scores = [(str(row.label), float(row.score), row.label == clip["label"]) for row in shown.itertuples()]
    facts = f"confidence {clip['confidence']:.1%}" if confidence_is_known(run.meta) else ""
    problems = [] if np.isfinite(clip["confidence"]) else ["The network's scores of this clip are not finite."]
    return ClipCard(
        str(clip["clip_id"]), run.name, str(clip["label"]) or NO_LABEL, said,
        "passes" if right else "fails" if known else "undecided", facts, scores=scores, problems=problems,
    )  # fmt: skip


@dataclass(frozen=True)
class ReadClip:
    """A clip as input of its run's network: pixels (T, h, w, C) after the crop, the frames that show them, and their
    numbers (T,)."""

    checkpoint: Checkpoint
    pixels: np.ndarray
    frames: np.ndarray
    indices: np.ndarray


def explained(
    sources: ReportSources, run: Run, clip: pd.Series, card: ClipCard, query: Query
) -> tuple[ClipCard, list[Recipe]]:
    """The card with frames, and, if the run's network can be opened, the map over them."""
    source = ClipSource.from_row(clip)
    why_not = sources.why_not_readable
    if why := why_not(source.path) or (why_not(source.flow) if source.flow else ""):
        raise UserError(why)
    source.frames()  # an unreadable video is named before its network is opened
    try:
        checkpoint = sources.open_network(run)
    except (UserError, OSError) as error:
        return with_middle_frames(card, source, clip, f"No map: {error_sentence(error)}"), []
    p = checkpoint.preprocessing
    pixels, indices = read_clip(source, p)
    read = ReadClip(checkpoint, centre_crop(pixels, p), seen_frames(source.path, indices, p, SIDE), indices)
    problems, changes = list(card.problems), list[str]()
    read, network = what_if(read, query, changes)
    if as_fields := p.modality == "flow" and is_on(query, "flow_field"):
        read = replace(read, frames=seen_flow(read.pixels, SIDE))
    strips = {"input": strip_of(read.frames, read.indices)}
    card = replace(card, strips=strips, problems=problems)
    options, said = cam_options(checkpoint, clip, query)
    problems += said
    try:
        cam_card = with_map(card, read, network, options, changes, as_fields=as_fields)
    except (UserError, ValueError) as error:
        return replace(card, problems=[*problems, ended(f"No map: {error}")]), []
    return cam_card, [] if changes else cam_recipe(run, source, options)


def with_middle_frames(card: ClipCard, source: ClipSource, clip: pd.Series, problem: str) -> ClipCard:
    """The frames that were recorded, without the network that says how it crops them."""
    numbers = clip.get("frame_indices")
    seen = list(np.unique(np.ravel(numbers))) if numbers is not None else []
    frames = [int(i) for i in seen] or list(source.frames())
    some = [frames[i] for i in np.linspace(0, len(frames) - 1, min(8, len(frames))).round().astype(int)]
    pictures = read_resized(source.path, some, SIDE)
    return replace(card, strips={"video": strip_of(pictures, some)}, problems=[*card.problems, ended(problem)])


def strip_of(
    pictures: np.ndarray, numbers: Sequence[int] | np.ndarray, shares: np.ndarray | None = None
) -> list[StripFrame]:
    values = [None] * len(pictures) if shares is None else shares.tolist()
    return [StripFrame(jpeg_uri(x, 82), int(i), v) for x, i, v in zip(pictures, numbers, values, strict=True)]


def what_if(read: ReadClip, query: Query, changes: list[str]) -> tuple[ReadClip, Any]:
    """The clip in the order of frames, and the network with the α, of the link; `changes` gets their names."""
    checkpoint, model = read.checkpoint, read.checkpoint.model
    order, alpha = first_value(query, "order"), first_value(query, "alpha")
    if order in CHANGED_ORDERS:
        T = len(read.indices)
        places = np.arange(T)[::-1] if order == REVERSED else frame_order(order, T, np.random.default_rng(0))
        pixels = reorder(read.pixels, order, checkpoint.preprocessing.modality)
        read = ReadClip(checkpoint, pixels, read.frames[places], read.indices[places])
        changes.append(f"frames {order}")
    if alpha in CHANGED_ALPHAS and model.attention_layers:
        model = ChangedNetwork(model, replacing(alpha, [layer.name for layer in model.attention_layers]))
        changes.append(f"α in all layers: {alpha}")
    return read, model


def cam_options(checkpoint: Checkpoint, clip: pd.Series, query: Query) -> tuple[CamOptions, list[str]]:
    """What the link asks to be explained, with the page's defaults; and what of it this network does not have."""
    problems: list[str] = []

    def choose(key: str, possible: Sequence[str], default: str) -> str:
        given = first_value(query, key, default)
        if given in possible:
            return given
        problems.append(f"The link's {key} {given} is none of this network's; {default} is shown.")
        return default

    layers = cam_layers(checkpoint.model, checkpoint.preprocessing.crop)
    classes = checkpoint.classes
    target = choose("class", classes, str(clip["prediction"]))
    against = choose("against", ["", *(name for name in classes if name != target)], "")
    method = choose("method", [name for name, one in METHODS.items() if one.serves(checkpoint.model)], GRADCAM)
    layer, branch, definition = INPUT, JOINT, DEFINITIONS[0]
    if METHODS[method].layered:
        layer = choose("layer", [one.name for one in layers], default_layer(layers))
        branch = choose("branch", next(one.branches for one in layers if one.name == layer), JOINT)
        definition = choose("definition", DEFINITIONS, DEFINITIONS[0])
    scale = choose("scale", NORMALISATIONS, NORMALISATIONS[0])
    try:
        opacity = min(1.0, max(0.0, float(first_value(query, "opacity", str(OPACITY)))))
    except ValueError:
        opacity = OPACITY
    signed = is_on(query, "signed")
    return CamOptions(
        layer, target, against or None, branch, definition, scale, signed, opacity, method=method
    ), problems  # fmt: skip


def is_on(query: Query, key: str) -> bool:
    return first_value(query, key).lower() == "true"


def with_map(
    card: ClipCard, read: ReadClip, network: Any, o: CamOptions, changes: list[str], *, as_fields: bool
) -> ClipCard:
    """The card with a row of frames under the map, and the scores that changed frames or α give."""
    checkpoint, p = read.checkpoint, read.checkpoint.preprocessing
    clip = normalise(torch.from_numpy(np.ascontiguousarray(read.pixels)), p)
    target, against = (checkpoint.classes.index(name) if name else None for name in (o.target, o.against))
    assert target is not None
    cam = explain_clip(o.method, network, clip, Question(target, against, o.layer, o.branch, o.definition))
    title = METHODS[o.method].title
    drawn = overlay(read.frames, cam.signed if o.signed else cam.maps, o.opacity, o.scale)
    strips = {**card.strips, title: strip_of(drawn, read.indices, cam.per_frame)}
    subject = f"{o.target} rather than {o.against}" if o.against else str(o.target)
    at = f" at {o.layer}" * METHODS[o.method].layered + f", {o.branch} branch" * (o.branch != JOINT)
    values = "orange raises the score, blue lowers it" if o.signed else "positive values"
    bars = "Bars: each frame's share of the map."
    caption = [f"{title}: evidence for {subject}{at}; one colour scale for the {o.scale}, {values}. {bars}"]
    if p.modality == "flow":
        caption.append(FIELDS_OF_FLOW if as_fields else PICTURES_OF_FLOW)
    problems = list(card.problems)
    if cam.maps.max() <= 0:
        problems.append(f"The map has no positive value: nothing raises the score of {o.target}.")
    if changes:
        with torch.inference_mode():
            logits = network(clip[None])
        refuse_not_finite(logits, card.clip_id)
        best = top_classes(logits.softmax(1)[0].tolist(), checkpoint.classes, 3)
        then = ", ".join(f"{row.label} {row.score:.1%}" for row in best.itertuples())
        caption.append(f"Frames and map are with a change ({'; '.join(changes)}), which gives {then}; the scores "
                       "beside them are those recorded without it.")  # fmt: skip
    return replace(card, strips=strips, caption=" ".join(caption), problems=problems)


def cam_recipe(run: Run, source: ClipSource, o: CamOptions) -> list[Recipe]:
    """The command that makes the map as a video; none of a part of a video, or of one that is played backward."""
    if source.backward or not source.segment.whole or not run.meta.get("checkpoint"):
        return []
    name = NetworkName.from_facts(run.meta)
    words = ["sth", "cam", name.name if name.kind != FILE else str(name.absolute().name), str(source.path)]
    words += ["-o", "clip.mp4", f"--class={o.target}"]
    defaults = CamOptions(o.layer, opacity=0.55)
    for key in ("against", "branch", "definition", "scale", "method", "opacity"):
        if (value := getattr(o, key)) != getattr(defaults, key):
            words.append(f"--{key}={value}")
    words += [f"--layer={o.layer}"] * METHODS[o.method].layered + ["--signed"] * o.signed
    return [("the map as a video", shlex.join(words))]
