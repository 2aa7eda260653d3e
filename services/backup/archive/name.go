// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import "time"

// Name is what an archive's file is called: blufio-<node>-<UTC>.tar.zst, with .age behind
// it when it is encrypted. What of the node's name cannot stand there becomes "_".
func Name(node string, at time.Time, encrypted bool) string { return "" }

// ParseName reads what [Name] has made: the node's name as it stands there (see [NodeName]),
// and the second. ok is false for every other name.
func ParseName(base string) (node string, at time.Time, ok bool) { return "", time.Time{}, false }

// NodeName is a node's name as it stands in names of files.
func NodeName(node string) string { return node }
