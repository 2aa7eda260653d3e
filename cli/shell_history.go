// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	historyEntries   = 1000     // messages that are remembered
	historyEntrySize = 8 << 10  // bytes; longer ones are not remembered
	historyFileSize  = 16 << 20 // bytes that are read; what is before them is forgotten
)

// history is what was typed before, oldest first, and the file that keeps it. Several
// shells may append to one file at a time: whoever writes has locked it. It is cut to
// historyEntries lines when it is opened and after as many more.
type history struct {
	path    string // "" keeps nothing
	entries []string
	written int // entries since the file was cut
}

// openHistory reads the file. When that fails, the history is usable, empty, and
// lasts only for this run.
func openHistory(path string) (*history, error) {
	if path == "" {
		return &history{}, nil
	}
	entries, err := readHistory(path)
	if err != nil {
		return &history{}, fmt.Errorf("read history: %w", err)
	}
	h := &history{path: path, entries: newest(entries)}
	if len(entries) > historyEntries {
		var f *os.File
		if f, err = h.lock(); err == nil {
			err = errors.Join(h.rewrite(), f.Close())
		}
	}
	return h, err
}

// lock opens the file for appending, as the only one until it is closed. Another
// shell may have put a shortened file in its place meanwhile: then that one counts.
func (h *history) lock() (*os.File, error) {
	for {
		f, err := os.OpenFile(h.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		mine, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if there, err := os.Stat(h.path); err == nil && os.SameFile(mine, there) {
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

func readHistory(path string) ([]string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if skip := info.Size() - historyFileSize; skip > 0 {
		if _, err := f.Seek(skip, io.SeekStart); err != nil {
			return nil, err
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, historyFileSize))
	if err != nil {
		return nil, err
	}
	var entries []string
	for l := range strings.Lines(string(data)) {
		if e := clean(decodeEntry(strings.TrimSuffix(l, "\n"))); e != "" {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// An entry is one line: line breaks and backslashes in it are escaped.
func encodeEntry(s string) string { return strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(s) }
func decodeEntry(s string) string { return strings.NewReplacer(`\\`, `\`, `\n`, "\n").Replace(s) }

func newest(entries []string) []string {
	return append([]string(nil), entries[max(0, len(entries)-historyEntries):]...)
}

func (h *history) len() int { return len(h.entries) }

// ago returns the entry that lies back: 1 is the newest.
func (h *history) ago(back int) string { return h.entries[len(h.entries)-back] }

// add remembers what was typed, unless it is the same as before.
func (h *history) add(text string) error {
	if text == "" || len(text) > historyEntrySize || h.len() > 0 && h.ago(1) == text {
		return nil
	}
	h.entries = newest(append(h.entries, text))
	if h.path == "" {
		return nil
	}
	if err := h.write(text); err != nil {
		h.path = "" // said once; from here on it lasts for this run
		return fmt.Errorf("write history: %w", err)
	}
	return nil
}

func (h *history) write(text string) error {
	if err := os.MkdirAll(filepath.Dir(h.path), 0o700); err != nil {
		return err
	}
	f, err := h.lock()
	if err != nil {
		return err
	}
	_, err = f.WriteString(encodeEntry(text) + "\n")
	if err = errors.Join(err, f.Chmod(0o600)); err == nil {
		if h.written++; h.written >= historyEntries {
			err = h.rewrite()
		}
	}
	return errors.Join(err, f.Close())
}

// rewrite drops the oldest entries from the file, in one step. It is locked; other
// shells may have added to it.
func (h *history) rewrite() error {
	h.written = 0
	entries, err := readHistory(h.path)
	if err != nil {
		return fmt.Errorf("shorten history: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(h.path), "shell_history-*") // mode 0600
	if err != nil {
		return fmt.Errorf("shorten history: %w", err)
	}
	for _, e := range newest(entries) {
		if _, err = f.WriteString(encodeEntry(e) + "\n"); err != nil {
			break
		}
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), h.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("shorten history: %w", err), os.Remove(f.Name()))
	}
	return nil
}

// historyPath is where the shell's history is kept, "" without a home.
func (a *app) historyPath() string {
	base := a.userDir("XDG_STATE_HOME", ".local/state")
	if base == "" {
		return ""
	}
	return filepath.Join(base, "blufio", "shell_history")
}
