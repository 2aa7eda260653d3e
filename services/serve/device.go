// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"errors"

	"github.com/blufio/blufio/bus/embedded"
)

// RotateDevice replaces the device key of a data directory on which no daemon runs,
// and returns the public keys of the one before and of the new one. It says what became
// of a restore that had been cut off.
func RotateDevice(dir string, say func(line string)) (old, current string, err error) {
	if _, err := embedded.LoadDevice(dir); err != nil { // it also checks the directory's mode
		return "", "", err
	}
	lock, err := takeLock(dir)
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, lock.release()) }()
	lock.say(say)
	before, err := embedded.LoadDevice(dir)
	if err != nil {
		return "", "", err
	}
	device, err := embedded.RotateDevice(dir)
	if err != nil {
		return "", "", err
	}
	return before.PublicKey(), device.PublicKey(), nil
}
