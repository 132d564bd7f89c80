"""The world of the simulation: recorded weather, and sensors that measure it at register level."""

from host_sim.world.analog import AnalogSensor
from host_sim.world.bme280 import Bme280
from host_sim.world.i2c import Nack
from host_sim.world.replay import World
from host_sim.world.served import Served, ServedLog

__all__ = ["AnalogSensor", "Bme280", "Nack", "Served", "ServedLog", "World"]
