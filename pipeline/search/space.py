"""The search space: a tree like the configuration's own, whose leaves are ranges or choices.

It knows the schema and Optuna's distributions; it proposes nothing itself.
"""

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.config.errors import ConfigError
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import did_you_mean, known_paths, parse

_RANGE = {"low", "high", "log", "step", "points", "when"}
_CHOICES = {"choices", "when"}


@dataclass(frozen=True)
class Leaf:
    """One searched value.

    Attributes
    ----------
    path : dotted path in the configuration, and the parameter's name in the study.
    distribution : what Optuna draws from.
    values : what a choice's label stands for; empty for ranges.
    points : how many points a grid takes from a range.
    when : values of other paths under which this leaf is searched.
    """

    path: str
    distribution: BaseDistribution
    values: Mapping[str | int | float | bool | None, Any] = field(default_factory=dict)
    points: int | None = None
    when: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_choice(self) -> bool:
        """Whether it is one of several choices, not a range."""
        return isinstance(self.distribution, CategoricalDistribution)

    @property
    def labels(self) -> list[Any]:
        """The labels of a choice, in order."""
        assert isinstance(self.distribution, CategoricalDistribution)
        return list(self.distribution.choices)

    @property
    def choices(self) -> list[Any]:
        """The configuration values of a choice, in the order of its labels."""
        return [self.value(label) for label in self.labels]

    @property
    def range(self) -> FloatDistribution | IntDistribution:
        """The distribution of a range: low, high, log and step."""
        assert isinstance(self.distribution, FloatDistribution | IntDistribution)
        return self.distribution

    def value(self, drawn: Any) -> Any:
        """Return the configuration value for Optuna's value."""
        return self.values[drawn] if self.values else drawn

    def drawn(self, value: Any) -> Any:
        """Return Optuna's value for a configuration value or a choice's label.

        Raises
        ------
        ValueError
            The value is outside the searched range or choices.
        """
        label = next((name for name, meant in self.values.items() if meant == value or name == value), value)
        try:
            inside = self.distribution._contains(self.distribution.to_internal_repr(label))
        except (ValueError, TypeError):
            inside = False
        if not inside:
            raise ValueError(f"{self.path} must be {self._allowed()}, but is {value!r}.")
        return label

    def _allowed(self) -> str:
        """Return the choices or the range in words."""
        if self.is_choice:
            return f"one of {', '.join(map(str, self.labels))}"
        step = "" if self.range.step in (None, 1) else f" in steps of {self.range.step:g}"
        whole = "an integer " if isinstance(self.range, IntDistribution) else ""
        return f"{whole}from {self.range.low:g} to {self.range.high:g}{step}"

    def grid(self) -> list[Any]:
        """Return the points of a grid over this leaf.

        Raises
        ------
        ConfigError
            A range with neither `step` nor `points`.
        """
        if self.is_choice:
            return self.labels
        distribution = self.range
        low, high = distribution.low, distribution.high
        if self.points is None:
            if distribution.step is None or (isinstance(distribution, IntDistribution) and distribution.log):
                raise ConfigError(f"search.space.{self.path} must have points, a step or choices for sampler=grid.")
            return [low + i * distribution.step for i in range(int((high - low) / distribution.step + 1e-9) + 1)]
        fractions = [i / max(self.points - 1, 1) for i in range(self.points)]
        grid = [low * (high / low) ** f if distribution.log else low + (high - low) * f for f in fractions]
        grid = [min(max(point, low), high) for point in grid]
        return sorted({round(point) for point in grid}) if isinstance(distribution, IntDistribution) else grid


