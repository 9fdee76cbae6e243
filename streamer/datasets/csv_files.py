"""CSV files of any layout, as a small description tells."""

import csv
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from itertools import islice, pairwise
from pathlib import Path
from typing import Literal, TextIO

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from device_adapters.errors import InvalidNameError
from device_adapters.samples import StreamInfo, check_name
from device_adapters.units import TIME_UNITS, Unit, conversion, si_factors, si_units
from streamer.config_file import Section
from streamer.datasets.dataset import (
    RESTART_SECONDS,
    UNLABELLED,
    Recording,
    build_recording,
    hour_start,
)
from streamer.datasets.names import label_key, without_point
from streamer.errors import DatasetError

PATH_GROUPS = ("label", "subject")

BLOCK_ROWS = 4096
"""So many become numbers before more are read: as texts they take ten times the memory."""


class ChannelColumn(Section):
    """Where a channel is.

    Attributes:
        column: its column's name.
        unit: its unit.
    """

    column: str = Field(min_length=1)
    unit: Unit


class CsvLayout(Section):
    """What the files look like; the first line names the columns.

    Attributes:
        files: which files, as a pattern such as `**/*.csv`; hidden ones (`.name`) are none.
        delimiter: between columns.
        time: the column of the samples' times; without it they follow each other at the rate.
        time_unit: its unit, or `iso` for dates and times.
        label: the column of what was done; without it the path tells.
        subject: the column of who it was; without it the path tells, or each file is a wearer.
        path: a regular expression that files' paths below the folder match, with the groups
            `label` and `subject`, or one of them.
        unlabelled: values of the label's column that stand for nothing known.
        channels: the channels that are read, in order.
    """

    files: str = Field(default="**/*.[cC][sS][vV]", min_length=1)
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    time: str | None = Field(default=None, min_length=1)
    time_unit: Literal["s", "ms", "us", "ns", "iso"] = "s"
    label: str | None = Field(default=None, min_length=1)
    subject: str | None = Field(default=None, min_length=1)
    path: str | None = None
    unlabelled: tuple[str, ...] = ()
    channels: dict[str, ChannelColumn] = Field(min_length=1)

    @property
    def units(self) -> tuple[Unit, ...]:
        """The channels' units."""
        return tuple(channel.unit for channel in self.channels.values())


@dataclass(frozen=True, slots=True)
class _Columns:
    """A file's columns: times [n], values [n, channels] in SI units, labels and wearers [n]."""

    times: NDArray[np.float64] | None
    values: NDArray[np.float32]
    labels: NDArray[np.str_]
    wearers: NDArray[np.str_]

    def by_wearer(self) -> "_Columns":
        """Return the rows wearer by wearer, each one's in their order; files may mix them."""
        _, first, places = np.unique(self.wearers, return_index=True, return_inverse=True)
        order = np.argsort(first[places], kind="stable")
        return _Columns(
            None if self.times is None else self.times[order],
            self.values[order],
            self.labels[order],
            self.wearers[order],
        )


