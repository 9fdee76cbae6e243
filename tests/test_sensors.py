"""Which channels are a sensor's axes, and where it is worn."""

import pytest

from streamer.sensors import TriaxialSensor, places_of, triaxial_sensors

ACC, GYRO = "m/s2", "rad/s"


def channels(*sensors: str) -> tuple[str, ...]:
    return tuple(f"{sensor}_{axis}" for sensor in sensors for axis in "xyz")


def test_a_sensor_has_three_axes_in_whatever_order_they_come() -> None:
    names = ("pulse", "acc_z", "acc_x", "gyro_x", "gyro_y", "acc_y", "chest_acc_x")
    assert triaxial_sensors(names) == (TriaxialSensor("acc", (2, 5, 1)),)
    assert triaxial_sensors(("acc0", "acc1", "acc2")) == ()


@pytest.mark.parametrize(
    ("sensors", "units", "places"),
    [
        (("hand_acc", "hand_gyro", "chest_acc"), (ACC, GYRO, ACC), ("hand", "chest")),
        (("left_hand_acc", "right_hand_acc"), (ACC, ACC), ("left_hand", "right_hand")),
        (("acc", "gyro"), (ACC, GYRO), ()),
        (("wrist_acc", "wrist_gyro"), (ACC, GYRO), ()),
        (("body_acc", "gyro", "acc"), (ACC, GYRO, ACC), ()),
        (("acc_hand", "gyro_hand", "acc_chest"), (ACC, GYRO, ACC), ()),
        ((), (), ()),
    ],
)
def test_places_are_told_by_names_that_begin_with_them(
    sensors: tuple[str, ...], units: tuple[str, ...], places: tuple[str, ...]
) -> None:
    each_axis = [unit for unit in units for _ in "xyz"]
    assert places_of(triaxial_sensors(channels(*sensors)), each_axis) == places
