// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"crypto/sha256"
	"encoding/binary"
)

const (
	sealMagic = 0x184d2a5b // one of zstd's magic numbers of skippable frames (RFC 8878, 3.1.2)
	sealText  = "blufio/1"
	sealBytes = 8 + len(sealText) + sha256.Size
)

// seal is the frame that ends an archive.
func seal(sum []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, sealMagic)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(sealText)+sha256.Size))
	return append(append(b, sealText...), sum...)
}