class CsvFiles:
    """A folder of CSV files.

    Args:
        dataset: the data set's name.
        folder: where the files are.
        layout: what they look like.
        rate_hz: samples a second.

    Raises:
        DatasetError: there is no file, the pattern for files or the expression for paths is wrong,
            or nothing tells the wearers of two files of the same name apart.
    """

    def __init__(self, dataset: str, folder: Path, layout: CsvLayout, rate_hz: float) -> None:
        self._dataset = dataset
        self._folder = folder
        self._layout = layout
        self._rate_hz = rate_hz
        self._paths = self._found()
        self._pattern = self._compiled()
        if layout.subject is None and "subject" not in self._pattern.groupindex:
            self._check_stems()

    def _found(self) -> list[Path]:
        pattern = self._layout.files
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise DatasetError(
                self._dataset,
                self._folder,
                f"can't be searched: files = {pattern!r} is no pattern for paths below the folder, "
                "such as '**/*.csv'",
            )
        # Unlike Path.glob it follows links to folders, and leaves out what is hidden.
        found = sorted(glob(pattern, root_dir=self._folder, recursive=True))  # noqa: PTH207
        paths = [path for name in found if (path := self._folder / name).is_file()]
        if not paths:
            raise DatasetError(self._dataset, self._folder, f"holds no file {pattern}")
        return list({path.resolve(): path for path in reversed(paths)}.values())[::-1]

    def _compiled(self) -> re.Pattern[str]:
        path = self._layout.path or ""
        try:
            pattern = re.compile(path)
        except re.error as error:
            raise DatasetError(
                self._dataset,
                self._folder,
                f"can't be read: path = {path!r} is no expression: {error}",
            ) from error
        if unknown := pattern.groupindex.keys() - PATH_GROUPS:
            raise DatasetError(
                self._dataset,
                self._folder,
                f"can't be read: path = {path!r} has the group {min(unknown)!r}; "
                f"known are {' and '.join(PATH_GROUPS)}",
            )
        return pattern

    def _check_stems(self) -> None:
        """Check that no two files would be taken for the same wearer's."""
        seen: dict[str, Path] = {}
        for path in self._paths:
            other = seen.setdefault(path.stem, path)
            if other != path:
                raise DatasetError(
                    self._dataset,
                    path,
                    f"would be of the wearer {path.stem!r}, as {other} is; tell by path or subject "
                    "in [csv] whose files are, or name them after their wearers",
                )

    def recordings(self) -> Iterator[Recording]:
        """Read the files, a recording for each stretch of one wearer.

        Raises:
            DatasetError: a file is malformed; the message names it, the row and the column.
        """
        number = 0
        for path in self._paths:
            columns = self._read(path)
            for begin, end in self._stretches(columns):
                part = slice(begin, end)
                number += 1
                name = path.relative_to(self._folder).with_suffix("").as_posix()
                suffix = f"_{begin}" if begin else ""
                yield self._recording(name.replace("/", "_") + suffix, columns, part, number)

    def _recording(self, name: str, columns: _Columns, part: slice, number: int) -> Recording:
        layout = self._layout
        values, published = columns.values[part], columns.labels[part]
        counted = np.arange(len(values)) / self._rate_hz
        times = hour_start(number) + counted if columns.times is None else columns.times[part]
        if columns.times is not None and np.nanmin(times, initial=np.inf) < hour_start(0):
            times = hour_start(number) + times - np.nanmin(times)
        raw, places = np.unique(published, return_inverse=True)
        keys = [label_key(label) for label in raw.tolist()]
        none = {"", *map(label_key, layout.unlabelled)}
        names = tuple(dict.fromkeys(keys))
        index = np.array([UNLABELLED if key in none else names.index(key) for key in keys])
        stream = StreamInfo(
            str(columns.wearers[part][0]),
            tuple(layout.channels),
            si_units(layout.units),
            self._rate_hz,
            "csv",
            "recording",
            conversion(layout.units),
        )
        return build_recording(name, stream, times, values, index[places], names)

    @staticmethod
    def _stretches(columns: _Columns) -> Iterator[tuple[int, int]]:
        """Part a file where its wearer changes or its time starts afresh."""
        changes = columns.wearers[1:] != columns.wearers[:-1]
        if columns.times is not None:
            changes |= np.diff(columns.times) < -RESTART_SECONDS
        starts = (np.flatnonzero(changes) + 1).tolist()
        return pairwise([0, *starts, len(columns.wearers)])

    def _read(self, path: Path) -> _Columns:
        layout = self._layout
        channels = [channel.column for channel in layout.channels.values()]
        dated = layout.time_unit == "iso"
        numeric = [*channels, None if dated else layout.time]
        textual = [layout.time if dated else None, layout.label, layout.subject]
        numbers, texts = self._table(path, list(filter(None, numeric)), list(filter(None, textual)))
        values, factors = numbers[:, : len(channels)], si_factors(layout.units)
        groups = self._groups(path)
        labels = [groups.get("label", "")] * len(values)
        wearers = [groups.get("subject") or path.stem] * len(values)
        if layout.subject:
            wearers = list(map(without_point, texts[layout.subject]))
        columns = _Columns(
            self._times(path, numbers, texts),
            (values if factors is None else values * factors).astype(np.float32),
            np.array(texts[layout.label] if layout.label else labels),
            np.array(wearers),
        )
        self._check_wearers(path, columns.wearers)
        if columns.times is None:
            return columns
        columns = columns.by_wearer()
        self._check_unit(path, columns)
        return columns

    def _check_wearers(self, path: Path, wearers: NDArray[np.str_]) -> None:
        for wearer, row in zip(*np.unique(wearers, return_index=True), strict=True):
            try:
                check_name(str(wearer))
            except InvalidNameError as error:
                remedy = "rename the file, or set path in [csv]"
                if self._layout.subject:
                    remedy = f"change row {row + 1} of column {self._layout.subject!r}"
                raise DatasetError(
                    self._dataset,
                    path,
                    f"is of the wearer {str(wearer)!r}, whose name {error.reason}; {remedy}",
                ) from error

    def _groups(self, path: Path) -> dict[str, str]:
        if not self._pattern.pattern:
            return {}
        relative = path.relative_to(self._folder).as_posix()
        match = self._pattern.fullmatch(relative)
        if match is None:
            raise DatasetError(
                self._dataset, path, f"does not match path = {self._pattern.pattern!r}"
            )
        return match.groupdict("")

    def _table(
        self, path: Path, numeric: Sequence[str], textual: Sequence[str]
    ) -> tuple[NDArray[np.float64], dict[str, list[str]]]:
        """Return columns of numbers, [rows, columns], and columns of texts, by name."""
        blocks: list[NDArray[np.float64]] = []
        texts: dict[str, list[str]] = {name: [] for name in textual}
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows = self._rows(path, file)
                _, first = next(rows, (1, []))
                if not first:
                    raise DatasetError(self._dataset, path, "is empty")
                header = [name.strip() for name in first]
                places = {name: self._place(path, name, header) for name in [*numeric, *textual]}
                wanted = [places[name] for name in numeric]
                while block := self._block(path, rows, header):
                    before = sum(map(len, blocks))
                    blocks.append(self._numbers(path, header, block, wanted, before))
                    for name, column in texts.items():
                        column += [row[places[name]].strip() for row in block]
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(self._dataset, path, f"can't be read: {error}") from error
        if not blocks:
            raise DatasetError(self._dataset, path, "has no row below the columns' names")
        return np.concatenate(blocks), texts

    def _block(
        self, path: Path, rows: Iterator[tuple[int, list[str]]], header: Sequence[str]
    ) -> list[list[str]]:
        """Return the next rows, all as wide as the first; none at the end."""
        block = []
        for line, row in islice(rows, BLOCK_ROWS):
            if len(row) != len(header):
                raise DatasetError(
                    self._dataset,
                    path,
                    f"has {len(row)} columns in line {line}; the first has {len(header)}",
                )
            block.append(row)
        return block

    def _rows(self, path: Path, file: TextIO) -> Iterator[tuple[int, list[str]]]:
        """Return the rows that are not blank, each with its line."""
        rows = csv.reader(
            file, delimiter=self._layout.delimiter, skipinitialspace=True, strict=True
        )
        while True:
            line = rows.line_num + 1
            try:
                row = next(rows, None)
            except csv.Error as error:
                raise DatasetError(
                    self._dataset,
                    path,
                    f"can't be read from line {line} on: {error}; is there a stray quote?",
                ) from error
            if row is None:
                return
            if rows.line_num != line:
                raise DatasetError(
                    self._dataset,
                    path,
                    f"has a field in line {line} that ends in line {rows.line_num}; "
                    "remove the quote that begins it",
                )
            if row:
                yield line, row

    def _place(self, path: Path, name: str, header: list[str]) -> int:
        if name not in header:
            raise DatasetError(
                self._dataset, path, f"has no column {name!r}; it has {', '.join(header) or 'none'}"
            )
        if header.count(name) > 1:
            raise DatasetError(
                self._dataset,
                path,
                f"has {header.count(name)} columns {name!r}; rename those that are not meant",
            )
        return header.index(name)

    def _numbers(
        self,
        path: Path,
        header: Sequence[str],
        block: Sequence[Sequence[str]],
        places: Sequence[int],
        before: int,
    ) -> NDArray[np.float64]:
        """Return the numbers at these places of rows; an empty field is missing."""
        cells = (_number(row[place]) for row in block for place in places)
        try:
            numbers = np.fromiter(cells, np.float64, len(block) * len(places))
        except ValueError:
            row, place = next(
                (row, place)
                for row, own in enumerate(block, start=before + 1)
                for place in places
                if not _is_number(own[place])
            )
            text = block[row - before - 1][place].strip()
            raise DatasetError(
                self._dataset,
                path,
                f"has {text!r} in row {row} of column {header[place]!r}: no number",
            ) from None
        return numbers.reshape(len(block), len(places))

    def _times(
        self, path: Path, numbers: NDArray[np.float64], texts: Mapping[str, Sequence[str]]
    ) -> NDArray[np.float64] | None:
        """Return the times, seconds, of which the column of numbers is the last."""
        column, unit = self._layout.time, self._layout.time_unit
        if column is None:
            return None
        if unit != "iso":
            return numbers[:, -1] * TIME_UNITS[unit]
        try:
            with warnings.catch_warnings():
                # NumPy takes times of other zones to UTC, and warns that it keeps no zone.
                warnings.simplefilter("ignore", UserWarning)
                moments = np.array([text or "NaT" for text in texts[column]], "datetime64[ns]")
        except ValueError as error:
            raise DatasetError(
                self._dataset, path, f"has a time in column {column!r} that is no date: {error}"
            ) from error
        seconds = moments.astype(np.int64) / 1e9
        return np.where(np.isnat(moments), np.nan, seconds)

    def _check_unit(self, path: Path, columns: _Columns) -> None:
        """Check that no other unit of time fits the rate, where the one that is said does not."""
        said, column = self._layout.time_unit, self._layout.time
        if said == "iso" or columns.times is None:
            return
        steps = np.diff(columns.times)[columns.wearers[1:] == columns.wearers[:-1]]
        steps = steps[steps > 0]
        if not len(steps):
            return
        step = float(np.median(steps))
        for unit, seconds in TIME_UNITS.items():
            if unit != said and 0.5 < step * self._rate_hz * seconds / TIME_UNITS[said] < 2:
                raise DatasetError(
                    self._dataset,
                    path,
                    f"has times {step:g} s apart in column {column!r} if time_unit = {said!r}, but "
                    f"rate_hz = {self._rate_hz:g}; they look like {unit!r}",
                )


def _number(text: str) -> float:
    """Return a field's number; an empty one is missing."""
    return float(text.strip() or "nan")


def _is_number(text: str) -> bool:
    try:
        _number(text)
    except ValueError:
        return False
    return True
