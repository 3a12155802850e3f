"""What an exchange with a model costs: a table of prices in a file or in the bundle, and whole numbers to reckon with.

    currency: EUR
    rows:
      - {model: "tiny-*", input: 0.10, cached: 0.01, output: 0.40}
      - {model: big, valid_from: 2026-01-01, input: 3, output: 15, request: 0.001}
      - {model: "own-*", cost: "request_count * 500 + output_tokens * 2"}

Rules:
- Prices are for a million tokens, `request` for one request. They are read as they are written, to the sixth decimal
  place; nothing passes through binary fractions.
- The first row counts whose `model` fits, whose time it is (UTC) and whose `input_over` the input exceeds. The name in
  the answer is tried on all rows, then the name that was asked for.
- `cached`, `cache_write` and `input_audio` tokens are taken out of the input, `reasoning` and `output_audio` out of the
  output, and priced by their own column; where it is empty, as input or output.
- Nothing is rounded: a cost is exact, with up to 12 decimal places and no zeros at its end. Who adds costs up and bills
  them rounds the sum.
- `cost` is CEL over the counts in place of prices; it yields whole millionths of the currency's unit.
- A model that no row fits has no cost, nor has one whose row is silent about a kind of token that it took, or whose
  `cost` fails: nothing is ever free because nobody said what it costs.

Not here: what was counted (usage.py, usage_tokens.py).
"""

from __future__ import annotations

import datetime
import fnmatch
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from ext_proc.policy import BundleFile, ExpressionError, Formula

PLACES: Final = 6  # decimal places of a price
MAX_PRICE: Final = 1_000_000
MAX_ROWS: Final = 10_000
COUNTS: Final = (
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
)
_PRICES = ("input", "cached", "cache_write", "output", "reasoning", "input_audio", "output_audio", "request")
_MICRO = 10**PLACES
_UNIT = 10**12  # a cost is counted in the trillionth part of the currency's unit

