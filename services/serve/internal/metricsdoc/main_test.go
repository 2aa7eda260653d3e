// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"os"
	"testing"
)

func TestGeneratedFileIsCurrent(t *testing.T) {
	want, err := generate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../../../METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("METRICS.md is not what a daemon shows at its first scrape; run: make generate")
	}
}
