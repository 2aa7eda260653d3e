// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// listens are the calls of NATS that begin to listen, each with the call that has to
// stand in the same function, since the client's own bound is 64 MiB for each. A
// ChanSubscribe has its channel.
var listens = map[string]string{
	"Subscribe": "SetPendingLimits", "SubscribeSync": "SetPendingLimits", "QueueSubscribe": "SetPendingLimits",
	"QueueSubscribeSync": "SetPendingLimits", "QueueSubscribeSyncWithChan": "SetPendingLimits", "AddEndpoint": "WithEndpointPendingLimits",
}

// unbounded are the functions of a file that listen without saying how much may wait.
func unbounded(f *ast.File) (names []string, listening int) {
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		called := map[string]bool{}
		ast.Inspect(fn, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if s, ok := call.Fun.(*ast.SelectorExpr); ok {
					called[s.Sel.Name] = true
				}
			}
			return true
		})
		for begin, bound := range listens {
			if called[begin] {
				listening++
				if !called[bound] {
					names = append(names, fn.Name.Name)
				}
			}
		}
	}
	return names, listening
}

// Everything in the program that listens on the bus says how much may wait for it.
func TestSubscriptionsAreBounded(t *testing.T) {
	root, listening := filepath.Join("..", ".."), 0
	others := []string{"contrib", "bus/bustest", "services/serve/bench", "services/serve/soak"} // not part of the program
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(root, path)
		switch {
		case err != nil || relErr != nil:
			return err
		case d.IsDir() && slices.Contains(others, filepath.ToSlash(rel)):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		names, n := unbounded(f)
		listening += n
		for _, name := range names {
			t.Errorf("%s: %s listens, and how much may wait is the client's own 64 MiB: use bus.Listen, or SetPendingLimits", rel, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if listening < 6 {
		t.Errorf("only %d functions listen", listening)
	}
}

func TestUnboundedSubscriptionsAreFound(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "", `package p
func good() { sub, _ := nc.Subscribe("a", f); sub.SetPendingLimits(1, 1) }
func bad() { nc.Subscribe("a", f) }
func endpoint() { svc.AddEndpoint("a", f, micro.WithEndpointSubject("a")) }
func none() { sub.Unsubscribe() }
`, 0)
	if err != nil {
		t.Fatal(err)
	}
	if names, n := unbounded(f); n != 3 || !slices.Equal(names, []string{"bad", "endpoint"}) {
		t.Errorf("%d listen, unbounded %v", n, names)
	}
}
