// SPDX-License-Identifier: MIT OR Apache-2.0

package tool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
)

// workspace is the one directory that the file tools work in. It is opened as an
// [os.Root]: neither ".." nor a link leads out of it, however it got there.
type workspace struct {
	dir      string
	maxFile  int64 // bytes of one file
	maxBytes int64 // of all
	maxFiles int   // files and directories

	writing sync.Mutex // one at a time: bounds are counted, then used
}

const (
	maxPath    = 512 // bytes
	maxEntries = 300 // that list_dir shows
	maxDepth   = 16
	draft      = ".write.tmp" // a file before it has its name
)

// open makes the directory if it is not there.
func (w *workspace) open() (*os.Root, error) {
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make workspace: %w", err)
	}
	root, err := os.OpenRoot(w.dir)
	if err != nil {
		return nil, fmt.Errorf("open workspace: %w", err)
	}
	return root, nil
}

// count adds up what is in the workspace, without what has the name except. It
// stops when it has seen more than is allowed: more is not of interest.
func (w *workspace) count(root *os.Root, except string) (files int, bytes int64, err error) {
	err = fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // gone since
		case err != nil:
			return err
		case p == "." || p == except || p == draft:
			return nil
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
		if files++; files > w.maxFiles {
			return fs.SkipAll
		}
		return nil
	})
	return files, bytes, err
}

// usage is what the gauges show; it makes no directory.
func (w *workspace) usage() (files int, bytes int64) {
	root, err := os.OpenRoot(w.dir)
	if err != nil {
		return 0, 0
	}
	defer root.Close()
	files, bytes, _ = w.count(root, "")
	return files, bytes
}

// cleanPath makes a path of a model's: relative to the workspace, slashes only.
func cleanPath(p string) (string, error) {
	switch {
	case len(p) > maxPath || !utf8.ValidString(p) || strings.ContainsRune(p, 0):
		return "", bus.Errorf(bus.CodeInvalid, "path must be text of at most %d bytes", maxPath)
	case path.IsAbs(p), !filepath.IsLocal(path.Clean(p)):
		return "", bus.Errorf(bus.CodeDenied, "path must be relative and within the workspace")
	}
	return path.Clean(p), nil
}

// explain is what the model reads of a file system's error; "path escapes" is
// os.Root's own.
func explain(p string, err error) error {
	var pe *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return bus.Errorf(bus.CodeNotFound, "there is no %q", p)
	case errors.Is(err, syscall.ENOSPC):
		return bus.Errorf(bus.CodeUnavailable, "the disk is full")
	case errors.As(err, &pe):
		return bus.Errorf(bus.CodeInvalid, "%q: %v", p, pe.Err)
	}
	return err
}

// listDir shows a directory.
type listDir struct{ *workspace }

// Spec describes the tool.
func (listDir) Spec() llm.ToolSpec {
	return llm.ToolSpec{Name: nameListDir, Description: "List a directory of the workspace.",
		Schema: json.RawMessage(`{"type":"object","properties":{"path":{"type":"string"}},"additionalProperties":false}`)}
}

// Call lists names, directories with a slash and files with their size.
func (l listDir) Call(_ context.Context, c Call) (Result, error) {
	var in struct {
		Path string `json:"path"`
	}
	if err := decode(c.Input, &in); err != nil {
		return Result{}, err
	}
	p, err := cleanPath(in.Path)
	if err != nil {
		return Result{}, err
	}
	root, err := l.open()
	if err != nil {
		return Result{}, err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), p)
	if err != nil {
		return Result{}, explain(p, err)
	}
	var b strings.Builder
	shown := 0
	for _, e := range entries {
		line := entryLine(e)
		if e.Name() == draft || line == "" {
			continue
		}
		if shown == maxEntries || b.Len()+len(line) > maxOutside {
			return Result{Text: outside("directory "+p, b.String(), true)}, nil
		}
		b.WriteString(line)
		shown++
	}
	if shown == 0 {
		return Result{Text: "The directory is empty."}, nil
	}
	return Result{Text: outside("directory "+p, strings.TrimSuffix(b.String(), "\n"), false)}, nil
}

func entryLine(e fs.DirEntry) string {
	name := strings.ToValidUTF8(e.Name(), "\uFFFD")
	info, err := e.Info()
	switch {
	case err != nil:
		return ""
	case e.IsDir():
		return fmt.Sprintf("%s/\n", name)
	case info.Mode().IsRegular():
		return fmt.Sprintf("%s %d bytes\n", name, info.Size())
	}
	return fmt.Sprintf("%s (no file)\n", name)
}

// readFile reads a text file.
type readFile struct{ *workspace }

// Spec describes the tool.
func (readFile) Spec() llm.ToolSpec {
	return llm.ToolSpec{Name: nameReadFile, Description: "Read a text file of the workspace.",
		Schema: json.RawMessage(`{"type":"object","properties":{"path":{"type":"string"},"offset":{"type":"integer","description":"byte to start at"}},"required":["path"],"additionalProperties":false}`)}
}

// Call reads one part of the file.
func (r readFile) Call(_ context.Context, c Call) (Result, error) {
	var in struct {
		Path   string `json:"path"`
		Offset int64  `json:"offset"`
	}
	if err := decode(c.Input, &in); err != nil {
		return Result{}, err
	}
	p, err := cleanPath(in.Path)
	if err != nil {
		return Result{}, err
	}
	root, err := r.open()
	if err != nil {
		return Result{}, err
	}
	defer root.Close()
	f, err := root.OpenFile(p, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold the turn up
	if err != nil {
		return Result{}, explain(p, err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return Result{}, explain(p, err)
	case !info.Mode().IsRegular():
		return Result{}, bus.Errorf(bus.CodeInvalid, "%q is not a file", p)
	case info.Size() > r.maxFile:
		return Result{}, bus.Errorf(bus.CodeTooLarge, "%q has %d bytes; at most %d are read", p, info.Size(), r.maxFile)
	case in.Offset < 0 || in.Offset > info.Size():
		return Result{}, bus.Errorf(bus.CodeInvalid, "%q has %d bytes", p, info.Size())
	}
	data, err := io.ReadAll(io.NewSectionReader(f, in.Offset, maxOutside))
	if err != nil {
		return Result{}, explain(p, err)
	}
	return part(p, string(data), in.Offset, info.Size())
}

// part is the text at an offset of a file of size bytes. What was cut within a
// character at either end is left off; a file that is no text is refused.
func part(p, text string, offset, size int64) (Result, error) {
	for offset > 0 && text != "" && !utf8.RuneStart(text[0]) {
		text, offset = text[1:], offset+1
	}
	end := offset + int64(len(text))
	if end < size {
		for i := 1; i <= min(utf8.UTFMax-1, len(text)); i++ {
			if b := text[len(text)-i]; utf8.RuneStart(b) {
				if !utf8.FullRuneInString(text[len(text)-i:]) {
					text, end = text[:len(text)-i], end-int64(i)
				}
				break
			}
		}
	}
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return Result{}, bus.Errorf(bus.CodeInvalid, "%q is not text", p)
	}
	from := "file " + p
	if end < size {
		from += fmt.Sprintf(", to byte %d of %d", end, size)
	}
	return Result{Text: outside(from, text, end < size)}, nil
}
