// SPDX-License-Identifier: MIT OR Apache-2.0

package index

import "math"

// A turn of all vectors alike: signs are changed, blocks of 64 are mixed by a Hadamard matrix, blocks trade their numbers, and the
// same again. So each number of the result hangs on many of the vector's, and those with many zeros become
// like any other. Lengths and angles stay. It must never change while an index lives, and is the same everywhere.

const block = 64

// turn turns v, whose length is a multiple of block; tmp has the same.
func turn(v, tmp []float32) {
	flip(v, 1)
	mix(v)
	blocks := len(v) / block
	for i := range blocks {
		for j := range block {
			tmp[j*blocks+i] = v[i*block+j]
		}
	}
	copy(v, tmp)
	flip(v, 2)
	mix(v)
}

// flip changes the signs of about half of the numbers.
func flip(v []float32, seed uint64) {
	for i := 0; i < len(v); i += block {
		bits := scramble(seed<<32 | uint64(i))
		for j := range v[i : i+block] {
			if bits>>j&1 != 0 {
				v[i+j] = -v[i+j]
			}
		}
	}
}

// scramble is the finalizer of splitmix64.
func scramble(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// mix multiplies each block with the Hadamard matrix of length 1.
func mix(v []float32) {
	for ; len(v) >= block; v = v[block:] {
		for half := 1; half < block; half *= 2 {
			for i := 0; i < block; i += 2 * half {
				a, b := v[i:i+half], v[i+half:i+2*half]
				for j := range a {
					a[j], b[j] = a[j]+b[j], a[j]-b[j]
				}
			}
		}
		for i := range v[:block] {
			v[i] /= 8
		}
	}
}

// unit gives v the length 1. It reports whether its numbers are such, and whether all are 0.
func unit(v []float32) (ok, zero bool) {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		return false, false
	}
	if sum == 0 {
		return true, true
	}
	scale := 1 / math.Sqrt(sum)
	for i, x := range v {
		v[i] = float32(float64(x) * scale)
	}
	return true, false
}