class Space:
    """All leaves of a search space, checked against the configuration that they vary."""

    def __init__(self, tree: Mapping[str, Any], base: Mapping[str, Any]):
        """Read `tree` (the value of `search.space`) over the plain configuration `base`.

        Raises
        ------
        ConfigError
            A path is unknown or cannot be searched, or a bound breaks the rule of its value.
        """
        self.base = copy.deepcopy(dict(base))
        leaves = [self._leaf(path, spec) for path, spec in _walk(tree, "")]
        if not leaves:
            raise ConfigError("search.space must have at least one leaf, but is empty.")
        # A value must be drawn before the conditions on it are checked.
        self.leaves = sorted(leaves, key=lambda leaf: bool(leaf.when))
        for leaf in leaves:
            self._check_condition(leaf)

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Draw a value for every leaf whose condition holds."""
        values: dict[str, Any] = {}
        for leaf in self.leaves:
            if all(self._current(path, values) == wanted for path, wanted in leaf.when.items()):
                values[leaf.path] = leaf.value(_suggest(trial, leaf))
        return values

    def values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the configuration values, by path, of a trial's recorded parameters."""
        return {leaf.path: leaf.value(params[leaf.path]) for leaf in self.leaves if leaf.path in params}

    def apply(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the plain base configuration with `values` (by dotted path) replaced."""
        config = copy.deepcopy(self.base)
        for path, value in sorted(values.items(), key=lambda item: item[0] != "model.hidden_units"):
            _set(config, path, value)
        return config

    def grid(self) -> dict[str, list[Any]]:
        """Return the grid points of every leaf."""
        return {leaf.path: leaf.grid() for leaf in self.leaves}

    def grid_size(self) -> int:
        """Return how many points the grid has."""
        return math.prod(len(points) for points in self.grid().values())

    def encode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return study parameters for configuration values by path, as in `study.enqueue`.

        Raises
        ------
        ConfigError
            A path that is not searched, or a value outside its range.
        """
        by_path = {leaf.path: leaf for leaf in self.leaves}
        drawn = {}
        for path, value in values.items():
            leaf = by_path.get(path)
            if leaf is None:
                raise ConfigError(f"study.enqueue names {path}, which must be in search.space, but is not.")
            try:
                drawn[path] = leaf.drawn(value)
            except ValueError as error:
                raise ConfigError(f"study.enqueue: {error}") from None
        return drawn

    def locate(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the study parameters of a whole plain configuration; None if it is outside this space."""
        drawn = {}
        try:
            for leaf in self.leaves:
                if all(_get(config, path) == wanted for path, wanted in leaf.when.items()):
                    drawn[leaf.path] = leaf.drawn(_get(config, leaf.path))
        except (ValueError, LookupError):
            return None
        return drawn if self.apply(self.values(drawn)) == config else None

    @property
    def most_epochs(self) -> int:
        """The largest `training.num_epochs` that a trial can have: the base value, or the end of its range."""
        path = "training.num_epochs"
        for leaf in self.leaves:
            if leaf.path == path:
                return int(max(leaf.choices) if leaf.is_choice else leaf.range.high)
        return int(_get(self.base, path))

    def _current(self, path: str, values: Mapping[str, Any]) -> Any:
        return values[path] if path in values else _get(self.base, path)

    def _leaf(self, path: str, spec: Any) -> Leaf:
        name = f"search.space.{path}"
        self._check_path(path)
        if not isinstance(spec, Mapping) or not ({"low", "high", "choices"} & spec.keys()):
            raise ConfigError(f"{name} must be {{low: …, high: …}} or {{choices: […]}}, but is {spec!r}.")
        if "choices" in spec and {"low", "high"} & spec.keys():
            raise ConfigError(
                f"{name} must have either choices or low and high, but has both; "
                f"to replace one by the other, write ~{name} before +{name}={{…}}."
            )
        allowed = _CHOICES if "choices" in spec else _RANGE
        if unknown := sorted(spec.keys() - allowed):
            raise ConfigError(f"{name}.{unknown[0]} must be one of {', '.join(sorted(allowed))}.")
        when = dict(_flatten(spec.get("when") or {}))
        leaf = self._choices(path, spec["choices"], when) if "choices" in spec else self._range(path, spec, when)
        ends = [("choices", value) for value in leaf.values.values()]
        for end, value in ends or [(end, spec[end]) for end in ("low", "high")]:
            try:
                parse(TrialConfig, self.apply({path: value}))
            except ConfigError as error:
                raise ConfigError(f"{name}.{end} cannot be {value!r}: {error}") from None
        return leaf

    def _check_path(self, path: str) -> None:
        parent, _, last = path.rpartition(".")
        known = known_paths(TrialConfig)
        if path.startswith("data.") or path == "data":
            raise ConfigError(f"search.space.{path} cannot be searched: trials on different data do not compare.")
        if path in ("repeats", "first_repeat"):
            raise ConfigError(f"search.space.{path} cannot be searched: trials of different repeats do not compare.")
        if path not in known and not (last.isdigit() and parent in known):
            raise ConfigError(f"search.space.{path} is no configuration value{did_you_mean(path, known)}.")
        if last.isdigit() and int(last) >= len(_get(self.base, "model.hidden_units")):
            layers = len(_get(self.base, "model.hidden_units"))
            raise ConfigError(f"search.space.{path} must be a hidden layer counted from 0, but there are {layers}.")

    def _range(self, path: str, spec: Mapping[str, Any], when: dict[str, Any]) -> Leaf:
        name = f"search.space.{path}"
        for end in ("low", "high"):
            if not isinstance(spec.get(end), int | float) or isinstance(spec.get(end), bool):
                raise ConfigError(f"{name}.{end} must be a number, but is {spec.get(end)!r}.")
        low, high, log = spec["low"], spec["high"], bool(spec.get("log", False))
        step, points = spec.get("step"), spec.get("points")
        if points is not None and (not isinstance(points, int) or points < 1):
            raise ConfigError(f"{name}.points must be a whole number of at least 1, but is {points!r}.")
        distribution: BaseDistribution
        try:
            if self._is_whole(path, low, high):
                distribution = IntDistribution(low, high, log=log, step=1 if step is None else step)
            else:
                distribution = FloatDistribution(float(low), float(high), log=log, step=step)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{name} cannot be {dict(spec)!r}: {error}") from None
        return Leaf(path, distribution, points=points, when=when)

    def _is_whole(self, path: str, low: float, high: float) -> bool:
        """Return whether the value at `path` is an integer: by its base value, or by both bounds."""
        base = _get(self.base, path)
        return isinstance(low, int) and isinstance(high, int) and not isinstance(base, float)

    def _choices(self, path: str, choices: Any, when: dict[str, Any]) -> Leaf:
        name = f"search.space.{path}.choices"
        if isinstance(choices, Mapping):
            values = dict(choices)
        elif isinstance(choices, list) and all(isinstance(c, str | int | float | bool | None) for c in choices):
            values = {choice: choice for choice in choices}
        else:
            raise ConfigError(
                f"{name} must be a list of plain values, or names that map to values, but is {choices!r}."
            )
        if not values:
            raise ConfigError(f"{name} must have at least one choice, but is empty.")
        return Leaf(path, CategoricalDistribution(tuple(values)), values=values, when=when)

    def _check_condition(self, leaf: Leaf) -> None:
        for path in leaf.when:
            if path not in known_paths(TrialConfig):
                raise ConfigError(f"search.space.{leaf.path}.when names {path}, which is no configuration value.")
            if any(other.path == path and other.when for other in self.leaves):
                raise ConfigError(f"search.space.{leaf.path}.when names {path}, which has a condition of its own.")


def _walk(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield every leaf with its dotted path; a mapping with low, high or choices is a leaf, an empty mapping is not."""
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and not ({"low", "high", "choices"} & value.keys()):
            yield from _walk(value, f"{path}.")
        elif value is not None:
            yield path, value


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _suggest(trial: optuna.Trial, leaf: Leaf) -> Any:
    d = leaf.distribution
    if isinstance(d, CategoricalDistribution):
        return trial.suggest_categorical(leaf.path, d.choices)
    if isinstance(d, IntDistribution):
        return trial.suggest_int(leaf.path, d.low, d.high, step=d.step, log=d.log)
    assert isinstance(d, FloatDistribution)
    return trial.suggest_float(leaf.path, d.low, d.high, step=d.step, log=d.log)


def _get(config: Mapping[str, Any], path: str) -> Any:
    value: Any = config
    for key in path.split("."):
        if isinstance(value, list) and key.isdigit():
            value = value[int(key)]
        elif isinstance(value, Mapping):
            value = value[key]
    return value


def _set(config: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path in place; an index into a scalar (`keep_prob.0`) first expands it to one value per layer."""
    *parents, last = path.split(".")
    section = config
    if last.isdigit():
        *parents, name = parents
        for key in parents:
            section = section[key]
        if not isinstance(section[name], list):
            section[name] = [section[name]] * len(config["model"]["hidden_units"])
        layers = section[name]
        layers += layers[-1:] * (int(last) + 1 - len(layers))  # an index beyond the layers is refused by name later
        layers[int(last)] = value
        return
    for key in parents:
        section = section[key]
    section[last] = value