_BASE: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class _Loader(_BASE):  # type: ignore[misc]  # which of the two is there is known when it runs
    """YAML whose values are all text, so that a price is read as it is written; without keys that stand twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value]
        if len(set(keys)) < len(keys):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _as_written(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError("expected a price")
    try:
        # The shortest text that reads as a float is what stood there.
        price = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        raise ValueError("expected a price") from None
    if not (price.is_finite() and 0 <= price <= MAX_PRICE):
        raise ValueError(f"expected a price from 0 to {MAX_PRICE}")
    if price * _MICRO % 1:
        raise ValueError(f"expected a price with at most {PLACES} decimal places")
    return price


Price = Annotated[Decimal, BeforeValidator(_as_written), WithJsonSchema({"type": "string", "title": "price"})]


class Row(BaseModel, extra="forbid"):
    """What a model costs, for a million tokens of each kind."""

    model: str = Field(min_length=1, max_length=256, description="A glob over models' names.")
    valid_from: datetime.date | None = Field(default=None, description="The first day on which it counts.")
    valid_until: datetime.date | None = Field(default=None, description="The first day on which it counts no more.")
    input_over: int | None = Field(default=None, ge=0, description="Counts only where the input has more tokens.")
    input: Price | None = Field(default=None, description="Input that no other column prices.")
    cached: Price | None = Field(default=None, description="Input that was read from a cache.")
    cache_write: Price | None = Field(default=None, description="Input that was written to one.")
    output: Price | None = Field(default=None, description="Output that no other column prices.")
    reasoning: Price | None = Field(default=None, description="Output that the caller may not see.")
    input_audio: Price | None = Field(default=None, description="Input that is sound.")
    output_audio: Price | None = Field(default=None, description="Output that is sound.")
    request: Price | None = Field(default=None, description="One request.")
    cost: str = Field(
        default="",
        description="CEL in place of all prices: whole millionths of the currency's unit, of the counts"
        f" ({', '.join(f'`{name}`' for name in COUNTS)}) and `request_count`, which is 1.",
    )

    @field_validator("cost")
    @classmethod
    def _compiles(cls, cost: str) -> str:
        if cost:
            try:
                Formula(cost, (*COUNTS, "request_count"))
            except ExpressionError as error:
                raise ValueError(str(error)) from None
        return cost

    @model_validator(mode="after")
    def _says_something(self) -> Row:
        priced = any(getattr(self, name) is not None for name in _PRICES)
        if priced == bool(self.cost):
            raise ValueError("expected either prices or `cost`")
        if self.valid_from and self.valid_until and self.valid_from >= self.valid_until:
            raise ValueError("expected valid_until to be later than valid_from")
        return self


class PriceTable(BaseModel, extra="forbid"):
    """Prices by model."""

    currency: str = Field(pattern="^[A-Z]{3}$", description="Of all rows, by ISO 4217: `EUR`.")
    as_of: datetime.date | None = Field(default=None, description="When somebody last looked; for people.")
    rows: list[Row] = Field(
        min_length=1, max_length=MAX_ROWS, description="Tried in order; the first that fits counts."
    )


def _written_as(value: object) -> str:
    return "file" if isinstance(value, str | BundleFile) else "table"


# What is no path is read as a table, so that what is wrong with it is told.
PricesPart = Annotated[
    Annotated[BundleFile, Tag("file")] | Annotated[PriceTable, Tag("table")], Discriminator(_written_as)
]


def read_prices(file: BundleFile) -> PriceTable:
    """The table in a file.

    Raises:
        ValueError: it is none; the text says where and why.
    """
    try:
        value = yaml.load(file.data, _Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise ValueError(f"{file.name}{line}: expected YAML without keys that stand twice") from None
    try:
        return PriceTable.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        wrong = "expected this key; it is required" if first["type"] == "missing" else first["msg"]
        raise ValueError(f"{file.name}: {place + ': ' if place else ''}{wrong}") from None


class Prices:
    """A table, ready to reckon with.

    Attributes:
        currency: of every cost.
    """

    def __init__(self, table: PriceTable) -> None:
        self.currency = table.currency
        self._rows = [_Row(row) for row in table.rows]

    def cost(self, models: Sequence[str], counts: Mapping[str, int], time: float) -> str | None:
        """What an exchange costs, as a decimal in plain digits; None where nobody said.

        Args:
            models: the model's names, the one that counts first.
            counts: by the names of COUNTS; what is missing is 0.
            time: seconds since the Unix epoch.
        """
        day = datetime.datetime.fromtimestamp(time, datetime.UTC).date()
        complete = {name: counts.get(name, 0) for name in COUNTS}
        for model in models:
            for row in self._rows:
                if row.fits(model, day, complete["input_tokens"]):
                    return row.cost(complete)
        return None


class _Row:
    """A row with its prices as whole numbers: millionths of the currency's unit for a million tokens."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._prices = {name: _whole(getattr(row, name)) for name in _PRICES}
        self._formula = Formula(row.cost, (*COUNTS, "request_count")) if row.cost else None

    def fits(self, model: str, day: datetime.date, input_tokens: int) -> bool:
        """Whether the row is about this model, day and length."""
        row = self._row
        return (
            (row.valid_from is None or row.valid_from <= day)
            and (row.valid_until is None or day < row.valid_until)
            and (row.input_over is None or input_tokens > row.input_over)
            and fnmatch.fnmatchcase(model, row.model)
        )

    def cost(self, counts: Mapping[str, int]) -> str | None:
        """The cost; None where the row does not say."""
        if self._formula is None:
            units = self._of_prices(counts)
            return None if units is None else _plain(units)
        try:
            millionths = self._formula.value({**counts, "request_count": 1})
        except ExpressionError:
            return None
        return None if millionths < 0 else _plain(millionths * _MICRO)

    def _of_prices(self, counts: Mapping[str, int]) -> int | None:
        prices = self._prices
        units = (prices["request"] or 0) * _MICRO
        for whole, parts in (
            ("input", ("cached", "cache_write", "input_audio")),
            ("output", ("reasoning", "output_audio")),
        ):
            left = counts[f"{whole}_tokens"]
            amounts = []
            for part in parts:
                tokens = counts[f"{part}_tokens"]
                left -= tokens
                own = prices[part]
                amounts.append((tokens, prices[whole] if own is None else own))
            for tokens, price in ((max(left, 0), prices[whole]), *amounts):
                if tokens and price is None:
                    return None
                units += tokens * (price or 0)
        return units


def _whole(price: Decimal | None) -> int | None:
    return None if price is None else int(price * _MICRO)


def _plain(units: int) -> str:
    """A number of trillionths in plain digits."""
    whole, rest = divmod(units, _UNIT)
    return f"{whole}.{rest:012d}".rstrip("0").rstrip(".")
