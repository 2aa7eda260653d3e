// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

var errDuration = errors.New("not a duration")

// ParseDuration is [time.ParseDuration] with two longer units, "w" (7 × 24 h) and "d"
// (24 h), which come first: "90s", "30d", "1w2d12h". A sign stands before it all.
func ParseDuration(s string) (time.Duration, error) {
	rest, sign := s, 1.0
	if strings.HasPrefix(s, "-") {
		rest, sign = s[1:], -1
	}
	var total float64
	var long bool
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"w", week}, {"d", day}} {
		number, tail, found := strings.Cut(rest, unit.name)
		if !found {
			continue
		}
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || strings.Trim(number, "0123456789.") != "" {
			return 0, errDuration
		}
		total += n * float64(unit.size)
		rest, long = tail, true
	}
	if !long {
		return time.ParseDuration(s)
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || strings.ContainsAny(rest[:1], "+-") {
			return 0, errDuration
		}
		total += float64(d)
	}
	if total >= math.MaxInt64 {
		return 0, errDuration
	}
	return time.Duration(sign * total), nil
}

// formatDuration is the shortest text ParseDuration reads back as d.
func formatDuration(d time.Duration) string {
	if d != 0 && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
