// SPDX-License-Identifier: MIT OR Apache-2.0

// Package contrib holds what is shipped beside the program. Doctor compares systemd's
// units with what a machine has.
package contrib

import "embed"

// Units are the units, as files of this directory.
//
//go:embed blufio*
var Units embed.FS
