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
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
)

// writeFile writes a file. The file is whole and has its name before the step is
// recorded, for a transaction cannot hold it: after a crash in between the call
// may be made again, and a file that is written twice with the same content is
// the same file. Half a file is never seen.
type writeFile struct{ *workspace }

// Spec describes the tool.
func (writeFile) Spec() llm.ToolSpec {
	return llm.ToolSpec{Name: nameWriteFile, Description: "Write or replace a text file of the workspace.",
		Schema: json.RawMessage(`{"type":"object","properties":{"path":{"type":"string"},"text":{"type":"string"}},"required":["path","text"],"additionalProperties":false}`)}
}

// Call writes the file.
func (w writeFile) Call(_ context.Context, c Call) (Result, error) {
	var in struct {
		Path string `json:"path"`
		Text string `json:"text"`
	}
	if err := decode(c.Input, &in); err != nil {
		return Result{}, err
	}
	p, err := cleanPath(in.Path)
	switch {
	case err != nil:
		return Result{}, err
	case p == "." || strings.HasSuffix(in.Path, "/") || path.Base(p) == draft || strings.Count(p, "/") >= maxDepth:
		return Result{}, bus.Errorf(bus.CodeInvalid, "%q cannot be a file's path", in.Path)
	case int64(len(in.Text)) > w.maxFile:
		return Result{}, bus.Errorf(bus.CodeTooLarge, "the text has %d bytes; a file has at most %d", len(in.Text), w.maxFile)
	}
	root, err := w.open()
	if err != nil {
		return Result{}, err
	}
	defer root.Close()
	w.writing.Lock()
	defer w.writing.Unlock()
	if err := w.roomFor(root, p, len(in.Text)); err != nil {
		return Result{}, err
	}
	if err := replace(root, p, in.Text); err != nil {
		return Result{}, explain(p, err)
	}
	return Result{Text: fmt.Sprintf("Written: %s, %d bytes.", p, len(in.Text))}, nil
}

// roomFor refuses what would go beyond the workspace's bounds.
func (w writeFile) roomFor(root *os.Root, p string, size int) error {
	files, bytes, err := w.count(root, p)
	if err != nil {
		return explain(p, err)
	}
	files++
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		if _, err := root.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			files++
		}
	}
	switch {
	case files > w.maxFiles:
		return bus.Errorf(bus.CodeTooLarge, "the workspace is full: it holds at most %d files and directories", w.maxFiles)
	case bytes+int64(size) > w.maxBytes:
		return bus.Errorf(bus.CodeTooLarge, "the workspace is full: it holds at most %d bytes", w.maxBytes)
	}
	return nil
}

// replace writes a draft, brings it to disk and gives it its name.
func replace(root *os.Root, p, text string) error {
	if info, err := root.Lstat(p); err == nil && !info.Mode().IsRegular() {
		return bus.Errorf(bus.CodeInvalid, "%q is there and is not a file", p)
	}
	if err := root.MkdirAll(path.Dir(p), 0o700); err != nil {
		return err
	}
	if err := root.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // of an earlier crash, or a link that somebody put there
	}
	f, err := root.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = root.Rename(draft, p)
	}
	if err != nil {
		return errors.Join(err, root.Remove(draft))
	}
	return syncDir(root, path.Dir(p))
}

// syncDir brings a directory's names to disk.
func syncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
