// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// bugReportSchema names the shape of `blufio bugreport --json`.
const bugReportSchema = "blufio.bugreport/1"

func (a *app) bugReportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "bugreport [PATH]",
		Short: "Pack what others need to find a fault into one archive, without secrets",
		Long: "Pack what others need to find a fault into one archive: version, configuration, all\n" +
			"checks of doctor, status, the last events and log lines, profiles of the daemon, and\n" +
			"facts about the machine. Secrets are taken out, and the text of messages is not in\n" +
			"it. Names and ids are: look at it before you send it. Nothing is sent anywhere.\n\n" +
			"Without a daemon it packs what can be had without one. PATH is a new file or a\n" +
			"directory; nothing is overwritten. It takes up to half a minute.",
		Example: "  blufio bugreport\n  blufio bugreport /tmp/report.tar.gz\n  blufio bugreport --json | jq -r .path",
		Args:    atMostOne("path"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := ""
			if len(args) == 1 {
				path = args[0]
			}
			return a.bugReport(cmd.Context(), path)
		},
	}
}

// packed is what `blufio bugreport --json` prints.
type packed struct {
	Schema  string       `json:"schema"`
	Path    string       `json:"path"`
	Files   []packedFile `json:"files"`
	Missing []unpacked   `json:"missing"`
}

type packedFile struct {
	Name  string `json:"name"`
	Bytes int    `json:"bytes"`
	About string `json:"about"`
}

type unpacked struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

func (a *app) bugReport(ctx context.Context, path string) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	name := "blufio-report-" + a.now().UTC().Format("20060102-150405")
	path, err := reportPath(path, name+".tar.gz")
	if err != nil {
		return err
	}
	files, err := a.gather(ctx)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fail(exitInterrupted, "", "stopped, nothing was written")
	}
	data, err := archive(name, files, a.now())
	if err == nil {
		err = writeReport(path, data)
	}
	if err != nil {
		return err
	}
	return a.showPacked(path, files)
}

// reportPath is the file to make. One that is there already stays as it is.
func reportPath(path, name string) (string, error) {
	if path == "" {
		path = name
	} else if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, name)
	}
	if _, err := os.Lstat(path); err == nil {
		return "", fail(exitFailed, "name another file", "%s is there already, and nothing is overwritten", path)
	}
	return path, nil
}

// writeReport makes a file that only its owner can read, or none.
func writeReport(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fail(exitFailed, "name another file", "%s is there already, and nothing is overwritten", path)
	}
	if err != nil {
		return fail(cmp.Or(deniedIf(err), exitFailed), "name a file in a directory that you may write to", "write report: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write report: %w", err), os.Remove(path))
	}
	return nil
}

// archive packs the files into one directory of that name, and a page about them.
func archive(name string, files []reportFile, now time.Time) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	t := tar.NewWriter(z)
	for _, f := range append([]reportFile{readme(files)}, files...) {
		if f.err != nil {
			continue
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name + "/" + f.name, Mode: 0o600, Size: int64(len(f.data)), ModTime: now}
		if err := t.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("pack report: %w", err)
		}
		if _, err := t.Write(f.data); err != nil {
			return nil, fmt.Errorf("pack report: %w", err)
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return nil, fmt.Errorf("pack report: %w", err)
	}
	return b.Bytes(), nil
}

// readme says what is in the archive and what is not.
func readme(files []reportFile) reportFile {
	var b strings.Builder
	b.WriteString("A report of blufio. Secrets that it knows were taken out, and the text of messages is not in it.\n" +
		"Names, ids, addresses and instructions to the model are: look at it before you send it.\n\n")
	for _, f := range files {
		if f.err == nil {
			fmt.Fprintf(&b, "%-16s %s\n", f.name, f.about)
		}
	}
	for _, f := range files {
		if f.err != nil {
			fmt.Fprintf(&b, "\nnot here: %s (%s): %s\n", f.name, f.about, f.reason())
		}
	}
	return reportFile{name: "README.txt", data: []byte(b.String())}
}

func (a *app) showPacked(path string, files []reportFile) error {
	out := packed{Schema: bugReportSchema, Path: path, Files: []packedFile{}, Missing: []unpacked{}}
	var rows [][]string
	for _, f := range files {
		if f.err != nil {
			out.Missing = append(out.Missing, unpacked{f.name, f.reason()})
			continue
		}
		out.Files = append(out.Files, packedFile{f.name, len(f.data), f.about})
		rows = append(rows, []string{"  " + f.name, size(int64(len(f.data))), f.about})
	}
	if a.json {
		return a.printJSON(out)
	}
	u := a.ui(a.out)
	text := u.ok() + " " + path + "\n" + table(rows, 1)
	for _, m := range out.Missing {
		text += u.yellow("not in it: ") + line(m.Name+": "+m.Why) + "\n"
	}
	return a.print(text + "look at it before you send it: secrets are taken out, names and ids are not\n")
}
