// SPDX-License-Identifier: MIT OR Apache-2.0

// Command sbom lists what a program is built of, as the compiler wrote it into the
// program, in CycloneDX 1.5 (https://cyclonedx.org/docs/1.5/json/). The same program
// gives the same bytes.
//
//	sbom -version 1.2.3 -time 1700000000 bin/blufio
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

type document struct {
	Format      string      `json:"bomFormat"`
	SpecVersion string      `json:"specVersion"`
	Serial      string      `json:"serialNumber"`
	Version     int         `json:"version"`
	Metadata    metadata    `json:"metadata"`
	Components  []component `json:"components"`
	Depends     []depends   `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type depends struct {
	Ref string   `json:"ref"`
	On  []string `json:"dependsOn"`
}

func main() {
	version := flag.String("version", "devel", "the program's release")
	seconds := flag.Int64("time", 0, "when it was made, in Unix seconds")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: sbom [-version V] [-time SECONDS] PROGRAM")
		os.Exit(64)
	}
	if err := run(os.Stdout, flag.Arg(0), *version, time.Unix(*seconds, 0)); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

// run writes the document.
func run(w io.Writer, program, version string, made time.Time) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return fmt.Errorf("read build information: %w", err)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		return fmt.Errorf("read program: %w", err)
	}
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(describe(info, sha256.Sum256(data), version, made))
}

func describe(info *buildinfo.BuildInfo, sum [32]byte, version string, made time.Time) document {
	main := component{Type: "application", Ref: "blufio", Name: info.Main.Path, Version: version,
		PURL: purl(info.Main.Path, version), Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}}}
	for _, s := range info.Settings {
		main.Properties = append(main.Properties, property{"go:" + s.Key, s.Value})
	}
	// Random bits would differ from one run to the next, so the number is the program's.
	d := document{Format: "CycloneDX", SpecVersion: "1.5", Version: 1, Serial: serial(sum),
		Metadata:   metadata{Timestamp: made.UTC().Format(time.RFC3339), Component: main},
		Components: []component{{Type: "library", Ref: "go", Name: "std", Version: strings.TrimPrefix(info.GoVersion, "go"), PURL: purl("std", strings.TrimPrefix(info.GoVersion, "go"))}},
		Depends:    []depends{{Ref: "blufio", On: []string{"go"}}},
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		c := component{Type: "library", Ref: m.Path, Name: m.Path, Version: m.Version, PURL: purl(m.Path, m.Version)}
		if m.Sum != "" { // of the names and hashes of its files, as go.sum has it, and so no hash of one file
			c.Properties = []property{{"go:sum", m.Sum}}
		}
		d.Components = append(d.Components, c)
		d.Depends[0].On = append(d.Depends[0].On, c.Ref)
	}
	return d
}

func purl(path, version string) string { return "pkg:golang/" + path + "@" + version }

// serial is a UUID of version 8: one whose bits have a meaning of their own (RFC 9562).
func serial(sum [32]byte) string {
	b := sum[:16]
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
