"""Programmes of movement: via points with holds, oscillations, gait, jumps, turns and falls."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pcm3.data.synthetic.motion.channels import CHANNELS, FEET, GROUPS, HANDS, POSTURES
from pcm3.data.synthetic.motion.draws import Draws
from pcm3.data.synthetic.motion.kinematics import Floats

_KEYS = 7
_GRAVITY = 9.81
_PLACE = {name: place for place, name in enumerate(CHANNELS)}
_OF_GROUP = {
    group: [place for name, place in _PLACE.items() if CHANNELS[name].group == group]
    for group in GROUPS
}
_SIDES = ("left", "right")
_MEMBERS = len(_OF_GROUP["left_arm"])
_LIMITS = np.array([(c.low, c.high) for c in CHANNELS.values()], np.float32)
_SWING = np.array([c.swing for c in CHANNELS.values()], np.float32)


class Programme:
    """The movement of N persons over T frames: the value of each channel (N, T) by its name.

    Besides ``CHANNELS`` it has ``jump`` (metres above the floor), ``heading`` (radians), ``fall``
    and ``fall_aside`` (tilt of the body, radians), ``east`` and ``south`` (metres).
    """

    def __init__(self, values: Mapping[str, Floats]) -> None:
        self._values = dict(values)
        self.size = next(iter(self._values.values())).shape

    def __getitem__(self, name: str) -> Floats:
        return self._values[name]


def min_jerk(time: Floats) -> Floats:
    """Move from 0 to 1 with the least jerk; 0 before time 0 and 1 after time 1."""
    x = np.clip(time, 0.0, 1.0)
    return np.asarray(x * x * x * (10.0 - 15.0 * x + 6.0 * x * x))


def draw_programmes(draws: Draws, time: Floats) -> Programme:
    """Draw what people do.

    Args:
        draws: Draws for N sequences.
        time: Time of each frame in seconds (N, T).
    """
    rest = _draw_rest(draws)
    keys = _draw_keys(draws, rest)
    angles = _interpolate(draws, keys, time)
    angles += _oscillate(draws, time)
    gait = _walk(draws, angles, time)
    jump = _jump(draws, angles, time) + gait["hop"]
    np.clip(angles, _LIMITS[:, :1], _LIMITS[:, 1:], out=angles)
    values = {name: angles[:, place] for name, place in _PLACE.items()}
    return Programme(values | {"jump": jump} | _whole_body(draws, time, gait))


def _draw_rest(draws: Draws) -> Floats:
    """Draw how people stand, sit or kneel while nothing moves, (N, C)."""
    rest = np.zeros((len(draws), len(_PLACE)), np.float32)
    for name, spread in {
        **{"shift": 0.02, "ahead": 0.02, "pitch": 0.06, "yaw": 0.1, "roll": 0.03},
        **{"bow": 0.1, "lean": 0.04, "twist": 0.06, "nod": 0.12, "tilt": 0.06, "turn": 0.15},
    }.items():
        rest[:, _PLACE[name]] = draws.normal(spread)
    rest[:, _PLACE["bow"]] += 0.06
    rest[:, _PLACE["crouch"]] = draws.uniform(0.0, 0.04)
    sits = draws.happens(0.1)
    width, hang, ahead = draws.uniform(-0.02, 0.16), draws.normal(0.05), draws.normal(0.04)
    for side in _SIDES:
        for name, values in {
            "hand_out": 0.08 + np.abs(hang),
            "hand_up": np.full(len(draws), -0.985),
            "hand_ahead": 0.04 + ahead + draws.normal(0.03),
            "swivel": draws.normal(0.25),
            "wrist_bend": draws.normal(0.15),
            "roll": draws.normal(0.4),
            "foot_out": width + draws.normal(0.01),
            "foot_ahead": draws.normal(0.06),
            "knee_out": 0.1 + width + draws.normal(0.06),
        }.items():
            rest[:, _PLACE[f"{side}_{name}"]] = values
        thighs = {"hand_out": -0.05, "hand_up": -0.65, "hand_ahead": 0.45, "foot_ahead": 0.42}
        for name, value in thighs.items():
            place = _PLACE[f"{side}_{name}"]
            rest[:, place] = np.where(sits, value + draws.normal(0.06), rest[:, place])
    place = _PLACE["crouch"]
    rest[:, place] = np.where(sits, 0.5 + draws.normal(0.04), rest[:, place])
    return rest


def _draw_keys(draws: Draws, rest: Floats) -> Floats:
    """Draw the via points of each channel, (N, 1 + _KEYS, C); at a key a part may be at rest."""
    count, keys = len(draws), _KEYS + 1
    values = np.repeat(rest[:, None], keys, axis=1)
    returns = draws.happens(0.6)[:, None] & (np.arange(keys) % 2 == 0)  # a gesture, then rest
    begins = draws.happens(0.7)[:, None] & (np.arange(keys) == 0)
    still = (returns | begins)[..., None]
    bodies = draws.happens(draws.uniform(0.0, 0.8, 1), keys)
    chosen = draws.choice([weight for weight, _ in POSTURES.values()], keys)
    repeats = draws.happens(0.5)  # the same goal each time
    _repeat(chosen, repeats)
    for kind, (_, changes) in enumerate(POSTURES.values()):
        for name, (mean, spread) in changes.items():
            moved = mean + draws.normal(spread, keys)
            _repeat(moved, repeats)
            values[..., _PLACE[name]] += np.where(bodies & (chosen == kind), moved, 0.0)
    heads = draws.happens(draws.uniform(0.0, 0.7, 1), keys)
    for name, spread in (("nod", 0.3), ("tilt", 0.2), ("turn", 0.5)):
        values[..., _PLACE[name]] += np.where(heads, draws.normal(spread, keys), 0.0)
    bends = bodies & (chosen == list(POSTURES).index("bend to the floor"))
    _draw_hands(draws, values, repeats, bends)
    _draw_feet(draws, values, repeats)
    return np.where(still, rest[:, None], values).reshape(count, keys, -1)


def _repeat(values: NDArray[np.generic], repeats: NDArray[np.bool_]) -> None:
    """Give all keys (N, keys) of some sequences the value of the second."""
    values[repeats] = values[repeats, 1:2]


def _draw_hands(
    draws: Draws, values: Floats, repeats: NDArray[np.bool_], bends: NDArray[np.bool_]
) -> None:
    """Choose goals of the hands: both alike, each its own, or one at rest."""
    keys = values.shape[1]
    goals = list(HANDS.values())
    weights = [weight for weight, _, _ in goals]
    centres, spreads = (np.array([goal[k] for goal in goals], np.float32) for k in (1, 2))
    pattern = draws.choice((0.15, 0.3, 0.3, 0.25))  # none, both alike, one, each its own
    one = draws.happens(0.65)  # the right one
    left: Floats | None = None
    for number, side in enumerate(_SIDES):
        chosen = draws.choice(weights, keys)
        _repeat(chosen, repeats)
        place = centres[chosen] + spreads[chosen] * draws.uniform(-1.0, 1.0, keys, 3)
        length = np.linalg.norm(place, axis=-1, keepdims=True)
        place = place / np.maximum(length, 1.0)
        down = np.array((-0.1, -0.3, 0.85), np.float32) + draws.normal(0.12, keys, 3)
        place = np.where((bends & draws.happens(0.8)[:, None])[..., None], down, place)
        twist = np.stack([draws.normal(0.3, keys), draws.normal(0.02, keys)], axis=-1)
        wrist = np.stack([draws.normal(0.35, keys), draws.normal(0.5, keys)], axis=-1)
        arm = np.concatenate([place, twist, wrist], axis=-1)
        _repeat(arm, repeats)
        if left is None:
            left = arm
        else:
            alike = (pattern == 1)[:, None, None]
            arm = np.where(alike, left + 0.1 * (arm - left), arm)
        active = (pattern == 1) | (pattern == 3) | ((pattern == 2) & (one == bool(number)))
        places = _OF_GROUP[f"{side}_arm"]
        values[..., places] = np.where(active[:, None, None], arm, values[..., places])


def _draw_feet(draws: Draws, values: Floats, repeats: NDArray[np.bool_]) -> None:
    """Let people step or kick, with one foot at a time."""
    keys = values.shape[1]
    moves = draws.happens(np.where(draws.happens(0.35), 0.7, 0.0)[:, None], keys)
    right = draws.happens(0.5, keys)
    _repeat(right, draws.happens(0.6))
    chosen = draws.choice([weight for weight, _ in FEET.values()], keys)
    _repeat(chosen, repeats)
    for kind, (_, changes) in enumerate(FEET.values()):
        for name, (mean, spread) in changes.items():
            moved = np.where(moves & (chosen == kind), mean + draws.normal(spread, keys), 0.0)
            values[..., _PLACE[f"left_{name}"]] += moved * ~right
            values[..., _PLACE[f"right_{name}"]] += moved * right


def _interpolate(draws: Draws, keys: Floats, time: Floats) -> Floats:
    """Move from key to key with minimum jerk, (N, C, T); each group may have its own times."""
    pace = np.exp(draws.normal(0.35, 1))
    hold = draws.happens(0.6)[:, None]
    lasts = draws.uniform(0.3, 1.0, _KEYS) * pace
    waits = np.where(hold, draws.uniform(0.0, 0.7, _KEYS), draws.uniform(-0.15, 0.1, _KEYS)) * pace
    starts = np.cumsum(lasts + waits, axis=1) - lasts - draws.uniform(0.0, 0.6, 1)
    together = draws.happens(0.65)
    values = np.empty((len(draws), keys.shape[2], time.shape[1]), np.float32)
    steps = np.diff(keys, axis=1)
    for group in GROUPS:
        lag = draws.normal(0.08, 1)
        own = draws.uniform(0.5, 1.6, 1)
        start = np.where(together[:, None], starts + lag, (starts + 3 * lag) * own)
        length = lasts * np.where(together[:, None], 1.0, own)
        done = min_jerk((time[:, None] - start[..., None]) / length[..., None])
        places = _OF_GROUP[group]
        moved = np.swapaxes(steps[:, :, places], 1, 2) @ done
        values[:, places] = keys[:, :1, places].swapaxes(1, 2) + moved
    return values


def _window(draws: Draws, time: Floats) -> Floats:
    """Draw when something goes on: all the time, or with a begin and an end, (N, T)."""
    always = draws.happens(0.4)[:, None]
    begin, lasts = draws.uniform(-0.3, 1.2, 1), draws.uniform(1.0, 4.0, 1)
    inside = min_jerk((time - begin) / 0.4) * min_jerk((begin + lasts - time) / 0.4)
    return np.where(always, np.float32(1.0), inside)


def _oscillate(draws: Draws, time: Floats) -> Floats:
    """Swing some parts of the body, the limbs alike, alternately or alone, (N, C, T)."""
    count = len(draws)
    total = np.zeros((count, len(_PLACE), time.shape[1]), np.float32)
    for probability in (0.5, 0.2):
        frequency = np.exp(draws.uniform(np.log(0.4), np.log(3.0), 1))
        phase = 2 * np.pi * (frequency * time + draws.uniform(0.0, 1.0, 1))
        envelope = _window(draws, time) * draws.happens(probability)[:, None]
        scale = np.minimum(1.0, 1.5 / frequency) * draws.uniform(0.3, 1.2, 1)  # fast is small
        amplitudes = draws.normal(0.6, 2, len(_PLACE)) * _SWING * scale[..., None]
        amplitudes[:, 1] *= draws.uniform(0.0, 1.0, 1)  # from a line to an ellipse
        pattern = draws.choice((0.3, 0.3, 0.4))  # alike, alternating, one side
        one = draws.happens(0.65)
        arms, legs = draws.happens(0.75), draws.happens(0.12)
        for part, moves in (("arm", arms), ("leg", legs)):
            left, right = _OF_GROUP[f"left_{part}"], _OF_GROUP[f"right_{part}"]
            sign = np.where(pattern == 1, -1.0, 1.0)[:, None, None]
            alone = (pattern == 2)[:, None, None]
            amplitudes[..., left] = np.where(alone, 1.0, sign) * amplitudes[..., right]
            keeps = moves[:, None, None] & ~(alone & ~one[:, None, None])
            amplitudes[..., right] *= keeps
            amplitudes[..., left] *= moves[:, None, None] & ~(alone & one[:, None, None])
        for group, likely in (("hips", 0.25), ("trunk", 0.25), ("head", 0.2)):
            amplitudes[..., _OF_GROUP[group]] *= draws.happens(likely)[:, None, None]
        wave, other = np.sin(phase) * envelope, np.cos(phase) * envelope
        total += amplitudes[:, 0, :, None] * wave[:, None]
        total += amplitudes[:, 1, :, None] * other[:, None]
    return total


def _walk(draws: Draws, angles: Floats, time: Floats) -> dict[str, Floats]:
    """Let people walk, run or march in place, with arms that swing; return jumps of a run."""
    kind = draws.choice((0.76, 0.13, 0.06, 0.05))  # no gait, walk, run, in place
    envelope = _window(draws, time) * (kind > 0)[:, None]
    runs = (kind == 2)[:, None]
    stays = (kind == 3)[:, None]
    frequency = np.where(runs, draws.uniform(1.1, 1.6, 1), draws.uniform(0.6, 1.1, 1))
    cycle = frequency * time + draws.uniform(0.0, 1.0, 1)
    duty = np.where(runs, 0.38, 0.6)
    stride = np.where(stays, 0.0, np.where(runs, 0.9, 0.65) * draws.uniform(0.5, 1.2, 1))
    angle = np.where(draws.happens(0.15), draws.uniform(-np.pi, np.pi), 0.0)[:, None]
    raised = np.where(stays, draws.uniform(0.15, 0.5, 1), draws.uniform(0.05, 0.15, 1))
    raised = np.where(runs, draws.uniform(0.2, 0.45, 1), raised)
    swing = draws.uniform(0.1, 0.35, 1) * np.where(runs, 1.3, 1.0)
    bent = np.where(runs, draws.uniform(0.1, 0.4, 1), 0.02)

    def add(name: str, change: Floats) -> None:
        angles[:, _PLACE[name]] += change * envelope

    for side, shift in (("left", 0.5), ("right", 0.0)):
        part = np.mod(cycle + shift, 1.0)
        swings = (part - duty) / (1.0 - duty)
        back = np.where(part < duty, 0.5 - part / duty, min_jerk(swings) - 0.5)
        lift = np.where(part < duty, 0.0, np.sin(np.pi * np.clip(swings, 0.0, 1.0)) ** 2)
        add(f"{side}_foot_ahead", stride * np.cos(angle) * back)
        sign = -1.0 if side == "left" else 1.0
        add(f"{side}_foot_out", sign * stride * np.sin(angle) * back)
        add(f"{side}_foot_lift", raised * lift)
        add(f"{side}_point", -0.5 * lift)
        add(f"{side}_hand_ahead", -2.0 * swing * back + bent)
        add(f"{side}_hand_up", np.abs(back) * swing * 0.4 + 1.4 * bent)
    turn = np.sin(2 * np.pi * cycle)
    add("twist", 0.4 * swing * turn)
    add("yaw", -0.3 * swing * turn)
    add("shift", 0.03 * turn)
    add("bow", np.where(runs, 0.2, 0.03))
    speed = 0.8 * stride * frequency / duty * envelope
    hop = runs * envelope * 0.08 * np.abs(np.sin(2 * np.pi * (cycle - 0.5 * duty)))
    return {
        "hop": hop.astype(np.float32),
        "speed": speed * np.cos(angle),
        "aside": speed * np.sin(angle),
    }


def _jump(draws: Draws, angles: Floats, time: Floats) -> Floats:
    """Let people jump, once or again and again; return the height above the floor."""
    height = draws.uniform(0.03, 0.35, 1) * draws.happens(0.1)[:, None]
    flight = np.sqrt(8.0 * height / _GRAVITY)
    period = flight + draws.uniform(0.25, 0.6, 1)
    since = time - draws.uniform(-0.5, 1.5, 1)
    last = np.where(draws.happens(0.35), 0.0, draws.choice((1, 1, 1, 1, 4)) * 3.0)[:, None]
    number = np.clip(np.floor(since / period), 0.0, last)
    since = since - number * period
    part = np.clip(since / np.maximum(flight, 1e-3), 0.0, 1.0)
    up = height * 4.0 * part * (1.0 - part)
    ready = np.exp(-(((since + 0.15) / 0.15) ** 2)) + np.exp(-(((since - flight - 0.1) / 0.1) ** 2))
    tuck, spread = draws.uniform(0.0, 0.8, 1), draws.happens(0.3)[:, None]
    angles[:, _PLACE["crouch"]] += np.minimum(height, 0.2) * 1.5 * ready
    for side in _SIDES:
        angles[:, _PLACE[f"{side}_foot_lift"]] += tuck * up
        angles[:, _PLACE[f"{side}_point"]] -= np.where(up > 0, 0.4, 0.0)
        wide = np.where(number % 2 == 0, part, 1.0 - part) * np.where(height > 0, 0.3, 0.0)
        angles[:, _PLACE[f"{side}_foot_out"]] += spread * wide
        angles[:, _PLACE[f"{side}_hand_up"]] += spread * 5.0 * wide
        angles[:, _PLACE[f"{side}_hand_out"]] += spread * wide
    return np.asarray(up, np.float32)


def _whole_body(draws: Draws, time: Floats, gait: Mapping[str, Floats]) -> dict[str, Floats]:
    """Let people turn, fall, get up or lie, and come forward as they walk."""
    turns = np.where(draws.happens(0.2), draws.normal(1.3), 0.0)[:, None]
    turned = turns * min_jerk((time - draws.uniform(-0.5, 2.0, 1)) / draws.uniform(0.6, 2.5, 1))
    spin = np.where(draws.happens(0.03), draws.normal(1.5), 0.0)[:, None]
    heading = turned + spin * time
    kind = draws.choice((0.93, 0.025, 0.025, 0.02))  # upright, falls, gets up, lies
    moves = min_jerk((time - draws.uniform(0.0, 1.5, 1)) / draws.uniform(0.5, 1.5, 1))
    tilt = np.select([kind[:, None] == k for k in range(4)], [0.0 * moves, moves, 1 - moves, 1.0])
    aside = draws.happens(0.3)[:, None]
    sign = np.where(draws.happens(0.5), 1.0, -1.0)[:, None]
    tilt = tilt * sign * (np.pi / 2 + draws.normal(0.1, 1))
    step = np.diff(time, axis=1, prepend=time[:, :1])
    ahead, right = gait["speed"] * step, gait["aside"] * step
    east = np.cumsum(np.cos(heading) * right - np.sin(heading) * ahead, axis=1)
    south = np.cumsum(-np.sin(heading) * right - np.cos(heading) * ahead, axis=1)
    values = {"heading": heading, "east": east, "south": south}
    values |= {"fall": np.where(aside, 0.0, tilt), "fall_aside": np.where(aside, tilt, 0.0)}
    return {name: value.astype(np.float32) for name, value in values.items()}
