// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"errors"

	"github.com/blufio/blufio/bus/embedded"
)

// RotateDevice replaces the device key of a data directory on which no daemon runs,
// and returns the public keys of the one before and of the new one.
func RotateDevice(dir string) (old, current string, err error) {
	before, err := embedded.LoadDevice(dir) // first: it also checks the directory's mode
	if err != nil {
		return "", "", err
	}
	lock, err := takeLock(dir)
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, lock.release()) }()
	device, err := embedded.RotateDevice(dir)
	if err != nil {
		return "", "", err
	}
	return before.PublicKey(), device.PublicKey(), nil
}
