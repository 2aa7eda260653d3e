// SPDX-License-Identifier: MIT OR Apache-2.0

package failpoint_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/internal/failpoint"
)

var hit = regexp.MustCompile(`failpoint\.Hit(?:On)?\("([^"]*)"`)

// Every name stands in the product's source once, and none that is not listed.
func TestEachIsInTheSourceOnce(t *testing.T) {
	found := map[string][]string{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			filepath.Dir(path) == filepath.Join(root, "internal", "failpoint") {
			return err
		}
		data, err := os.ReadFile(path)
		for _, m := range hit.FindAllSubmatch(data, -1) {
			found[string(m[1])] = append(found[string(m[1])], path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, where := range found {
		if len(where) != 1 {
			t.Errorf("failpoint %s is hit in %v, want one place", name, where)
		}
	}
	if got, want := slices.Sorted(maps.Keys(found)), slices.Sorted(slices.Values(failpoint.All())); !slices.Equal(got, want) {
		t.Errorf("the source hits\n%v, the list has\n%v", got, want)
	}
}
