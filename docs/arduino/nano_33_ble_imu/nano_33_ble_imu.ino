// Sends the motion of an Arduino Nano 33 BLE as configs/wearables/arduino-nano-33-ble.toml says.
// Libraries: ArduinoBLE, Arduino_LSM9DS1 (for the board's revision 2: Arduino_BMI270_BMM150).
//
// A notification: u16 number of its first sample, u32 micros() of that sample, u8 samples, u8 flags,
// then for each sample int16 acceleration (1/8192 g) and angular velocity (1/16 deg/s), x y z.
// All numbers have their lowest byte first, as the board itself stores them.

#include <ArduinoBLE.h>
#include <Arduino_LSM9DS1.h>

const int SAMPLES = 10;  // 128 bytes, 84 ms
const float ACC_SCALE = 8192;
const float GYRO_SCALE = 16;

struct __attribute__((packed)) Sample {
  int16_t acc[3];
  int16_t gyro[3];
};

struct __attribute__((packed)) Packet {
  uint16_t counter;
  uint32_t micros;
  uint8_t samples;
  uint8_t flags;
  Sample sample[SAMPLES];
};

BLEService motionService("5a72e000-6e7c-4f0b-9d52-1f3c8a20b7d4");
BLECharacteristic motion("5a72e001-6e7c-4f0b-9d52-1f3c8a20b7d4", BLENotify, sizeof(Packet), true);

Packet packet;
uint16_t taken = 0;

int16_t stored(float value, float scale) {
  return (int16_t)constrain(value * scale, -32768.0f, 32767.0f);
}

void setup() {
  if (!IMU.begin() || !BLE.begin()) {
    while (true) {
    }
  }
  BLE.setLocalName("Nano33 IMU");
  BLE.setDeviceName("Nano33 IMU");
  BLE.setAdvertisedService(motionService);
  motionService.addCharacteristic(motion);
  BLE.addService(motionService);
  BLE.advertise();
}

void loop() {
  BLE.poll();
  if (!IMU.accelerationAvailable() || !IMU.gyroscopeAvailable()) {
    return;
  }
  float acc[3];
  float gyro[3];
  const uint32_t now = micros();
  IMU.readAcceleration(acc[0], acc[1], acc[2]);
  IMU.readGyroscope(gyro[0], gyro[1], gyro[2]);
  if (packet.samples == 0) {
    packet.counter = taken;
    packet.micros = now;
  }
  for (int axis = 0; axis < 3; axis++) {
    packet.sample[packet.samples].acc[axis] = stored(acc[axis], ACC_SCALE);
    packet.sample[packet.samples].gyro[axis] = stored(gyro[axis], GYRO_SCALE);
  }
  packet.samples++;
  taken++;
  if (packet.samples == SAMPLES) {
    if (motion.subscribed()) {
      motion.writeValue((const uint8_t *)&packet, (int)sizeof(packet));
    }
    packet.samples = 0;
  }
}
