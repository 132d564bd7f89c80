"""What a node file says is connected to a chip, connected to a simulated one."""

from typing import Any

from host_sim.hardware.chip import Chip
from host_sim.world import AnalogSensor, Bme280, Served, World


def wire(chip: Chip, world: World, seed: int, site: str, sensors: list[dict[str, Any]], served: Served) -> None:
    """Hangs the sensors of the node file on the chip's buses and pins."""
    for sensor in sensors:
        if sensor["driver"] == "bme280":
            device = Bme280(world, site, seed, name=sensor["name"], served=served)
            chip.devices[int(sensor["bus"][-1]), sensor["address"]] = device
        else:
            chip.analog[sensor["pin"]] = AnalogSensor(world, site, seed, name=sensor["name"], served=served)
